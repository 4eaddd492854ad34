//! Carries out a plan by server-side apply. Applying twice is the same as once, and what is already so is not written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::api::QuantizedModel;
use crate::apiserver::{call, call_opt};
use crate::manifests::{self, JOINED_LABEL, MANAGER_FACTS, MANAGER_ROUTE, MANAGER_SCALE, MANAGER_WORKLOAD, Owner};
use crate::model::identity::Purpose;
use crate::rollout::{Plan, Template, WorkloadKey};
use crate::watch::{self, FieldHashes, KeptDeployment, hash, hashes_of, hashes_of_model, http_route};

use super::{Context, Error};

/// What was applied last, by model.
#[derive(Default)]
pub(super) struct Applied(Mutex<HashMap<u64, Vec<Document>>>);

/// A document that was applied, in hashes.
struct Document {
    /// Of the object and the field manager.
    of: u64,
    /// Of what it wants.
    wants: u64,
    /// Of what the object said afterwards.
    gave: u64,
}

/// Finalizer of a model.
pub(super) const FINALIZER: &str = "guardbit.dev/route";

/// One model, its plan, and what it takes to carry it out.
pub(super) struct Apply<'a> {
    pub(super) ctx: &'a Context,
    pub(super) model: &'a QuantizedModel,
    pub(super) owner: Owner<'a>,
    pub(super) plan: &'a Plan,
}

impl Apply<'_> {
    /// Lowers the candidate: the route alone, or its pods out of the Service. Waits for nothing else.
    pub(super) async fn lower(&self) -> Result<(), Error> {
        match self.owner.spec.traffic.service {
            Some(_) => self.join().await,
            None => self.route().await,
        }
    }

    /// Everything: capacity first, then the route, then what is no longer needed.
    pub(super) async fn all(&self) -> Result<(), Error> {
        for (key, workload) in &self.plan.workloads {
            if workload.template == Template::InSpec {
                self.put(MANAGER_WORKLOAD, manifests::deployment(&self.owner, key)?)
                    .await?;
            }
            if self.owner.spec.traffic.gateway.is_some() {
                self.put(MANAGER_WORKLOAD, manifests::service(&self.owner, key)).await?;
            }
        }
        self.scale(|wanted, now| wanted > now).await?;
        self.join().await?;
        self.route().await?;
        self.scale(|wanted, now| wanted < now).await?;
        for (key, workload) in &self.plan.workloads {
            self.put(MANAGER_FACTS, manifests::facts(&self.owner, key, workload))
                .await?;
        }
        for key in &self.plan.delete {
            self.delete(key).await?;
        }
        self.put(MANAGER_FACTS, manifests::model_annotations(&self.owner)).await
    }

    async fn scale(&self, which: impl Fn(i32, i32) -> bool) -> Result<(), Error> {
        for (key, workload) in &self.plan.workloads {
            let Some(replicas) = workload.replicas else { continue };
            let now = self.live_deployment(key).and_then(|d| d.replicas);
            // A Deployment that the watch has not seen yet runs the one pod that the API server fills in.
            if which(replicas, now.unwrap_or(-1)) {
                self.put(MANAGER_SCALE, manifests::scale(&self.owner, key, replicas))
                    .await?;
            }
        }
        Ok(())
    }

    fn live_deployment(&self, key: &WorkloadKey) -> Option<Arc<KeptDeployment>> {
        let name = manifests::name(&self.owner, key);
        self.ctx.stores.deployments.get(self.owner.namespace, &name)
    }

    async fn route(&self) -> Result<(), Error> {
        if self.owner.spec.traffic.service.is_some() {
            return self.put(MANAGER_WORKLOAD, manifests::shared_service(&self.owner)).await;
        }
        match (&self.plan.route, &self.owner.spec.traffic.gateway) {
            (Some(route), Some(gateway)) => {
                self.put(MANAGER_ROUTE, manifests::route(&self.owner, gateway, route))
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Plain Service mode: puts the label of the Service on the pods that belong to it, and takes it off the others.
    async fn join(&self) -> Result<(), Error> {
        if self.owner.spec.traffic.service.is_none() {
            return Ok(());
        }
        let label = manifests::model_label(self.owner.name);
        let pods = self.ctx.stores.pods.of_model(self.owner.namespace, &label);
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
        for (key, workload) in self
            .plan
            .workloads
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Serving)
        {
            let label = manifests::revision_label(key);
            let pods = pods.iter().map(|(_, pod)| pod);
            let mut own: Vec<_> = pods
                .filter(|pod| pod.revision.as_deref() == Some(label.as_str()) && !pod.deleted)
                .collect();
            // Who serves goes on serving, ready ones before others.
            own.sort_by_key(|pod| (!pod.ready, !pod.joined, &pod.name));
            let wanted = workload.joined.of(i32::try_from(own.len()).unwrap_or(i32::MAX));
            for (i, pod) in own.into_iter().enumerate() {
                let label = match (i32::try_from(i).unwrap_or(i32::MAX) < wanted, pod.joined) {
                    (true, false) => json!("true"),
                    (false, true) => Value::Null,
                    _ => continue,
                };
                let patch = Patch::Merge(json!({"metadata": {"labels": {JOINED_LABEL: label}}}));
                call_opt(
                    format!("label pod {}", pod.name),
                    api.patch(&pod.name, &PatchParams::default(), &patch),
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &WorkloadKey) -> Result<(), Error> {
        let name = manifests::name(&self.owner, key);
        if let Some(live) = self.live_deployment(key) {
            let preconditions = Preconditions {
                uid: live.uid.clone(),
                ..Preconditions::default()
            };
            let params = DeleteParams {
                preconditions: Some(preconditions),
                ..DeleteParams::background()
            };
            let api: Api<Deployment> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
            call_opt(format!("delete Deployment {name}"), api.delete(&name, &params)).await?;
        }
        let api: Api<Service> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
        if self.ctx.stores.services.get(self.owner.namespace, &name).is_some() {
            call_opt(
                format!("delete Service {name}"),
                api.delete(&name, &DeleteParams::default()),
            )
            .await?;
        }
        Ok(())
    }

    /// The route goes; pods stay until connections have drained.
    pub(super) async fn tear_down(&self) -> Result<(), Error> {
        let name = self.owner.name;
        let label = manifests::model_label(name);
        if self.ctx.stores.routes.has(self.owner.namespace, &label, name) {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.ctx.client.clone(), self.owner.namespace, &http_route());
            call_opt(
                format!("delete HTTPRoute {name}"),
                api.delete(name, &DeleteParams::default()),
            )
            .await?;
        }
        if self.ctx.stores.services.has(self.owner.namespace, &label, name) {
            let api: Api<Service> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
            call_opt(
                format!("delete Service {name}"),
                api.delete(name, &DeleteParams::default()),
            )
            .await?;
        }
        Ok(())
    }

    /// Takes the owner references off all objects, so that they outlive the model.
    pub(super) async fn orphan(&self) -> Result<(), Error> {
        let label = manifests::model_label(self.owner.name);
        let stores = &self.ctx.stores;
        let mut objects = Vec::new();
        for (name, deployment) in stores.deployments.of_model(self.owner.namespace, &label) {
            objects.push((ApiResource::erase::<Deployment>(&()), name, deployment.owned));
        }
        for (name, service) in stores.services.of_model(self.owner.namespace, &label) {
            objects.push((ApiResource::erase::<Service>(&()), name, service.owned));
        }
        for (name, route) in stores.routes.of_model(self.owner.namespace, &label) {
            objects.push((http_route(), name, route.owned));
        }
        for (kind, name, owned) in objects {
            if owned {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.ctx.client.clone(), self.owner.namespace, &kind);
                let patch = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
                call_opt(
                    format!("orphan {} {name}", kind.kind),
                    api.patch(&name, &PatchParams::default(), &patch),
                )
                .await?;
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
        // A model is deleted as well when the rest of it cannot be read.
        call_opt(
            what,
            api.patch_metadata(self.owner.name, &PatchParams::default(), &Patch::Merge(patch)),
        )
        .await?;
        Ok(())
    }

    /// Applies one document, unless the live object already is what it says.
    async fn put(&self, manager: &'static str, document: Value) -> Result<(), Error> {
        let (kind, name) = (
            document["kind"].as_str().unwrap_or_default().to_owned(),
            document["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        );
        let (of, wants) = (hash((&kind, &name, manager)), hash(watch::json(&document)));
        let live = self.live(&kind, &name);
        let gives = live.as_ref().map(FieldHashes::digest);
        let last = self.ctx.applied.last(self.owner.uid, of);
        let as_before = last.filter(|(last, _)| *last == wants);
        // The API server may have written it differently: nobody has touched it since.
        if as_before.is_some_and(|(_, gave)| Some(gave) == gives) {
            return Ok(());
        }
        // What another hand adds to what traffic follows (a key of a selector, a filter of a rule) changes its meaning, though all
        // that is wanted may still be there: only the API server knows whose it is.
        let may_grow = as_before.is_some() && !matches!(kind.as_str(), "Service" | "HTTPRoute");
        if (may_grow || last.is_none()) && live.is_some_and(|live| live.hold(&document)) {
            self.ctx
                .applied
                .note(self.owner.uid, of, wants, gives.unwrap_or_default());
            return Ok(());
        }
        // Another hand may have been at it since this look began.
        if as_before.is_some() && kind == "Service" && self.carries(&name) {
            self.ctx.disturbances.wait(self.owner.uid, Instant::now())?;
        }
        let resource = resource(&document);
        let api: Api<DynamicObject> = Api::namespaced_with(self.ctx.client.clone(), self.owner.namespace, &resource);
        let params = PatchParams::apply(manager).force();
        let applied = call(
            format!("apply {kind} {name}"),
            api.patch(&name, &params, &Patch::Apply(&document)),
        )
        .await?;
        self.ctx
            .applied
            .note(self.owner.uid, of, wants, hashes_of(&applied).digest());
        Ok(())
    }

    /// Whether the route gives weight to a Service.
    fn carries(&self, service: &str) -> bool {
        let route = self.ctx.stores.routes.get(self.owner.namespace, self.owner.name);
        route.is_some_and(|route| route.carrying().any(|carrying| carrying == service))
    }

    fn live(&self, kind: &str, name: &str) -> Option<FieldHashes> {
        let (namespace, stores) = (self.owner.namespace, &self.ctx.stores);
        match kind {
            "Deployment" => Some(stores.deployments.get(namespace, name)?.hashes.clone()),
            "Service" => Some(stores.services.get(namespace, name)?.hashes.clone()),
            "HTTPRoute" => Some(stores.routes.get(namespace, name)?.hashes.clone()),
            _ => Some(hashes_of_model(&self.model.metadata)),
        }
    }
}

impl Applied {
    /// What was wanted of an object, and what it said then.
    fn last(&self, uid: &str, of: u64) -> Option<(u64, u64)> {
        let applied = self.0.lock();
        let document = applied.get(&hash(uid))?.iter().find(|document| document.of == of)?;
        Some((document.wants, document.gave))
    }

    /// Whether an object is not what it was when it was applied last, told by field manager, kind and name; `live` is the digest
    /// of what it says now.
    pub(super) fn is_touched(&self, uid: &str, (manager, kind, name): (&str, &str, &str), live: Option<u64>) -> bool {
        let last = self.last(uid, hash((kind, name, manager)));
        last.is_some_and(|(_, gave)| Some(gave) != live)
    }

    fn note(&self, uid: &str, of: u64, wants: u64, gave: u64) {
        let mut applied = self.0.lock();
        let documents = applied.entry(hash(uid)).or_default();
        documents.retain(|document| document.of != of);
        documents.push(Document { of, wants, gave });
    }

    /// Forgets a model that is gone.
    pub(super) fn forget(&self, uid: &str) {
        let mut applied = self.0.lock();
        applied.remove(&hash(uid));
    }
}

fn resource(document: &Value) -> ApiResource {
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let kind = text("kind");
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(group, version, kind),
        &format!("{}s", kind.to_lowercase()),
    )
}
