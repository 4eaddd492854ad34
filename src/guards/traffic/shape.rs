//! How the events of an arm are distributed, and how a worse candidate's differ.

use crate::evidence::{Amounts, Buckets, Counts, Observed};

use super::random::Random;
use super::tail::Tail;

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
    /// Pairs of answers, which the comparer counts at a rate of its own.
    Pairs {
        /// Share of the candidate's that differ.
        differs: f64,
        /// Pairs of the reference and itself, for each pair of the candidate.
        control: f64,
    },
    /// A value that stays within its bounds; it has no sampling model.
    Value(f64),
    /// What an event costs, as a factor of what it costs the baseline; it has no sampling model either.
    Cost(f64),
}

/// How a candidate differs from its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Its share of bad events, or of answers that differ, is this.
    Share(f64),
    /// Its latencies are this many times as long.
    Slower(f64),
    /// Its outputs have this total variation distance from the reference's.
    Drift(f64),
}

/// A candidate that is worse than its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Worse {
    /// How it differs from its baseline.
    pub effect: Effect,
    /// The share of bad events, the factor on latencies, or the total variation distance.
    pub size: f64,
    /// The difference in words, for people: "2% bad", "1.4 × as slow", "TV 0.1".
    pub told: String,
}

impl Shape {
    /// How many events the baseline had in `history`, and how they were distributed. `None` where that cannot be known.
    pub(crate) fn of(history: &[Observed]) -> Option<(u64, Self)> {
        match history.first()? {
            Observed::Proportion { .. } => {
                let mut all = Counts::default();
                for poll in history {
                    if let Observed::Proportion { baseline, .. } = poll {
                        all.add(*baseline);
                    }
                }
                // A baseline without any bad event is taken to have a rate at which none would be seen half of the
                // time.
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
            // The cost of events does not say how many there are; it is assumed to stay within its bound.
            Observed::Ratio { .. } => None,
            Observed::Value(value) => Some((1, Shape::Value(*value))),
        }
    }
}

impl Stream {
    /// What both arms show in `seconds`, at these shares of the traffic, with variation from `random`.
    pub(crate) fn draw(
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
            Shape::Pairs { differs, control } => {
                let differs = match effect {
                    Some(Effect::Share(worse)) => worse,
                    _ => *differs,
                };
                let x = random.poisson(mean(1.0) * differs);
                let n = x + random.poisson(mean(1.0) * (1.0 - differs));
                Observed::Proportion {
                    candidate: Counts { n, x },
                    baseline: Counts {
                        n: random.poisson(mean(*control)),
                        x: 0,
                    },
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

/// One poll of an arm that gets `share` of the traffic, `mean` events. Capacity follows the weights, so every pod
/// carries the same load.
fn buckets(random: &mut Random, bounds: &[f64], shares: &[f64], share: f64, mean: f64) -> Buckets {
    Buckets {
        pods: (100.0 * share).round().max(1.0) as u32,
        bounds: bounds.to_vec(),
        counts: shares.iter().map(|share| random.poisson(mean * share)).collect(),
    }
}

/// Shares at a total variation distance of `distance`: that much is taken from the lower half, in proportion, and given
/// to the upper half. A lower half that holds less gives all that it has.
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
