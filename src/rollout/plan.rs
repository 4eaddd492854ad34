//! The result of `decide`: desired objects, weights, next status, records, and when to evaluate again. Data only.

use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::api::word::words;
use crate::api::{ActState, Decision, QuantizedModelStatus, RevisionRef, Role};
use crate::guards::GuardReport;

use super::observation::{ComparedArms, RecoveryMarks, WorkloadKey};

/// What is to be done. Applying it twice has the same effect as applying it once.
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
    /// The arms that a comparer is to ask; `None` where none is to run.
    pub comparer: Option<ComparedArms>,
    /// Whether the route must be written before the status: a candidate is lowered without waiting for anything.
    pub order: Order,
    /// The next status, whole.
    pub status: QuantizedModelStatus,
    /// The guards as this evaluation judged them, even where the status has begun afresh since.
    pub judged: Vec<GuardReport>,
    /// Decisions of this evaluation; they are in `status.decisions` as well.
    pub decisions: Vec<Decision>,
    /// What became of the acts for the model.
    pub acts: Vec<ActTold>,
    /// Kubernetes Events to publish.
    pub events: Vec<Event>,
    /// Whether the status must be written now, or the running evidence may stay in memory until the next checkpoint.
    pub record: Record,
    /// When to evaluate again at the latest.
    pub again: SignedDuration,
}

/// What became of an act of a person, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActTold {
    /// Name of the act.
    pub name: String,
    /// Whether it is in force.
    pub state: ActState,
    /// What it brings about, or why it does not, in a sentence.
    pub message: String,
}

/// Whether objects are written at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The plan is applied.
    Apply,
    /// Only status is written: the spec cannot be used, or a person has suspended the model.
    StatusOnly,
    /// Only conditions are written, because a newer release wrote a status that this release cannot continue from.
    ConditionsOnly,
    /// The route is deleted; a later evaluation removes the finalizer.
    TearDown,
    /// Connections have drained: the finalizer is removed, and the garbage collector takes the rest.
    Release,
    /// Owner references and the finalizer are removed; everything goes on serving.
    Orphan,
}

/// Order of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The decision is recorded before it takes effect.
    RecordFirst,
    /// The candidate is lowered before anything is recorded.
    LowerFirst,
}

/// Whether the status must be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something has changed that people or a restart need.
    Now,
    /// Only running evidence has changed. It stays in memory, because Prometheus keeps the samples.
    Later,
}

/// A Deployment that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPlan {
    /// Its role, for labels on the Deployment object.
    pub role: Role,
    /// Replicas to set; `None` leaves the scale to its autoscaler.
    pub replicas: Option<i32>,
    /// Whether the spec still describes this revision. If so its template is applied, else only its scale.
    pub template: Template,
    /// Plain Service mode: how many of its pods belong to the Service.
    pub joined: Joined,
    /// Recovery annotations to write.
    pub marks: RecoveryMarks,
}

/// Whether a template can be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The spec describes the revision.
    InSpec,
    /// The spec no longer describes the revision: the Deployment keeps the template it has.
    AsIs,
}

/// How many pods belong to the Service of plain Service mode. The others lose its label at once and stay warm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// All pods.
    All,
    /// At most this many pods, ready ones first.
    UpTo(i32),
    /// No pod.
    Nobody,
}

impl Joined {
    /// Number of pods that belong to the Service, out of `pods`.
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
    /// The workload that serves header-pinned requests, if any are pinned.
    pub pinned: Option<WorkloadKey>,
    /// Percent of all other requests that are mirrored to the comparer, if any are.
    pub mirror: Option<i32>,
}

/// A Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its documented reason.
    pub reason: Reason,
    /// What happened, in a sentence.
    pub note: String,
}

/// Reasons of events. The name of each variant is its word on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The status holds words that this release does not know, because a newer one wrote it.
    UnknownStatus,
    /// The gateway refused the route.
    RouteRefused,
    /// The API server refused an object, or it belongs to somebody else.
    Refused,
    /// An object that somebody else changed or deleted is as it should be again.
    Repaired,
    /// The first variant cannot start.
    CannotStart,
    /// Pods of one arm run different images.
    IdentityMismatch,
    /// Pods of the candidate are disrupted; nothing is judged.
    Disrupted,
    /// Users' requests have moved to where stable answers otherwise than the reference.
    InputsMoved,
    /// `spec.suspend` was set.
    Suspended,
    /// `spec.suspend` was taken away.
    Unsuspended,
    /// `spec.paused` was set.
    Paused,
    /// `spec.paused` was taken away.
    Unpaused,
    /// Somebody set weights on the route.
    HandSet,
    /// The deletion of the model was asked for.
    Deleted,
    /// The deletion of the model was asked for, and what serves stays.
    Orphaned,
    /// A record was written of what was decided.
    Recorded,
    /// What was decided is not on record, so that nothing rises.
    NotRecorded,
    /// Records are not signed.
    Unsigned,
    /// A policy asks people to approve.
    AwaitingApproval,
    /// People approved the change.
    Approved,
    /// A person rejected the change.
    Declined,
    /// A person rolled back.
    TakenBack,
    /// A person had what was found of a variant forgotten.
    Retried,
    /// A person took back pauses and rollbacks, or gave a rollout its deadline again.
    Resumed,
    /// What serves fell short of a policy, and traffic went to a proven variant.
    Demoted,
    /// A policy selects the model from now on.
    Governed,
    /// No policy selects the model any more.
    Ungoverned,
    /// The API server does not check who acts.
    AdmissionOff,
    /// What serves is below the floor of a policy.
    PolicyBreached,
    /// The calibration of what serves is too old.
    CalibrationStale,
}

words!(Reason);

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
                | Self::UnknownStatus
                | Self::RouteRefused
                | Self::Refused
                | Self::CannotStart
                | Self::IdentityMismatch
                | Self::Disrupted
                | Self::InputsMoved
                | Self::HandSet
                | Self::NotRecorded
                | Self::Unsigned
                | Self::Declined
                | Self::TakenBack
                | Self::Demoted
                | Self::Ungoverned
                | Self::AdmissionOff
                | Self::PolicyBreached
                | Self::CalibrationStale
        )
    }
}
