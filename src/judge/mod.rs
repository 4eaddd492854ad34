//! The judge: integer counts → verdicts. It is pure: no clock, no IO.
//!
//! Owns the tests and their running state; must not know which guard asks for them (that is `guards`) nor what is done
//! with a verdict (that is `rollout`). Every guard tests a *tolerance*, because quantized variants always differ a
//! little, and every test is anytime-valid: it may be evaluated after every poll and stopped at any time (Ville's
//! inequality).

mod benefit;
mod dispersion;
mod fidelity;
mod latency;
mod margin;
mod regime;
mod rule;
mod share;
mod split;
mod tally;
pub(crate) mod text;

pub use benefit::{BenefitConfig, Values};
pub(crate) use benefit::{Means, latencies, lower};
pub(crate) use fidelity::{FidelityTest, count_in};
pub use latency::{Budget, Tolerated};
pub(crate) use latency::{EdgeTest, LatencyTest, Load, Threshold, Watched};
pub(crate) use margin::ln_sum;
pub use margin::{PAIRS, Past, SHARES, Tolerance, WITNESS, ln_e};
pub use regime::Regime;
pub(crate) use rule::{QueryTest, RatioTest, Rule};
pub use share::PairTest;
pub(crate) use share::ShareTest;
pub use split::SplitTest;
pub use tally::Tally;

pub use crate::api::Verdict;

/// Random numbers of the tests.
#[cfg(test)]
#[path = "../../tests/support/random.rs"]
pub(crate) mod random;
