//! What the watches hold of one model, as an `Observation`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::{QuantizedModel, QuantizedModelStatus, RevisionRef, SplitBy};
use crate::manifests::{self, Kind, revision_label, traffic};
use crate::model::identity::{Digests, Purpose, comparer_name, object_name};
use crate::model::template::model_container;
use crate::rollout::{ComparerSeen, ModelSeen, Refused, RouteSeen, Workload, WorkloadKey};
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
    pub(super) comparer: Option<ComparerSeen>,
}

/// The model as the API server holds it, with the status that is newest.
pub(super) fn model_seen(
    model: &QuantizedModel,
    digests: &Digests,
    status: QuantizedModelStatus,
    refused: Option<Vec<Refused>>,
) -> ModelSeen {
    ModelSeen {
        namespace: model.namespace().unwrap_or_default(),
        name: model.name_any(),
        generation: model.metadata.generation.unwrap_or_default(),
        deleted_at: model.metadata.deletion_timestamp.as_ref().map(|t| t.0),
        spec: model.spec.clone(),
        revisions: digests.revisions().to_vec(),
        templates: digests.templates().to_vec(),
        refused,
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
    let container = model_container(&model.spec);
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
        workloads.insert(key, seen(&deployment, &own, ready, container));
    }
    let route = route(stores, carrier, model, &workloads);
    let comparer = stores.deployments.get(&namespace, &comparer_name(&model.name_any()));
    Ok(Cluster {
        settling,
        workloads,
        route,
        comparer: comparer.and_then(|comparer| comparer.compares.as_deref().cloned()),
    })
}

/// A workload as it is seen. `container` is the name of the container that serves the model.
fn seen(deployment: &DeploymentProjection, pods: &[&PodProjection], ready: usize, container: Option<&str>) -> Workload {
    let living: Vec<_> = pods.iter().filter(|pod| !pod.deleted && !pod.over).collect();
    let desired = deployment.replicas.unwrap_or(1);
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let first = |of: fn(&PodProjection) -> Option<&str>| living.iter().find_map(|pod| of(pod)).map(str::to_owned);
    let image_ids: BTreeSet<&str> = living.iter().filter_map(|pod| pod.image(container)).collect();
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
        failure: failure(&living, ready),
        refused: deployment.refused.clone(),
        never_ready: deployment.never_ready.clone(),
        disruption: disruption(pods, count(ready) < desired),
        joined: count(living.iter().filter(|pod| pod.joined && pod.ready).count()),
        image_ids: image_ids.into_iter().map(str::to_owned).collect(),
        weights: deployment.additions.weights,
        marks: deployment.marks.clone(),
    }
}

/// Why a revision cannot run. A pod that crashes says it of the revision; one that does not start may have a bad node, and
/// says it only where no other is ready.
fn failure(living: &[&&PodProjection], ready: usize) -> Option<String> {
    let counts = living.iter().filter(|pod| ready == 0 || pod.crashes);
    counts
        .filter_map(|pod| pod.failure.as_deref())
        .next()
        .map(str::to_owned)
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
        let carrier = traffic::carrier_name(kind, &name);
        let objects = stores.of(kind);
        objects.is_some_and(|objects| objects.has(&namespace, &label, &carrier))
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
    let of_arm = |(service, weight): &(Box<str>, i32)| Some(((*by_service.get(&**service)?).clone(), *weight));
    let weights = route.split.weights.iter();
    let others = weights
        .clone()
        .filter(|(service, _)| !by_service.contains_key(&**service));
    let written = route.changed_from.as_deref();
    RouteSeen {
        exists: true,
        weights: weights.filter_map(of_arm).collect(),
        elsewhere: others.fold(0_i32, |sum, (_, weight)| sum.saturating_add(*weight)),
        changed_from: written.map(|written| written.iter().filter_map(of_arm).collect()),
        refused: route.split.refused.clone(),
        mirror: route.split.mirror.clone(),
        harm: route.harm.as_deref().cloned(),
    }
}

/// The current time in whole milliseconds, as Prometheus counts it.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::WeightsProof;
    use crate::watch::Projection;

    fn deployment(replicas: i32) -> DeploymentProjection {
        let object = json!({"metadata": {"name": "d"}, "spec": {"replicas": replicas}});
        let object: <DeploymentProjection as Projection>::Of = serde_json::from_value(object).unwrap();
        DeploymentProjection::of(&object)
    }

    fn pod(name: &str, status: Value) -> PodProjection {
        let object = json!({"metadata": {"name": name}, "status": status});
        let object: <PodProjection as Projection>::Of = serde_json::from_value(object).unwrap();
        PodProjection::of(&object)
    }

    fn evicted(name: &str) -> PodProjection {
        let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"});
        let status = json!({"phase": "Failed", "conditions": [target], "containerStatuses": [image("server", "old")]});
        pod(name, status)
    }

    fn image(container: &str, id: &str) -> Value {
        json!({"name": container, "imageID": id, "image": "", "ready": true, "restartCount": 0})
    }

    fn running(name: &str) -> PodProjection {
        pod(
            name,
            json!({"phase": "Running", "containerStatuses": [image("server", "new")]}),
        )
    }

    #[test]
    fn a_dead_pod_is_a_disruption_only_until_its_replacement_is_ready() {
        let (dead, alive) = (evicted("a"), running("b"));
        let seen = |ready| seen(&deployment(1), &[&dead, &alive], ready, Some("server"));
        let while_missing = seen(0).disruption;
        assert_eq!(while_missing.as_deref(), Some("a: EvictionByEvictionAPI"));
        let replaced = seen(1);
        assert_eq!((replaced.disruption, replaced.pods), (None, 1));
        assert_eq!(replaced.image_ids, ["new"], "a dead pod runs no image");
    }

    #[test]
    fn a_pod_that_cannot_start_is_a_failure_unless_others_serve_and_a_crash_loop_always_is() {
        let waiting = |reason: &str| {
            let state = json!({"waiting": {"reason": reason, "message": "why"}});
            let mut status = image("server", "");
            status["state"] = state;
            pod("b", json!({"phase": "Pending", "containerStatuses": [status]}))
        };
        let fails =
            |other: PodProjection, ready: usize| seen(&deployment(2), &[&running("a"), &other], ready, None).failure;
        let pull = Some("container server is in ImagePullBackOff: why".to_owned());
        assert_eq!(
            (
                fails(waiting("ImagePullBackOff"), 0),
                fails(waiting("ImagePullBackOff"), 1)
            ),
            (pull, None)
        );
        assert!(fails(waiting("CrashLoopBackOff"), 1).is_some());
    }

    /// A pod whose weights are verified by a container that ended like this, and then is in that state.
    fn verifying(ended: Value, state: Value) -> PodProjection {
        let mut verifier = image("guardbit-weights", "guardbit");
        verifier["lastState"] = json!({"terminated": ended});
        verifier["state"] = state;
        let server = image("server", "");
        pod(
            "b",
            json!({"phase": "Pending", "initContainerStatuses": [verifier], "containerStatuses": [server]}),
        )
    }

    #[test]
    fn refused_weights_are_a_failure_in_the_words_of_what_refused_them_even_where_others_serve() {
        let why = "guardbit: the weights at /models are not sha256:00: \"a\" is missing\n";
        let refused = json!({"exitCode": 1, "message": why});
        let told = "the weights were refused before the server started: the weights at /models are not sha256:00: \"a\" is missing";
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let fails =
            |pod: PodProjection, ready: usize| seen(&deployment(2), &[&running("a"), &pod], ready, None).failure;
        for state in [json!({"terminated": refused}), json!({"running": {}}), back_off.clone()] {
            for ready in [0, 1] {
                assert_eq!(
                    fails(verifying(refused.clone(), state.clone()), ready).as_deref(),
                    Some(told),
                    "{state}"
                );
            }
        }
        // They are those that are wanted since.
        let well = json!({"terminated": {"exitCode": 0}});
        assert_eq!(fails(verifying(refused, well), 0), None);
        // What could not be read says nothing about the weights before it has been tried again and again.
        let unread = json!({"exitCode": 2, "message": "guardbit: /models: Permission denied"});
        assert_eq!(fails(verifying(unread.clone(), json!({"running": {}})), 0), None);
        let told = "container guardbit-weights is in CrashLoopBackOff: /models: Permission denied";
        assert_eq!(fails(verifying(unread, back_off), 0).as_deref(), Some(told));
    }

    #[test]
    fn weights_are_verified_where_the_deployment_says_so() {
        let of = |annotations: Value| {
            let object = json!({"metadata": {"name": "d", "annotations": annotations}, "spec": {"replicas": 1}});
            let object: <DeploymentProjection as Projection>::Of = serde_json::from_value(object).unwrap();
            seen(&DeploymentProjection::of(&object), &[], 0, None).weights
        };
        assert_eq!(
            of(json!({"guardbit.dev/weights-proof": "Verified"})),
            WeightsProof::Verified
        );
        for declared in [json!({}), json!({"guardbit.dev/weights-proof": "Signed"})] {
            assert_eq!(of(declared), WeightsProof::Declared);
        }
    }

    #[test]
    fn the_image_of_a_pod_is_that_of_the_container_that_serves_the_model() {
        let statuses = json!([image("agent", "agent:1"), image("server", "server:1")]);
        let pod = pod("a", json!({"phase": "Running", "containerStatuses": statuses}));
        let of = |container: Option<&str>| seen(&deployment(1), &[&pod], 1, container).image_ids;
        assert_eq!(of(Some("server")), ["server:1"]);
        // A container that the pod has not: the first one by name.
        assert_eq!(of(Some("model")), ["agent:1"]);
        let spec = |containers: Value| {
            let mut spec = json!({
                "model": {"name": "m", "version": "1"},
                "serving": {"port": 8080, "template": {"spec": {"containers": containers}}},
                "variants": [{"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://m", "digest": ""}}],
                "traffic": {"service": {}},
                "guards": [],
            });
            spec["rollout"] = json!({"steps": [{"weight": 10, "hold": "1m"}]});
            serde_json::from_value(spec).unwrap()
        };
        let port = json!([{"containerPort": 8080}]);
        let by_port = spec(json!([{"name": "agent"}, {"name": "server", "ports": port}]));
        assert_eq!(model_container(&by_port), Some("server"));
        let by_order = spec(json!([{"name": "server"}, {"name": "agent"}]));
        assert_eq!(model_container(&by_order), Some("server"));
    }
}
