//! Carries out a plan by server-side apply. Applying twice is the same as once, and what is already so is not written.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::api::QuantizedModel;
use crate::build::{self, JOINED_LABEL, MANAGER_FACTS, MANAGER_ROUTE, MANAGER_SCALE, MANAGER_WORKLOAD, Owner};
use crate::identity::Purpose;
use crate::rollout::{Plan, Template, WorkloadKey};

use super::stores::{http_route, of_model};
use super::{Context, Error, call, call_opt, observe};

/// Hashes of the documents that were applied last, by object and field manager.
#[derive(Default)]
pub(super) struct Applied(Mutex<HashMap<String, (u64, Option<String>)>>);

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
                self.put(MANAGER_WORKLOAD, build::deployment(&self.owner, key)?).await?;
            }
            if self.owner.spec.traffic.gateway.is_some() {
                self.put(MANAGER_WORKLOAD, build::service(&self.owner, key)).await?;
            }
        }
        self.scale(|wanted, now| wanted > now).await?;
        self.join().await?;
        self.route().await?;
        self.scale(|wanted, now| wanted < now).await?;
        for (key, workload) in &self.plan.workloads {
            self.put(MANAGER_FACTS, build::facts(&self.owner, key, workload))
                .await?;
        }
        for key in &self.plan.delete {
            self.delete(key).await?;
        }
        self.put(MANAGER_FACTS, build::model_annotations(&self.owner)).await
    }

    async fn scale(&self, which: impl Fn(i32, i32) -> bool) -> Result<(), Error> {
        for (key, workload) in &self.plan.workloads {
            let Some(replicas) = workload.replicas else { continue };
            let now = self.live_deployment(key).and_then(|d| d.spec.as_ref()?.replicas);
            // A Deployment that the watch has not seen yet runs the one pod that the API server fills in.
            if which(replicas, now.unwrap_or(-1)) {
                self.put(MANAGER_SCALE, build::scale(&self.owner, key, replicas))
                    .await?;
            }
        }
        Ok(())
    }

    fn live_deployment(&self, key: &WorkloadKey) -> Option<std::sync::Arc<Deployment>> {
        let name = build::name(&self.owner, key);
        self.ctx
            .stores
            .deployments
            .get(&kube::runtime::reflector::ObjectRef::new(&name).within(self.owner.namespace))
    }

    async fn route(&self) -> Result<(), Error> {
        if self.owner.spec.traffic.service.is_some() {
            return self.put(MANAGER_WORKLOAD, build::shared_service(&self.owner)).await;
        }
        match (&self.plan.route, &self.owner.spec.traffic.gateway) {
            (Some(route), Some(gateway)) => self.put(MANAGER_ROUTE, build::route(&self.owner, gateway, route)).await,
            _ => Ok(()),
        }
    }

    /// Plain Service mode: puts the label of the Service on the pods that belong to it, and takes it off the others.
    async fn join(&self) -> Result<(), Error> {
        if self.owner.spec.traffic.service.is_none() {
            return Ok(());
        }
        let pods = of_model(
            &self.ctx.stores.pods,
            self.owner.namespace,
            &build::model_label(self.owner.name),
        );
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), self.owner.namespace);
        for (key, workload) in self
            .plan
            .workloads
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Serving)
        {
            let label = build::revision_label(key);
            let own = pods.iter().filter(|pod| {
                let of_it = pod.labels().get(build::REVISION_LABEL).is_some_and(|l| *l == label);
                of_it && pod.metadata.deletion_timestamp.is_none()
            });
            let mut own: Vec<_> = own.map(|pod| (pod, pod.labels().contains_key(JOINED_LABEL))).collect();
            // Who serves goes on serving, ready ones before others.
            own.sort_by_key(|(pod, is)| (!observe::pod_ready(pod), !*is, pod.name_any()));
            let wanted = workload.joined.of(i32::try_from(own.len()).unwrap_or(i32::MAX));
            for (i, (pod, is)) in own.into_iter().enumerate() {
                let label = match (i32::try_from(i).unwrap_or(i32::MAX) < wanted, is) {
                    (true, false) => json!("true"),
                    (false, true) => Value::Null,
                    _ => continue,
                };
                let patch = Patch::Merge(json!({"metadata": {"labels": {JOINED_LABEL: label}}}));
                call_opt(
                    format!("label pod {}", pod.name_any()),
                    api.patch(&pod.name_any(), &PatchParams::default(), &patch),
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &WorkloadKey) -> Result<(), Error> {
        let name = build::name(&self.owner, key);
        if let Some(live) = self.live_deployment(key) {
            let preconditions = Preconditions {
                uid: live.uid(),
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
        let known = self
            .ctx
            .stores
            .services
            .get(&kube::runtime::reflector::ObjectRef::new(&name).within(self.owner.namespace));
        if known.is_some() {
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
        let known = of_model(&self.ctx.stores.routes, self.owner.namespace, &build::model_label(name));
        if known.iter().any(|r| r.name_any() == name) {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.ctx.client.clone(), self.owner.namespace, &http_route());
            call_opt(
                format!("delete HTTPRoute {name}"),
                api.delete(name, &DeleteParams::default()),
            )
            .await?;
        }
        let known = of_model(
            &self.ctx.stores.services,
            self.owner.namespace,
            &build::model_label(name),
        );
        if known.iter().any(|s| s.name_any() == name) {
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
        let label = build::model_label(self.owner.name);
        let stores = &self.ctx.stores;
        let mut objects = Vec::new();
        for d in of_model(&stores.deployments, self.owner.namespace, &label) {
            objects.push((
                ApiResource::erase::<Deployment>(&()),
                d.name_any(),
                d.owner_references().is_empty(),
            ));
        }
        for s in of_model(&stores.services, self.owner.namespace, &label) {
            objects.push((
                ApiResource::erase::<Service>(&()),
                s.name_any(),
                s.owner_references().is_empty(),
            ));
        }
        for r in of_model(&stores.routes, self.owner.namespace, &label) {
            objects.push((http_route(), r.name_any(), r.owner_references().is_empty()));
        }
        for (kind, name, free) in objects {
            if !free {
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
        call_opt(
            what,
            api.patch(self.owner.name, &PatchParams::default(), &Patch::Merge(patch)),
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
        let key = format!("{kind}/{}/{name}/{manager}", self.owner.namespace);
        let mut hasher = DefaultHasher::new();
        document.to_string().hash(&mut hasher);
        let hash = hasher.finish();
        let live = self.live(&kind, &name);
        let version = live
            .as_ref()
            .and_then(|l| l["metadata"]["resourceVersion"].as_str().map(str::to_owned));
        let last = self
            .ctx
            .applied
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let same = live.as_ref().is_some_and(|live| contains(live, &document));
        match &last {
            // What was applied is still there, or the API server wrote it differently and nobody touched it since.
            Some((h, v)) if *h == hash && (same || *v == version) => return Ok(()),
            None if same => {
                self.ctx
                    .applied
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key, (hash, version));
                return Ok(());
            }
            _ => {}
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
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, (hash, applied.resource_version()));
        Ok(())
    }

    fn live(&self, kind: &str, name: &str) -> Option<Value> {
        use kube::runtime::reflector::ObjectRef;
        let namespace = self.owner.namespace;
        let stores = &self.ctx.stores;
        match kind {
            "Deployment" => {
                serde_json::to_value(&*stores.deployments.get(&ObjectRef::new(name).within(namespace))?).ok()
            }
            "Service" => serde_json::to_value(&*stores.services.get(&ObjectRef::new(name).within(namespace))?).ok(),
            "HTTPRoute" => serde_json::to_value(
                &*stores
                    .routes
                    .get(&ObjectRef::new_with(name, http_route()).within(namespace))?,
            )
            .ok(),
            _ => serde_json::to_value(self.model).ok(),
        }
    }
}

impl Applied {
    /// Forgets a model that is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let own = format!("/{namespace}/{name}");
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|key, _| !key.contains(&own));
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

/// Whether `live` holds everything that `wanted` says; what others added does not matter, but for lists.
fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, value)| match key.as_str() {
            // Not held by typed stores.
            "apiVersion" | "kind" => true,
            _ => live.get(key).is_some_and(|l| contains(l, value)),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| contains(l, w))
        }
        _ => live == wanted,
    }
}
