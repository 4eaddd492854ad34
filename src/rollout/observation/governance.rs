//! What was seen of governance: what policies ask of the model, what people want, and how its records stand. Data only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::word::words;
use crate::api::{PolicyFinding, Rejected, RevisionRef};
use crate::governance::Rules;
use crate::governance::people::acts::{Act, Assurance};

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
    pub digest: String,
    /// The rules that hold.
    #[serde(default, skip_serializing_if = "nothing")]
    pub rules: Box<Rules>,
    /// The rules of which is only told where they would hold.
    #[serde(default, skip_serializing_if = "nothing")]
    pub dry_run: Box<Rules>,
    /// Whether what is decided goes on record.
    pub records: bool,
    /// Whether nothing may rise while records cannot be signed.
    pub signed: bool,
    /// Why a policy that holds cannot be read. Nothing rises meanwhile, because nobody knows what it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// The same of each policy that cannot be read, also of those whose rules are only told.
    #[serde(default, skip_serializing_if = "nothing")]
    pub unread: Vec<PolicyFinding>,
    /// Whether another rollout may begin.
    #[serde(default, skip_serializing_if = "nothing")]
    pub slot: Slot,
    /// Whether it is the turn of this model to leave what falls short of a policy (`onBreach`, `onStale`: FallBack): no
    /// other model that its policies select does so now. Whoever observes sees to it that at most one has it.
    #[serde(default, skip_serializing_if = "nothing")]
    pub turn: bool,
    /// By variant, the public keys of policies by which its weights are signed.
    #[serde(default, skip_serializing_if = "nothing")]
    pub signed_by: BTreeMap<String, BTreeSet<String>>,
    /// URL of the Prometheus server that is asked, by the model or by default.
    #[serde(default, skip_serializing_if = "nothing")]
    pub prometheus: Option<String>,
}

/// Whether another rollout may begin among the models of the policies that limit how many are in progress. A rollout is in
/// progress from its start to its end, and so is the move of traffic away from what falls short of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Slot {
    /// It may, or no policy limits it.
    #[default]
    Free,
    /// This model has a place already.
    Held,
    /// As many are in progress as a policy lets be.
    Full {
        /// How many those are.
        of: u32,
        /// The models that are, as `namespace/name`.
        in_use: Vec<String>,
    },
}

/// What people want of the model, and who they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct People {
    /// Their acts for this model, also those that have lapsed and are not deleted yet. A model without a policy has acts
    /// too: whoever is on call rolls it back.
    #[serde(default, skip_serializing_if = "nothing")]
    pub acts: Vec<Act>,
    /// Who had a hand in the spec since the last settled change.
    #[serde(default, skip_serializing_if = "nothing")]
    pub authors: Vec<String>,
    /// How it is known that the actors of acts are who they say.
    pub assurance: Assurance,
    /// How the authors are known.
    pub author_assurance: Assurance,
    /// Uid of the model: acts are for it alone.
    #[serde(default, skip_serializing_if = "nothing")]
    pub uid: String,
}

/// Whether there is nothing to say. This is left out where evaluations are written down.
fn nothing<T: Default + PartialEq>(seen: &T) -> bool {
    *seen == T::default()
}

impl Governance {
    /// Whether what is decided goes on record.
    pub fn records(&self) -> bool {
        self.governed().is_some_and(|governed| governed.records)
    }

    /// What the policies ask that select the model, if any do.
    pub fn governed(&self) -> Option<&Governed> {
        match self {
            Self::Governed(governed) => Some(governed),
            Self::Ungoverned | Self::Unknown(_) => None,
        }
    }
}

/// How the records of the model stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What the newest record says that holds, where status was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<Box<Remembered>>,
}

/// What a record says that holds, as far as a lost status is rebuilt from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remembered {
    /// The revision that carries the main traffic.
    pub stable: Option<RevisionRef>,
    /// The revision that others are compared with.
    pub reference: Option<RevisionRef>,
    /// The revision on trial, and its weight.
    pub on_trial: Option<(RevisionRef, i32)>,
    /// Revisions that earned their traffic.
    pub proven: Vec<RevisionRef>,
    /// Revisions that were judged harmful.
    pub rejected: Vec<Rejected>,
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
        let revision = RevisionRef {
            variant: "int8".to_owned(),
            revision: "v1:8".to_owned(),
        };
        let whole = LedgerSeen {
            unwritten_since: Some("2026-11-28T10:05:17.250Z".parse().unwrap()),
            problem: Some(LedgerProblem {
                reason: LedgerReason::Forked,
                message: "m".to_owned(),
            }),
            unsigned: Some("u".to_owned()),
            remembered: Some(Box::new(Remembered {
                on_trial: Some((revision.clone(), 5)),
                proven: vec![revision],
                ..Remembered::default()
            })),
        };
        for seen in [none, whole] {
            let printed = serde_json::to_string(&seen).unwrap();
            assert_eq!(serde_json::from_str::<LedgerSeen>(&printed).unwrap(), seen);
        }
        let whole = Governed {
            from: vec!["high-risk@3".to_owned()],
            digest: "sha256:d".to_owned(),
            slot: Slot::Full {
                of: 2,
                in_use: vec!["risk/fraud".to_owned()],
            },
            turn: true,
            signed_by: BTreeMap::from([("int8".to_owned(), BTreeSet::from(["key".to_owned()]))]),
            prometheus: Some("http://prometheus:9090".to_owned()),
            ..Governed::default()
        };
        for seen in [
            Governance::Ungoverned,
            Governance::Unknown("u".to_owned()),
            Governance::Governed(Governed::default()),
            Governance::Governed(whole),
        ] {
            let printed = serde_json::to_string(&seen).unwrap();
            assert_eq!(serde_json::from_str::<Governance>(&printed).unwrap(), seen);
        }
        let people = People {
            authors: vec!["ann".to_owned()],
            assurance: Assurance::Pinned,
            uid: "6f0c".to_owned(),
            ..People::default()
        };
        let printed = serde_json::to_string(&people).unwrap();
        assert_eq!(serde_json::from_str::<People>(&printed).unwrap(), people);
    }
}
