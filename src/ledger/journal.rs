//! What was counted since the record before: the polls of evaluations that decided nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rollout::{GuardHeard, Heard, Plan, Scope, Seen, TestState};

/// What evaluations of one trial heard, one after the other, and what the tests knew before. All of them are judged by
/// the same, so what the tests know at the end can be found out again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Journal {
    /// What the tests knew before the first of them.
    pub before: TestState,
    /// Digest of what they are judged by.
    pub judged_by: String,
    /// What each of them heard of the guards. Those that taught the tests nothing are left out.
    pub looks: Vec<BTreeMap<String, GuardHeard>>,
    /// Digest of what the tests know after the last of them.
    pub through: String,
}

impl Journal {
    /// A journal without evaluations. It begins where the tests know this, at the evaluation that saw this.
    pub fn begin(before: TestState, seen: &Seen<'_>) -> Self {
        Self {
            through: before.digest(),
            judged_by: TestState::judged_by(&seen.model.spec),
            before,
            looks: Vec::new(),
        }
    }

    /// Whether it leads to an evaluation that saw this and whose tests knew this before: polls that are not followed by these, or
    /// that were judged by something else, do not.
    pub fn leads_to(&self, seen: &Seen<'_>, before: &TestState) -> bool {
        self.through == before.digest() && self.judged_by == TestState::judged_by(&seen.model.spec)
    }

    /// The journal where it leads to this evaluation, or else one that begins at it.
    pub fn leading_to(journal: Option<Self>, seen: &Seen<'_>, before: TestState) -> Self {
        match journal {
            Some(journal) if journal.leads_to(seen, &before) => journal,
            _ => Self::begin(before, seen),
        }
    }

    /// The journal with an evaluation that decided nothing; `None` where nothing is on trial.
    pub fn append(journal: Option<Self>, seen: &Seen<'_>, heard: &Heard, plan: &Plan) -> Option<Self> {
        if plan.scope != Scope::Apply {
            // What was heard was not taken, and is heard again.
            return journal;
        }
        let before = TestState::before(heard)?;
        let after = TestState::after(&plan.status).filter(|after| after.epoch() == before.epoch())?;
        let mut journal = Self::leading_to(journal, seen, before);
        let through = after.digest();
        if through != journal.through {
            journal.push(heard);
            journal.through = through;
        }
        Some(journal)
    }

    /// Adds what an evaluation heard, without lines of the golden set, which decide nothing.
    fn push(&mut self, heard: &Heard) {
        let kept = |(guard, heard): (&String, &GuardHeard)| {
            let heard = GuardHeard {
                lines: Vec::new(),
                ..heard.clone()
            };
            (guard.clone(), heard)
        };
        self.looks.push(heard.guards.iter().map(kept).collect());
    }

    /// What the tests know at the end. `seen` is what the evaluation saw to which the journal leads.
    pub fn end(&self, seen: &Seen<'_>) -> TestState {
        let mut state = self.before.clone();
        state.take_all(seen, &self.looks);
        state
    }

    /// Number of polls of all guards.
    pub fn polls(&self) -> usize {
        self.looks.iter().map(polls).sum()
    }

    /// About how many bytes its polls take in a record.
    pub fn bytes(&self) -> usize {
        // Printing plain data into memory cannot fail.
        serde_json::to_vec(&self.looks).map_or(0, |printed| printed.len())
    }
}

/// Number of polls of all guards in what one evaluation heard.
pub(super) fn polls(heard: &BTreeMap<String, GuardHeard>) -> usize {
    heard.values().map(|guard| guard.polls.len()).sum()
}

#[cfg(test)]
pub(super) mod tests;
