//! Carries out a plan by server-side apply. Applying twice has the same effect as applying once; what is already so is
//! not written.

mod applied;
mod comparer;
mod disturbance;
mod refusals;

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use crate::api::QuantizedModel;
use crate::apiserver::{call, call_opt};
use crate::manifests::traffic::{self, Effect, TrafficProvider};
use crate::manifests::workload;
use crate::manifests::{self, Document, JOINED_LABEL, Kind, Owner};
use crate::model::identity::Digests;
use crate::rollout::{Event, Joined, Plan, Reason, Refused, Template, WorkloadKey, WorkloadPlan};
use crate::watch::{self, DeploymentProjection, FieldHashes, hash, hashes_of, hashes_of_model};

use super::context::Context;
use super::error::Error;

pub(super) use applied::Applied;
use applied::Last;
pub(super) use disturbance::{Disturbances, is_disturbed};
pub(super) use refusals::Refusals;

/// Finalizer of a model.
pub(super) const FINALIZER: &str = "guardbit.dev/route";

/// Annotation by which somebody hands an object over to the model of its name.
const ADOPT: &str = "guardbit.dev/adopt";

/// Notes why an object could not be written, if that says nothing of the others; `of` is its kind, its name, and whether it
/// carries the traffic. Returns whether it was written.
fn tolerate(
    result: Result<(), Error>,
    refused: &mut Vec<Refused>,
    of: impl FnOnce() -> (Kind, String, bool),
) -> Result<bool, Error> {
    let Err(error) = result else { return Ok(true) };
    let Some(why) = error.refusal() else {
        return Err(error);
    };
    let (kind, name, is_carrier) = of();
    let object = format!("{kind} {name}");
    if !refused.iter().any(|known| known.object == object) {
        refused.push(Refused {
            object,
            is_carrier,
            why,
        });
    }
    Ok(false)
}

/// How a Deployment is deleted with its pods, and no other of its name.
fn with_pods(live: &DeploymentProjection) -> DeleteParams {
    let preconditions = Preconditions {
        uid: live.uid.clone(),
        ..Preconditions::default()
    };
    DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::background()
    }
}

/// A model with its plan, and what is needed to carry it out.
pub(super) struct Apply<'a> {
    pub(super) ctx: &'a Context,
    pub(super) model: &'a QuantizedModel,
    pub(super) owner: Owner<'a>,
    pub(super) plan: &'a Plan,
}

impl<'a> Apply<'a> {
    /// A plan of a model, whose spec has these digests.
    pub(super) fn of(ctx: &'a Context, model: &'a QuantizedModel, digests: &'a Digests, plan: &'a Plan) -> Self {
        let text = |of: &'a Option<String>| of.as_deref().unwrap_or_default();
        let metadata = &model.metadata;
        Self {
            ctx,
            model,
            owner: Owner {
                namespace: text(&metadata.namespace),
                name: text(&metadata.name),
                uid: text(&metadata.uid),
                spec: &model.spec,
                digests,
                status: &plan.status,
            },
            plan,
        }
    }
}

impl Apply<'_> {
    /// Lowers the candidate, and waits for nothing else.
    pub(super) async fn lower(&self) -> Result<Vec<Refused>, Error> {
        let mut refused = Vec::new();
        let effects = self.traffic().map(|traffic| traffic.lower(&self.owner, self.plan));
        self.take(effects.unwrap_or_default(), &mut refused).await?;
        Ok(refused)
    }

    /// Applies everything: capacity first, then the split, then what is no longer needed. An object that cannot be
    /// written holds up only what depends on it; returns those.
    pub(super) async fn all(&self) -> Result<Vec<Refused>, Error> {
        let mut refused = Vec::new();
        let mut exist = Vec::new();
        for (key, workload) in &self.plan.workloads {
            let mut made = true;
            if workload.template == Template::InSpec {
                let document = self.template(key, workload);
                made = self.try_put(document, (Kind::Deployment, key), &mut refused).await?;
            }
            if made || self.live_deployment(key).is_some() {
                exist.push(key);
            }
            if let Some(service) = self.traffic().and_then(|t| t.arm_service(&self.owner, key)) {
                self.try_put(Ok(service), (Kind::Service, key), &mut refused).await?;
            }
        }
        self.scale(&exist, |wanted, now| wanted > now, &mut refused).await?;
        let effects = self.traffic().map(|traffic| traffic.split(&self.owner, self.plan));
        let is_split = self.take(effects.unwrap_or_default(), &mut refused).await?;
        if is_split {
            self.scale(&exist, |wanted, now| wanted < now, &mut refused).await?;
        }
        for key in exist {
            let facts = workload::provider().facts(&self.owner, key, &self.plan.workloads[key]);
            self.try_put(Ok(facts), (Kind::Deployment, key), &mut refused).await?;
        }
        // What the split in force may still use stays.
        if is_split {
            for key in &self.plan.delete {
                self.delete(key).await?;
            }
        }
        self.put(manifests::model_annotations(&self.owner)).await?;
        self.comparer(&mut refused).await?;
        Ok(refused)
    }

    /// Applies the document of an object of a workload, or notes why it cannot be written. Returns whether it was.
    async fn try_put(
        &self,
        document: Result<Document, Error>,
        (kind, key): (Kind, &WorkloadKey),
        refused: &mut Vec<Refused>,
    ) -> Result<bool, Error> {
        let result = match document {
            Ok(document) => self.put(document).await,
            Err(error) => Err(error),
        };
        tolerate(result, refused, || (kind, manifests::name(&self.owner, key), false))
    }

    /// The object of a workload. A new one is made with its replicas: with the API server's default of one, a pod would be
    /// started only to be killed.
    fn template(&self, key: &WorkloadKey, workload: &WorkloadPlan) -> Result<Document, Error> {
        let live = self.live_deployment(key);
        let additions = live.as_ref().map(|live| &live.additions);
        let image = self.ctx.settings.image.as_deref();
        let mut document = workload::provider().template(&self.owner, key, additions, image)?;
        if let (Some(replicas), None) = (workload.replicas, live) {
            document.body["spec"]["replicas"] = json!(replicas);
        }
        Ok(document)
    }

    fn traffic(&self) -> Option<&dyn TrafficProvider> {
        traffic::provider(&self.owner.spec.traffic)
    }

    async fn scale(
        &self,
        exist: &[&WorkloadKey],
        which: impl Fn(i32, i32) -> bool,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Error> {
        for key in exist {
            let Some(replicas) = self.plan.workloads[*key].replicas else {
                continue;
            };
            let now = self.live_deployment(key).and_then(|d| d.replicas);
            // A Deployment that the watch has not seen yet has been made with its replicas.
            if which(replicas, now.unwrap_or(-1)) {
                let scale = workload::provider().scale(&self.owner, key, replicas);
                self.try_put(Ok(scale), (Kind::Deployment, key), refused).await?;
            }
        }
        Ok(())
    }

    fn live_deployment(&self, key: &WorkloadKey) -> Option<Arc<DeploymentProjection>> {
        let name = manifests::name(&self.owner, key);
        self.ctx.stores.deployments.get(self.owner.namespace, &name)
    }

    /// Carries out the effects that a provider of traffic asks for, in its order. Returns whether all could be.
    async fn take(&self, effects: Vec<Effect>, refused: &mut Vec<Refused>) -> Result<bool, Error> {
        let mut all = true;
        for effect in effects {
            match effect {
                Effect::Apply(document) => {
                    let carrier = (document.kind, document.name.clone(), true);
                    all &= tolerate(self.put(document).await, refused, || carrier)?;
                }
                Effect::Join(key, joined) => self.join(&key, joined).await?,
            }
        }
        Ok(all)
    }

    /// Puts the label of the shared Service on as many pods of a workload as belong to it, and takes it off the others.
    async fn join(&self, key: &WorkloadKey, joined: Joined) -> Result<(), Error> {
        let model = manifests::model_label(self.owner.name);
        let pods = self.ctx.stores.pods.of_model(self.owner.namespace, &model);
        let revision = manifests::revision_label(key);
        let pods = pods.iter().map(|(_, pod)| pod);
        let mut own: Vec<_> = pods
            .filter(|pod| pod.revision.as_deref() == Some(revision.as_str()) && !pod.deleted && !pod.over)
            .collect();
        // Ready pods come first; among equals those that serve go on serving.
        own.sort_by_key(|pod| (!pod.ready, !pod.joined, &pod.name));
        let wanted = joined.of(i32::try_from(own.len()).unwrap_or(i32::MAX));
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
        for (i, pod) in own.into_iter().enumerate() {
            let label = match (i32::try_from(i).unwrap_or(i32::MAX) < wanted, pod.joined) {
                (true, false) => json!("true"),
                (false, true) => Value::Null,
                _ => continue,
            };
            let patch = Patch::Merge(json!({"metadata": {"labels": {JOINED_LABEL: label}}}));
            let what = format!("label pod {}", pod.name);
            call_opt(what, api.patch(&pod.name, &PatchParams::default(), &patch)).await?;
        }
        Ok(())
    }

    async fn delete(&self, key: &WorkloadKey) -> Result<(), Error> {
        let name = manifests::name(&self.owner, key);
        if let Some(live) = self.live_deployment(key) {
            self.remove(workload::provider().kind(), &name, &with_pods(&live))
                .await?;
        }
        if self.ctx.stores.services.get(self.owner.namespace, &name).is_some() {
            self.remove(Kind::Service, &name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Deletes what carries the split; pods stay until connections have drained.
    pub(super) async fn tear_down(&self) -> Result<(), Error> {
        let namespace = self.owner.namespace;
        let label = manifests::model_label(self.owner.name);
        for kind in traffic::kinds() {
            let name = traffic::carrier_name(kind, self.owner.name);
            let objects = self.ctx.stores.of(kind);
            if objects.is_some_and(|objects| objects.has(namespace, &label, &name)) {
                self.remove(kind, &name, &DeleteParams::default()).await?;
            }
        }
        Ok(())
    }

    /// Deletes an object, and forgets that it was applied: that it is gone is not the work of somebody else.
    async fn remove(&self, kind: Kind, name: &str, params: &DeleteParams) -> Result<(), Error> {
        call_opt(format!("delete {kind} {name}"), self.api(kind).delete(name, params)).await?;
        let documents = manifests::MANAGERS_OF_OBJECTS.map(|manager| hash((manager, kind, name)));
        self.ctx.applied.forget_documents(self.owner.uid, &documents);
        Ok(())
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.ctx.client.clone(), self.owner.namespace, &kind.resource())
    }

    /// Takes the owner references off all objects, so that they outlive the model. A comparer serves nobody, and goes.
    pub(super) async fn orphan(&self) -> Result<(), Error> {
        self.unmirror().await?;
        self.delete_comparer().await?;
        let label = manifests::model_label(self.owner.name);
        for kind in [workload::provider().kind()].into_iter().chain(traffic::kinds()) {
            let objects = self.ctx.stores.of(kind);
            for name in objects.map_or_else(Vec::new, |objects| objects.owned(self.owner.namespace, &label)) {
                let patch = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
                let what = format!("orphan {kind} {name}");
                call_opt(what, self.api(kind).patch(&name, &PatchParams::default(), &patch)).await?;
            }
        }
        Ok(())
    }

    /// Adds or removes the finalizer.
    pub(super) async fn finalizer(&self, present: bool) -> Result<(), Error> {
        let mut finalizers = self.model.finalizers().to_vec();
        finalizers.retain(|f| f != FINALIZER);
        if present {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": self.model.resource_version()}});
        let api: Api<QuantizedModel> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
        let what = format!("write the finalizer of {}", self.owner.name);
        // A model must be deleted even if the rest of it cannot be read.
        call_opt(
            what,
            api.patch_metadata(self.owner.name, &PatchParams::default(), &Patch::Merge(patch)),
        )
        .await?;
        Ok(())
    }

    /// Applies one document, unless the live object already is what it says.
    async fn put(&self, document: Document) -> Result<(), Error> {
        let Document {
            manager,
            kind,
            name,
            body,
        } = document;
        let (of, wants) = (hash((manager, kind, &*name)), hash(watch::json(&body)));
        let live = self.live(kind, &name);
        let gives = live.as_ref().map(FieldHashes::digest);
        let last = self.ctx.applied.last(self.owner.uid, of);
        let as_before = last.filter(|last| last.wants == wants);
        // The API server may have written it differently; it has not been touched since.
        if as_before.is_some_and(|last| Some(last.gave) == gives) {
            return Ok(());
        }
        // Where requests follow the object, only the API server knows who owns what was added.
        let may_grow = as_before.is_some() && !kind.steers_requests();
        if (may_grow || last.is_none()) && live.as_ref().is_some_and(|live| live.hold(&body)) {
            let gave = gives.unwrap_or_default();
            let before = gives;
            self.ctx.applied.note(self.owner.uid, of, Last { wants, gave, before });
            return Ok(());
        }
        if live.is_none() && self.is_foreign(kind, &name).await? {
            return Err(Error::NotOurs(format!("{kind} {name}")));
        }
        // Another writer may have changed it since this reconcile began.
        if as_before.is_some() && kind == Kind::Service && self.carries(&name) {
            self.ctx.disturbances.wait(self.owner.uid, Instant::now())?;
        }
        let params = PatchParams::apply(manager).force();
        let what = format!("apply {kind} {name}");
        let applied = call(what, self.api(kind).patch(&name, &params, &Patch::Apply(&body))).await?;
        if as_before.is_some_and(|last| last.before != gives) && kind != Kind::QuantizedModel {
            let what = match live {
                Some(_) => "was changed by somebody else, and is put right",
                None => "was deleted by somebody else, and is made again",
            };
            let event = Event {
                reason: Reason::Repaired,
                note: format!("{kind} {name} {what}"),
            };
            self.ctx.events.tell(self.model, &[event]);
        }
        let gave = hashes_of(kind, &applied).digest();
        let before = gives;
        self.ctx.applied.note(self.owner.uid, of, Last { wants, gave, before });
        Ok(())
    }

    /// Whether an object that the watch does not know is there, and is not of this model: it was neither made for it nor
    /// handed over. The watch knows only objects with the label of a model.
    async fn is_foreign(&self, kind: Kind, name: &str) -> Result<bool, Error> {
        let maker = match kind {
            Kind::QuantizedModel => return Ok(false),
            Kind::Route(_) => manifests::MANAGER_ROUTE,
            Kind::Deployment | Kind::Service | Kind::NetworkPolicy => manifests::MANAGER_WORKLOAD,
        };
        // The watch lags behind what was made.
        if self
            .ctx
            .applied
            .last(self.owner.uid, hash((maker, kind, name)))
            .is_some()
        {
            return Ok(false);
        }
        let found = call_opt(format!("read {kind} {name}"), self.api(kind).get_metadata(name)).await?;
        Ok(found.is_some_and(|found| {
            let label = manifests::model_label(self.owner.name);
            let owned = found.owner_references().iter().any(|owner| owner.uid == self.owner.uid);
            let labelled = found.labels().get(manifests::MODEL_LABEL) == Some(&label);
            let handed_over = found.annotations().get(ADOPT).is_some_and(|adopt| adopt == "true");
            !owned && !labelled && !handed_over
        }))
    }

    /// Whether a route gives weight to a Service.
    fn carries(&self, service: &str) -> bool {
        let mut routes = self.ctx.stores.routes.named(self.owner.namespace, self.owner.name);
        routes.any(|route| route.carrying().any(|carrying| carrying == service))
    }

    fn live(&self, kind: Kind, name: &str) -> Option<FieldHashes> {
        match self.ctx.stores.of(kind) {
            Some(objects) => objects.hashes(self.owner.namespace, name),
            None => Some(hashes_of_model(&self.model.metadata)),
        }
    }
}
