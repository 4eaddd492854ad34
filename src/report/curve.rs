//! What the guards counted over time: cumulated shares of both arms, poll by poll, and the line of what is tolerated.
//!
//! Shows counts only. What they prove is the judge's to say, and stands in the verdicts.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Guard, LatencyUnit};
use crate::evidence::{Amounts, Buckets, Counts, Observed, Poll};
use crate::guards::written;
use crate::judge::{Tolerance, text as figures};

use super::document::{Chart, Drawn, Line, Table, Unit, What};
use super::side::UNKNOWN;
use super::text::{thin, time_of};

/// Points of a line, and rows of its table, at the most.
const POINTS: usize = 240;
const ROWS: usize = 12;

/// Share of slow requests at which a bound is looked for, where no budget names one.
const SLOW: f64 = 0.05;

/// What was counted under one set of guards, since the evidence last began afresh.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Epoch {
    /// Digest of the plan that it was counted for; empty while nothing was on trial.
    pub(super) plan: String,
    pub(super) guards: Vec<Guard>,
    polls: BTreeMap<String, Vec<Poll>>,
}

impl Epoch {
    pub(super) fn new(plan: &str, guards: &[Guard]) -> Self {
        Self {
            plan: plan.to_owned(),
            guards: guards.to_vec(),
            polls: BTreeMap::new(),
        }
    }

    /// Adds polls of a guard; one that was counted already is left out.
    pub(super) fn take(&mut self, guard: &str, polls: &[Poll]) {
        let all = self.polls.entry(guard.to_owned()).or_default();
        for poll in polls {
            if all.last().is_none_or(|last| poll.through > last.through) {
                all.push(poll.clone());
            }
        }
    }

    /// What each guard counted, in the order of the guards.
    pub(super) fn curves(&self) -> Vec<Curve> {
        let curve = |guard: &Guard| Curve::of(guard, self.polls.get(&guard.name)?);
        self.guards.iter().filter_map(curve).collect()
    }
}

/// What one guard counted over time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) guard: String,
    /// What is shown.
    what: String,
    unit: Unit,
    points: Vec<Point>,
}

/// What is shown of one poll.
#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    /// Time of the poll, in Unix milliseconds.
    at: i64,
    candidate: f64,
    baseline: Option<f64>,
    most: Option<f64>,
    least: Option<f64>,
    /// The events of candidate and baseline that the shares are of.
    counts: Option<[Counts; 2]>,
}

/// Counts of both arms up to the time of a poll.
type Counted = (i64, [Counts; 2]);

impl Curve {
    /// `None` where nothing was counted that can be shown.
    fn of(guard: &Guard, polls: &[Poll]) -> Option<Self> {
        let (what, unit, points) = match &polls.first()?.observed {
            Observed::Proportion { .. } => bad(guard, polls),
            Observed::Histogram { .. } if written(guard)?.looks_at_outputs() => distances(guard, polls)?,
            Observed::Histogram { .. } => slow(guard, polls)?,
            Observed::Ratio { .. } => ratios(guard, polls),
            Observed::Value(_) => values(guard, polls),
        };
        let is_shown = |point: &Point| point.candidate.is_finite() && point.baseline.is_none_or(f64::is_finite);
        let points: Vec<_> = points.into_iter().filter(is_shown).collect();
        (!points.is_empty()).then(|| Self {
            guard: guard.name.clone(),
            what,
            unit,
            points,
        })
    }

    /// The curve, with the table of its figures.
    pub(super) fn chart(&self) -> Option<(Chart, Table)> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let time = |millis| Timestamp::from_millisecond(millis).ok();
        let shown = thin(&self.points, POINTS);
        let line = |what, value: fn(&Point) -> Option<f64>| {
            let points: Vec<_> = shown
                .iter()
                .filter_map(|point| Some((point.at, value(point)?)))
                .collect();
            (!points.is_empty()).then_some(Line { what, points })
        };
        let lines = [
            line(What::Candidate, |point| Some(point.candidate)),
            line(What::Baseline, |point| point.baseline),
            line(What::Most, |point| point.most),
            line(What::Least, |point| point.least),
        ];
        let chart = Chart {
            title: format!("{}: {}", self.guard, self.what),
            description: format!(
                "After the last of {} polls: candidate {}, baseline {}. The table has the figures.",
                self.points.len(),
                self.cell(last.candidate, last.counts.map(|[candidate, _]| candidate)),
                self.of_baseline(last)
            ),
            from: time(first.at)?,
            until: time(last.at)?,
            drawn: Drawn::Lines {
                unit: self.unit,
                lines: lines.into_iter().flatten().collect(),
            },
        };
        Some((chart, self.table()))
    }

    fn table(&self) -> Table {
        let rows = thin(&self.points, ROWS);
        let caption = if rows.len() < self.points.len() {
            format!(
                "{}: {}; {} of {} polls",
                self.guard,
                self.what,
                rows.len(),
                self.points.len()
            )
        } else {
            format!("{}: {}", self.guard, self.what)
        };
        let rows = rows.into_iter().map(|point| {
            vec![
                time_of(point.at),
                self.cell(point.candidate, point.counts.map(|[candidate, _]| candidate)),
                self.of_baseline(point),
                self.tolerated(point),
            ]
        });
        Table::new(
            caption,
            &["Until", "Candidate", "Baseline", "Tolerated"],
            rows.collect(),
        )
    }

    fn of_baseline(&self, point: &Point) -> String {
        let counts = point.counts.map(|[_, baseline]| baseline);
        point
            .baseline
            .map_or_else(|| UNKNOWN.to_owned(), |value| self.cell(value, counts))
    }

    fn cell(&self, value: f64, counts: Option<Counts>) -> String {
        counts.map_or_else(|| self.told(value), figures::of)
    }

    fn told(&self, value: f64) -> String {
        match self.unit {
            Unit::Share => figures::percent(value),
            Unit::Number => figures::rounded(value).to_string(),
        }
    }

    fn tolerated(&self, point: &Point) -> String {
        match (point.least, point.most) {
            (None, None) => UNKNOWN.to_owned(),
            (None, Some(most)) => format!("up to {}", self.told(most)),
            (Some(least), None) => format!("from {}", self.told(least)),
            (Some(least), Some(most)) => format!("{} to {}", self.told(least), self.told(most)),
        }
    }
}

/// What of each arm was bad, or, of pairs, answered otherwise.
fn bad(guard: &Guard, polls: &[Poll]) -> (String, Unit, Vec<Point>) {
    let what = "share of bad events, or of pairs that differ, cumulated";
    let tolerance = written(guard).and_then(|guard| guard.tolerance());
    let counted = cumulated(polls, |observed| match observed {
        Observed::Proportion { candidate, baseline } => Some([*candidate, *baseline]),
        _ => None,
    });
    let tolerance = tolerance.map(|(_, tolerance)| tolerance);
    (
        what.to_owned(),
        Unit::Share,
        shares(&counted, |baseline| limit(tolerance, baseline)),
    )
}

/// What is tolerated where the baseline's share is this; `None` where it depends on a share that is not known.
fn limit(tolerance: Option<Tolerance>, baseline: Option<f64>) -> Option<f64> {
    let tolerance = tolerance?;
    let is_fixed = tolerance.edge(0.0) == tolerance.edge(1.0);
    let baseline = baseline.or(is_fixed.then_some(0.0))?;
    Some(tolerance.edge(baseline).min(1.0))
}

/// How many requests of each arm were slower than the budget, or than a bound of the histogram where there is none.
fn slow(guard: &Guard, polls: &[Poll]) -> Option<(String, Unit, Vec<Point>)> {
    let bounds = common_bounds(polls);
    let budget = budget(guard).filter(|(within, _)| position(&bounds, *within).is_some());
    let bound = match budget {
        Some((within, _)) => within,
        None => usual_bound(&bounds, polls)?,
    };
    let unit = latency_unit(guard);
    let counted = cumulated(polls, |observed| match observed {
        Observed::Histogram { candidate, baseline } => Some([slower(candidate, bound), slower(baseline, bound)]),
        _ => None,
    });
    let what = match budget {
        Some(_) => format!("share of requests slower than the budget of {bound} {unit}, cumulated"),
        None => format!(
            "share of requests slower than {bound} {unit}, cumulated; what is tolerated is tested at several bounds, and the verdict has the figures"
        ),
    };
    let most = budget.map(|(_, share)| share);
    Some((what, Unit::Share, shares(&counted, |_| most)))
}

/// The budget of a guard on latency, in the unit of its histogram, and the share of requests that may be slower.
fn budget(guard: &Guard) -> Option<(f64, f64)> {
    let latency = guard.latency.as_ref()?;
    let budget = latency.budget.as_ref()?;
    let (percentile, millis) = (budget.percentile.value().ok()?, budget.within.millis().ok()?);
    let within = match latency.unit {
        LatencyUnit::Seconds => millis as f64 / 1000.0,
        LatencyUnit::Milliseconds => millis as f64,
    };
    Some((within, 1.0 - percentile / 100.0))
}

fn latency_unit(guard: &Guard) -> &'static str {
    match guard.latency.as_ref().map(|latency| latency.unit) {
        Some(LatencyUnit::Milliseconds) => "ms",
        Some(LatencyUnit::Seconds) | None => "s",
    }
}

/// How far the outputs of the arms are apart: the total variation distance between what was counted until then.
fn distances(guard: &Guard, polls: &[Poll]) -> Option<(String, Unit, Vec<Point>)> {
    let bounds = common_bounds(polls);
    if bounds.is_empty() {
        return None;
    }
    let most = written(guard)
        .and_then(|guard| guard.margin())
        .map(|(_, margin)| margin);
    let mut sums = [vec![0_u64; bounds.len() + 1], vec![0; bounds.len() + 1]];
    let mut points = Vec::new();
    for poll in polls {
        let Observed::Histogram { candidate, baseline } = &poll.observed else {
            continue;
        };
        for (sum, buckets) in sums.iter_mut().zip([candidate, baseline]) {
            add(sum, buckets, &bounds);
        }
        let [candidate, baseline] = &sums;
        points.push(Point {
            at: poll.through,
            candidate: distance(candidate, baseline),
            most,
            ..Point::default()
        });
    }
    let what = format!(
        "total variation distance of the outputs counted until then, over the {} bounds that all polls have; few outputs make it large by chance",
        bounds.len()
    );
    Some((what, Unit::Share, points))
}

/// Adds a histogram by the bins between some of its bounds.
fn add(sum: &mut [u64], buckets: &Buckets, bounds: &[f64]) {
    for (at, count) in buckets.counts.iter().enumerate() {
        // What lies above the largest bound has none of its own.
        let upper = buckets.bounds.get(at).copied().unwrap_or(f64::INFINITY);
        let bin = bounds.partition_point(|bound| *bound < upper);
        sum[bin] = sum[bin].saturating_add(*count);
    }
}

/// Half the sum of the differences of shares; no number where an arm has no events.
fn distance(candidate: &[u64], baseline: &[u64]) -> f64 {
    let all = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
    let (of_candidate, of_baseline) = (all(candidate), all(baseline));
    let pairs = candidate.iter().zip(baseline);
    let apart = pairs.map(|(c, b)| (*c as f64 / of_candidate - *b as f64 / of_baseline).abs());
    apart.sum::<f64>() / 2.0
}

/// What the candidate spent for each unit, as a multiple of the baseline's, poll by poll.
fn ratios(guard: &Guard, polls: &[Poll]) -> (String, Unit, Vec<Point>) {
    let most = guard.ratio.as_ref().and_then(|ratio| ratio.max.value().ok());
    let multiple = |candidate: &Amounts, baseline: &Amounts| {
        let of_baseline = baseline.ratio().filter(|ratio| *ratio > 0.0)?;
        Some(candidate.ratio()? / of_baseline)
    };
    let points = polls.iter().filter_map(|poll| match &poll.observed {
        Observed::Ratio { candidate, baseline } => Some(Point {
            at: poll.through,
            candidate: multiple(candidate, baseline)?,
            most,
            ..Point::default()
        }),
        _ => None,
    });
    let what = "what the candidate spends, as a multiple of the baseline's, in each poll";
    (what.to_owned(), Unit::Number, points.collect())
}

/// The value of an expression, poll by poll.
fn values(guard: &Guard, polls: &[Poll]) -> (String, Unit, Vec<Point>) {
    let query = guard.query.as_ref();
    let most = query.and_then(|query| query.max.as_ref()?.value().ok());
    let least = query.and_then(|query| query.min.as_ref()?.value().ok());
    let points = polls.iter().filter_map(|poll| match &poll.observed {
        Observed::Value(value) => Some(Point {
            at: poll.through,
            candidate: *value,
            most,
            least,
            ..Point::default()
        }),
        _ => None,
    });
    ("value in each poll".to_owned(), Unit::Number, points.collect())
}

/// The counts of both arms up to each poll.
fn cumulated(polls: &[Poll], of: impl Fn(&Observed) -> Option<[Counts; 2]>) -> Vec<Counted> {
    let mut sums = [Counts::default(); 2];
    let mut out = Vec::new();
    for poll in polls {
        if let Some(more) = of(&poll.observed) {
            for (sum, more) in sums.iter_mut().zip(more) {
                sum.n = sum.n.saturating_add(more.n);
                sum.x = sum.x.saturating_add(more.x);
            }
            out.push((poll.through, sums));
        }
    }
    out
}

/// The shares of both arms, from when the candidate has events.
fn shares(counted: &[Counted], most: impl Fn(Option<f64>) -> Option<f64>) -> Vec<Point> {
    let share = |counts: Counts| (counts.n > 0).then(|| counts.x as f64 / counts.n as f64);
    let points = counted.iter().filter_map(|(at, counts)| {
        let baseline = share(counts[1]);
        Some(Point {
            at: *at,
            candidate: share(counts[0])?,
            baseline,
            most: most(baseline),
            least: None,
            counts: Some(*counts),
        })
    });
    points.collect()
}

/// Requests, and those above a bound among them.
fn slower(buckets: &Buckets, bound: f64) -> Counts {
    let upto = buckets.bounds.partition_point(|of| *of <= bound);
    let sum = |counts: &[u64]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    Counts {
        n: sum(&buckets.counts),
        x: sum(buckets.counts.get(upto..).unwrap_or_default()),
    }
}

/// The bounds that all histograms have.
fn common_bounds(polls: &[Poll]) -> Vec<f64> {
    let mut all = polls.iter().filter_map(|poll| match &poll.observed {
        Observed::Histogram { candidate, baseline } => Some([candidate, baseline]),
        _ => None,
    });
    let Some([first, other]) = all.next() else {
        return Vec::new();
    };
    let mut common = first.bounds.clone();
    let mut keep = |bounds: &[f64]| common.retain(|bound| position(bounds, *bound).is_some());
    keep(&other.bounds);
    for of in all.flatten() {
        keep(&of.bounds);
    }
    common
}

/// Where a bound stands among ascending ones.
fn position(bounds: &[f64], bound: f64) -> Option<usize> {
    bounds.binary_search_by(|of| of.total_cmp(&bound)).ok()
}

/// The bound above which the share of the baseline's requests was nearest to [`SLOW`].
fn usual_bound(bounds: &[f64], polls: &[Poll]) -> Option<f64> {
    let off = |bound: f64| {
        let counted = polls.iter().filter_map(|poll| match &poll.observed {
            Observed::Histogram { baseline, .. } => Some(slower(baseline, bound)),
            _ => None,
        });
        let (n, x) = counted.fold((0.0, 0.0), |(n, x), more| (n + more.n as f64, x + more.x as f64));
        (x / f64::max(n, 1.0) - SLOW).abs()
    };
    bounds.iter().copied().min_by(|a, b| off(*a).total_cmp(&off(*b)))
}

#[cfg(test)]
mod tests;
