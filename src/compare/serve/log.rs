//! What a comparer tells about itself while it runs: what it asks, and which arm does not answer. A reason is told at most
//! once a minute, because arms are asked many times a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::compare::ask::Failure;
use crate::compare::pace::Spent;
use crate::compare::pair::Role;

/// How long the same is not told again.
const SILENCE: Duration = Duration::from_secs(60);

/// When each failure was told last, by arm and reason; so its size is bounded.
#[derive(Default)]
pub struct Log(Mutex<BTreeMap<(Role, &'static str), Instant>>);

impl Log {
    /// An arm did not answer, or not with an answer.
    pub fn failure(&self, arm: Role, failure: &Failure) {
        if !self.is_due(arm, failure.reason(), Instant::now()) {
            return;
        }
        let arm = arm.name();
        if failure.is_busy() {
            tracing::warn!(arm, %failure, "an arm has no room or is not there: it is asked less");
        } else {
            tracing::warn!(arm, %failure, "an arm gives no answer");
        }
    }

    fn is_due(&self, arm: Role, reason: &'static str, now: Instant) -> bool {
        let mut told = self.0.lock();
        let is_due = told
            .get(&(arm, reason))
            .is_none_or(|last| now.duration_since(*last) >= SILENCE);
        if is_due {
            told.insert((arm, reason), now);
        }
        is_due
    }
}

/// The budget is used up.
pub fn spent(spent: Spent) {
    let budget = match spent {
        Spent::Pairs => "--budget-pairs",
        Spent::Tokens => "--budget-tokens",
    };
    tracing::warn!(budget, "the budget is used up: no pair is asked any more");
}

/// All answers of the reference were one and the same.
pub fn one_answer() {
    tracing::warn!(
        "the reference gave one and the same answer to all questions: pairs that agree say nothing; ask others, or look at what it answers"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_a_minute_for_each_arm() {
        let (log, begun) = (Log::default(), Instant::now());
        for (seconds, arm, reason, is_due) in [
            (0, Role::Candidate, "status", true),
            (1, Role::Candidate, "status", false),
            (1, Role::Reference, "status", true),
            (2, Role::Candidate, "timeout", true),
            (59, Role::Candidate, "status", false),
            (60, Role::Candidate, "status", true),
            (119, Role::Candidate, "status", false),
        ] {
            let now = begun + Duration::from_secs(seconds);
            assert_eq!(log.is_due(arm, reason, now), is_due, "{seconds} {arm:?} {reason}");
        }
    }
}
