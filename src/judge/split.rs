//! Traffic split: does the candidate get the share of the requests that its weight demands?
//!
//! Requests that do not follow the weights mean that routing or scraping is broken, and then no comparison of the arms
//! can be trusted. The null is wide, because small skews are ordinary and harm nothing: the odds of the candidate's
//! share may be off by a factor of two either way. Probes add the same number of requests to every pod, and pods come in
//! whole numbers; balancers split connections that are kept alive instead of the requests on them; the scrapes of the
//! arms are seconds apart. A broken split is off by far more: a route that is not followed, an arm that is not scraped,
//! a balancer that ignores weights.
//!
//! The test takes binomial likelihood ratios against the nearest edge of that band, one process for each alternative on
//! either side, averaged (Ville's inequality), and e^{1/φ} for clumps, as in [`super::dispersion`].

use serde::{Deserialize, Serialize};

use crate::evidence::{Counts, Observed};

use super::dispersion::Spread;
use super::margin::{Tolerance, ln_e, ln_sum};
use super::text;

/// Probability that a split within the band is ever found broken, at one weight.
const FALSE_ALARM: f64 = 0.001;

/// Factor by which the odds may be off.
const BAND: f64 = 2.0;

/// Alternatives: factors on the odds of the edge, on either side.
const ODDS: [f64; 3] = [1.5, 4.0, 20.0];

/// φ before the first poll: requests are expected in clumps of about this size.
const CLUMPS: f64 = 4.0;

/// Fewest polls in which a broken split can be found: the evidence of each is capped accordingly.
const LEAST_POLLS: f64 = 5.0;

/// Running test of the split at one pair of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitTest {
    /// Weights of the candidate and of its baseline, in any unit.
    weights: (u32, u32),
    /// All requests of both arms; x of them at the candidate.
    requests: Counts,
    /// Logarithms: for each of [`ODDS`] too many requests at the candidate, and too few.
    processes: [(f64, f64); ODDS.len()],
    spread: Spread,
    /// The requests when the split was found broken, until it no longer is.
    broken: Option<Counts>,
}

impl SplitTest {
    /// A test of the split at these weights of the candidate and of its baseline, both above 0.
    pub fn new(weights: (u32, u32)) -> Self {
        Self {
            weights,
            requests: Counts::default(),
            processes: [(0.0, 0.0); ODDS.len()],
            spread: Spread::default(),
            broken: None,
        }
    }

    /// The weights that are tested.
    pub fn weights(&self) -> (u32, u32) {
        self.weights
    }

    /// Takes one poll of a guard that counts requests.
    pub fn observe(&mut self, observed: &Observed) {
        let (candidate, baseline) = observed.requests();
        if candidate + baseline == 0 {
            return;
        }
        let n = candidate + baseline;
        let (high, low) = (Counts { n, x: candidate }, Counts { n, x: baseline });
        let dispersion = self.spread.phi(CLUMPS).max(1.0);
        let enough = -FALSE_ALARM.ln();
        let (w_c, w_b) = (f64::from(self.weights.0), f64::from(self.weights.1));
        let step = |counts: Counts, odds: f64, theta: f64| {
            let share = |odds: f64| odds / (1.0 + odds);
            let edge = Tolerance {
                ratio: 0.0,
                absolute: share(BAND * odds),
            };
            let ln = ln_e(counts, Counts::default(), edge, share(theta * BAND * odds), 0.5);
            (ln / dispersion).min(enough / LEAST_POLLS)
        };
        for ((many, few), theta) in self.processes.iter_mut().zip(ODDS) {
            // The processes are capped, so that a split that was repaired is noticed.
            *many = (*many + step(high, w_c / w_b, theta)).min(enough + 3.0);
            *few = (*few + step(low, w_b / w_c, theta)).min(enough + 3.0);
        }
        self.spread.observe(vec![candidate, baseline]);
        self.requests.add(high);
        if self.ln_evidence() < enough {
            self.broken = None;
        } else {
            self.broken.get_or_insert(self.requests);
        }
    }

    fn ln_evidence(&self) -> f64 {
        let each = self.processes.iter().flat_map(|(many, few)| [*many, *few]);
        ln_sum(each) - (2.0 * ODDS.len() as f64).ln()
    }

    /// If the split is broken, what the candidate got against what its weight demands, as of the poll that showed it.
    pub fn mismatch(&self) -> Option<String> {
        let Counts { n, x } = self.broken?;
        let (w_c, w_b) = (f64::from(self.weights.0), f64::from(self.weights.1));
        Some(format!(
            "the candidate got {} of {} requests ({}) where the weights of it and its baseline say {}",
            text::number(x),
            text::number(n),
            text::percent(x as f64 / n as f64),
            text::percent(w_c / (w_c + w_b))
        ))
    }
}

#[cfg(test)]
mod tests;
