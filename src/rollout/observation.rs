//! What the controller saw: everything that `decide` may look at. Data only.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Action, QuantizedModelSpec, QuantizedModelStatus, RevisionRef};
use crate::evidence::GuardSamples;
use crate::model::identity::Purpose;

use super::reason::EvidenceReason;

/// One look at a model and its world.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When.
    pub now: Timestamp,
    /// The model.
    pub model: ModelSeen,
    /// Its Deployments that exist, by key.
    pub workloads: BTreeMap<WorkloadKey, Workload>,
    /// Its route.
    pub route: RouteSeen,
    /// What Prometheus answered, by guard name; a guard that was not asked is absent.
    pub evidence: BTreeMap<String, Result<GuardSamples, EvidenceProblem>>,
}

/// The model as the API server holds it, with the newest running evidence.
#[derive(Clone, Debug)]
pub struct ModelSeen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When its deletion was asked for.
    pub deleted_at: Option<Timestamp>,
    /// What is wanted.
    pub spec: QuantizedModelSpec,
    /// What was.
    pub status: QuantizedModelStatus,
}

/// Which Deployment: of which revision, for which purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// The revision.
    pub revision: RevisionRef,
    /// What it is for.
    pub purpose: Purpose,
}

/// A Deployment and its pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// `spec.replicas`.
    pub desired: i32,
    /// Pods that are ready and in the EndpointSlices of the arm's Service, for long enough that a gateway knows them.
    pub ready: i32,
    /// Pods that exist and are not terminating.
    pub pods: i32,
    /// When its pods started; samples before are not their own.
    pub pod_starts: BTreeMap<String, Timestamp>,
    /// Since when its pods are ready, without those that are not.
    pub ready_since: BTreeMap<String, Timestamp>,
    /// Scheduler's message, when a pod cannot be scheduled.
    pub unschedulable: Option<String>,
    /// Why a pod cannot run: image missing, crash loop, never ready.
    pub failure: Option<String>,
    /// A pod that is evicted, drained, or on a lost node.
    pub disruption: Option<String>,
    /// Image IDs that run.
    pub image_ids: Vec<String>,
    /// What a status that was lost is rebuilt from; see [`Marks`].
    pub marks: Marks,
}

/// What guardbit wrote on a Deployment of what it knew of the revision, for recovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It carried the main traffic.
    pub stable: bool,
    /// It was proven.
    pub proven: bool,
    /// It was the reference.
    pub reference: bool,
    /// Guard and reason of its rejection.
    pub rejected: Option<(String, String)>,
}

/// The HTTPRoute, or the Service of plain Service mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteSeen {
    /// Whether it exists.
    pub exists: bool,
    /// Weights that it holds now, by revision of the serving arm.
    pub weights: BTreeMap<RevisionRef, i32>,
    /// What the gateway refused, in its own words.
    pub refused: Option<String>,
    /// The last decision when the route was written, if it was one of harm. It may be ahead of the status, and anyone who may
    /// write the route may have written it.
    pub decision: Option<RouteDecision>,
}

/// A decision as an HTTPRoute names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDecision {
    /// When, in whole seconds.
    pub time: Timestamp,
    /// What.
    pub action: Action,
    /// Name of the variant.
    pub variant: String,
    /// Why, perhaps cut off.
    pub why: String,
}

/// Why there is no evidence for a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceProblem {
    /// The reason for conditions.
    pub reason: EvidenceReason,
    /// What went wrong and what to do.
    pub message: String,
}
