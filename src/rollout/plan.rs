//! What `decide` wants: the desired objects, the weights, the next status, what to record, when to evaluate again. Data only.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::SignedDuration;
use serde::Serialize;

use crate::api::{Decision, QuantizedModelStatus, RevisionRef, Role};
use crate::judge::GuardReport;

use super::observation::{Marks, WorkloadKey};

/// What is to be done. Applying it twice is the same as once.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whether objects are written at all.
    pub scope: Scope,
    /// Workloads that must exist, with their replicas.
    pub workloads: BTreeMap<WorkloadKey, WorkloadPlan>,
    /// Workloads whose Deployment and Service are to be deleted.
    pub delete: Vec<WorkloadKey>,
    /// How requests are to be routed; `None` while nothing can serve yet.
    pub route: Option<RoutePlan>,
    /// Whether the route must be written before the status: the candidate is lowered, which waits for nothing.
    pub order: Order,
    /// The next status, whole.
    pub status: QuantizedModelStatus,
    /// The guards as this evaluation judged them, also where the status has begun afresh since.
    pub judged: Vec<GuardReport>,
    /// Decisions of this evaluation; they are in `status.decisions` as well.
    pub decisions: Vec<Decision>,
    /// Kubernetes Events to publish.
    pub events: Vec<Event>,
    /// Whether the status must be written now, or the running evidence may stay in memory until the next checkpoint.
    pub record: Record,
    /// When to evaluate again at the latest.
    pub again: SignedDuration,
}

/// Whether objects are written at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The plan is applied.
    Apply,
    /// Only status is written: the spec cannot be used, or a person has the wheel.
    StatusOnly,
    /// The route is deleted; then, at the next evaluation, the finalizer goes.
    TearDown,
    /// Connections have drained: the finalizer is removed, and the garbage collector takes the rest.
    Release,
    /// Owner references and the finalizer are removed; everything serves on.
    Orphan,
}

/// What is written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The decision is on record before its effect.
    RecordFirst,
    /// The candidate is lowered first.
    LowerFirst,
}

/// Whether the status must be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something that people or a restart need has changed.
    Now,
    /// Only running evidence has changed: it stays in memory, for Prometheus keeps the samples.
    Later,
}

/// A Deployment that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPlan {
    /// Part it plays, for labels on the Deployment object.
    pub role: Role,
    /// Replicas to set; `None` leaves the scale to its autoscaler.
    pub replicas: Option<i32>,
    /// Whether the spec still describes this revision: then its template is applied, else only its scale.
    pub template: Template,
    /// Plain Service mode: how many of its pods belong to the Service.
    pub joined: Joined,
    /// What recovery will need, written as annotations.
    pub marks: Marks,
}

/// Whether a template can be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The spec describes the revision.
    InSpec,
    /// The spec has moved on: the Deployment keeps the template it has.
    AsIs,
}

/// How many pods belong to the Service of plain Service mode. The label is taken off the others at once; they stay warm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// All of them.
    All,
    /// So many, ready ones first.
    UpTo(i32),
    /// None.
    Nobody,
}

impl Joined {
    /// Of so many pods.
    pub fn of(self, pods: i32) -> i32 {
        match self {
            Self::All => pods,
            Self::UpTo(most) => pods.min(most.max(0)),
            Self::Nobody => 0,
        }
    }
}

/// How requests are to be routed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlan {
    /// Weights of the serving arms, in percent; they sum to 100. Arms with weight 0 stay in the list while they live.
    pub weights: Vec<(RevisionRef, i32)>,
    /// What serves header-pinned requests, if any are pinned.
    pub pinned: Option<WorkloadKey>,
}

/// A Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its reason; the documented enum.
    pub reason: Reason,
    /// What happened, in a sentence.
    pub note: String,
}

/// Reasons of events; the name of each is its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// The first variant took all traffic.
    Bootstrapped,
    /// State was rebuilt from the owned objects.
    Recovered,
    /// A rollout started.
    RolloutStarted,
    /// The candidate's weight was raised.
    WeightRaised,
    /// The candidate's weight went to 0 until its pods are back.
    CandidateWithdrawn,
    /// The candidate won and is scaled up.
    Promoting,
    /// The candidate became stable.
    Promoted,
    /// The candidate was harmful.
    RolledBack,
    /// The deadline passed without a verdict.
    Undecided,
    /// The deadline passed without a verdict, and a person is asked.
    Escalated,
    /// Stable was harmful after promotion.
    FellBack,
    /// The candidate could not start.
    CandidateFailed,
    /// The candidate was replaced.
    Superseded,
    /// `target` moved down.
    TargetMoved,
    /// The plan changed in mid-rollout.
    PlanChanged,
    /// The stored state of the tests could not be used.
    EvidenceReset,
    /// The metrics stopped.
    EvidenceLost,
    /// Requests do not follow the weights.
    TrafficSplit,
    /// The metrics are back.
    EvidenceRestored,
    /// A gate holds the candidate back.
    Gated,
    /// The spec cannot be used.
    InvalidSpec,
    /// The gateway refused the route.
    RouteRefused,
    /// Pods of one arm run different images.
    IdentityMismatch,
    /// Pods of the candidate are disrupted; nothing is judged.
    Disrupted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Reason {
    /// Whether the event asks for attention.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::RolledBack
                | Self::Undecided
                | Self::Escalated
                | Self::FellBack
                | Self::CandidateFailed
                | Self::CandidateWithdrawn
                | Self::EvidenceReset
                | Self::EvidenceLost
                | Self::TrafficSplit
                | Self::Gated
                | Self::InvalidSpec
                | Self::RouteRefused
                | Self::IdentityMismatch
                | Self::Disrupted
        )
    }
}
