//! The traits of every kind of guard: as a spec writes it, as it is judged, and with the running state of its test.
//!
//! A kind is a file that implements these three traits, and an arm in each match of the parent module.

use crate::evidence::{Observed, Shown};
use crate::judge::{BenefitConfig, Regime, Rule, Tolerance, Values, text};

use super::figures::Figures;
use super::required::Limit;
use super::selector::Selector;
use super::traffic::{Known, Shape, Worse};

/// A kind of guard as a spec writes it. Its numbers need not be usable.
pub trait GuardSpec {
    /// What it asks of the metrics, in the order in which it is to be asked.
    fn asks(&self) -> Vec<Selector>;

    /// Whether it is a plain rule of consecutive polls, which has no error rate.
    fn is_plain_rule(&self) -> bool {
        false
    }

    /// Whether it depends on what a variant answers, and not only on whether and how quickly it answers.
    fn looks_at_outputs(&self) -> bool {
        false
    }

    /// Whether it can show that a candidate is better than stable.
    fn tells_benefit(&self) -> bool {
        true
    }

    /// Whether the series of a field may be missing, because a counter of something that never happened has none yet.
    fn may_be_absent(&self, _field: &str) -> bool {
        false
    }

    /// The field whose value does not depend on what a variant does, and why, if there is one.
    fn constant(&self) -> Option<(&'static str, String)> {
        None
    }

    /// The field that holds its tolerance, where that is a factor and a share, and the two.
    fn tolerance(&self) -> Option<(&'static str, Tolerance)> {
        None
    }

    /// The field that says how far a candidate may be from its baseline, and its current share.
    fn margin(&self) -> Option<(&'static str, f64)> {
        None
    }

    /// Writes another share into that field.
    fn set_margin(&mut self, _share: &str) {}
}

/// What a guard compares its candidate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The revision that the candidate is to replace.
    Baseline,
    /// The full-precision reference. The outputs of a new reference are not compared, because they are meant to differ.
    Reference,
    /// Fixed bounds: the guard asks for one value for all pods of the candidate together.
    Bounds,
}

/// What a step needs of a guard before it can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepNeed {
    /// So many requests of each arm, in three polls or more.
    Requests(u64),
    /// So many pairs of answers, in three polls or more.
    Pairs(u64),
    /// Three polls.
    Polls,
}

/// How a guard shows that a candidate is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Benefit {
    /// By the means of the events' values, which say how bad each event is.
    Means,
    /// By a plain rule on ratios.
    Ratio,
}

/// A kind of guard as it is judged, with its numbers.
pub trait GuardKind {
    /// The field of a guard that it is written in.
    fn field(&self) -> &'static str;

    /// What it compares its candidate with.
    fn compared_with(&self) -> Compared;

    /// What it tolerates, in all the terms in which a policy may limit it; nothing for a kind that no policy asks for.
    fn tolerates(&self) -> Vec<(Limit, f64)> {
        Vec::new()
    }

    /// Whether it counts all requests of both arms, so that it shows how traffic is split.
    fn counts_requests(&self) -> bool {
        false
    }

    /// Whether it counts pairs of answers. The series of pairs are the comparer's: they name the model and the revision
    /// themselves, and follow no weight.
    fn counts_pairs(&self) -> bool {
        false
    }

    /// Names of the gauges that are shown to people beside what it counts.
    fn shown(&self) -> Option<Shown<&'static str>> {
        None
    }

    /// What a step needs of it before it can end.
    fn step_needs(&self) -> StepNeed {
        match self.rule() {
            None => StepNeed::Requests(200),
            Some(_) => StepNeed::Polls,
        }
    }

    /// How many events it counts in a second on both arms together.
    fn events(&self, known: &Known) -> f64 {
        known.requests
    }

    /// Its weight in the combined evidence of harm, before weights are made to sum to 1; `None` for a guard without a
    /// sampling model.
    fn weight(&self) -> Option<f64> {
        None
    }

    /// How many polls out of bounds, of how many, are harm; for a plain rule.
    fn rule(&self) -> Option<(u32, u32)> {
        None
    }

    /// How it shows that a candidate is better.
    fn benefit(&self) -> Benefit {
        Benefit::Means
    }

    /// The improvement that is asked for, in words that follow "shown to be".
    fn better(&self, wanted: &BenefitConfig) -> String {
        format!("{} lower in {}", text::whole_percent(wanted.at_least), wanted.guard)
    }

    /// The value of each event of both arms, between 0 and 1, for the test of a benefit; `None` where nothing can be
    /// said, or where the candidate was too lightly loaded to be compared. `scale` is what 1 stands for, where that is
    /// no share; `slowest` is the largest latency that the guard watches.
    fn values(
        &self,
        _scale: &mut Option<f64>,
        _slowest: Option<f64>,
        _observed: &Observed,
    ) -> Option<(Values, Values)> {
        None
    }

    /// An assumed distribution of the events of a baseline that was not measured, and a sentence that says what was
    /// assumed.
    fn assumed(&self, name: &str, known: &Known) -> (Shape, String);

    /// A measured distribution, adapted to this guard.
    fn measured(&self, shape: Shape) -> Shape {
        shape
    }

    /// Candidates that are worse than a baseline with such events, and that the guard should find.
    fn worse(&self, _baseline: Option<&Shape>) -> Vec<Worse> {
        Vec::new()
    }

    /// Candidates that differ from their baseline, and by less than is tolerated. Of guards that count pairs: no other
    /// has a candidate that is expected to differ.
    fn tolerable(&self) -> Vec<Worse> {
        Vec::new()
    }

    /// The cost of judging one poll, as a multiple of the cost for a share of bad events.
    fn work(&self) -> f64;
}

/// A kind of guard with the test that it runs.
pub(super) trait Judged: GuardKind {
    /// Running state of the test.
    type Test: Default;

    /// Takes one poll; one that does not fit the kind is ignored.
    fn observe(&self, test: &mut Self::Test, regime: Regime, observed: &Observed);

    /// Begins a block of polls, whose events may have a common cause.
    fn begin_block(&self, _test: &mut Self::Test) {}

    /// Takes what the baseline alone did before the trial, oldest first.
    fn recall(&self, _test: &mut Self::Test, _history: &[Observed]) {}

    /// Logarithm of the evidence of harm; `None` for a plain rule.
    fn ln_harm(&self, _test: &Self::Test, _regime: Regime) -> Option<f64> {
        None
    }

    /// Logarithm of the evidence of health; `None` for a plain rule.
    fn ln_health(&self, _test: &Self::Test) -> Option<f64> {
        None
    }

    /// How its plain rule stands.
    fn stands<'a>(&self, _test: &'a Self::Test) -> Option<&'a Rule> {
        None
    }

    /// Whether the histograms no longer have a bound that the test counts at.
    fn has_lost_bound(&self, _test: &Self::Test, _observed: &Observed) -> bool {
        false
    }

    /// The largest edge that it watches, in seconds; `None` while it has none.
    fn slowest_edge(&self, _test: &Self::Test) -> Option<f64> {
        None
    }

    /// The counts, in words.
    fn figures(&self, test: &Self::Test, regime: Regime) -> Figures;
}
