//! The judge: integer counts → verdicts. Pure; no clock, no IO.
//!
//! Owns the tests and their running state; must not know what is done with a verdict (that is `rollout`). Every guard
//! tests a *tolerance*, because quantized variants always differ a little, and every test is anytime-valid: one may look
//! after every poll and stop at any time (Ville's inequality).

mod benefit;
mod dispersion;
mod fidelity;
mod guard;
mod latency;
mod margin;
mod report;
mod share;
mod split;
mod suite;
mod text;

pub use benefit::{BenefitConfig, BenefitTest};
pub use guard::{Budget, GuardConfig};
pub use margin::{Past, SHARES, Tolerance, WITNESS, ln_e};
pub use report::{GuardReport, Numbers};
pub use split::SplitTest;
pub use suite::{Suite, SuiteConfig};

pub use crate::api::Verdict;

/// Which error rate a suite of guards keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regime {
    /// One rollout: probabilities that a tolerable candidate is ever found harmful, and that a guard finds a candidate
    /// healthy that is beyond its tolerance in every poll. Both in `(0, 1)`.
    Rollout {
        /// For all guards, steps and looks together.
        false_rollback: f64,
        /// For one guard.
        false_promotion: f64,
    },
    /// The watch after promotion: polls between two false alarms, on average at least.
    Guarding {
        /// More than 1.
        polls_between_false_alarms: f64,
    },
}

impl Regime {
    /// Evidence of harm at which a candidate is harmful.
    pub fn threshold(self) -> f64 {
        match self {
            Self::Rollout { false_rollback, .. } => 1.0 / false_rollback,
            Self::Guarding {
                polls_between_false_alarms,
            } => polls_between_false_alarms,
        }
    }

    /// Probability of a false finding of health; health decides nothing after promotion, so 5% does there.
    fn false_promotion(self) -> f64 {
        match self {
            Self::Rollout { false_promotion, .. } => false_promotion,
            Self::Guarding { .. } => 0.05,
        }
    }
}

/// Random numbers of the tests.
#[cfg(test)]
#[path = "../../tests/support/random.rs"]
mod random;
