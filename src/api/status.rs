//! Status: what guardbit did and found, and all that it needs to continue after being killed at any point.
//!
//! A newer release may have written it before a downgrade. Each of its enums is therefore a [`Word`], which keeps a
//! word that this release does not know. Fields that this release does not know are dropped with the next whole status:
//! what they said about the rollout is out of date by then, and a newer release must accept a status without them after
//! every upgrade.

mod decided;
mod guard;
mod ledger;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::governance::action::{ActEffect, ApprovedChanges, Awaiting};
use super::governance::policy::PolicyStatus;
use super::variant::WeightsProof;
use super::word::{Word, list_known_words, words};

pub use decided::{Action, Decision};
pub use guard::{ArmCounts, GuardStatus, Verdict};
pub use ledger::{LedgerStatus, PendingRecord};

/// What guardbit did and found.
// Only guardbit writes it, so the API server need not track a manager for each of its fields, which would be a sixth of
// a stored model.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"), transform = list_known_words)]
pub struct QuantizedModelStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Summary for people; programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Word<Phase>>,
    /// Conditions in the sense of kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The revisions that carry traffic now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<ArmStatus>,
    /// The revision that carries the main traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionRef>,
    /// The full-precision revision that others are compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<RevisionRef>,
    /// Digest of the reference's weights: when it changes, the ladder is climbed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_weights: Option<String>,
    /// The rollout in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// What people are asked to approve, while a policy asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaiting: Option<Awaiting>,
    /// What the policies that select the model ask of it, and where it falls short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyStatus>,
    /// What actions of people brought about, as far as it outlasts its cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub held: Vec<ActEffect>,
    /// When calibrations were completed, as the first spec with them said, where a policy selects the model: a calibration
    /// gets no fresher by another date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub calibrations: Vec<Calibrated>,
    /// Revisions that leave: draining, or kept warm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<Retiring>,
    /// The guards' verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<GuardStatus>,
    /// Revisions that were promoted, or declared good at the first install, and not rejected since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proven: Vec<Proven>,
    /// Revisions that were judged harmful; never tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// Revisions that could not start, or were not decided in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// The last ten decisions about revisions, and of each thing that people did to the whole model the last record; newest
    /// last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// Digest of the weights that somebody set on the route, once they are on record. It goes when the route carries again
    /// what guardbit wrote, an hour after they went on record at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hand_set: Option<String>,
    /// What became of mirroring requests to the comparer, once it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorStatus>,
    /// Running state of the tests: opaque, versioned. People read `guards`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The chain of the records of what was decided, where a policy asks for records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerStatus>,
}

/// Summary of what is happening.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting: for a gate, for pods, or for a corrected spec.
    Pending,
    /// The first variant is being brought up.
    Bootstrapping,
    /// A candidate is on trial.
    Progressing,
    /// People are asked: a policy wants their approval, or the deadline passed without a verdict (`onUndecided: Escalate`).
    AwaitingApproval,
    /// The weights are frozen by `spec.paused`, or by the action of a person.
    Paused,
    /// The candidate won and is being scaled up.
    Promoting,
    /// Traffic moves back to a safer revision.
    RollingBack,
    /// Nothing on trial; the guards watch stable.
    Guarding,
    /// Stable does not serve.
    Degraded,
    /// `spec.suspend` is set.
    Suspended,
}

words!(Phase, Role, RolloutKind, RetiringReason, ProvenBy);

/// One revision: a variant with its identity.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionRef {
    /// Name of the variant.
    pub variant: String,
    /// Identity digest of the revision: a scheme version, a colon, 64 hexadecimal digits.
    pub revision: String,
}

/// Role of a revision.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Carries the main traffic.
    Stable,
    /// On trial.
    Candidate,
    /// The control arm on full precision.
    Reference,
    /// Full-precision pods of their own for header-pinned requests; never evidence.
    Pinned,
    /// Leaves: draining, or kept warm.
    Retiring,
}

/// One revision that carries traffic.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmStatus {
    /// Role of the revision.
    pub role: Word<Role>,
    /// Name of the variant.
    pub variant: String,
    /// Identity digest.
    pub revision: String,
    /// Name of its Deployment (and of its Service).
    pub deployment: String,
    /// Share of traffic in percent; of a Service without gateway, the share of ready replicas.
    pub weight: i32,
    /// Pods that are ready and in the endpoints.
    pub ready_replicas: i32,
    /// Image IDs that run.
    #[serde(rename = "imageIDs", default, skip_serializing_if = "Vec::is_empty")]
    pub image_ids: Vec<String>,
    /// Whether the weights that its pods have are verified, or only declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Word<WeightsProof>>,
}

/// Why a rollout happens, which decides what it is judged against.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RolloutKind {
    /// The next variant of the ladder against stable; outputs against the reference.
    Climb,
    /// A new revision of stable's own variant against stable.
    Lateral,
    /// A new reference against the old one, on errors and latency.
    NewReference,
}

/// The rollout in progress.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Why it happens.
    pub kind: Word<RolloutKind>,
    /// The revision on trial.
    pub candidate: RevisionRef,
    /// Digest of the frozen plan: steps, guards, error rates.
    pub plan_digest: String,
    /// When it was started.
    pub started_at: Time,
    /// Step that is held, or whose capacity is awaited; counts from 0.
    pub step: i32,
    /// Share of traffic that was granted to the candidate, in percent.
    pub weight: i32,
    /// When the weight was last raised, or the evidence last started afresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_since: Option<Time>,
    /// When the shadow stage began: the deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_since: Option<Time>,
    /// When the candidate got its first weight: the deadline counts from here where there was no shadow stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_weight_at: Option<Time>,
    /// Time during which the deadline stood still, in milliseconds.
    #[serde(default)]
    pub stood_still_millis: i64,
    /// Since when the deadline stands still (paused, or waiting for a person).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_still_since: Option<Time>,
    /// All guards were healthy after the last step: the candidate is scaled up for all traffic.
    #[serde(default)]
    pub promoting: bool,
    /// The deadline passed with `onUndecided: Hold`.
    #[serde(default)]
    pub overdue: bool,
    /// Since when a person is asked: the deadline passed with `onUndecided: Escalate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_at: Option<Time>,
    /// Digest of the rules of policies that it began under; absent where no policy selected the model then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub policy: Option<String>,
    /// Those rules themselves, opaque: they hold to its end, also when the policies are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// What people have approved of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<ApprovedChanges>,
    /// How long it is expected to take, estimated once from the baseline's traffic when it began: "at 120 rps: health
    /// in about 12 min, 2% errors found in 3 min; deadline 4h". Absent where the traffic is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub forecast: Option<String>,
}

impl RevisionRef {
    /// The variant with the first digits of its revision, for people.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.variant, short(&self.revision))
    }
}

impl RolloutStatus {
    /// Whether the candidate is in its shadow stage: pairs of answers are counted before its first weight.
    pub fn is_shadow(&self) -> bool {
        self.shadow_since.is_some() && self.first_weight_at.is_none()
    }
}

impl QuantizedModelStatus {
    /// Whether a condition has this status.
    pub fn has_condition(&self, kind: &str, status: &str) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|condition| condition.type_ == kind && condition.status == status)
    }
}

/// A revision that leaves.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiring {
    /// Name of the variant.
    pub variant: String,
    /// Identity digest.
    pub revision: String,
    /// Until when its pods are kept: connections drain, or capacity is kept warm.
    pub until: Time,
    /// Why its pods are still there.
    pub reason: Word<RetiringReason>,
    /// Share of traffic, in percent, that a candidate which was given up while stable had no endpoint keeps until
    /// stable has one. A former stable has no such share: it keeps what its successor cannot carry yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub keeps: Option<i32>,
}

impl Retiring {
    /// The revision.
    pub fn revision_ref(&self) -> RevisionRef {
        RevisionRef {
            variant: self.variant.clone(),
            revision: self.revision.clone(),
        }
    }
}

/// Why the pods of a leaving revision are still there.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetiringReason {
    /// Its traffic is moving to a safer revision as that becomes ready.
    Handover,
    /// Connections drain.
    Drain,
    /// Full capacity is kept as the fallback.
    KeepWarm,
}

/// A revision that earned its traffic.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// Name of the variant.
    pub variant: String,
    /// Identity digest.
    pub revision: String,
    /// When it was proven.
    pub at: Time,
    /// How it was proven.
    pub by: Word<ProvenBy>,
}

/// How a revision earned its traffic.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvenBy {
    /// Declared good at the first install.
    Declaration,
    /// Promoted.
    Promotion,
}

/// A revision that was judged harmful.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Name of the variant.
    pub variant: String,
    /// Identity digest.
    pub revision: String,
    /// The guard that found the harm.
    pub guard: String,
    /// What the guard found.
    pub reason: String,
    /// When it was rejected.
    pub at: Time,
}

/// A revision that could not start, or was not decided in time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// Name of the variant.
    pub variant: String,
    /// Identity digest.
    pub revision: String,
    /// `spec.attempt` when it failed.
    pub attempt: i64,
    /// How often it failed under that attempt.
    pub count: i32,
    /// When it is tried again; never under this attempt when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Why it failed.
    pub reason: String,
    /// When it failed last.
    pub at: Time,
}

/// A calibration, and when it was completed as its first spec said.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calibrated {
    /// Digest of the weights.
    pub weights: String,
    /// Digest of the data that they were calibrated on.
    pub dataset: String,
    /// When it was completed; where the first spec did not say it, when guardbit first saw that spec.
    pub completed_at: Time,
}

/// What became of mirroring requests to the comparer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// Digest of `comparer.mirror` and `traffic.gateway`, as they were when the route was last to mirror.
    pub asked: String,
    /// Why the route is written without a mirror, in the words of the gateway or of the API server. It is tried again when
    /// the digest is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Short form of a revision for labels and people: the first twelve digits.
pub fn short(revision: &str) -> &str {
    let digits = revision.rsplit(':').next().unwrap_or(revision);
    digits.get(..12).unwrap_or(digits)
}

/// Types of the conditions.
pub mod condition {
    /// Target reached, or settled with nothing left to do.
    pub const READY: &str = "Ready";
    /// Stable serves.
    pub const AVAILABLE: &str = "Available";
    /// A rollout is in progress, and how far it is.
    pub const PROGRESSING: &str = "Progressing";
    /// kstatus: guardbit is not finished.
    pub const RECONCILING: &str = "Reconciling";
    /// kstatus: a person must act.
    pub const STALLED: &str = "Stalled";
    /// The guards have fresh data.
    pub const EVIDENCE_AVAILABLE: &str = "EvidenceAvailable";
    /// The fallback could take all traffic at once.
    pub const FALLBACK_CAPACITY: &str = "FallbackCapacity";
    /// All objects of the model could be written.
    pub const APPLIED: &str = "Applied";
    /// Pods of one arm run different images.
    pub const IDENTITY_MISMATCH: &str = "IdentityMismatch";
    /// Users' requests have moved to where stable answers otherwise than the reference. A model of which none are compared
    /// has no such condition.
    pub const INPUTS_MOVED: &str = "InputsMoved";
    /// Requests are mirrored to the comparer. A model that asks for no mirror has no such condition.
    pub const MIRRORING: &str = "Mirroring";
    /// Every decision is on record. A model of which nothing goes on record has no such condition.
    pub const RECORDED: &str = "Recorded";
    /// It is certain what policies ask and who acts. A model that no policy selects has no such condition.
    pub const GOVERNED: &str = "Governed";
    /// What serves is below the floor of a policy. A model of which no floor is asked has no such condition.
    pub const POLICY_BREACHED: &str = "PolicyBreached";
    /// The calibrations of what serves are not too old. A model whose calibrations may have any age has no such condition.
    pub const CALIBRATION_FRESH: &str = "CalibrationFresh";

    /// All types of conditions.
    pub const ALL: [&str; 15] = [
        READY,
        AVAILABLE,
        PROGRESSING,
        RECONCILING,
        STALLED,
        EVIDENCE_AVAILABLE,
        FALLBACK_CAPACITY,
        IDENTITY_MISMATCH,
        INPUTS_MOVED,
        APPLIED,
        MIRRORING,
        RECORDED,
        GOVERNED,
        POLICY_BREACHED,
        CALIBRATION_FRESH,
    ];
}
