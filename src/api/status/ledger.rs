//! What status says of the records of a model. It is written together with what was decided, so that a record is never lost
//! and no two have the same number.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The chain of the records of what was decided.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerStatus {
    /// Number of the newest record.
    pub sequence: i64,
    /// SHA-256 of its statement, in hexadecimal digits.
    #[schemars(length(max = 64))]
    pub head: String,
    /// Records whose objects may not exist yet, oldest first. They go with the first status that is written after they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub pending: Vec<PendingRecord>,
    /// What was counted since the newest record, as the next record will have it: compressed by gzip, in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

/// A record whose object may not exist yet. Nothing of it changes any more.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingRecord {
    /// Number of the record.
    pub sequence: i64,
    /// When it was decided.
    #[schemars(length(max = 64))]
    pub time: String,
    /// What was decided, in a sentence.
    #[schemars(length(max = 2048))]
    pub summary: String,
    /// SHA-256 of the statement: `sha256:` and 64 hexadecimal digits.
    #[schemars(length(max = 71))]
    pub payload_digest: String,
    /// The statement, as the record will have it.
    #[schemars(length(max = 1_048_576))]
    pub payload: String,
    /// Whether the object is to have a signature.
    #[serde(default)]
    pub signed: bool,
}
