//! Pairs: does a candidate answer otherwise than the reference more often than is tolerated?
//!
//! A pair is one question that both were asked. With a fixed tolerance this is a one-sample test; it can also be held
//! against how often the reference answers otherwise than itself.

use serde::{Deserialize, Serialize};

use crate::evidence::Counts;

use super::super::dispersion::Alone;
use super::super::margin::{Harm, Health, PAIRS, Past, Tolerance};
use super::super::regime::Regime;

/// Tests of harm and of health of a share of pairs that differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairTest {
    /// Pairs of the candidate and the reference, and those among them that differ.
    pub candidate: Counts,
    /// Pairs of the reference and itself.
    pub control: Counts,
    dispersion: Alone,
    harm: Harm,
    health: Health,
}

impl PairTest {
    /// Takes one poll: pairs of the candidate and the reference, and pairs of the reference and itself.
    pub fn observe(&mut self, regime: Regime, tolerance: Tolerance, candidate: Counts, control: Counts) {
        let past = Past {
            candidate: self.candidate,
            baseline: self.control.into(),
            // Of the reference's own noise nothing is known at first.
            prior: tolerance.absolute.clamp(0.001, 0.5),
            dispersion: self.dispersion.phi(),
        };
        self.health
            .observe(regime.false_promotion(), tolerance, past, candidate, control.into());
        self.harm
            .observe(regime, PAIRS, tolerance, past, candidate, control.into());
        self.dispersion.observe(candidate);
        self.candidate.add(candidate);
        self.control.add(control);
    }

    /// Logarithm of the evidence of harm.
    pub fn ln_harm(&self, regime: Regime) -> f64 {
        self.harm.ln_evidence(regime, PAIRS)
    }

    /// Logarithm of the evidence of health.
    pub fn ln_health(&self) -> f64 {
        self.health.ln_evidence()
    }
}
