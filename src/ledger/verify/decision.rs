//! The decision of a record, made once more by the same code from what the record holds.

use std::iter;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::RELEASE;
use crate::evidence::Poll;
use crate::rollout::{Remembered, Scope, TestState, resolve};

use super::super::RULES;
use super::super::entry::{Entry, Written};
use super::super::link::Head;
use super::super::statement::{Evidence, Predicate, Statement};
use super::finding::{Check, Finding};
use super::open::Opened;

/// What became of making a decision once more.
pub(super) struct Again {
    pub(super) made: Made,
    /// What was found, with the number of the record.
    pub(super) found: Vec<(u64, Finding)>,
    /// How the record ends.
    pub(super) end: End,
}

/// How a decision was made once more.
pub(super) enum Made {
    /// It is the same, from counts alone: what the tests knew before them follows from earlier records.
    FromCounts,
    /// It is the same, from what the record says that the tests knew; the counts behind that are not on record.
    FromState,
    /// It is another.
    Differs,
    /// It was not made, for this reason.
    Not(String),
}

/// How a record ends.
pub(super) struct End {
    time: Timestamp,
    /// What the tests know from then on; `None` while nothing is on trial, and where the decision was not made again.
    tests: Option<TestState>,
    /// What holds from then on, for a status that is lost; `None` where another core wrote it.
    holds: Option<Remembered>,
}

/// Makes the decision of a record once more. `before` is the end of the record before, where that is here.
pub(super) fn decide_again(record: &Opened<'_>, before: Option<&End>) -> Again {
    let Some(statement) = &record.statement else {
        let end = End {
            time: record.time,
            tests: None,
            holds: None,
        };
        return Again {
            made: Made::Not(other_core(record)),
            found: Vec::new(),
            end,
        };
    };
    let (is_known, gap) = begins(record, statement, before);
    let (tests, differences) = differences(record, statement);
    let differences = counted(statement).into_iter().chain(differences);
    let differences = differences.chain(misremembered(statement, before));
    let mut found: Vec<_> = differences.map(|(check, why)| record.broken(check, &why)).collect();
    let made = if !found.is_empty() {
        Made::Differs
    } else if is_known {
        Made::FromCounts
    } else {
        Made::FromState
    };
    found.extend(gap);
    let end = End {
        time: record.time,
        tests,
        holds: Some(statement.predicate.after.remembered()),
    };
    Again { made, found, end }
}

/// Why a status that was lost was not rebuilt from the record before.
fn misremembered(statement: &Statement, before: Option<&End>) -> Option<(Check, String)> {
    let told = statement.predicate.look.seen.ledger.remembered.as_deref()?;
    let holds = before?.holds.as_ref()?;
    differs(Check::Decision, "what the record before it says", told, holds)
}

/// Why the decision of another core is not made again.
fn other_core(record: &Opened<'_>) -> String {
    let core = &record.info.core;
    if core.rules != RULES {
        format!("rules {}, this is {RULES}", core.rules)
    } else if core.state != TestState::version() {
        format!("state {}, this is {}", core.state, TestState::version())
    } else {
        format!("release {}, this is {RELEASE}", core.guardbit)
    }
}

/// Whether it follows from earlier records what the tests knew where the counts of a record begin, and the gap to where the record
/// before ended, if there is one.
fn begins(record: &Opened<'_>, statement: &Statement, before: Option<&End>) -> (bool, Option<(u64, Finding)>) {
    let Some(evidence) = &statement.predicate.evidence else {
        return (true, None);
    };
    if let Some(omitted) = &evidence.omitted {
        return (
            false,
            Some(record.reservation(Check::Gap, &format!("it leaves out {omitted}"))),
        );
    }
    let start = &evidence.journal.before;
    let same_trial = |end: &&End| end.tests.as_ref().is_some_and(|tests| tests.epoch() == start.epoch());
    let Some(End {
        time,
        tests: Some(tests),
        ..
    }) = before.filter(same_trial)
    else {
        // A trial begins with nothing. It may begin without a decision, where guards were edited.
        return (start.is_fresh(), None);
    };
    if tests.digest() == start.digest() {
        return (true, None);
    }
    let first = first_poll(&statement.predicate, evidence).unwrap_or(record.time);
    let message = format!(
        "what was counted in the {} s from {time} to {first} is not on record",
        first.duration_since(*time).as_secs().max(0)
    );
    (false, Some(record.reservation(Check::Gap, &message)))
}

/// Start of the earliest poll of a record.
fn first_poll(predicate: &Predicate, evidence: &Evidence) -> Option<Timestamp> {
    let looks = evidence
        .journal
        .looks
        .iter()
        .chain(iter::once(&predicate.look.heard.guards));
    let polls = looks.flat_map(|look| look.values()).flat_map(|heard| &heard.polls);
    let first = polls.map(|Poll { from, .. }| *from).min()?;
    Timestamp::from_millisecond(first).ok()
}

/// Why the counts of a record do not lead to what the tests knew when it was decided.
fn counted(statement: &Statement) -> Option<(Check, String)> {
    let Predicate { evidence, look, .. } = &statement.predicate;
    let journal = &evidence.as_ref().filter(|evidence| evidence.omitted.is_none())?.journal;
    let known = TestState::before(&look.heard)?.digest();
    let counted = journal.end(&look.seen).digest();
    (counted != known).then(|| {
        let polls = journal.polls();
        let why = format!(
            "after the {polls} polls of its journal the tests know sha256:{counted}, and it says sha256:{known}"
        );
        (Check::Evidence, why)
    })
}

/// In what a record differs from the one that guardbit writes about the same evaluation, and what the tests know after that one.
fn differences(record: &Opened<'_>, statement: &Statement) -> (Option<TestState>, Vec<(Check, String)>) {
    let written = &statement.predicate;
    let plan = resolve(&written.look.seen, written.look.heard.clone());
    let again = Entry::of(Written {
        seen: &written.look.seen,
        heard: &written.look.heard,
        plan: &plan,
        journal: written.evidence.as_ref().map(|evidence| evidence.journal.clone()),
        head: &before(record),
        uid: &record.info.model.uid,
        signing: record.info.signing,
        documents: written.documents.clone(),
    });
    let Statement {
        subject,
        predicate: mut expected,
        ..
    } = again.statement;
    // Every release says which it is, and what it left out.
    expected.record.core.guardbit.clone_from(&written.record.core.guardbit);
    if let (Some(expected), Some(written)) = (&mut expected.evidence, &written.evidence) {
        expected.omitted.clone_from(&written.omitted);
    }
    let after = |of: &Predicate| of.evidence.as_ref().map(|evidence| evidence.after.digest());
    let journal = |of: &Predicate| of.evidence.as_ref().map(|evidence| evidence.journal.through.clone());
    let parts = [
        differs(Check::Subjects, "subjects", &statement.subject, &subject),
        differs(Check::Evidence, "verdicts", &written.verdicts, &expected.verdicts),
        differs(
            Check::Evidence,
            "state of the tests before it",
            &journal(written),
            &journal(&expected),
        ),
        differs(
            Check::Evidence,
            "state of the tests after it",
            &after(written),
            &after(&expected),
        ),
        differs(Check::Decision, "decisions", &written.decisions, &expected.decisions),
        differs(Check::Decision, "weights", &written.weights, &expected.weights),
        differs(Check::Decision, "order of writes", &written.order, &expected.order),
        differs(Check::Decision, "outcome", &written.after, &expected.after),
        differs(Check::Decision, "record", &written.record, &expected.record),
    ];
    let mut found: Vec<_> = parts.into_iter().flatten().collect();
    if found.is_empty() && printed(written) != printed(&expected) {
        let why = "guardbit writes another statement about the same evaluation";
        found.push((Check::Decision, why.to_owned()));
    }
    // A plan that leaves everything as it is leaves the state of the tests where it was, which is not in what was seen.
    let stays = written.evidence.as_ref().filter(|_| plan.scope != Scope::Apply);
    let tests = stays.map_or_else(
        || TestState::after(&plan.status),
        |evidence| Some(evidence.after.clone()),
    );
    (tests, found)
}

/// What a record says that the record before it is.
fn before(record: &Opened<'_>) -> Head {
    let digest = record.link.as_ref().map(|link| link.digest.sha256.clone());
    Head {
        sequence: record.head.sequence.saturating_sub(1),
        digest: digest.unwrap_or_default(),
    }
}

/// A part of a record that does not follow from the rest.
fn differs(check: Check, part: &str, written: &impl Serialize, expected: &impl Serialize) -> Option<(Check, String)> {
    let (written, expected) = (printed(written), printed(expected));
    (written != expected).then(|| {
        let why = format!("{part}: {expected} is expected, and it says {written}");
        (check, why)
    })
}

/// A part of a record as it is on record: times of decisions are printed in whole seconds.
fn printed(part: &impl Serialize) -> String {
    // Printing plain data into memory cannot fail.
    serde_json::to_string(part).unwrap_or_default()
}
