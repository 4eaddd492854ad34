//! From polls to tests: what one evaluation heard is fed to the tests of a trial, in the order of time.
//!
//! The evaluation does it when it decides, and so does everybody who repeats it from a record, by this code. Must not
//! know where the state of the tests is kept.

use std::collections::BTreeMap;

use crate::evidence::{Observed, Poll};
use crate::guards::{BenefitTest, Suite, SuiteConfig};
use crate::judge::BenefitConfig;

use super::heard::GuardHeard;
use super::inputs::{Finding, Inputs};

/// What a guard says whose pairs have come to an end.
const SPENT: &str = "the budget of the comparer is used up, and no more pairs come: raise spec.comparer.budget";

/// The tests of a trial, and what they are to find.
pub(super) struct Tests<'a> {
    pub(super) config: &'a SuiteConfig,
    /// The benefit that is asked for.
    pub(super) wanted: Option<&'a BenefitConfig>,
    /// The tests of pairs by source; `None` where there are none.
    pub(super) inputs: Option<&'a Inputs>,
    pub(super) suite: &'a mut Suite,
    pub(super) benefit: &'a mut Option<BenefitTest>,
}

/// What the tests found in what one evaluation heard.
pub(super) struct Taken {
    /// Whether the guards found harm. Polls after that were not read.
    pub(super) harm: bool,
    /// What was found of users' requests; `None` where they are not tested.
    pub(super) finding: Option<Finding>,
}

impl Tests<'_> {
    /// Takes what one evaluation heard of the guards. `also` is shown each poll that was read.
    pub(super) fn take(&mut self, heard: &BTreeMap<String, GuardHeard>, mut also: impl FnMut(&str, &Poll)) -> Taken {
        let mut polls = Vec::new();
        for (guard, heard) in heard {
            if let Some(history) = &heard.recalled {
                self.recall(guard, history);
            }
            if let Some(form) = heard.form {
                self.suite.counts_in(guard, form);
            }
            let oddity = heard.oddity.clone().or_else(|| heard.spent.then(|| SPENT.to_owned()));
            self.suite.remark(guard, oddity);
            polls.extend(heard.polls.iter().map(|poll| (guard.as_str(), poll)));
        }
        // Polls are taken in the order of their time: after an outage, harm must be found where it would have been
        // found without one, and later polls do not revoke it.
        polls.sort_by_key(|(_, poll)| poll.through);
        let mut harm = false;
        for together in polls.chunk_by(|(_, a), (_, b)| a.through == b.through) {
            for &(guard, poll) in together {
                self.observe(guard, poll);
                also(guard, poll);
            }
            harm = self.suite.is_harmful(self.config);
            if harm {
                break;
            }
        }
        let finding = self.inputs.map(|inputs| inputs.observe(self.suite, heard));
        Taken { harm, finding }
    }

    /// Gives a guard that begins to listen the history of its baseline.
    fn recall(&mut self, guard: &str, history: &[Observed]) {
        self.suite.recall(self.config, guard, history);
        let slowest = self.suite.slowest_edge(self.config, guard);
        if let Some(config) = self.config.guards.get(guard)
            && self.wanted.is_some_and(|wanted| wanted.guard == guard)
        {
            let test = self.benefit.insert(BenefitTest::new(config));
            test.recall(config, slowest, history);
        }
    }

    /// Takes one poll of a guard.
    fn observe(&mut self, guard: &str, poll: &Poll) {
        let slowest = self.suite.slowest_edge(self.config, guard);
        if let (Some(wanted), Some(config)) = (self.wanted, self.config.guards.get(guard))
            && wanted.guard == guard
        {
            let test = self.benefit.get_or_insert_with(|| BenefitTest::new(config));
            test.observe(wanted, config, slowest, &poll.observed);
        }
        self.suite.observe(self.config, guard, poll);
    }
}
