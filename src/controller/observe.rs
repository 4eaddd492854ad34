//! What the watches hold of one model, as an `Observation`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::{QuantizedModel, QuantizedModelStatus, RevisionRef, SplitBy};
use crate::manifests::{self, Kind, revision_label, traffic};
use crate::model::identity::{Digests, Purpose, object_name};
use crate::rollout::{ModelSeen, RouteSeen, Workload, WorkloadKey};
use crate::watch::{DeploymentProjection, PodProjection, RouteProjection, Stores};

use super::error::Error;

/// How long a pod must have been ready before traffic may follow. Gateways learn of endpoints by their own watches;
/// weight that arrives there before the endpoints is answered with 503.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// What was seen of the cluster, without evidence.
pub(super) struct Cluster {
    /// Whether pods are ready, but not for long enough, so that another reconcile is due soon.
    pub(super) settling: bool,
    pub(super) workloads: BTreeMap<WorkloadKey, Workload>,
    pub(super) route: RouteSeen,
}

/// The model as the API server holds it, with the status that is newest.
pub(super) fn model_seen(model: &QuantizedModel, digests: &Digests, status: QuantizedModelStatus) -> ModelSeen {
    ModelSeen {
        namespace: model.namespace().unwrap_or_default(),
        name: model.name_any(),
        generation: model.metadata.generation.unwrap_or_default(),
        deleted_at: model.metadata.deletion_timestamp.as_ref().map(|t| t.0),
        spec: model.spec.clone(),
        revisions: digests.revisions().to_vec(),
        status,
    }
}

/// Reads the stores.
pub(super) fn cluster(stores: &Stores, model: &QuantizedModel, now: Timestamp) -> Result<Cluster, Error> {
    let namespace = model.namespace().unwrap_or_default();
    let label = manifests::model_label(&model.name_any());
    let carrier = traffic::provider(&model.spec.traffic).map(|traffic| traffic.carrier());
    if let Some(kind) = stores.lacking(carrier) {
        return Err(Error::NotYet(kind));
    }
    let pods = stores.pods.of_model(&namespace, &label);
    let slices = stores.slices.of_model(&namespace, &label);
    // Names of the pods with ready addresses: readiness of endpoints lags that of pods, and traffic follows endpoints.
    let serving: BTreeSet<&str> = slices
        .iter()
        .flat_map(|(_, slice)| slice.ready.iter().map(AsRef::as_ref))
        .collect();
    let (mut workloads, mut settling) = (BTreeMap::new(), false);
    for (_, deployment) in stores.deployments.of_model(&namespace, &label) {
        let Some(key) = deployment.key.clone() else {
            continue;
        };
        let own: Vec<&PodProjection> = pods
            .iter()
            .map(|(_, pod)| pod.as_ref())
            .filter(|pod| {
                pod.revision.as_deref() == Some(revision_label(&key).as_str())
                    && pod.purpose.as_deref() == Some(key.purpose.as_str())
            })
            .collect();
        let by_weight = model.spec.traffic.split_by() == SplitBy::Weights;
        // Where pods leave a shared Service, one that has left has no endpoint, and is warm all the same.
        let ready = own
            .iter()
            .filter(|pod| pod.ready && (!by_weight || serving.contains(&*pod.name)))
            .filter(|pod| {
                let young = by_weight && is_young(pod, now);
                settling |= young;
                !young
            })
            .count();
        workloads.insert(key, workload(&deployment, &own, ready));
    }
    let route = route(stores, carrier, model, &workloads);
    Ok(Cluster {
        settling,
        workloads,
        route,
    })
}

fn workload(deployment: &DeploymentProjection, pods: &[&PodProjection], ready: usize) -> Workload {
    let living: Vec<_> = pods.iter().filter(|pod| !pod.deleted && !pod.over).collect();
    let desired = deployment.replicas.unwrap_or(1);
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let first = |of: fn(&PodProjection) -> Option<&str>| living.iter().find_map(|pod| of(pod)).map(str::to_owned);
    let image_ids: BTreeSet<&str> = living.iter().filter_map(|pod| pod.image.as_deref()).collect();
    Workload {
        desired,
        ready: count(ready),
        pods: count(living.len()),
        pod_starts: pods
            .iter()
            .filter_map(|pod| Some((pod.name.to_string(), pod.started?)))
            .collect(),
        ready_since: pods
            .iter()
            .filter_map(|pod| Some((pod.name.to_string(), pod.ready_since?)))
            .collect(),
        unschedulable: first(|pod| pod.unschedulable.as_deref()),
        failure: first(|pod| pod.failure.as_deref())
            .or_else(|| deployment.refused.clone())
            .or_else(|| deployment.never_ready.clone()),
        disruption: disruption(pods, count(ready) < desired),
        image_ids: image_ids.into_iter().map(str::to_owned).collect(),
        marks: deployment.marks.clone(),
    }
}

/// Why a pod is disrupted. One that is dead already is so only while its replacement is `missing`.
fn disruption(pods: &[&PodProjection], missing: bool) -> Option<String> {
    let counts = pods.iter().filter(|pod| !pod.over || missing);
    let mut disrupted = counts.filter_map(|pod| pod.disruption.as_deref());
    disrupted.next().map(str::to_owned)
}

/// Whether a pod has been ready for less than [`SETTLED`]. A time in the future is of another clock, and is ignored.
fn is_young(pod: &PodProjection, now: Timestamp) -> bool {
    pod.ready_since.is_some_and(|since| {
        let age = now.duration_since(since);
        !age.is_negative() && age < SETTLED
    })
}

/// What carries the split: a route with the weights that are in force, or an object that only has to exist.
fn route(
    stores: &Stores,
    carrier: Option<Kind>,
    model: &QuantizedModel,
    workloads: &BTreeMap<WorkloadKey, Workload>,
) -> RouteSeen {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let label = manifests::model_label(&name);
    let has = |kind| {
        stores
            .of(kind)
            .is_some_and(|objects| objects.has(&namespace, &label, &name))
    };
    match carrier {
        Some(Kind::Route(kind)) => {
            let route = stores.routes.of(kind).and_then(|routes| routes.get(&namespace, &name));
            route.map_or_else(RouteSeen::default, |route| {
                weighted(&route, (&namespace, &name), workloads.keys())
            })
        }
        Some(kind) => RouteSeen {
            exists: has(kind),
            ..RouteSeen::default()
        },
        // A spec that names no provider that this release knows: whatever carries requests now has the model's name.
        None => RouteSeen {
            exists: traffic::kinds().any(has),
            ..RouteSeen::default()
        },
    }
}

/// The weights that a route of a model gives to revisions, by the names of their Services.
fn weighted<'a>(
    route: &RouteProjection,
    (namespace, name): (&str, &str),
    workloads: impl Iterator<Item = &'a WorkloadKey>,
) -> RouteSeen {
    let serving = workloads.filter(|key| key.purpose == Purpose::Serving);
    let by_service: BTreeMap<String, &RevisionRef> = serving
        .map(|key| {
            let RevisionRef { variant, revision } = &key.revision;
            let service = object_name(namespace, name, variant, revision, key.purpose);
            (service, &key.revision)
        })
        .collect();
    let weights = route.split.weights.iter();
    RouteSeen {
        exists: true,
        weights: weights
            .filter_map(|(service, weight)| Some(((*by_service.get(&**service)?).clone(), *weight)))
            .collect(),
        refused: route.split.refused.clone(),
        harm: route.harm.as_deref().cloned(),
    }
}

/// The current time in whole milliseconds, as Prometheus counts it.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
