//! The custom resource `PrecisionAction`: what one person wants of one model. It is created and never changed.
//!
//! An action is no field of the model, because what a person does on call must win over what stands in git. Admission
//! pins who the person is; what an action brings about is decided in `governance`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::Duration;
use super::super::word::{Word, list_known_words, words};

/// What one person wants of one model.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "guardbit.dev",
    version = "v1alpha1",
    kind = "PrecisionAction",
    plural = "precisionactions",
    shortname = "pa",
    category = "guardbit",
    namespaced,
    status = "PrecisionActionStatus",
    derive = "PartialEq",
    doc = "PrecisionAction is what one person wants of one QuantizedModel: to approve a change, to pause, to roll back. It is created and never changed: another action lifts it.",
    printcolumn = r#"{"name": "Model", "type": "string", "jsonPath": ".spec.modelRef.name"}"#,
    printcolumn = r#"{"name": "Action", "type": "string", "jsonPath": ".spec.action"}"#,
    printcolumn = r#"{"name": "By", "type": "string", "jsonPath": ".spec.actor.username"}"#,
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".spec.reason", "priority": 1}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("an action is never changed: create another"))]
#[x_kube(validation = Rule::new("(self.action in ['Approve', 'Reject']) == has(self.changeDigest)")
    .message("changeDigest goes with Approve and Reject, which need it: status.awaiting of the model has it"))]
#[x_kube(validation = Rule::new("self.action == 'RollBack' || !has(self.to)")
    .message("to goes with RollBack only: leave it out"))]
#[x_kube(validation = Rule::new("(self.action == 'Retry') == has(self.variant)")
    .message("variant goes with Retry, which needs it: write the variant that is to be tried again"))]
#[x_kube(validation = Rule::new("self.action == 'BreakGlass' ? has(self.incident) && has(self.waives) : !has(self.incident) && !has(self.waives)")
    .message("incident and waives go with BreakGlass, which needs both: write what happened, and which gates it opens"))]
#[x_kube(validation = Rule::new("duration(self.validFor) >= duration('1m') && duration(self.validFor) <= {'Approve': duration('168h'), 'Reject': duration('168h'), 'Pause': duration('168h'), 'Resume': duration('1h'), 'RollBack': duration('720h'), 'Retry': duration('24h'), 'BreakGlass': duration('4h')}[self.action]")
    .message("validFor must be at least 1m, and at most what the action may last: Approve, Reject and Pause 168h, RollBack 720h, Retry 24h, BreakGlass 4h, Resume 1h"))]
pub struct PrecisionActionSpec {
    /// The model. Its uid is part of it, so that an action is never for a model of the same name that is made later.
    pub model_ref: ModelRef,
    /// What is wanted.
    pub action: ActKind,
    /// Digest of the change, with Approve and Reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub change_digest: Option<String>,
    /// Name of the proven variant that traffic goes to, with RollBack; left out, it is the one that traffic falls back
    /// to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub to: Option<String>,
    /// Name of the variant that is tried again, with Retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub variant: Option<String>,
    /// The incident, as the tracker knows it, with BreakGlass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub incident: Option<String>,
    /// Gates that BreakGlass opens. The floor, the guards and the validation stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub waives: Vec<Waive>,
    /// Who acts. Admission refuses any other name than that of the user who creates the action.
    pub actor: Actor,
    /// Why, in a sentence for those who read the record.
    #[schemars(length(min = 10, max = 1000))]
    pub reason: String,
    /// How long it is in force, from its creation by the clock of the API server.
    pub valid_for: Duration,
}

/// What a person wants.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActKind {
    /// The change with this digest may have traffic.
    Approve,
    /// The change with this digest may have no traffic; a candidate that has some goes to 0.
    Reject,
    /// The weights are frozen, as by `spec.paused`, whatever git says.
    Pause,
    /// Earlier actions Pause and RollBack are lifted, and the clock of a rollout that waits for a person starts afresh.
    Resume,
    /// The candidate goes to 0, stable goes to a safer variant, and nothing rises above that.
    RollBack,
    /// What was found of a variant until now is forgotten, so that it is tried again.
    Retry,
    /// The gates in `waives` are open.
    BreakGlass,
}

/// A gate that BreakGlass can open.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Waive {
    /// Approvals that a policy asks for.
    Approvals,
    /// Times at which a policy lets nothing rise.
    Freezes,
    /// The age of a calibration.
    Freshness,
    /// The number of rollouts at once.
    Slots,
}

/// The model that an action is for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Name of the QuantizedModel, in the namespace of the action.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its uid.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// Who acts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Name of the user, as the API server knows it: `kubectl auth whoami` shows it.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[^\x00-\x1f\x7f]+$"))]
    pub username: String,
    /// Uid of the user, where the API server knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub uid: Option<String>,
    /// Groups of the user that matter to a policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
}

/// What became of an action.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[schemars(transform = list_known_words)]
pub struct PrecisionActionStatus {
    /// Whether it is in force.
    pub state: Word<ActState>,
    /// What it brings about, or why it does not, in a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Name of the PrecisionDecision that it first had a part in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub record: Option<String>,
}

/// Whether an action is in force.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActState {
    /// It is about a change that is not asked for now.
    Waiting,
    /// It is in force.
    InForce,
    /// It has had its effect.
    Used,
    /// Its time is over.
    Lapsed,
    /// A later action took it back.
    Lifted,
    /// It has no effect; the message says why.
    Inert,
}

/// What a person is asked to approve, and who may.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaiting {
    /// What waits for approval.
    pub before: Word<ApprovalGate>,
    /// Digest of the change that is to be approved.
    pub change_digest: String,
    /// Name of the variant that is to get traffic.
    pub variant: String,
    /// Its identity digest.
    pub revision: String,
    /// Since when it waits. Approvals of a promotion count when they are no older.
    pub since: Time,
    /// How many people must approve.
    pub need: i32,
    /// Who has approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub have: Vec<Approved>,
    /// Whose approval does not count: the change is theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// The right and the groups that an approver needs.
    pub may: String,
    /// The command that approves.
    pub command: String,
}

/// What waits for an approval.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ApprovalGate {
    /// The first traffic of a candidate.
    FirstTraffic,
    /// Its promotion. Approvals count from when the evidence is shown.
    Promotion,
}

/// An approval that counts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Name of the user.
    pub by: String,
    /// When it was given.
    pub at: Time,
    /// Name of the PrecisionAction.
    pub action: String,
}

/// The changes that people have approved of a rollout, by their digests. Another change is another question.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedChanges {
    /// The change whose first traffic was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub first_traffic: Option<String>,
    /// The change whose promotion was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub promotion: Option<String>,
}

/// What an action brought about that holds until the action would lapse, even where its cause is gone by then.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActEffect {
    /// Uid of the action.
    pub uid: String,
    /// Name of the variant that a RollBack without `to` holds traffic to: the fallback at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_at: Option<String>,
    /// Name of the action that took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
}

words!(ActKind, ActState, ApprovalGate, Waive);
