//! The traffic of a rollout as it is imagined: how many events each guard counts, and how they are distributed.
//!
//! Either assumed, from a request rate, or measured, from what the baseline did in the past hour. Whatever is assumed is
//! told in a sentence: a forecast is as good as these.

use std::collections::BTreeMap;

use crate::evidence::{Amounts, Buckets, Counts, Observed};
use crate::judge::{GuardConfig, SuiteConfig};

use super::normal::{normal, quantile};
use super::random::Random;

/// Width of the latencies that are assumed: the standard deviation of their logarithm. p95 is 2.7 times the median.
const SIGMA: f64 = 0.6;

/// Median of the latencies that are assumed where no budget says more, in seconds.
const MEDIAN: f64 = 0.1;

/// Bins of the outputs that are assumed: guardbit cuts as many.
const BINS: u32 = 10;

/// What is counted for one guard on all arms together.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Events per second, of the whole route.
    pub per_second: f64,
    /// How they are distributed on a baseline arm.
    pub shape: Shape,
}

/// How the events of a baseline arm are distributed.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Share of bad ones.
    Share(f64),
    /// Latencies in buckets.
    Latency {
        /// Finite upper bounds, ascending, in seconds.
        bounds: Vec<f64>,
        /// The distribution.
        tail: Tail,
    },
    /// Outputs in buckets.
    Outputs {
        /// Finite upper bounds, ascending.
        bounds: Vec<f64>,
        /// Share of each bucket; one more than `bounds`.
        shares: Vec<f64>,
    },
    /// A value that stays within its bounds: there is no sampling model of it.
    Value(f64),
    /// What an event costs, as a factor of what it costs the baseline; no sampling model either.
    Cost(f64),
}

/// A distribution of latencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Tail {
    /// Assumed: logarithms are normal, of width 0.6.
    LogNormal {
        /// Seconds.
        median: f64,
    },
    /// Measured: shares of the buckets, the last being above all bounds.
    Measured {
        /// Finite upper bounds, ascending, in seconds.
        bounds: Vec<f64>,
        /// One more than `bounds`.
        shares: Vec<f64>,
    },
}

/// The traffic of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// By guard.
    pub streams: BTreeMap<String, Stream>,
    /// What was assumed, in sentences.
    pub assumptions: Vec<String>,
}

/// How a candidate differs from its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Its share of bad events is this.
    Share(f64),
    /// Its latencies are this many times as long.
    Slower(f64),
    /// Its outputs have this total variation distance from the reference's.
    Drift(f64),
}

impl Traffic {
    /// Traffic of which only the rate is known: `rps` requests per second of the whole route, of which a share of
    /// `error_rate` is bad for every proportion guard.
    pub fn assumed(guards: &SuiteConfig, rps: f64, error_rate: f64) -> Self {
        let mut traffic = Self {
            streams: BTreeMap::new(),
            assumptions: vec![
                "every guard counts every request of the route; requests are independent, and spread evenly over time"
                    .to_owned(),
            ],
        };
        for (name, guard) in &guards.guards {
            traffic.assume(name, guard, rps, error_rate);
        }
        traffic
    }

    /// Traffic as the baseline showed it: `history` holds its polls by guard, which took `seconds` in all, and
    /// `share(guard)` of the route's traffic went to that baseline. What was not seen is assumed.
    pub fn measured(
        guards: &SuiteConfig,
        history: &BTreeMap<String, Vec<Observed>>,
        seconds: f64,
        error_rate: f64,
        share: impl Fn(&GuardConfig) -> f64,
    ) -> Self {
        let mut traffic = Self {
            streams: BTreeMap::new(),
            assumptions: vec!["the traffic stays as it was in the past hour; requests are independent".to_owned()],
        };
        let seen = |name: &String, guard: &GuardConfig| {
            let (n, shape) = shape(history.get(name)?)?;
            let shape = match (guard, shape) {
                (GuardConfig::Latency { .. }, Shape::Outputs { bounds, shares }) => Shape::Latency {
                    bounds: bounds.clone(),
                    tail: Tail::Measured { bounds, shares },
                },
                (_, shape) => shape,
            };
            (n > 0 && seconds > 0.0).then(|| Stream {
                per_second: n as f64 / seconds / f64::max(share(guard), 0.01),
                shape,
            })
        };
        for (name, guard) in &guards.guards {
            if let Some(stream) = seen(name, guard) {
                traffic.streams.insert(name.clone(), stream);
            }
        }
        let rps = traffic.per_second();
        for (name, guard) in &guards.guards {
            if !traffic.streams.contains_key(name) {
                traffic.assume(name, guard, rps, error_rate);
            }
        }
        traffic
    }

    /// Events per second of the guard that counts most.
    pub fn per_second(&self) -> f64 {
        self.streams.values().map(|s| s.per_second).fold(0.0, f64::max)
    }

    fn assume(&mut self, name: &str, guard: &GuardConfig, rps: f64, error_rate: f64) {
        let (shape, told) = match guard {
            GuardConfig::Proportion { .. } => (
                Shape::Share(error_rate),
                format!("{name}: {} of the baseline's requests are bad", percent(error_rate)),
            ),
            GuardConfig::Latency { budget, .. } => {
                // A baseline within its budget uses half of it.
                let median = budget.map_or(MEDIAN, |b| b.within / (SIGMA * quantile(1.0 - b.slower / 2.0)).exp());
                let tail = Tail::LogNormal { median };
                let bounds = ideal_bounds(&tail, budget.map(|b| b.within));
                let told = format!(
                    "{name}: latencies are log-normal with p95 = {:.2} × p50, and the histogram has bounds at the baseline's p50, p95, p99{}",
                    (SIGMA * quantile(0.95)).exp(),
                    budget.map_or_else(String::new, |b| format!(
                        " and at the budget, beyond which {} of the baseline's requests lie",
                        percent(b.slower / 2.0)
                    ))
                );
                (Shape::Latency { bounds, tail }, told)
            }
            GuardConfig::Fidelity { .. } => {
                let n = f64::from(BINS);
                let shape = Shape::Outputs {
                    bounds: (1..BINS).map(|i| f64::from(i) / n).collect(),
                    shares: vec![1.0 / n; BINS as usize],
                };
                (
                    shape,
                    format!(
                        "{name}: outputs fall evenly into ten bins, and drift moves them from the lower half to the upper"
                    ),
                )
            }
            GuardConfig::Query { min, max, .. } => (
                Shape::Value(max.or(*min).unwrap_or(0.0)),
                format!("{name}: its value stays within bounds, for there is no sampling model of it"),
            ),
            GuardConfig::Ratio { max, .. } => (
                Shape::Cost(max.min(1.0)),
                format!("{name}: it stays within its bound, for there is no sampling model of it"),
            ),
        };
        self.assumptions.push(told);
        let stream = Stream { per_second: rps, shape };
        self.streams.insert(name.to_owned(), stream);
    }
}

/// Bounds at the quantiles that the judge watches, and at the budget.
fn ideal_bounds(tail: &Tail, budget: Option<f64>) -> Vec<f64> {
    let mut bounds: Vec<f64> = [0.5, 0.95, 0.99]
        .into_iter()
        .map(|p| tail.quantile(p))
        .chain(budget)
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup_by(|a, b| (*a / *b - 1.0).abs() < 1e-9);
    bounds
}

/// Events in all, and how they were distributed.
fn shape(history: &[Observed]) -> Option<(u64, Shape)> {
    match history.first()? {
        Observed::Proportion { .. } => {
            let mut all = Counts::default();
            for poll in history {
                if let Observed::Proportion { baseline, .. } = poll {
                    all.add(*baseline);
                }
            }
            // A baseline without any bad event has some that it did not show: as many as would go unseen half of the time.
            let bad = if all.x == 0 { 2f64.ln() } else { all.x as f64 };
            Some((all.n, Shape::Share(bad / all.n.max(1) as f64)))
        }
        Observed::Histogram { .. } => {
            let mut sums: Vec<(f64, u64)> = Vec::new();
            let mut above = 0;
            for poll in history {
                let Observed::Histogram { baseline, .. } = poll else {
                    continue;
                };
                let Buckets {
                    bounds,
                    counts,
                    pods: _,
                } = baseline;
                for (bound, n) in bounds.iter().zip(counts) {
                    match sums.iter_mut().find(|(b, _)| b == bound) {
                        Some((_, sum)) => *sum += n,
                        None => sums.push((*bound, *n)),
                    }
                }
                above += counts.last().copied().unwrap_or(0);
            }
            sums.sort_by(|a, b| a.0.total_cmp(&b.0));
            let n = sums.iter().map(|(_, n)| n).sum::<u64>() + above;
            let share = |x: u64| x as f64 / n.max(1) as f64;
            let bounds: Vec<f64> = sums.iter().map(|(bound, _)| *bound).collect();
            let shares = sums.iter().map(|(_, x)| *x).chain([above]).map(share).collect();
            Some((n, Shape::Outputs { bounds, shares }))
        }
        // What it costs says nothing of how often; it is assumed to stay within its bound.
        Observed::Ratio { .. } => None,
        Observed::Value(value) => Some((1, Shape::Value(*value))),
    }
}

impl Tail {
    /// Share of requests that take longer than `seconds`, where all take `scale` times as long.
    pub fn slower(&self, seconds: f64, scale: f64) -> f64 {
        let at = seconds / scale;
        match self {
            Self::LogNormal { median } => normal((median / at).ln() / SIGMA),
            Self::Measured { bounds, shares } => {
                let above = |i: usize| shares.iter().skip(i + 1).sum::<f64>();
                let next = bounds.partition_point(|b| *b < at);
                let (low, over_low) = match next {
                    0 => (0.0, 1.0),
                    _ => (bounds[next - 1], above(next - 1)),
                };
                let Some(high) = bounds.get(next) else {
                    return over_low;
                };
                over_low + (above(next) - over_low) * (at - low) / (high - low)
            }
        }
    }

    /// The latency that a share of `p` stays within, in seconds; for what was measured, the bound next above.
    pub fn quantile(&self, p: f64) -> f64 {
        match self {
            Self::LogNormal { median } => median * (SIGMA * quantile(p)).exp(),
            Self::Measured { bounds, .. } => bounds
                .iter()
                .copied()
                .find(|bound| self.slower(*bound, 1.0) <= 1.0 - p)
                .unwrap_or(f64::INFINITY),
        }
    }
}

impl Stream {
    /// What both arms show in `seconds`, at these shares of the traffic. `random` says by how much they vary.
    pub(super) fn draw(
        &self,
        random: &mut Random,
        seconds: f64,
        (candidate, baseline): (f64, f64),
        effect: Option<Effect>,
    ) -> Observed {
        let mean = |share: f64| self.per_second * seconds * share;
        match &self.shape {
            Shape::Share(bad) => {
                let mut counts = |share: f64, bad: f64| {
                    let x = random.poisson(mean(share) * bad);
                    let n = x + random.poisson(mean(share) * (1.0 - bad));
                    Counts { n, x }
                };
                let worse = match effect {
                    Some(Effect::Share(worse)) => worse,
                    _ => *bad,
                };
                Observed::Proportion {
                    candidate: counts(candidate, worse),
                    baseline: counts(baseline, *bad),
                }
            }
            Shape::Latency { bounds, tail } => {
                let scale = match effect {
                    Some(Effect::Slower(scale)) => scale,
                    _ => 1.0,
                };
                let shares = |scale: f64| {
                    let over = |i: usize| if i == 0 { 1.0 } else { tail.slower(bounds[i - 1], scale) };
                    let last = bounds.len();
                    (0..=last)
                        .map(|i| over(i) - if i == last { 0.0 } else { over(i + 1) })
                        .collect::<Vec<_>>()
                };
                Observed::Histogram {
                    candidate: buckets(random, bounds, &shares(scale), candidate, mean(candidate)),
                    baseline: buckets(random, bounds, &shares(1.0), baseline, mean(baseline)),
                }
            }
            Shape::Outputs { bounds, shares } => {
                let moved = match effect {
                    Some(Effect::Drift(distance)) => moved(shares, distance),
                    _ => shares.clone(),
                };
                Observed::Histogram {
                    candidate: buckets(random, bounds, &moved, candidate, mean(candidate)),
                    baseline: buckets(random, bounds, shares, baseline, mean(baseline)),
                }
            }
            Shape::Value(value) => Observed::Value(*value),
            Shape::Cost(factor) => {
                let amounts = |share: f64, factor: f64| Amounts {
                    numerator: mean(share) * factor,
                    denominator: mean(share),
                };
                Observed::Ratio {
                    candidate: amounts(candidate, *factor),
                    baseline: amounts(baseline, 1.0),
                }
            }
        }
    }
}

/// One poll of an arm that gets `share` of the traffic, `mean` events. Capacity follows the weights: every pod carries as much.
fn buckets(random: &mut Random, bounds: &[f64], shares: &[f64], share: f64, mean: f64) -> Buckets {
    Buckets {
        pods: (100.0 * share).round().max(1.0) as u32,
        bounds: bounds.to_vec(),
        counts: shares.iter().map(|share| random.poisson(mean * share)).collect(),
    }
}

/// Shares at a total variation distance of `distance`: as much is taken from the lower half, in proportion, and given to
/// the upper. A half that holds less gives all that it has.
fn moved(shares: &[f64], distance: f64) -> Vec<f64> {
    let mut middle = 0;
    let mut low = 0.0;
    while middle + 1 < shares.len() && low + shares[middle] <= 0.5 + 1e-9 {
        low += shares[middle];
        middle += 1;
    }
    if low <= 0.0 {
        (low, middle) = (shares.first().copied().unwrap_or(0.0), 1);
    }
    let high = 1.0 - low;
    let distance = distance.min(low);
    let factor = |i: usize| {
        if i < middle {
            1.0 - distance / low
        } else if high > 0.0 {
            1.0 + distance / high
        } else {
            1.0
        }
    };
    shares.iter().enumerate().map(|(i, share)| share * factor(i)).collect()
}

/// A share in percent, with the digits that matter.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits: usize = if percent >= 9.95 {
        0
    } else if percent >= 0.995 {
        1
    } else {
        2
    };
    let text = format!("{percent:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_has_the_distance_that_was_asked_for() {
        for shares in [vec![0.1; 10], vec![0.05, 0.05, 0.7, 0.2], vec![0.9, 0.1]] {
            for distance in [0.02, 0.05, 0.09] {
                let moved = moved(&shares, distance);
                let found: f64 = moved.iter().zip(&shares).map(|(a, b)| (a - b).abs() / 2.0).sum();
                assert!((found - distance).abs() < 1e-9, "{shares:?}: {found} for {distance}");
                assert!((moved.iter().sum::<f64>() - 1.0).abs() < 1e-9 && moved.iter().all(|s| *s >= 0.0));
            }
        }
    }

    #[test]
    fn a_measured_tail_is_read_between_its_bounds() {
        let tail = Tail::Measured {
            bounds: vec![0.1, 0.2, 0.4],
            shares: vec![0.5, 0.3, 0.15, 0.05],
        };
        for (seconds, scale, share) in [
            (0.1, 1.0, 0.5),
            (0.2, 1.0, 0.2),
            (0.15, 1.0, 0.35),
            (0.2, 2.0, 0.5),
            (0.4, 2.0, 0.2),
            (9.0, 1.0, 0.05),
        ] {
            assert!(
                (tail.slower(seconds, scale) - share).abs() < 1e-9,
                "{seconds} × {scale}"
            );
        }
        assert_eq!(
            (tail.quantile(0.5), tail.quantile(0.95), tail.quantile(0.99)),
            (0.1, 0.4, f64::INFINITY)
        );
    }

    #[test]
    fn shares_are_told_with_the_digits_that_matter() {
        for (share, text) in [
            (0.005, "0.5%"),
            (0.02, "2%"),
            (0.0123, "1.2%"),
            (0.333, "33%"),
            (0.0, "0%"),
            (0.2, "20%"),
            (1.0, "100%"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
