//! What was decided: the actions, and the decisions that status keeps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::word::{Word, words};

/// What was decided.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The first variant took all traffic.
    Bootstrapped,
    /// State was rebuilt from the owned objects.
    Recovered,
    /// A rollout started.
    Started,
    /// The candidate's weight was raised.
    Raised,
    /// The candidate's weight went to 0 until its pods are back.
    Withdrawn,
    /// The candidate won: it is scaled up for all traffic.
    Promoting,
    /// The candidate became stable.
    Promoted,
    /// The candidate was harmful and went to 0.
    RolledBack,
    /// The candidate was not decided in time and went to 0.
    Undecided,
    /// The deadline passed; weights stay, as `onUndecided: Hold` says.
    Overdue,
    /// The deadline passed; weights stay and a person is asked, as `onUndecided: Escalate` says.
    Escalated,
    /// Stable was harmful after promotion: traffic fell back.
    FellBack,
    /// The candidate could not start.
    Failed,
    /// The candidate was replaced by a newer one, or is no longer wanted.
    Superseded,
    /// `target` moved down: traffic went to that proven variant.
    TargetMoved,
    /// The plan changed in mid-rollout: weights stay, evidence starts afresh.
    PlanChanged,
    /// The stored state of the tests could not be used: evidence starts afresh.
    EvidenceReset,
    /// `spec.suspend` was set: guardbit leaves everything as it is.
    Suspended,
    /// `spec.suspend` was taken away: guardbit goes on from what it finds.
    Unsuspended,
    /// `spec.paused` was set: the weights are frozen.
    Paused,
    /// `spec.paused` was taken away.
    Unpaused,
    /// Somebody set other weights on the route than guardbit had written.
    HandSet,
    /// The deletion of the model was asked for: what serves goes with it.
    Deleted,
    /// The deletion of the model was asked for, and `deletionPolicy` is Orphan: what serves stays.
    Orphaned,
    /// A person rolled back: the candidate went to 0, or stable gave its traffic to a safer variant.
    TakenBack,
    /// A person rejected the change: the candidate went to 0.
    Declined,
    /// People approved the change.
    Approved,
    /// A person had what was found of a variant forgotten: it is tried again.
    Retried,
    /// A person took back pauses and rollbacks, or gave a rollout that waits for a person its deadline again.
    Resumed,
    /// What serves fell short of a policy that says FallBack: traffic went to a proven variant.
    Demoted,
    /// A policy selects the model from now on.
    Governed,
    /// No policy selects the model any more.
    Ungoverned,
}

words!(Action);

impl Action {
    /// Whether it is what people did to the whole model, and no decision about a revision.
    pub fn is_of_people(self) -> bool {
        matches!(
            self,
            Self::Suspended
                | Self::Unsuspended
                | Self::Paused
                | Self::Unpaused
                | Self::HandSet
                | Self::Deleted
                | Self::Orphaned
                | Self::Resumed
                | Self::Governed
                | Self::Ungoverned
        )
    }
}

/// A decision, on record before its effect.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When the decision was taken.
    pub time: Time,
    /// What was decided.
    pub action: Word<Action>,
    /// Name of the variant.
    pub variant: String,
    /// Identity digest.
    pub revision: String,
    /// Why it was decided.
    pub why: String,
    /// What the fidelity guard that it rests on had seen, if there is one: "total variation 0.012 over 3,191 and 8,193
    /// outputs, worst set of bins 52% against 51%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
}

impl Decision {
    /// Whether it records what people did to the whole model, and no decision about a revision.
    pub fn is_of_people(&self) -> bool {
        self.action.known().is_some_and(Action::is_of_people)
    }
}
