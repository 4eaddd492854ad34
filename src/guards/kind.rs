//! What every kind of guard has: as a spec writes it, as it is judged, and the running state of its test.
//!
//! A kind is a file that implements these three, and an arm in each match of the module above.

use crate::api::ToleranceSpec;
use crate::evidence::Observed;
use crate::judge::{BenefitConfig, Regime, Rule, Values, text};

use super::figures::Figures;
use super::selector::Selector;
use super::traffic::{Shape, Worse};

/// A kind of guard as a spec writes it. Its numbers need not be usable.
pub trait GuardSpec {
    /// What it asks of the metrics, in the order in which it is to be asked.
    fn asks(&self) -> Vec<Selector>;

    /// Whether it is a plain rule of consecutive polls, which has no error rate.
    fn is_plain_rule(&self) -> bool {
        false
    }

    /// Whether it looks at what a variant answers, and not only at whether it does and how quickly.
    fn looks_at_outputs(&self) -> bool {
        false
    }

    /// Whether it can tell that a candidate is better than stable.
    fn tells_benefit(&self) -> bool {
        true
    }

    /// Whether having no series of a field says nothing: what never happened has none yet.
    fn may_be_absent(&self, _field: &str) -> bool {
        false
    }

    /// The field whose value is the same whatever a variant does, and why, if there is one.
    fn constant(&self) -> Option<(&'static str, String)> {
        None
    }

    /// The field that holds its tolerance, where that is a factor and a share.
    fn tolerance(&self) -> Option<(&'static str, &ToleranceSpec)> {
        None
    }

    /// The field that says how far a candidate may be from its baseline, and that share now.
    fn margin(&self) -> Option<(&'static str, f64)> {
        None
    }

    /// Writes another share there.
    fn set_margin(&mut self, _share: &str) {}
}

/// What a guard compares its candidate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The revision that it is to replace.
    Baseline,
    /// Full precision. A new reference is compared with nobody's outputs: to answer otherwise is what it is for.
    Reference,
    /// Fixed bounds: the guard asks for one value of all pods of the candidate together.
    Bounds,
}

/// How a guard tells that a candidate is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Benefit {
    /// By the means of what events count: by how much each of them is bad.
    Means,
    /// By a plain rule on ratios.
    Ratio,
}

/// A kind of guard as it is judged, with its numbers.
pub trait GuardKind {
    /// What it compares its candidate with.
    fn compared_with(&self) -> Compared;

    /// Whether it counts all requests of both arms, so that it shows how traffic is split.
    fn counts_requests(&self) -> bool {
        false
    }

    /// Its weight in the combined evidence of harm, before weights are made to sum to 1; `None` where there is no sampling
    /// model of what it sees.
    fn weight(&self) -> Option<f64> {
        None
    }

    /// How many polls out of bounds, of how many, are harm; for a plain rule.
    fn rule(&self) -> Option<(u32, u32)> {
        None
    }

    /// How it tells that a candidate is better.
    fn benefit(&self) -> Benefit {
        Benefit::Means
    }

    /// What is wanted of a candidate that is to be better, in words that follow "shown to be".
    fn better(&self, wanted: &BenefitConfig) -> String {
        format!("{} lower in {}", text::whole_percent(wanted.at_least), wanted.guard)
    }

    /// What each event of both arms counts, between 0 and 1, for the test of a benefit; `None` where nothing can be told, or
    /// where the candidate was too lightly loaded to be compared. `scale` is what 1 stands for, where that is no share;
    /// `slowest` the largest latency that the guard watches.
    fn values(
        &self,
        _scale: &mut Option<f64>,
        _slowest: Option<f64>,
        _observed: &Observed,
    ) -> Option<(Values, Values)> {
        None
    }

    /// How the events of a baseline are distributed that nobody has measured, of which a share of `error_rate` is bad, and what
    /// was assumed, in a sentence.
    fn assumed(&self, name: &str, error_rate: f64) -> (Shape, String);

    /// The distribution that was measured, as this guard takes it.
    fn measured(&self, shape: Shape) -> Shape {
        shape
    }

    /// Candidates that are worse than a baseline with such events, and ought to be found.
    fn worse(&self, _baseline: Option<&Shape>) -> Vec<Worse> {
        Vec::new()
    }

    /// What one poll of it costs to judge, as a multiple of what a share of bad events costs.
    fn work(&self) -> f64;
}

/// A kind of guard with the test that it runs.
pub(super) trait Judged: GuardKind {
    /// Running state of the test.
    type Test: Default;

    /// Takes one poll; what does not fit the kind is left out.
    fn observe(&self, test: &mut Self::Test, regime: Regime, observed: &Observed);

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

    /// The largest edge that it watches, in seconds; `None` while it has none.
    fn slowest_edge(&self, _test: &Self::Test) -> Option<f64> {
        None
    }

    /// What was counted, in words.
    fn figures(&self, test: &Self::Test, regime: Regime) -> Figures;
}
