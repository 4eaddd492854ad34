//! Projections of the objects that watches deliver: the few fields that reconciles need, read once on arrival.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::manifests::traffic::{Route, SplitInForce};
use crate::manifests::{self, Additions, JOINED_LABEL, Kind, MODEL_LABEL, PURPOSE_LABEL, REVISION_LABEL, comparer};
use crate::model::weights::ADDED;
use crate::rollout::{ComparerSeen, RecoveryMarks, RouteHarm, WorkloadKey};

use super::field_hashes::FieldHashes;
use super::partial::Seen;

type SeenDeployment = Seen<Deployment, Value, DeploymentStatus>;
type SeenPod = Seen<Pod, IgnoredAny, PodStatus>;
type SeenPlain<K> = Seen<K, Value, IgnoredAny>;
type SeenRoute = Seen<DynamicObject, Value, Value>;

/// The waiting reason of a container that starts and ends again and again.
const CRASH_LOOP: &str = "CrashLoopBackOff";

/// The exit code with which `guardbit weights verify` and `guardbit weights mounted` refuse weights.
const REFUSED: i32 = 1;

/// What `guardbit` begins its messages with.
const SPEAKER: &str = "guardbit: ";

/// Waiting reasons after which a container will not start by itself.
const CANNOT_RUN: [&str; 8] = [
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    CRASH_LOOP,
    "PreStartHookError",
];

/// Phases that a pod never leaves.
const ENDED: [&str; 2] = ["Failed", "Succeeded"];

/// Projection of one kind of objects. A change that leaves it equal needs no reconcile.
pub trait Projection: Debug + PartialEq + Send + Sync + 'static {
    /// The kind of the objects.
    type Of: ResourceExt + Send + 'static;
}

/// Projection of a kind that guardbit writes.
pub trait WrittenProjection: Projection {
    /// Whether it has an owner.
    fn is_owned(&self) -> bool;

    /// Field hashes of the object.
    fn hashes(&self) -> &FieldHashes;
}

/// Projection of a Deployment.
#[derive(Debug, PartialEq)]
pub struct DeploymentProjection {
    pub uid: Option<String>,
    /// Whether it has an owner.
    pub owned: bool,
    /// Which workload it is; `None` if guardbit did not make it.
    pub key: Option<WorkloadKey>,
    /// What it asks, if it is a comparer; boxed, because few Deployments are.
    pub compares: Option<Box<ComparerSeen>>,
    pub marks: RecoveryMarks,
    /// What guardbit has added to its pods.
    pub additions: Additions,
    pub replicas: Option<i32>,
    /// Why pods cannot be created, or why they do not get ready.
    pub refused: Option<String>,
    pub never_ready: Option<String>,
    pub hashes: FieldHashes,
}

/// Projection of a Pod.
#[derive(Debug, PartialEq)]
pub struct PodProjection {
    pub name: Box<str>,
    pub revision: Option<Box<str>>,
    pub purpose: Option<Box<str>>,
    /// Whether it belongs to the Service of plain Service mode.
    pub joined: bool,
    pub deleted: bool,
    /// Whether its containers have ended for good. An evicted pod stays like that until someone deletes it.
    pub over: bool,
    pub ready: bool,
    /// Since when its containers have been ready, if they are.
    pub ready_since: Option<Timestamp>,
    pub started: Option<Timestamp>,
    /// The image that each of its containers runs, by name.
    pub images: Box<[(Box<str>, Box<str>)]>,
    /// The scheduler's message.
    pub unschedulable: Option<Box<str>>,
    /// Why a container will not start.
    pub failure: Option<Box<str>>,
    /// Whether that is because it ends again and again, which is of the variant and not of a node.
    pub crashes: bool,
    /// Why the pod is evicted, drained, or on a node that is lost; this says nothing about the variant.
    pub disruption: Option<Box<str>>,
}

/// Projection of a kind of which nothing more is read than whether its objects are as they were written.
#[derive(Debug, PartialEq)]
pub struct PlainProjection<K> {
    pub owned: bool,
    pub hashes: FieldHashes,
    of: PhantomData<fn() -> K>,
}

/// Projection of a Service.
pub type ServiceProjection = PlainProjection<Service>;

/// Projection of a NetworkPolicy.
pub type NetworkPolicyProjection = PlainProjection<NetworkPolicy>;

/// Projection of an EndpointSlice: names of the pods that are ready in it.
#[derive(Debug, PartialEq)]
pub struct SliceProjection {
    pub ready: Box<[Box<str>]>,
}

/// Weights by Service.
pub type ServiceWeights = [(Box<str>, i32)];

/// Projection of a route.
#[derive(Debug, PartialEq)]
pub struct RouteProjection {
    pub owned: bool,
    pub split: SplitInForce,
    /// The weights that guardbit wrote last, by Service, where the split has others; boxed, because few routes do.
    pub changed_from: Option<Box<ServiceWeights>>,
    /// The harm for which it was last written, if it was harm; boxed, because few routes have any.
    pub harm: Option<Box<RouteHarm>>,
    pub hashes: FieldHashes,
}

impl RouteProjection {
    /// Names of the Services that it gives weight to.
    pub fn carrying(&self) -> impl Iterator<Item = &str> {
        let weights = self.split.weights.iter();
        weights.filter(|(_, weight)| *weight > 0).map(|(name, _)| &**name)
    }
}

/// The model that an object belongs to: by its owner, or by its label.
pub fn owner_of<K: ResourceExt>(object: &K) -> Option<Arc<str>> {
    let owner = object.owner_references().iter().find(|o| o.kind == "QuantizedModel");
    let name = owner.map(|o| o.name.as_str());
    name.or_else(|| object.labels().get(MODEL_LABEL).map(String::as_str))
        .map(Arc::from)
}

/// Field hashes of an object of a kind that guardbit applies, as its watch would give them.
pub fn hashes_of(kind: Kind, object: &DynamicObject) -> FieldHashes {
    match kind {
        Kind::QuantizedModel => hashes_of_model(&object.metadata),
        Kind::Deployment | Kind::Service | Kind::Route(_) | Kind::NetworkPolicy => {
            FieldHashes::of(&object.metadata, object.data.get("spec"))
        }
    }
}

/// Field hashes of a model, of which only annotations are applied.
pub fn hashes_of_model(metadata: &ObjectMeta) -> FieldHashes {
    FieldHashes::of(metadata, None)
}

impl Projection for DeploymentProjection {
    type Of = SeenDeployment;
}

impl WrittenProjection for DeploymentProjection {
    fn is_owned(&self) -> bool {
        self.owned
    }

    fn hashes(&self) -> &FieldHashes {
        &self.hashes
    }
}

impl DeploymentProjection {
    /// The projection of a Deployment.
    pub fn of(object: &SeenDeployment) -> Self {
        let condition = |kind: &str| {
            let conditions = object.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.into_iter().flatten().find(|c| c.type_ == kind)
        };
        let asking = |arms| {
            let ready = object.status.as_ref().and_then(|status| status.ready_replicas);
            Box::new(ComparerSeen {
                arms,
                ready: ready.is_some_and(|ready| ready > 0),
            })
        };
        Self {
            uid: object.uid(),
            owned: !object.owner_references().is_empty(),
            key: manifests::key_of(object.labels(), object.annotations()),
            compares: comparer::compared_arms(object.annotations()).map(asking),
            marks: manifests::marks(object.annotations()),
            additions: Additions::read(object.annotations()),
            replicas: object
                .spec
                .as_ref()
                .and_then(|s| s["replicas"].as_i64()?.try_into().ok()),
            refused: condition("ReplicaFailure")
                .filter(|c| c.status == "True")
                .and_then(|c| c.message.clone()),
            never_ready: condition("Progressing")
                .filter(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"))
                .and_then(|c| c.message.clone()),
            hashes: FieldHashes::of(&object.metadata, object.spec.as_ref()),
        }
    }
}

impl Projection for PodProjection {
    type Of = SeenPod;
}

impl PodProjection {
    /// The projection of a Pod.
    pub fn of(pod: &SeenPod) -> Self {
        let label = |name: &str| pod.labels().get(name).map(|value| value.as_str().into());
        let ready = condition(pod, "Ready").filter(|c| c.status == "True");
        let deleted = pod.metadata.deletion_timestamp.is_some();
        Self {
            name: pod.name_any().into(),
            revision: label(REVISION_LABEL),
            purpose: label(PURPOSE_LABEL),
            joined: pod.labels().contains_key(JOINED_LABEL),
            deleted,
            over: phase(pod).is_some_and(|phase| ENDED.contains(&phase)),
            ready: !deleted && ready.is_some(),
            ready_since: ready.and_then(|c| Some(c.last_transition_time.as_ref()?.0)),
            started: pod.status.as_ref().and_then(|s| Some(s.start_time.as_ref()?.0)),
            images: statuses(pod)
                .filter(|c| !c.image_id.is_empty())
                .map(|c| (c.name.as_str().into(), c.image_id.as_str().into()))
                .collect(),
            unschedulable: condition(pod, "PodScheduled")
                .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"))
                .and_then(|c| Some(c.message.as_deref()?.into())),
            failure: cannot_run(pod).map(|(_, message)| message.into()),
            crashes: cannot_run(pod).is_some_and(|(reason, _)| reason == CRASH_LOOP || reason == ADDED),
            disruption: disruption(pod).map(Into::into),
        }
    }
}

impl PodProjection {
    /// The image that a container runs; that of the first one by name where there is no such container.
    pub fn image(&self, container: Option<&str>) -> Option<&str> {
        let of = |(name, _): &&(Box<str>, Box<str>)| Some(&**name) == container;
        let found = self.images.iter().find(of).or(self.images.first());
        found.map(|(_, image)| &**image)
    }
}

impl<K> Projection for PlainProjection<K>
where
    K: Resource + Debug + PartialEq + Send + 'static,
{
    type Of = SeenPlain<K>;
}

impl<K> WrittenProjection for PlainProjection<K>
where
    K: Resource + Debug + PartialEq + Send + 'static,
{
    fn is_owned(&self) -> bool {
        self.owned
    }

    fn hashes(&self) -> &FieldHashes {
        &self.hashes
    }
}

impl<K: Resource> PlainProjection<K> {
    /// The projection of an object.
    pub fn of(object: &SeenPlain<K>) -> Self {
        Self {
            owned: !object.owner_references().is_empty(),
            hashes: FieldHashes::of(&object.metadata, object.spec.as_ref()),
            of: PhantomData,
        }
    }
}

impl Projection for SliceProjection {
    type Of = EndpointSlice;
}

impl SliceProjection {
    /// The projection of an EndpointSlice.
    pub fn of(slice: &EndpointSlice) -> Self {
        let endpoints = slice.endpoints.iter().flatten();
        let ready = endpoints
            .filter(|e| e.conditions.as_ref().is_some_and(|c| c.ready != Some(false)))
            .filter_map(|e| e.target_ref.as_ref()?.name.as_deref());
        Self {
            ready: ready.map(Into::into).collect(),
        }
    }
}

impl Projection for RouteProjection {
    type Of = SeenRoute;
}

impl WrittenProjection for RouteProjection {
    fn is_owned(&self) -> bool {
        self.owned
    }

    fn hashes(&self) -> &FieldHashes {
        &self.hashes
    }
}

impl RouteProjection {
    /// The projection of a route.
    pub fn of(kind: &Route, route: &SeenRoute) -> Self {
        let nothing = Value::Null;
        let spec = route.spec.as_ref();
        let split = (kind.read)(
            &route.metadata,
            spec.unwrap_or(&nothing),
            route.status.as_ref().unwrap_or(&nothing),
        );
        Self {
            owned: !route.owner_references().is_empty(),
            changed_from: changed_from(route.annotations(), &split),
            split,
            harm: manifests::route_harm(route.annotations()).map(Box::new),
            hashes: FieldHashes::of(&route.metadata, spec),
        }
    }
}

/// The weights that guardbit wrote last, if the split has others. Weights and annotation are of one version of the object, so
/// a write that the watch does not show yet makes no difference.
fn changed_from(annotations: &BTreeMap<String, String>, split: &SplitInForce) -> Option<Box<ServiceWeights>> {
    let written = manifests::written_weights(annotations)?;
    let mut carried: BTreeMap<String, i32> = BTreeMap::new();
    let weights: &ServiceWeights = &split.weights;
    for (service, weight) in weights {
        let sum = carried.entry(service.to_string()).or_default();
        *sum = sum.saturating_add(*weight);
    }
    let by_service = written
        .iter()
        .map(|(service, weight)| (service.as_str().into(), *weight));
    (carried != written).then(|| by_service.collect())
}

fn phase(pod: &SeenPod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn statuses(pod: &SeenPod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten())
}

fn condition<'a>(pod: &'a SeenPod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == kind)
}

/// Why a container will not start: the kubelet's reason, or the name of the container that refuses the weights, and a message.
fn cannot_run(pod: &SeenPod) -> Option<(&str, String)> {
    let inits = || {
        let status = pod.status.iter();
        status.flat_map(|s| s.init_container_statuses.iter().flatten())
    };
    let verifier = inits().find(|container| container.name == ADDED);
    let ended = verifier.and_then(ended);
    // It is started again and again, and each time it refuses them.
    if let Some(ended) = ended.filter(|ended| ended.exit_code == REFUSED) {
        return Some((
            ADDED,
            format!("the weights were refused before the server started: {}", words(ended)),
        ));
    }
    inits().chain(statuses(pod)).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| CANNOT_RUN.contains(reason))?;
        let message = match ended.filter(|_| container.name == ADDED) {
            Some(ended) => words(ended),
            None => waiting.message.as_deref().unwrap_or("no message"),
        };
        Some((
            reason,
            format!("container {} is in {reason}: {message}", container.name),
        ))
    })
}

/// How a container ended last, unless it ended well since.
fn ended(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let states = [&container.state, &container.last_state];
    let mut ended = states
        .into_iter()
        .flatten()
        .filter_map(|state| state.terminated.as_ref());
    ended.next()
}

/// The last words of a container.
fn words(ended: &ContainerStateTerminated) -> &str {
    let words = ended.message.as_deref().unwrap_or("no message").trim();
    words.strip_prefix(SPEAKER).unwrap_or(words)
}

fn disruption(pod: &SeenPod) -> Option<String> {
    if let Some(target) = condition(pod, "DisruptionTarget").filter(|c| c.status == "True") {
        let reason = target.reason.as_deref().unwrap_or("DisruptionTarget");
        return Some(format!("{}: {reason}", pod.name_any()));
    }
    let status = pod.status.as_ref()?;
    (status.reason.as_deref() == Some("NodeLost")).then(|| format!("{}: its node is lost", pod.name_any()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifests::traffic::ROUTES;

    #[test]
    fn a_hand_on_the_weights_is_told_by_what_was_written_with_them() {
        let changed_from = |annotations: &Value, weights: &[(&str, i32)]| {
            let backends = weights
                .iter()
                .map(|(name, weight)| json!({"name": name, "weight": weight}));
            let rules = json!([{"backendRefs": backends.collect::<Vec<_>>()}]);
            let object = json!({"metadata": {"name": "m", "annotations": annotations}, "spec": {"rules": rules}});
            let object: SeenRoute = serde_json::from_value(object).unwrap();
            RouteProjection::of(&ROUTES[0], &object).changed_from.map(Vec::from)
        };
        let written = json!({"guardbit.dev/weights": r#"{"m-fp32":75,"m-int8":25}"#});
        let before: Option<Vec<(Box<str>, i32)>> = Some(vec![("m-fp32".into(), 75), ("m-int8".into(), 25)]);
        for (what, weights, expected) in [
            ("as it was written", &[("m-int8", 25), ("m-fp32", 75)][..], &None),
            ("other weights", &[("m-fp32", 0), ("m-int8", 100)], &before),
            (
                "another Service besides",
                &[("m-fp32", 75), ("m-int8", 25), ("own", 10)],
                &before,
            ),
            ("one Service less", &[("m-fp32", 75)], &before),
            (
                "a Service twice",
                &[("m-fp32", 75), ("m-int8", 25), ("m-int8", 25)],
                &before,
            ),
        ] {
            assert_eq!(changed_from(&written, weights), *expected, "{what}");
        }
        // A release that did not write it, and somebody who wrote something else there.
        for unknown in [json!({}), json!({"guardbit.dev/weights": "none"})] {
            assert_eq!(changed_from(&unknown, &[("m-fp32", 1)]), None);
        }
    }
}
