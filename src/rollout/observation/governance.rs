//! What was seen of governance: what policies ask of the model, and how its records stand. Data only.

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::word::words;

use super::super::wire;

/// What policies ask of the model, as far as a decision depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Governance {
    /// No policy selects it.
    #[default]
    Ungoverned,
    /// It is not known whether one does, for this reason. Nothing rises until it is.
    Unknown(String),
    /// These policies do.
    Governed(Governed),
}

/// What the policies ask that select the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Governed {
    /// The policies, each with its generation: `high-risk@3`.
    pub from: Vec<String>,
    /// Digest of the rules that hold.
    pub rules: String,
    /// Whether what is decided goes on record.
    pub records: bool,
    /// Whether nothing may rise while records cannot be signed.
    pub signed: bool,
    /// Why a policy that holds cannot be read. Nothing rises meanwhile, because nobody knows what it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl Governance {
    /// Whether what is decided goes on record.
    pub fn records(&self) -> bool {
        matches!(self, Self::Governed(governed) if governed.records)
    }
}

/// How the records of the model stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerSeen {
    /// When that was decided whose record does not exist yet; the earliest, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire::optional_instant")]
    pub unwritten_since: Option<Timestamp>,
    /// What keeps records from being written, if it is more than that they were not written yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<LedgerProblem>,
    /// Why records are not signed; `None` where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<String>,
}

/// What keeps records from being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerProblem {
    /// The reason for conditions.
    pub reason: LedgerReason,
    /// What went wrong and what to do.
    pub message: String,
}

/// Why a record does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerReason {
    /// It was not taken: a quota, a policy of admission, an API server that is away.
    NotWritten,
    /// Somebody else's record has its number.
    Forked,
    /// It is to be signed, and the key is gone.
    KeyMissing,
    /// The records that exist already could not be read.
    NotListed,
}

words!(LedgerReason);

impl LedgerSeen {
    /// Whether something that was decided is not on record, or may not be.
    pub fn is_behind(&self) -> bool {
        self.unwritten_since.is_some() || self.problem.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_not_printed_and_all_of_it_is_read_back() {
        let none = LedgerSeen::default();
        assert_eq!(serde_json::to_value(&none).unwrap(), json!({}));
        let whole = LedgerSeen {
            unwritten_since: Some("2026-11-28T10:05:17.250Z".parse().unwrap()),
            problem: Some(LedgerProblem {
                reason: LedgerReason::Forked,
                message: "m".to_owned(),
            }),
            unsigned: Some("u".to_owned()),
        };
        for seen in [none, whole] {
            let printed = serde_json::to_string(&seen).unwrap();
            assert_eq!(serde_json::from_str::<LedgerSeen>(&printed).unwrap(), seen);
        }
        for seen in [
            Governance::Ungoverned,
            Governance::Unknown("u".to_owned()),
            Governance::Governed(Governed::default()),
        ] {
            let printed = serde_json::to_string(&seen).unwrap();
            assert_eq!(serde_json::from_str::<Governance>(&printed).unwrap(), seen);
        }
    }
}
