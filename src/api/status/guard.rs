//! What status says of the guards.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::word::{Word, words};

words!(Verdict);

/// Verdict of a guard.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The candidate was shown to be within tolerance.
    Healthy,
    /// The candidate was shown to be beyond tolerance.
    Harmful,
    /// There is data, but not enough yet.
    Undecided,
    /// There is no data.
    NoData,
}

/// Events of one arm.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmCounts {
    /// All events.
    pub total: i64,
    /// The bad ones.
    pub bad: i64,
}

/// What a guard has found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardStatus {
    /// Name of the guard.
    pub name: String,
    /// Its verdict.
    pub verdict: Word<Verdict>,
    /// Evidence of harm; harmful at `threshold`.
    pub evidence: String,
    /// Value of `evidence` from which on the candidate is harmful.
    pub threshold: String,
    /// Evidence of health; healthy at `healthThreshold`.
    pub health: String,
    /// Value of `health` from which on the candidate is healthy.
    pub health_threshold: String,
    /// Events of the candidate.
    pub candidate: ArmCounts,
    /// Events of the baseline.
    pub baseline: ArmCounts,
    /// The shares side by side.
    pub estimate: String,
    /// Time of the newest sample that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_through: Option<Time>,
    /// The finding as a sentence with counts.
    pub message: String,
    /// Lines of the golden set that the candidate answers otherwise than the reference, three at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub examples: Vec<i32>,
    /// How much better the candidate is, where `rollout.benefit` asks this guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benefit: Option<String>,
}
