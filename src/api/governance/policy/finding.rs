//! What a model is told about the policies that select it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the policies ask of a model, and where it falls short.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// Digest of the rules that hold: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The policies that select the model, each with its generation: `high-risk@3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Where the model falls short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<PolicyFinding>,
}

/// Where a model falls short of a policy.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFinding {
    /// Name of the policy, or of the policies that ask for the same.
    pub policy: String,
    /// Field of the policy that holds the rule, such as `floor.minBits`.
    pub rule: String,
    /// What was asked for, what was found, and what to do.
    pub message: String,
    /// Whether it holds back rises; one of a policy with `mode: DryRun` is only told.
    pub enforced: bool,
}
