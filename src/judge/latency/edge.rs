//! One edge: the requests above it, on the candidate and on what it is compared with.

use serde::{Deserialize, Serialize};

use crate::evidence::{Buckets, Counts};

use super::super::margin::{Alternatives, Tolerance};
use super::super::regime::Regime;
use super::super::share::ShareTest;
use super::super::tally::Tally;
use super::load::Load;
use super::threshold::Threshold;

/// The running test of one edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EdgeTest {
    /// Requests of the candidate above are slow, in seconds.
    pub(crate) edge: f64,
    /// What the baseline's requests must be above, to be held against those.
    pub(crate) threshold: Threshold,
    /// Whether the edge lies beyond those of the baseline's quantiles.
    pub(crate) beyond: bool,
    pub(super) weight: f64,
    /// The baseline's share above the threshold before the trial.
    pub(crate) prior: f64,
    pub(crate) share: ShareTest,
}

impl EdgeTest {
    pub(super) fn new(edge: f64, threshold: Threshold, weight: f64, prior: f64) -> Self {
        Self {
            edge,
            threshold,
            beyond: false,
            weight,
            prior,
            share: ShareTest::default(),
        }
    }

    /// Takes what the baseline did before the trial.
    pub(super) fn recall(&mut self, baseline: &Buckets) {
        if let Some(baseline) = self.threshold.tally(baseline) {
            self.share.recall(baseline);
        }
    }

    /// Takes one poll. Returns whether both histograms have the bounds that are counted at.
    pub(super) fn observe(
        &mut self,
        regime: Regime,
        (alternatives, tolerance): (Alternatives, Tolerance),
        load: Load,
        candidate: &Buckets,
        baseline: &Buckets,
    ) -> bool {
        let (Some(candidate), Some(baseline)) = (slower(candidate, self.edge), self.threshold.tally(baseline)) else {
            return false;
        };
        match load {
            Load::Enough => self
                .share
                .observe(regime, alternatives, tolerance, self.prior, candidate, baseline),
            Load::Light => {
                self.share
                    .observe_for_harm(regime, alternatives, tolerance, self.prior, candidate, baseline)
            }
        }
        true
    }

    /// Whether these bounds, in seconds, are enough to count at.
    pub(crate) fn can_count(&self, bounds: &[f64]) -> bool {
        let Threshold { lower, upper, .. } = self.threshold;
        let has = |bound: f64| bound == 0.0 || bounds.contains(&bound);
        has(self.edge) && has(lower) && has(upper)
    }
}

impl Threshold {
    /// Requests, and how many of them count as above; `None` where the histogram has lost a bound.
    fn tally(&self, buckets: &Buckets) -> Option<Tally> {
        let (below, above) = (slower(buckets, self.lower)?, slower(buckets, self.upper)?);
        Some(Tally {
            n: above.n,
            x: above.x as f64 + self.part * (below.x - above.x) as f64,
        })
    }
}

/// Requests, and those slower than `bound`; `None` where the histogram has buckets but none of that bound.
fn slower(buckets: &Buckets, bound: f64) -> Option<Counts> {
    let n = buckets.counts.iter().sum();
    if n == 0 {
        return Some(Counts::default());
    }
    let at = buckets.bounds.iter().position(|b| *b == bound);
    let above = match at {
        Some(at) => at + 1,
        None if bound == 0.0 => 0,
        None => return None,
    };
    Some(Counts {
        n,
        x: buckets.counts.iter().skip(above).sum(),
    })
}
