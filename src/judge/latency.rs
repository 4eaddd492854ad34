//! Latency: requests slower than an edge, against the baseline and against a fixed budget.
//!
//! Edges are bucket bounds, so that a candidate's counts stay integers: those next above the baseline's p50, p95 and p99,
//! taken from its first requests and then frozen, because a quantile that lies on a bound flips otherwise. Where a slowdown
//! is tolerated there is one more, the bound after these: on a wide bucket it is the first that tells a slower candidate.

use serde::{Deserialize, Serialize};

use crate::evidence::Buckets;

use super::margin::{Alternatives, SLOW, SLOWDOWNS, Tolerance, ln_sum};
use super::regime::Regime;
use super::share::ShareTest;

mod edge;
mod load;
mod threshold;

pub(crate) use edge::EdgeTest;
pub(crate) use load::Load;
use load::Loads;
pub(crate) use threshold::Threshold;

/// Baseline requests that the edges are taken from.
const WARM_UP: u64 = 200;

/// Baseline quantiles whose edges are watched, with weights.
const QUANTILES: [(f64, f64); 3] = [(0.50, 0.2), (0.95, 0.3), (0.99, 0.5)];

/// Weight of the edge beyond them, relative to their sum.
const BEYOND: f64 = 0.2;

/// An absolute latency budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of requests that may be slower, in `(0, 1)`: 0.05 for a 95th percentile.
    pub slower: f64,
    /// The bound, in seconds.
    pub within: f64,
}

/// How much slower a candidate may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerated {
    /// Its share above an edge is held against the baseline's share above the same edge.
    Share(Tolerance),
    /// Its share above an edge is held against the baseline's share above the edge divided by `factor`.
    Slowdown {
        /// 1 or more.
        factor: f64,
        /// Share added to the baseline's; in `[0, 1)`.
        absolute: f64,
    },
}

impl Tolerated {
    /// What is tolerated of the candidate's share, where the baseline's is that above the threshold.
    pub fn share(self) -> Tolerance {
        match self {
            Self::Share(tolerance) => tolerance,
            Self::Slowdown { absolute, .. } => Tolerance { ratio: 1.0, absolute },
        }
    }

    /// The bets against it.
    fn alternatives(self) -> Alternatives {
        match self {
            Self::Share(_) => SLOW,
            Self::Slowdown { .. } => SLOWDOWNS,
        }
    }
}

/// State of a latency guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencyTest {
    /// The baseline's first requests: (bound, requests in its bucket), and in `warmed` their number. Both are cleared
    /// once the edges are frozen.
    warm_up: Vec<(f64, u64)>,
    warmed: u64,
    pub(crate) edges: Vec<EdgeTest>,
    pub(crate) budget: Option<EdgeTest>,
    /// Why the budget cannot be tested.
    pub(crate) problem: Option<String>,
    /// How many polls could show health.
    pub(crate) load: Loads,
}

impl LatencyTest {
    /// Takes what the baseline did before the trial: its quantiles set the edges.
    pub(crate) fn recall<'a>(&mut self, tolerated: Tolerated, history: impl Iterator<Item = &'a Buckets> + Clone) {
        history.clone().for_each(|buckets| self.count(buckets));
        self.freeze(tolerated);
        for test in &mut self.edges {
            history.clone().for_each(|buckets| test.recall(buckets));
        }
    }

    pub(crate) fn observe(
        &mut self,
        regime: Regime,
        tolerated: Tolerated,
        budget: Option<Budget>,
        load: Load,
        candidate: &Buckets,
        baseline: &Buckets,
    ) {
        self.load.add(load);
        if let Some(budget) = budget {
            self.observe_budget(regime, budget, load, candidate, baseline);
        }
        if self.edges.is_empty() {
            self.count(baseline);
            self.freeze(tolerated);
            return;
        }
        let against = (tolerated.alternatives(), tolerated.share());
        for test in &mut self.edges {
            if !test.observe(regime, against, load, candidate, baseline) {
                self.problem = Some(format!("the histograms have lost the bucket bound {} s", test.edge));
            }
        }
    }

    /// Begins a block of polls: all of its requests may be slow for one reason.
    pub(crate) fn begin_block(&mut self, tolerated: Tolerated) {
        for test in &mut self.edges {
            test.share.begin_block(tolerated.alternatives());
        }
        if let Some(budget) = &mut self.budget {
            budget.share.begin_block(SLOW);
        }
    }

    fn observe_budget(&mut self, regime: Regime, budget: Budget, load: Load, candidate: &Buckets, baseline: &Buckets) {
        let frozen = self.budget.as_ref().map(|test| test.edge);
        let below = |bound: &f64| *bound <= budget.within * (1.0 + 1e-9);
        let Some(edge) = frozen.or_else(|| candidate.bounds.iter().copied().rfind(below)) else {
            if !candidate.bounds.is_empty() {
                self.problem = Some(format!(
                    "no bucket bound at or below the budget of {}s; add one to the histogram",
                    budget.within
                ));
            }
            return;
        };
        let fixed = Tolerance {
            ratio: 0.0,
            absolute: budget.slower,
        };
        self.budget
            .get_or_insert_with(|| EdgeTest::new(edge, Threshold::at_bound(edge), 1.0, budget.slower))
            .observe(regime, (SLOW, fixed), load, candidate, baseline);
    }

    /// Collects the baseline's requests.
    fn count(&mut self, baseline: &Buckets) {
        for (bound, count) in baseline.bounds.iter().zip(&baseline.counts) {
            match self.warm_up.iter_mut().find(|(b, _)| b == bound) {
                Some((_, n)) => *n += count,
                None => self.warm_up.push((*bound, *count)),
            }
        }
        self.warmed += baseline.counts.iter().sum::<u64>();
    }

    /// Freezes the edges when there are enough requests.
    fn freeze(&mut self, tolerated: Tolerated) {
        if self.warmed < WARM_UP {
            return;
        }
        self.warm_up.sort_by(|a, b| a.0.total_cmp(&b.0));
        let up_to = self.warm_up.iter().scan(0, |below, (bound, n)| {
            *below += n;
            Some((*bound, *below))
        });
        let up_to: Vec<(f64, u64)> = up_to.collect();
        self.edges = edges(tolerated, &up_to, self.warmed);
        self.warm_up = Vec::new();
        if self.edges.is_empty() {
            self.warmed = 0;
            self.problem = Some(
                "the baseline is slower than the largest finite bucket bound; add larger ones to the histogram"
                    .to_owned(),
            );
        }
    }

    /// Logarithm of the evidence of harm: half on the edges and half on the budget, where both are tested.
    pub(crate) fn ln_harm(&self, regime: Regime, tolerated: Tolerated) -> f64 {
        let bets = tolerated.alternatives();
        let edges = ln_sum(
            self.edges
                .iter()
                .map(|test| test.weight.ln() + test.share.ln_harm(regime, bets)),
        );
        match (&self.budget, self.edges.is_empty()) {
            (None, true) => ShareTest::default().ln_harm(regime, SLOW),
            (None, false) => edges,
            (Some(budget), true) => budget.share.ln_harm(regime, SLOW),
            (Some(budget), false) => ln_sum([edges, budget.share.ln_harm(regime, SLOW)]) - 2f64.ln(),
        }
    }

    /// Logarithm of the evidence of health: the least of all edges.
    pub(crate) fn ln_health(&self) -> f64 {
        if self.edges.is_empty() {
            return 0.0;
        }
        self.edges
            .iter()
            .chain(&self.budget)
            .map(|test| test.share.ln_health())
            .fold(f64::INFINITY, f64::min)
    }

    /// The test with the most evidence of harm, and what it compares the candidate with.
    pub(crate) fn worst(&self, regime: Regime, tolerated: Tolerated) -> Option<(&EdgeTest, Watched)> {
        let bets = tolerated.alternatives();
        let edges = self
            .edges
            .iter()
            .map(|test| (test, Watched::Baseline, test.share.ln_harm(regime, bets)));
        let budget = self.budget.iter();
        let budget = budget.map(|test| (test, Watched::Budget, test.share.ln_harm(regime, SLOW)));
        let (test, watched, _) = edges.chain(budget).max_by(|a, b| a.2.total_cmp(&b.2))?;
        Some((test, watched))
    }
}

/// The edges for a baseline of `n` requests, of which `up_to` has how many are at or below each bound.
fn edges(tolerated: Tolerated, up_to: &[(f64, u64)], n: u64) -> Vec<EdgeTest> {
    let mut edges: Vec<EdgeTest> = Vec::new();
    let mut add = |at: usize, weight: f64, beyond: bool| {
        let (edge, below) = up_to[at];
        if let Some(test) = edges.iter_mut().find(|test| test.edge == edge) {
            test.weight += weight;
            return;
        }
        let (threshold, share) = match tolerated {
            Tolerated::Share(_) => (Threshold::at_bound(edge), 1.0 - below as f64 / n as f64),
            Tolerated::Slowdown { factor, .. } => match Threshold::read(edge / factor, up_to, n) {
                Some(read) => read,
                None => return,
            },
        };
        let test = EdgeTest::new(edge, threshold, weight, share);
        edges.push(EdgeTest { beyond, ..test });
    };
    let mut largest = None;
    for (quantile, weight) in QUANTILES {
        // Beyond the last bound nothing can be slower than +Inf.
        if let Some(at) = up_to.iter().position(|(_, below)| *below as f64 >= quantile * n as f64) {
            add(at, weight, false);
            largest = Some(at);
        }
    }
    if let (Tolerated::Slowdown { absolute, .. }, Some(largest)) = (tolerated, largest) {
        if largest + 1 < up_to.len() {
            add(largest + 1, BEYOND, true);
        }
        // An edge at which everything is tolerated shows nothing.
        let shows = |test: &EdgeTest| test.prior + absolute < 1.0;
        if edges.iter().any(shows) {
            edges.retain(shows);
        }
    }
    let sum: f64 = edges.iter().map(|test| test.weight).sum();
    edges.iter_mut().for_each(|test| test.weight /= sum);
    edges
}

/// What an edge compares the candidate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// The baseline's share of slow requests.
    Baseline,
    /// A fixed share.
    Budget,
}
