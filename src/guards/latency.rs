//! Latency: shares of slow requests, against the baseline's and against a fixed budget.

use std::borrow::Cow;

use crate::api::{self, LatencyTolerance, LatencyUnit};
use crate::evidence::{Buckets, Observed, Role};
use crate::judge::{
    BenefitConfig, Budget, EdgeTest, LatencyTest, Load, Regime, Threshold, Tolerance, Tolerated, Values, Watched,
    latencies, text,
};

use super::fields::{Fields, tolerated};
use super::figures::{Figures, tolerance_text};
use super::kind::{Compared, GuardKind, GuardSpec, Judged};
use super::required::Limit;
use super::selector::Selector;
use super::traffic::{Effect, Known, Shape, Tail, Worse, percent};

/// Median of the assumed latencies where there is no budget, in seconds.
const MEDIAN: f64 = 0.1;

/// Requests that a distribution stands for.
const MANY: f64 = 100_000.0;

/// Shares of slow requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// What is tolerated, at each edge.
    pub tolerance: Tolerated,
    /// A fixed bound.
    pub budget: Option<Budget>,
    /// Health counts only from polls in which a candidate pod carries at least this share, in `(0, 1]`, of what a
    /// baseline pod carries.
    pub at_load: Option<f64>,
    /// Units of the histogram in a second: 1, or 1000 for milliseconds.
    pub per_second: f64,
}

impl Latency {
    pub(super) fn read(written: &api::Latency, fields: &mut Fields) -> Option<Self> {
        let tolerance = fields.tolerated("latency.tolerance", &written.tolerance());
        let at_load = written.at_load.as_ref().map(|share| {
            let read = share.value().ok().filter(|share| *share > 0.0);
            let wrong = || {
                format!(
                    "{:?} is no usable share; write one above 0 and up to 100%, such as \"80%\"",
                    share.0
                )
            };
            fields.value("latency.atLoad", read.ok_or_else(wrong))
        });
        let budget = written.budget.as_ref().map(|budget| read_budget(budget, fields));
        Some(Self {
            tolerance: tolerance?,
            // An optional field that was written but cannot be used makes the whole guard unusable.
            budget: budget.map_or(Some(None), |read| read.map(Some))?,
            at_load: at_load.map_or(Some(None), |read| read.map(Some))?,
            per_second: match written.unit {
                LatencyUnit::Seconds => 1.0,
                LatencyUnit::Milliseconds => 1000.0,
            },
        })
    }

    /// Bounds at which the judge need not read between any: its edges, what they are held against, and the budget.
    fn ideal_bounds(&self, tail: &Tail) -> Vec<f64> {
        let quantiles = [0.5, 0.95, 0.99].map(|p| tail.quantile(p));
        let mut bounds = quantiles.to_vec();
        if let Tolerated::Slowdown { factor, .. } = self.tolerance {
            bounds.extend(quantiles.map(|edge| edge / factor));
            bounds.push(quantiles[2] * factor);
        }
        bounds.extend(self.budget.map(|budget| budget.within));
        bounds.sort_by(f64::total_cmp);
        bounds.dedup_by(|a, b| (*a / *b - 1.0).abs() < 1e-9);
        bounds
    }

    /// The edges that are watched of a baseline with such latencies, each with the largest share of a candidate's requests
    /// above it that is tolerated.
    pub fn watched(&self, bounds: &[f64], tail: &Tail) -> Vec<(f64, f64)> {
        // As many requests as an hour has where there are many, so that what is read between bounds is exact.
        let above = |bound: &f64| tail.slower(*bound, 1.0);
        let over: Vec<f64> = std::iter::once(1.0)
            .chain(bounds.iter().map(above))
            .chain([0.0])
            .collect();
        let counts = over.windows(2).map(|pair| ((pair[0] - pair[1]) * MANY).round() as u64);
        let baseline = Buckets {
            bounds: bounds.to_vec(),
            counts: counts.collect(),
            pods: 0,
        };
        let mut test = LatencyTest::default();
        test.recall(self.tolerance, std::iter::once(&baseline));
        let tolerated = |edge: &EdgeTest| (edge.edge, self.tolerance.share().edge(edge.prior));
        test.edges.iter().map(tolerated).collect()
    }

    /// Latencies in seconds, whatever the histogram's unit.
    fn in_seconds<'a>(&self, buckets: &'a Buckets) -> Cow<'a, Buckets> {
        if self.per_second == 1.0 {
            return Cow::Borrowed(buckets);
        }
        // Bounds are divided, not multiplied, so that 5 ms gives exactly the number 0.005.
        let bounds = buckets.bounds.iter().map(|bound| bound / self.per_second);
        Cow::Owned(Buckets {
            bounds: bounds.collect(),
            ..buckets.clone()
        })
    }
}

fn read_budget(written: &api::guard::Budget, fields: &mut Fields) -> Option<Budget> {
    let percentile = written.percentile.value().ok().filter(|p| *p > 0.0 && *p < 100.0);
    let percentile = fields.value(
        "latency.budget.percentile",
        percentile.ok_or_else(|| {
            format!(
                "{:?} is no percentile; write a number above 0 and below 100, such as \"95\"",
                written.percentile.0
            )
        }),
    );
    let within = match written.within.millis() {
        Ok(0) => Err("\"0s\" can never be met; write the budget, such as \"60ms\"".to_owned()),
        Ok(millis) => Ok(millis),
        Err(e) => Err(e.to_string()),
    };
    let within = fields.value("latency.budget.within", within);
    Some(Budget {
        slower: 1.0 - percentile? / 100.0,
        within: within? as f64 / 1000.0,
    })
}

impl GuardSpec for api::Latency {
    fn asks(&self) -> Vec<Selector> {
        vec![Selector::new(Role::Buckets, "latency.histogram", &self.histogram)]
    }

    fn tolerance(&self) -> Option<(&'static str, Tolerance)> {
        Some(("latency.tolerance", tolerated(&self.tolerance()).share()))
    }

    fn margin(&self) -> Option<(&'static str, f64)> {
        Some((
            "latency.tolerance.absolute",
            tolerated(&self.tolerance()).share().absolute,
        ))
    }

    fn set_margin(&mut self, share: &str) {
        self.tolerance = Some(LatencyTolerance {
            absolute: Some(share.into()),
            ..self.tolerance()
        });
    }
}

impl GuardKind for Latency {
    fn field(&self) -> &'static str {
        "latency"
    }

    fn compared_with(&self) -> Compared {
        Compared::Baseline
    }

    /// A factor of 1 says the same of latencies and of shares: no slower than the baseline. So does a smaller one of shares.
    fn tolerates(&self) -> Vec<(Limit, f64)> {
        let (absolute, (written, factor), other) = match self.tolerance {
            Tolerated::Share(Tolerance { ratio, absolute }) => (absolute, (Limit::Ratio, ratio), Limit::Slowdown),
            Tolerated::Slowdown { factor, absolute } => (absolute, (Limit::Slowdown, factor), Limit::Ratio),
        };
        let mut tolerates = vec![(Limit::Absolute, absolute), (written, factor)];
        if factor <= 1.0 {
            tolerates.push((other, 1.0));
        }
        tolerates
    }

    fn counts_requests(&self) -> bool {
        true
    }

    fn weight(&self) -> Option<f64> {
        Some(0.3)
    }

    fn better(&self, wanted: &BenefitConfig) -> String {
        format!("{} faster", text::whole_percent(wanted.at_least))
    }

    fn values(&self, scale: &mut Option<f64>, slowest: Option<f64>, observed: &Observed) -> Option<(Values, Values)> {
        let Observed::Histogram { candidate, baseline } = observed else {
            return None;
        };
        let past = candidate.counts.iter().all(|n| *n == 0);
        if !past && Load::of(self.at_load, candidate, baseline) == Load::Light {
            return None;
        }
        let scale = *scale.get_or_insert(slowest.filter(|edge| *edge > 0.0)?);
        let of = |buckets| latencies(&self.in_seconds(buckets), scale);
        Some((of(candidate), of(baseline)))
    }

    fn assumed(&self, name: &str, _: &Known) -> (Shape, String) {
        // A baseline within its budget is assumed to use half of it.
        let tail = match self.budget {
            Some(budget) => Tail::through(1.0 - budget.slower / 2.0, budget.within),
            None => Tail::LogNormal { median: MEDIAN },
        };
        let bounds = self.ideal_bounds(&tail);
        let told = format!(
            "{name}: latencies are log-normal with p95 = {:.2} × p50, and the histogram has bounds at the baseline's p50, p95, p99{}{}",
            Tail::assumed_p95(),
            match self.tolerance {
                Tolerated::Share(_) => String::new(),
                Tolerated::Slowdown { factor, .. } =>
                    format!(", at {factor} times p99, at p50, p95 and p99 divided by {factor}"),
            },
            self.budget.map_or_else(String::new, |b| format!(
                " and at the budget, beyond which {} of the baseline's requests lie",
                percent(b.slower / 2.0)
            ))
        );
        (Shape::Latency { bounds, tail }, told)
    }

    fn measured(&self, shape: Shape) -> Shape {
        match shape {
            Shape::Outputs { bounds, shares } => Shape::Latency {
                bounds: bounds.clone(),
                tail: Tail::Measured { bounds, shares },
            },
            shape => shape,
        }
    }

    fn worse(&self, _: Option<&Shape>) -> Vec<Worse> {
        let scales = match self.tolerance {
            Tolerated::Share(_) => [1.2, 1.4, 2.0],
            // 1.4, 2 and 3 for a quarter that is tolerated.
            Tolerated::Slowdown { factor, .. } => [1.12, 1.6, 2.4].map(|more| (more * factor * 100.0).round() / 100.0),
        };
        let worse = scales.map(|scale| Worse {
            effect: Effect::Slower(scale),
            size: scale,
            told: format!("{scale} × as slow"),
        });
        worse.into()
    }

    fn work(&self) -> f64 {
        4.0
    }
}

impl Judged for Latency {
    type Test = LatencyTest;

    fn observe(&self, test: &mut LatencyTest, regime: Regime, observed: &Observed) {
        if let Observed::Histogram { candidate, baseline } = observed {
            let load = Load::of(self.at_load, candidate, baseline);
            let (candidate, baseline) = (self.in_seconds(candidate), self.in_seconds(baseline));
            test.observe(regime, self.tolerance, self.budget, load, &candidate, &baseline);
        }
    }

    fn begin_block(&self, test: &mut LatencyTest) {
        test.begin_block(self.tolerance);
    }

    fn recall(&self, test: &mut LatencyTest, history: &[Observed]) {
        let past = history.iter().filter_map(|past| match past {
            Observed::Histogram { baseline, .. } => Some(self.in_seconds(baseline)),
            _ => None,
        });
        let past: Vec<_> = past.collect();
        test.recall(self.tolerance, past.iter().map(AsRef::as_ref));
    }

    fn ln_harm(&self, test: &LatencyTest, regime: Regime) -> Option<f64> {
        Some(test.ln_harm(regime, self.tolerance))
    }

    fn ln_health(&self, test: &LatencyTest) -> Option<f64> {
        Some(test.ln_health())
    }

    fn has_lost_bound(&self, test: &LatencyTest, observed: &Observed) -> bool {
        let Observed::Histogram { candidate, .. } = observed else {
            return false;
        };
        let bounds = &self.in_seconds(candidate).bounds;
        let mut edges = test.edges.iter().chain(&test.budget);
        !bounds.is_empty() && edges.any(|test| !test.can_count(bounds))
    }

    fn slowest_edge(&self, test: &LatencyTest) -> Option<f64> {
        let quantiles = test.edges.iter().filter(|edge| !edge.beyond);
        quantiles.map(|edge| edge.edge).max_by(f64::total_cmp)
    }

    fn figures(&self, test: &LatencyTest, regime: Regime) -> Figures {
        let Some((worst, watched)) = test.worst(regime, self.tolerance) else {
            let problem = test.problem.as_deref().unwrap_or("learning the baseline's quantiles");
            return Figures::none(problem.to_owned(), tolerated_text(self.tolerance));
        };
        let (candidate, baseline) = (worst.share.candidate, worst.share.baseline.whole());
        let loaded = self.at_load.map(|share| test.load.text(share)).unwrap_or_default();
        let problem = test.problem.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
        let seen = format!(
            "{} slower than {} s against {} of {}{}{loaded}{problem}",
            text::of(candidate),
            worst.edge,
            text::share(baseline),
            text::number(baseline.n),
            slower_than(worst),
        );
        let against = match watched {
            Watched::Baseline => tolerated_text(self.tolerance),
            Watched::Budget => {
                let slower = self.budget.map_or(0.0, |budget| budget.slower);
                format!("the budget of {}", text::percent(slower))
            }
        };
        Figures::of(candidate, baseline, seen, against)
    }
}

/// The latency that the baseline's requests are counted above, in words, where it is another than the candidate's.
fn slower_than(test: &EdgeTest) -> String {
    let Threshold { at, lower, upper, .. } = test.threshold;
    if at == test.edge {
        return String::new();
    }
    let read = if lower < upper {
        format!(" (read between {lower} and {upper} s)")
    } else {
        String::new()
    };
    format!(" slower than {} s{read}", text::rounded(at))
}

/// The tolerance in words: "the tolerance of 0.50% + baseline, 1.25 × as slow".
fn tolerated_text(tolerated: Tolerated) -> String {
    let share = tolerance_text(tolerated.share());
    match tolerated {
        Tolerated::Share(_) => share,
        Tolerated::Slowdown { factor, .. } => format!("{share}, {factor} × as slow"),
    }
}
