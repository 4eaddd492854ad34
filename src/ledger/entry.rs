//! The record of one evaluation, made of what it saw, heard and planned.

use std::collections::BTreeSet;

use crate::RELEASE;
use crate::api::{Action, Decision, QuantizedModelSpec, RevisionRef, RolloutStatus, plain};
use crate::model::identity;
use crate::rollout::{Heard, ModelSeen, Plan, Scope, Seen, TestState, guard_status};

use super::RULES;
use super::journal::{Journal, polls};
use super::link::Head;
use super::statement::{
    After, Core, Documents, Evidence, Look, ModelName, Predicate, RecordInfo, Signing, Statement, Subject, Weights,
};

/// Longest summary, in characters.
const LONGEST_SUMMARY: usize = 2_048;

/// Most bytes of a statement. A larger one goes on record without what was counted before the evaluation that decided.
const LARGEST: usize = 256 * 1024;

/// What is to go on record.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// What the evaluation saw.
    pub seen: &'a Seen<'a>,
    /// What it heard of the metrics.
    pub heard: &'a Heard,
    /// What it decided.
    pub plan: &'a Plan,
    /// What was counted since the record before. One that does not lead to this evaluation is left out.
    pub journal: Option<Journal>,
    /// The record before.
    pub head: &'a Head,
    /// Uid of the model.
    pub uid: &'a str,
    /// Whether there is a key.
    pub signing: Signing,
    /// Texts that digests elsewhere stand for.
    pub documents: Documents,
}

/// A record that can be signed and kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record.
    pub statement: Statement,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// The head of the chain from now on.
    pub head: Head,
    /// What was decided, in a sentence.
    pub summary: String,
}

impl Entry {
    /// The record of an evaluation.
    pub fn of(written: Written<'_>) -> Self {
        let sequence = written.head.sequence + 1;
        let seen = written.seen.redacted();
        let model = model_name(&seen.model, written.uid);
        let subject = subjects(
            Subject::record(written.head, &model),
            &seen.model,
            &written.plan.decisions,
        );
        let mut statement = Statement::new(subject, predicate(written, sequence, seen, model));
        let mut bytes = statement.print();
        if bytes.len() > LARGEST
            && let Some(evidence) = &mut statement.predicate.evidence
            && !evidence.journal.looks.is_empty()
        {
            evidence.omitted = Some(format!(
                "the counts of {} evaluations before this one: with them the record would have {} bytes, and {LARGEST} are the most",
                evidence.journal.looks.len(),
                bytes.len()
            ));
            evidence.journal.looks.clear();
            bytes = statement.print();
        }
        Self {
            head: Head::of(sequence, &bytes),
            summary: summary(&statement.predicate),
            statement,
            bytes,
        }
    }
}

fn model_name(model: &ModelSeen, uid: &str) -> ModelName {
    ModelName {
        namespace: model.namespace.clone(),
        name: model.name.clone(),
        uid: uid.to_owned(),
        generation: model.generation,
    }
}

fn predicate(written: Written<'_>, sequence: u64, seen: Seen<'static>, model: ModelName) -> Predicate {
    let Written {
        heard,
        plan,
        journal,
        signing,
        documents,
        ..
    } = written;
    let status = &plan.status;
    let before: Vec<_> = seen.route.weights.clone().into_iter().collect();
    let after = match (plan.scope, &plan.route) {
        (Scope::TearDown | Scope::Release, _) => Vec::new(),
        (_, Some(route)) => route.weights.clone(),
        (_, None) => before.clone(),
    };
    Predicate {
        record: RecordInfo {
            sequence,
            time: seen.now.to_string(),
            signing,
            model,
            core: Core {
                guardbit: RELEASE.to_owned(),
                rules: RULES,
                state: TestState::version().to_owned(),
            },
        },
        decisions: plan.decisions.clone(),
        weights: Weights { before, after },
        order: plan.order,
        verdicts: plan.judged.iter().cloned().map(guard_status).collect(),
        evidence: TestState::before(heard).map(|before| Evidence {
            after: after_look(before.clone(), &seen, heard, plan),
            journal: Journal::leading_to(journal, &seen, before),
            omitted: None,
        }),
        look: Look {
            heard: heard.clone(),
            seen,
        },
        documents,
        after: After {
            phase: status.phase.clone(),
            stable: status.stable.clone(),
            reference: status.reference.clone(),
            // The forecast is made aside, from what the servers of Prometheus keep. The rules are in what was seen.
            rollout: status.rollout.clone().map(|rollout| RolloutStatus {
                forecast: None,
                rules: None,
                ..rollout
            }),
            proven: status.proven.clone(),
            rejected: status.rejected.clone(),
        },
    }
}

/// What the tests of a trial know after an evaluation with this plan, though the trial may have ended with it.
pub(super) fn after_look(before: TestState, seen: &Seen<'_>, heard: &Heard, plan: &Plan) -> TestState {
    let mut after = before;
    // An evaluation that leaves everything as it is, takes nothing of what it heard.
    if plan.scope == Scope::Apply {
        after.take(seen, heard);
    }
    after
}

/// What a record is about: the record before it, what the variants of its decisions are made of, and the spec.
fn subjects(before: Subject, model: &ModelSeen, decisions: &[Decision]) -> Vec<Subject> {
    let mut subjects = vec![before];
    let mut named = BTreeSet::new();
    for decision in decisions {
        let revision = RevisionRef {
            variant: decision.variant.clone(),
            revision: decision.revision.clone(),
        };
        // The spec says nothing of a revision that it no longer describes.
        if model.revisions.contains(&revision) && named.insert(&decision.variant) {
            subjects.extend(made_of(&model.spec, &decision.variant));
        }
    }
    subjects.push(Subject::new("spec", &identity::digest(&model.spec)));
    subjects
}

/// The weights of a variant and the data that it was calibrated on.
fn made_of(spec: &QuantizedModelSpec, variant: &str) -> Vec<Subject> {
    let Some(written) = spec.variants.iter().find(|written| written.name == variant) else {
        return Vec::new();
    };
    let calibration = written.calibration.as_ref().map(|done| &done.dataset.digest);
    let digests = [("weights", Some(&written.weights.digest)), ("calibration", calibration)];
    let subject = |(what, digest): (&str, Option<&String>)| {
        let sha256 = digest?.strip_prefix("sha256:").filter(|digits| is_sha256(digits))?;
        Some(Subject::new(format!("{what}/{variant}"), sha256))
    };
    digests.into_iter().filter_map(subject).collect()
}

fn is_sha256(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a record says, in a sentence.
pub(super) fn summary(predicate: &Predicate) -> String {
    let told = |decision: &Decision| {
        let Decision {
            action, variant, why, ..
        } = decision;
        // Why a weight was raised begins with the weight.
        let joint = if *action == Action::Raised { "" } else { ":" };
        format!("{action} {variant}{joint} {why}")
    };
    let told: Vec<_> = predicate.decisions.iter().map(told).collect();
    let sentence = if told.is_empty() {
        let before = predicate
            .evidence
            .as_ref()
            .map_or(0, |evidence| evidence.journal.polls());
        let polls = before + polls(&predicate.look.heard.guards);
        format!("Checkpoint: {polls} polls")
    } else {
        told.join("; ")
    };
    plain(&sentence, LONGEST_SUMMARY)
}

#[cfg(test)]
mod tests;
