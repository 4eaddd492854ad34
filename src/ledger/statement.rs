//! The form of a record: an in-toto statement whose predicate is one decision. Data only.
//!
//! Statements are printed as canonical JSON (RFC 8785): the same statement always has the same bytes. Everything that is not an
//! integer or a text is a decimal string, and no integer is beyond 2^53, so that any language reads what was written.

use serde::{Deserialize, Serialize};

use crate::api::{Decision, GuardStatus, Phase, Proven, Rejected, RevisionRef, RolloutStatus, Word};
use crate::rollout::{Heard, Order, Remembered, Seen, TestState};

use super::journal::Journal;
use super::link::Head;

/// Type of an in-toto statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// Type of the predicate. It has a version of its own.
pub(super) const PREDICATE: &str = "https://guardbit.dev/precision-decision/v1";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// What it is about, by digest. The first is the record before.
    pub subject: Vec<Subject>,
    predicate_type: String,
    /// The decision.
    pub predicate: Predicate,
}

/// A text that is not a record.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// It is not JSON, or lacks a field, or has one that a record does not have.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is a statement of something else.
    #[error("it is a {0:?}, and no record of guardbit ({PREDICATE})")]
    OtherType(String),
    /// It is a record, and not in canonical form: somebody else wrote it.
    #[error("it is not in canonical form, so guardbit did not write it")]
    NotCanonical,
}

impl Statement {
    /// A statement about these subjects.
    pub fn new(subject: Vec<Subject>, predicate: Predicate) -> Self {
        Self {
            kind: STATEMENT.to_owned(),
            subject,
            predicate_type: PREDICATE.to_owned(),
            predicate,
        }
    }

    /// Its canonical bytes, which are signed and whose digest the next record names.
    pub fn print(&self) -> Vec<u8> {
        // Canonicalisation cannot fail: there are no numbers but integers, and all keys are strings.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Statement::print`] wrote, and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Types {
            #[serde(rename = "_type")]
            kind: String,
            predicate_type: String,
        }
        let types: Types = serde_json::from_slice(bytes)?;
        for (found, wanted) in [(types.kind, STATEMENT), (types.predicate_type, PREDICATE)] {
            if found != wanted {
                return Err(StatementError::OtherType(found));
            }
        }
        let statement: Self = serde_json::from_slice(bytes)?;
        if statement.print() != bytes {
            return Err(StatementError::NotCanonical);
        }
        Ok(statement)
    }
}

/// SHA-256 of the record that a statement says comes before it, in hexadecimal digits. `None` where it says none.
pub fn linked_to(statement: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Linked {
        subject: Vec<Subject>,
    }
    let linked: Linked = serde_json::from_slice(statement).ok()?;
    Some(linked.subject.into_iter().next()?.digest.sha256)
}

/// Something that a record is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What it is: `record/NAMESPACE/MODEL/NUMBER`, `weights/VARIANT`, `calibration/VARIANT`, `spec`.
    pub name: String,
    /// Its digest.
    pub digest: SubjectDigest,
}

/// Digest of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Subject {
    /// A subject with a SHA-256 in hexadecimal digits.
    pub fn new(name: impl Into<String>, sha256: &str) -> Self {
        Self {
            name: name.into(),
            digest: SubjectDigest {
                sha256: sha256.to_owned(),
            },
        }
    }

    /// The subject by which a record names the one before. It comes first among the subjects, so that a verifier which knows
    /// nothing of guardbit can walk the chain.
    pub fn record(before: &Head, model: &ModelName) -> Self {
        let ModelName { namespace, name, .. } = model;
        Self::new(format!("record/{namespace}/{name}/{}", before.sequence), &before.digest)
    }
}

/// The decision, and all that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Predicate {
    /// Which record it is, and what wrote it.
    pub record: RecordInfo,
    /// What was decided, in order. None in a checkpoint.
    pub decisions: Vec<Decision>,
    /// Weights before and after.
    pub weights: Weights,
    /// Whether the weight was lowered before this was on record.
    pub order: Order,
    /// What the guards had found.
    pub verdicts: Vec<GuardStatus>,
    /// What was counted since the record before; `None` while nothing is on trial.
    pub evidence: Option<Evidence>,
    /// What the evaluation that decided saw and heard.
    pub look: Look,
    /// Texts that digests elsewhere stand for.
    #[serde(default, skip_serializing_if = "Documents::is_empty")]
    pub documents: Documents,
    /// What holds from now on.
    pub after: After,
}

/// Which record it is, and what wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordInfo {
    /// Number in the chain of the model; counts from 1.
    pub sequence: u64,
    /// When it was decided, by the clock of guardbit.
    pub time: String,
    /// Whether guardbit had a key.
    pub signing: Signing,
    /// The model.
    pub model: ModelName,
    /// The code that decided.
    pub core: Core,
}

/// Whether guardbit had a key when it wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signing {
    /// It had one: a record without a signature has lost it.
    Key,
    /// It had none.
    Unsigned,
}

/// The model that a record is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a model of the same name made later has another.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
}

/// The code that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Core {
    /// The release of guardbit.
    pub guardbit: String,
    /// Version of its rules; see [`super::RULES`].
    pub rules: u32,
    /// Version of the state of its tests.
    pub state: String,
}

/// Weights in percent, by revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Those that the route carried.
    pub before: Vec<(RevisionRef, i32)>,
    /// Those that were decided.
    pub after: Vec<(RevisionRef, i32)>,
}

/// What was counted since the record before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// What the tests knew at the beginning, and what was counted from then on until the evaluation that decided.
    pub journal: Journal,
    /// What the tests know after it.
    pub after: TestState,
    /// What was left out of the journal because the record would have been too large. The journal begins where it did, and
    /// does not lead to the evaluation that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<String>,
}

/// What the evaluation that decided saw and heard. [`crate::rollout::resolve`] makes the same decision of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// What it saw, without pod templates: people put secrets into them, and identities stand for them.
    pub seen: Seen<'static>,
    /// What it heard of the metrics.
    pub heard: Heard,
}

/// Texts that digests elsewhere stand for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Documents {
    /// Numbers and digests of records that are deleted after this one is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Head>,
    /// The record from which the chain goes on, where status had lost it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Head>,
}

impl Documents {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What holds after a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct After {
    /// Summary of what happens.
    pub phase: Option<Word<Phase>>,
    /// The revision that carries the main traffic.
    pub stable: Option<RevisionRef>,
    /// The revision that others are compared with.
    pub reference: Option<RevisionRef>,
    /// The rollout in progress.
    pub rollout: Option<RolloutStatus>,
    /// Revisions that earned their traffic.
    pub proven: Vec<Proven>,
    /// Revisions that were judged harmful.
    pub rejected: Vec<Rejected>,
}

impl After {
    /// What of it a lost status is rebuilt from.
    pub fn remembered(&self) -> Remembered {
        let revision = |of: &Proven| RevisionRef {
            variant: of.variant.clone(),
            revision: of.revision.clone(),
        };
        let rollout = self.rollout.as_ref();
        Remembered {
            stable: self.stable.clone(),
            reference: self.reference.clone(),
            on_trial: rollout.map(|rollout| (rollout.candidate.clone(), rollout.weight)),
            proven: self.proven.iter().map(revision).collect(),
            rejected: self.rejected.clone(),
        }
    }
}
