//! What the watches hold of one model, as an `Observation`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::api::{QuantizedModel, QuantizedModelStatus, RevisionRef};
use crate::build::{self, PURPOSE_LABEL, REVISION_LABEL, revision_label};
use crate::identity::Purpose;
use crate::rollout::{ModelSeen, RouteSeen, Workload, WorkloadKey};

use super::Error;
use super::stores::{Stores, of_model};

/// Waiting reasons after which a container will not start by itself.
const CANNOT_RUN: [&str; 8] = [
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
    "PreStartHookError",
];

/// How long a pod must have been ready before traffic may follow. Gateways learn of endpoints by watches of their own: weight
/// that arrives there before the endpoints is answered with 503.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// What is seen of the cluster, without evidence.
pub(super) struct Cluster {
    /// Pods are ready, but not for long enough: worth another look soon.
    pub(super) settling: bool,
    pub(super) workloads: BTreeMap<WorkloadKey, Workload>,
    pub(super) route: RouteSeen,
}

/// The model as the API server holds it, with the status that is newest.
pub(super) fn model_seen(model: &QuantizedModel, status: QuantizedModelStatus) -> ModelSeen {
    ModelSeen {
        namespace: model.namespace().unwrap_or_default(),
        name: model.name_any(),
        generation: model.metadata.generation.unwrap_or_default(),
        deleted_at: model.metadata.deletion_timestamp.as_ref().map(|t| t.0),
        spec: model.spec.clone(),
        status,
    }
}

/// Looks at the stores.
pub(super) fn cluster(stores: &Stores, model: &QuantizedModel, now: Timestamp) -> Result<Cluster, Error> {
    let namespace = model.namespace().unwrap_or_default();
    let label = build::model_label(&model.name_any());
    if let Some(kind) = stores.lacking(model.spec.traffic.gateway.is_some()) {
        return Err(Error::NotYet(kind));
    }
    let pods = of_model(&stores.pods, &namespace, &label);
    let slices = of_model(&stores.slices, &namespace, &label);
    // Ready addresses, by name of the pod: readiness of endpoints lags that of pods, and traffic follows endpoints.
    let serving: BTreeSet<&str> = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|e| e.conditions.as_ref().is_some_and(|c| c.ready != Some(false)))
        .filter_map(|e| e.target_ref.as_ref()?.name.as_deref())
        .collect();
    let (mut workloads, mut settling) = (BTreeMap::new(), false);
    for deployment in of_model(&stores.deployments, &namespace, &label) {
        let Some(key) = build::key_of(deployment.labels(), deployment.annotations()) else {
            continue;
        };
        let own: Vec<&Pod> = pods
            .iter()
            .map(AsRef::as_ref)
            .filter(|pod| {
                let is = |name: &str, value: &str| pod.labels().get(name).is_some_and(|v| v == value);
                is(REVISION_LABEL, &revision_label(&key)) && is(PURPOSE_LABEL, key.purpose.as_str())
            })
            .collect();
        // In plain Service mode a pod that was taken out of the Service has no endpoint, and is warm all the same.
        let in_service = model.spec.traffic.service.is_some();
        let ready = own
            .iter()
            .filter(|pod| pod_ready(pod) && (in_service || serving.contains(pod.name_any().as_str())))
            .filter(|pod| {
                let young = !in_service && is_young(pod, now);
                settling |= young;
                !young
            })
            .count();
        workloads.insert(key, workload(&deployment, &own, ready));
    }
    let route = match &model.spec.traffic.gateway {
        Some(_) => route(stores, model, &workloads, &namespace, &label),
        None => RouteSeen {
            exists: of_model(&stores.services, &namespace, &label)
                .iter()
                .any(|s| s.name_any() == model.name_any()),
            ..RouteSeen::default()
        },
    };
    Ok(Cluster {
        settling,
        workloads,
        route,
    })
}

fn workload(deployment: &Deployment, pods: &[&Pod], ready: usize) -> Workload {
    let living: Vec<_> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let condition = |kind: &str| {
        let conditions = deployment.status.as_ref().and_then(|s| s.conditions.as_ref());
        conditions.into_iter().flatten().find(|c| c.type_ == kind).cloned()
    };
    let never_ready = condition("Progressing").filter(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    let refused = condition("ReplicaFailure").filter(|c| c.status == "True");
    let mut image_ids: BTreeSet<String> = BTreeSet::new();
    for pod in &living {
        image_ids.extend(
            statuses(pod)
                .take(1)
                .map(|c| c.image_id.clone())
                .filter(|id| !id.is_empty()),
        );
    }
    Workload {
        desired: deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1),
        ready: count(ready),
        pods: count(living.len()),
        pod_starts: pods
            .iter()
            .filter_map(|pod| Some((pod.name_any(), pod.status.as_ref()?.start_time.as_ref()?.0)))
            .collect(),
        ready_since: pods
            .iter()
            .filter_map(|pod| Some((pod.name_any(), ready_since(pod)?)))
            .collect(),
        unschedulable: living.iter().find_map(|pod| unschedulable(pod)),
        failure: living
            .iter()
            .find_map(|pod| cannot_run(pod))
            .or_else(|| refused.and_then(|c| c.message))
            .or_else(|| never_ready.and_then(|c| c.message)),
        disruption: pods.iter().find_map(|pod| disruption(pod)),
        image_ids: image_ids.into_iter().collect(),
        marks: build::marks(deployment.annotations()),
    }
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == kind)
}

pub(super) fn pod_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|c| c.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

/// Ready for less than [`SETTLED`]. A time in the future is another clock's, and says nothing.
fn is_young(pod: &Pod, now: Timestamp) -> bool {
    let since = condition(pod, "Ready").and_then(|c| c.last_transition_time.as_ref());
    since.is_some_and(|since| {
        let age = now.duration_since(since.0);
        !age.is_negative() && age < SETTLED
    })
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let scheduled = condition(pod, "PodScheduled")
        .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"))?;
    scheduled.message.clone()
}

fn cannot_run(pod: &Pod) -> Option<String> {
    let init = pod
        .status
        .iter()
        .flat_map(|s| s.init_container_statuses.iter().flatten());
    init.chain(statuses(pod)).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| CANNOT_RUN.contains(reason))?;
        Some(format!(
            "container {} is in {reason}: {}",
            container.name,
            waiting.message.as_deref().unwrap_or("no message")
        ))
    })
}

/// Evicted, drained, or on a node that is lost: no judgement of the variant.
fn disruption(pod: &Pod) -> Option<String> {
    if let Some(target) = condition(pod, "DisruptionTarget").filter(|c| c.status == "True") {
        let reason = target.reason.as_deref().unwrap_or("DisruptionTarget");
        return Some(format!("{}: {reason}", pod.name_any()));
    }
    let status = pod.status.as_ref()?;
    (status.reason.as_deref() == Some("NodeLost")).then(|| format!("{}: its node is lost", pod.name_any()))
}

fn route(
    stores: &Stores,
    model: &QuantizedModel,
    workloads: &BTreeMap<WorkloadKey, Workload>,
    namespace: &str,
    label: &str,
) -> RouteSeen {
    let all = of_model(&stores.routes, namespace, label);
    let Some(route) = all.iter().find(|r| r.name_any() == model.name_any()) else {
        return RouteSeen::default();
    };
    let by_service: BTreeMap<String, RevisionRef> = workloads
        .keys()
        .filter(|key| key.purpose == Purpose::Serving)
        .map(|key| {
            let RevisionRef { variant, revision } = &key.revision;
            (
                crate::identity::object_name(namespace, &model.name_any(), variant, revision, key.purpose),
                key.revision.clone(),
            )
        })
        .collect();
    let split = route.data["spec"]["rules"].as_array().and_then(|rules| rules.last());
    let backends = split.and_then(|rule| rule["backendRefs"].as_array());
    let weights = backends
        .into_iter()
        .flatten()
        .filter_map(|b| {
            let weight = i32::try_from(b["weight"].as_i64().unwrap_or(1)).ok()?;
            Some((by_service.get(b["name"].as_str()?)?.clone(), weight))
        })
        .collect();
    RouteSeen {
        exists: true,
        weights,
        refused: refused(route),
    }
}

/// What a gateway says against the route, of the generation that it has seen last.
fn refused(route: &DynamicObject) -> Option<String> {
    let generation = route.metadata.generation;
    let parents = route.data["status"]["parents"].as_array()?;
    parents.iter().find_map(|parent| {
        let conditions = parent["conditions"].as_array()?;
        conditions.iter().find_map(|c| {
            let kind = c["type"].as_str()?;
            let current = c["observedGeneration"].as_i64() == generation;
            (current && matches!(kind, "Accepted" | "ResolvedRefs") && c["status"] == "False").then(|| {
                let (reason, message) = (c["reason"].as_str().unwrap_or(""), c["message"].as_str().unwrap_or(""));
                format!("the gateway refuses the HTTPRoute: {kind}=False ({reason}): {message}")
            })
        })
    })
}

/// Now, in whole milliseconds, as Prometheus counts them.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
