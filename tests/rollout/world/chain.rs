//! The records of a world. Each evaluation is held against what goes on record of it.

use guardbit::ledger::{Documents, Entry, Evidence, Head, Journal, Signing, Statement, Written};
use guardbit::rollout::{Heard, Observation, Plan, Scope, Seen, TestState, hear, resolve};

/// Polls after which a record is written without a decision.
const CHECKPOINT: usize = 60;

/// The records that were written, and what has been counted since.
#[derive(Default)]
pub struct Chain {
    /// The records, oldest first.
    pub records: Vec<Vec<u8>>,
    head: Option<Head>,
    journal: Option<Journal>,
}

impl Chain {
    /// Takes an evaluation, which must be decided anew from what was printed of it; puts it on record where something was
    /// decided.
    pub fn hold(&mut self, observation: &Observation, plan: &Plan) {
        let (seen, heard) = (observation.seen(), hear(observation));
        decided_anew(&seen, &heard, plan);
        taken_anew(&seen, &heard, plan);
        let counted = self.journal.as_ref().map_or(0, Journal::polls);
        if plan.decisions.is_empty() && counted < CHECKPOINT {
            self.journal = Journal::append(self.journal.take(), &seen, &heard, plan);
            return;
        }
        let entry = Entry::of(Written {
            seen: &seen,
            heard: &heard,
            plan,
            journal: self.journal.take(),
            head: self.head.as_ref().unwrap_or(&Head::origin("uid")),
            uid: "uid",
            signing: Signing::Unsigned,
            documents: Documents::default(),
        });
        let again = Statement::parse(&entry.bytes).expect("a record can be read back");
        assert_eq!(again, entry.statement);
        let look = &again.predicate.look;
        assert_eq!(resolve(&look.seen, look.heard.clone()).decisions, plan.decisions);
        // A long history that a new trial recalls may be too large for a record, which says so then.
        let whole = again
            .predicate
            .evidence
            .as_ref()
            .filter(|evidence| evidence.omitted.is_none());
        if let Some(Evidence { journal, after, .. }) = whole {
            let mut end = journal.end(&look.seen);
            assert_eq!(
                Some(&end),
                TestState::before(&look.heard).as_ref(),
                "where the journal ends"
            );
            if plan.scope == Scope::Apply {
                end.take(&look.seen, &look.heard);
            }
            assert_eq!(end, *after);
        }
        self.head = Some(entry.head);
        self.records.push(entry.bytes);
    }
}

/// The same is decided from what was printed and read back.
fn decided_anew(seen: &Seen<'_>, heard: &Heard, plan: &Plan) {
    let seen = serde_json::to_string(&seen.redacted()).expect("what was seen can be printed");
    let heard = serde_json::to_string(heard).expect("what was heard can be printed");
    let seen: Seen = serde_json::from_str(&seen).expect("what was seen can be read back");
    let heard: Heard = serde_json::from_str(&heard).expect("what was heard can be read back");
    let mut plan = plan.clone();
    if plan.scope != Scope::Apply {
        // A plan that leaves everything as it is leaves the running evidence in the status, which is not on record.
        plan.status.evidence = None;
    }
    assert_eq!(resolve(&seen, heard), plan, "decided anew from {seen:?}");
}

/// What the tests know afterwards follows from what they knew before and what was heard.
fn taken_anew(seen: &Seen<'_>, heard: &Heard, plan: &Plan) {
    let Some(mut state) = TestState::before(heard) else {
        return;
    };
    if plan.scope == Scope::Apply {
        state.take(seen, heard);
    }
    // A decision may have ended the trial.
    if let Some(after) = TestState::after(&plan.status).filter(|after| after.epoch() == state.epoch()) {
        assert_eq!(state, after);
    }
}
