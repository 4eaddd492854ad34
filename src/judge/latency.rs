//! Latency: requests slower than an edge, against the baseline and against a fixed budget.
//!
//! Edges are bucket bounds, so that counts stay integers: those next above the baseline's p50, p95 and p99, taken from
//! its first requests and then frozen, because a quantile that lies on a bound flips otherwise.

use serde::{Deserialize, Serialize};

use crate::evidence::{Buckets, Counts};

use super::margin::{SHARES, Tolerance, ln_sum};
use super::regime::Regime;
use super::share::ShareTest;

/// Baseline requests that the edges are taken from.
const WARM_UP: u64 = 200;

/// Baseline quantiles whose edges are watched, with weights.
const QUANTILES: [(f64, f64); 3] = [(0.50, 0.2), (0.95, 0.3), (0.99, 0.5)];

/// An absolute latency budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of requests that may be slower, in `(0, 1)`: 0.05 for a 95th percentile.
    pub slower: f64,
    /// The bound, in seconds.
    pub within: f64,
}

/// The running test of one edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EdgeTest {
    /// Requests above are slow, in seconds.
    pub(crate) edge: f64,
    weight: f64,
    prior: f64,
    pub(crate) share: ShareTest,
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

/// How loaded a candidate pod was in a poll, compared with a baseline pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As much as is asked for: the poll counts for harm and for health.
    Enough,
    /// Less than that: the poll counts for harm only, because a lightly loaded pod is always fast.
    Light,
}

impl Load {
    /// The load in a poll. Where the number of pods is not known, it counts as light.
    pub(crate) fn of(at_load: Option<f64>, candidate: &Buckets, baseline: &Buckets) -> Self {
        let enough = at_load.is_none_or(|share| {
            let loads = candidate.per_pod().zip(baseline.per_pod());
            loads.is_some_and(|(candidate, baseline)| candidate >= share * baseline)
        });
        if enough { Self::Enough } else { Self::Light }
    }
}

/// Polls by load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loads {
    enough: u32,
    all: u32,
}

impl Loads {
    fn add(&mut self, load: Load) {
        self.enough += u32::from(load == Load::Enough);
        self.all += 1;
    }

    /// Text for people: how many polls could show health at this share of the baseline's load.
    pub(crate) fn text(self, share: f64) -> String {
        format!(
            ", {} of {} polls at {} or more of the baseline's load per pod",
            self.enough,
            self.all,
            super::text::percent(share)
        )
    }
}

impl LatencyTest {
    /// Takes what the baseline did before the trial: its quantiles set the edges.
    pub(crate) fn recall<'a>(&mut self, history: impl Iterator<Item = &'a Buckets> + Clone) {
        history.clone().for_each(|buckets| self.count(buckets));
        self.freeze();
        for test in &mut self.edges {
            for counts in history.clone().filter_map(|buckets| slower(buckets, test.edge)) {
                test.share.recall(counts);
            }
        }
    }

    pub(crate) fn observe(
        &mut self,
        regime: Regime,
        tolerance: Tolerance,
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
            self.freeze();
            return;
        }
        for test in &mut self.edges {
            let (candidate, baseline) = (slower(candidate, test.edge), slower(baseline, test.edge));
            if candidate.is_none() || baseline.is_none() {
                self.problem = Some(format!("the histograms have lost the bucket bound {} s", test.edge));
            }
            test.observe(regime, tolerance, load, candidate, baseline);
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
            .get_or_insert_with(|| EdgeTest::new(edge, 1.0, budget.slower))
            .observe(regime, fixed, load, slower(candidate, edge), slower(baseline, edge));
    }

    /// Collects the baseline's requests.
    fn count(&mut self, baseline: &Buckets) {
        let buckets = baseline.bounds.iter().zip(&baseline.counts);
        for (bound, count) in buckets.filter(|(_, count)| **count > 0) {
            match self.warm_up.iter_mut().find(|(b, _)| b == bound) {
                Some((_, n)) => *n += count,
                None => self.warm_up.push((*bound, *count)),
            }
        }
        self.warmed += baseline.counts.iter().sum::<u64>();
    }

    /// Freezes the edges when there are enough requests.
    fn freeze(&mut self) {
        if self.warmed < WARM_UP {
            return;
        }
        self.warm_up.sort_by(|a, b| a.0.total_cmp(&b.0));
        let up_to = self.warm_up.iter().scan(0, |below, (bound, n)| {
            *below += n;
            Some((*bound, *below))
        });
        let up_to: Vec<(f64, u64)> = up_to.collect();
        for (quantile, weight) in QUANTILES {
            let Some((edge, below)) = up_to.iter().find(|(_, n)| *n as f64 >= quantile * self.warmed as f64) else {
                continue; // beyond the last bound: nothing can be slower than +Inf
            };
            match self.edges.iter_mut().find(|test| test.edge == *edge) {
                Some(test) => test.weight += weight,
                None => self
                    .edges
                    .push(EdgeTest::new(*edge, weight, 1.0 - *below as f64 / self.warmed as f64)),
            }
        }
        let sum: f64 = self.edges.iter().map(|test| test.weight).sum();
        self.edges.iter_mut().for_each(|test| test.weight /= sum);
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
    pub(crate) fn ln_harm(&self, regime: Regime) -> f64 {
        let edges = ln_sum(
            self.edges
                .iter()
                .map(|test| test.weight.ln() + test.share.ln_harm(regime, SHARES)),
        );
        match (&self.budget, self.edges.is_empty()) {
            (None, true) => ShareTest::default().ln_harm(regime, SHARES),
            (None, false) => edges,
            (Some(budget), true) => budget.share.ln_harm(regime, SHARES),
            (Some(budget), false) => ln_sum([edges, budget.share.ln_harm(regime, SHARES)]) - 2f64.ln(),
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
    pub(crate) fn worst(&self, regime: Regime) -> Option<(&EdgeTest, Watched)> {
        let evidence = |(test, _): &(&EdgeTest, Watched)| test.share.ln_harm(regime, SHARES);
        let edges = self.edges.iter().map(|test| (test, Watched::Baseline));
        edges
            .chain(self.budget.as_ref().map(|test| (test, Watched::Budget)))
            .max_by(|a, b| evidence(a).total_cmp(&evidence(b)))
    }
}

/// What an edge compares the candidate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// The baseline's share of slow requests.
    Baseline,
    /// A fixed share.
    Budget,
}

impl EdgeTest {
    fn new(edge: f64, weight: f64, prior: f64) -> Self {
        Self {
            edge,
            weight,
            prior,
            share: ShareTest::default(),
        }
    }

    fn observe(
        &mut self,
        regime: Regime,
        tolerance: Tolerance,
        load: Load,
        candidate: Option<Counts>,
        baseline: Option<Counts>,
    ) {
        let (Some(candidate), Some(baseline)) = (candidate, baseline) else {
            return;
        };
        let observe = match load {
            Load::Enough => ShareTest::observe,
            Load::Light => ShareTest::observe_for_harm,
        };
        observe(
            &mut self.share,
            regime,
            SHARES,
            tolerance,
            self.prior,
            candidate,
            baseline,
        );
    }
}

/// Requests, and those slower than `edge`; `None` where the histogram has buckets but none of that bound.
fn slower(buckets: &Buckets, edge: f64) -> Option<Counts> {
    let n = buckets.counts.iter().sum();
    if n == 0 {
        return Some(Counts::default());
    }
    let at = buckets.bounds.iter().position(|b| *b == edge)?;
    Some(Counts {
        n,
        x: buckets.counts.iter().skip(at + 1).sum(),
    })
}
