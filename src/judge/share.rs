//! The running tests of one share of bad events, with what is known from past polls.

use serde::{Deserialize, Serialize};

use crate::evidence::Counts;

use super::dispersion::Dispersion;
use super::margin::{Alternatives, Harm, Health, Past, Tolerance};
use super::regime::Regime;
use super::tally::Tally;

mod pairs;

pub use pairs::PairTest;

/// Tests of harm and of health of one share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareTest {
    pub(crate) candidate: Counts,
    pub(crate) baseline: Tally,
    /// Counts of the baseline before the trial.
    history: Tally,
    dispersion: Dispersion,
    harm: Harm,
    health: Health,
}

impl ShareTest {
    /// Takes what the baseline did before the trial: the guess of its share, and how bursty it is.
    pub(crate) fn recall(&mut self, baseline: impl Into<Tally>) {
        let baseline = baseline.into();
        self.history.add(baseline);
        self.dispersion.recall(baseline.whole());
    }

    /// Takes one poll. `prior` is the guess of the baseline's share where nothing is known about it.
    pub(crate) fn observe(
        &mut self,
        regime: Regime,
        alternatives: Alternatives,
        tolerance: Tolerance,
        prior: f64,
        candidate: Counts,
        baseline: impl Into<Tally>,
    ) {
        let baseline = baseline.into();
        let past = self.past(prior);
        self.health
            .observe(regime.false_promotion(), tolerance, past, candidate, baseline);
        self.observe_for_harm(regime, alternatives, tolerance, prior, candidate, baseline);
    }

    /// Takes one poll that can show harm and not health.
    pub(crate) fn observe_for_harm(
        &mut self,
        regime: Regime,
        alternatives: Alternatives,
        tolerance: Tolerance,
        prior: f64,
        candidate: Counts,
        baseline: impl Into<Tally>,
    ) {
        let baseline = baseline.into();
        let past = self.past(prior);
        self.harm
            .observe(regime, alternatives, tolerance, past, candidate, baseline);
        self.dispersion.observe(candidate, baseline.whole());
        // A poll in which one arm did nothing compares nothing, and is not told of either.
        if candidate.n > 0 && (baseline.n > 0 || tolerance.ratio == 0.0) {
            self.candidate.add(candidate);
            self.baseline.add(baseline);
        }
    }

    fn past(&self, prior: f64) -> Past {
        Past {
            candidate: self.candidate,
            baseline: self.baseline,
            prior: if self.history.n > 0 {
                self.history.x / self.history.n as f64
            } else {
                prior
            },
            dispersion: self.dispersion.phi(),
        }
    }

    /// Begins a block of polls, which cannot add more to the evidence of harm than the alternatives say.
    pub(crate) fn begin_block(&mut self, alternatives: Alternatives) {
        self.harm.begin_block(alternatives);
    }

    /// Logarithm of the evidence of harm.
    pub(crate) fn ln_harm(&self, regime: Regime, alternatives: Alternatives) -> f64 {
        self.harm.ln_evidence(regime, alternatives)
    }

    /// Logarithm of the evidence of health.
    pub(crate) fn ln_health(&self) -> f64 {
        self.health.ln_evidence()
    }
}
