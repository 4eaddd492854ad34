//! One guard: its configuration and its running state.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::api::Verdict;
use crate::evidence::{Amounts, Buckets, Observed};

use super::Regime;
use super::fidelity::FidelityTest;
use super::latency::{LatencyTest, Load};
use super::margin::{SHARES, Tolerance};
use super::share::ShareTest;

/// What a guard asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GuardConfig {
    /// A share of bad events.
    Proportion {
        /// What is tolerated.
        tolerance: Tolerance,
    },
    /// Shares of slow requests.
    Latency {
        /// What is tolerated, at each edge.
        tolerance: Tolerance,
        /// A fixed bound.
        budget: Option<Budget>,
        /// Health counts only from polls in which a candidate pod carries at least this share, in `(0, 1]`, of what a
        /// baseline pod carries.
        at_load: Option<f64>,
        /// Units of the histogram in a second: 1, or 1000 for milliseconds.
        per_second: f64,
    },
    /// A distribution of outputs.
    Fidelity {
        /// Largest tolerated total variation distance, in `(0, 1)`.
        max_total_variation: f64,
    },
    /// A ratio of two counters against the baseline's; harmful when `consecutive` of the last `of` polls are out of bounds.
    Ratio {
        /// Largest factor on the baseline's ratio; above 0.
        max: f64,
        /// 1 to 60.
        consecutive: u32,
        /// `consecutive` to 60.
        of: u32,
    },
    /// A value against fixed bounds; harmful when `consecutive` of the last `of` polls are out of them.
    Query {
        /// Values below are out of bounds.
        min: Option<f64>,
        /// Values above are out of bounds.
        max: Option<f64>,
        /// 1 to 60.
        consecutive: u32,
        /// `consecutive` to 60.
        of: u32,
    },
}

/// An absolute latency budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of requests that may be slower, in `(0, 1)`: 0.05 for a 95th percentile.
    pub slower: f64,
    /// The bound, in seconds.
    pub within: f64,
}

/// A plain k-of-n rule, for what has no sampling model: which of the last polls were out of bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rule {
    /// Bit i is the poll i polls ago.
    out: u64,
    seen: u32,
}

/// On which side of its bounds a poll was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Within,
    Beyond,
}

/// State of a query guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct QueryTest {
    pub(super) rule: Rule,
    pub(super) last: f64,
}

/// State of a ratio guard, with the ratios of the last poll.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RatioTest {
    pub(super) rule: Rule,
    pub(super) candidate: f64,
    pub(super) baseline: f64,
}

/// State of the test itself, by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Test {
    Proportion(ShareTest),
    Latency(LatencyTest),
    Fidelity(FidelityTest),
    Query(QueryTest),
    Ratio(RatioTest),
}

impl GuardConfig {
    /// `consecutive` and `of`, for a guard without a sampling model.
    pub(super) fn rule(&self) -> Option<(u32, u32)> {
        match *self {
            Self::Ratio { consecutive, of, .. } | Self::Query { consecutive, of, .. } => Some((consecutive, of)),
            Self::Proportion { .. } | Self::Latency { .. } | Self::Fidelity { .. } => None,
        }
    }
}

impl Test {
    pub(super) fn new(config: &GuardConfig) -> Self {
        match config {
            GuardConfig::Proportion { .. } => Self::Proportion(ShareTest::default()),
            GuardConfig::Latency { .. } => Self::Latency(LatencyTest::default()),
            GuardConfig::Fidelity { .. } => Self::Fidelity(FidelityTest::default()),
            GuardConfig::Query { .. } => Self::Query(QueryTest::default()),
            GuardConfig::Ratio { .. } => Self::Ratio(RatioTest::default()),
        }
    }

    /// Takes one poll; what does not fit the guard's kind is left out.
    pub(super) fn observe(&mut self, regime: Regime, config: &GuardConfig, observed: &Observed) {
        match (self, config, observed) {
            (
                Self::Proportion(test),
                GuardConfig::Proportion { tolerance },
                Observed::Proportion { candidate, baseline },
            ) => {
                let prior = tolerance.absolute.clamp(0.001, 0.5);
                test.observe(regime, SHARES, *tolerance, prior, *candidate, *baseline);
            }
            (
                Self::Latency(test),
                GuardConfig::Latency {
                    tolerance,
                    budget,
                    at_load,
                    per_second,
                },
                Observed::Histogram { candidate, baseline },
            ) => {
                let load = Load::of(*at_load, candidate, baseline);
                let (candidate, baseline) = (in_seconds(candidate, *per_second), in_seconds(baseline, *per_second));
                test.observe(regime, *tolerance, *budget, load, &candidate, &baseline);
            }
            (
                Self::Fidelity(test),
                GuardConfig::Fidelity { max_total_variation },
                Observed::Histogram { candidate, baseline },
            ) => {
                test.observe(regime, *max_total_variation, candidate, baseline);
            }
            (Self::Query(test), GuardConfig::Query { min, max, .. }, Observed::Value(value)) if !value.is_nan() => {
                let out = min.is_some_and(|min| *value < min) || max.is_some_and(|max| *value > max);
                test.rule.observe(if out { Side::Beyond } else { Side::Within });
                test.last = *value;
            }
            (Self::Ratio(test), GuardConfig::Ratio { max, .. }, Observed::Ratio { candidate, baseline }) => {
                test.observe(*max, *candidate, *baseline);
            }
            _ => {}
        }
    }

    /// Takes what the baseline alone did before the trial, oldest first.
    pub(super) fn recall(&mut self, config: &GuardConfig, history: &[Observed]) {
        let per_second = match config {
            GuardConfig::Latency { per_second, .. } => *per_second,
            _ => 1.0,
        };
        let buckets: Vec<Cow<'_, Buckets>> = history
            .iter()
            .filter_map(|past| match past {
                Observed::Histogram { baseline, .. } => Some(in_seconds(baseline, per_second)),
                _ => None,
            })
            .collect();
        let buckets = buckets.iter().map(AsRef::as_ref);
        match self {
            Self::Proportion(test) => {
                for past in history {
                    if let Observed::Proportion { baseline, .. } = past {
                        test.recall(*baseline);
                    }
                }
            }
            Self::Latency(test) => test.recall(buckets),
            Self::Fidelity(test) => test.recall(buckets),
            Self::Query(_) | Self::Ratio(_) => {}
        }
    }

    /// Logarithm of the evidence of harm; `None` for a guard without a sampling model.
    pub(super) fn ln_harm(&self, regime: Regime) -> Option<f64> {
        match self {
            Self::Proportion(test) => Some(test.ln_harm(regime, SHARES)),
            Self::Latency(test) => Some(test.ln_harm(regime)),
            Self::Fidelity(test) => Some(test.ln_harm(regime)),
            Self::Query(_) | Self::Ratio(_) => None,
        }
    }

    /// Logarithm of the evidence of health; `None` for a guard without a sampling model.
    pub(super) fn ln_health(&self) -> Option<f64> {
        match self {
            Self::Proportion(test) => Some(test.ln_health()),
            Self::Latency(test) => Some(test.ln_health()),
            Self::Fidelity(test) => Some(test.ln_health()),
            Self::Query(_) | Self::Ratio(_) => None,
        }
    }

    /// The rule of a guard without a sampling model.
    pub(super) fn rule(&self) -> Option<&Rule> {
        match self {
            Self::Query(test) => Some(&test.rule),
            Self::Ratio(test) => Some(&test.rule),
            Self::Proportion(_) | Self::Latency(_) | Self::Fidelity(_) => None,
        }
    }
}

/// Latencies in seconds, whatever the histogram's unit.
pub(super) fn in_seconds(buckets: &Buckets, per_second: f64) -> Cow<'_, Buckets> {
    if per_second == 1.0 {
        return Cow::Borrowed(buckets);
    }
    // Divided, not multiplied: 5 ms is then the very number that 0.005 s is.
    let bounds = buckets.bounds.iter().map(|bound| bound / per_second);
    Cow::Owned(Buckets {
        bounds: bounds.collect(),
        ..buckets.clone()
    })
}

impl RatioTest {
    /// Takes one poll, unless one of the arms did nothing in it, or the baseline spent nothing.
    pub(super) fn observe(&mut self, max: f64, candidate: Amounts, baseline: Amounts) {
        let (Some(candidate), Some(baseline)) = (candidate.ratio(), baseline.ratio()) else {
            return;
        };
        if baseline > 0.0 {
            let out = candidate > max * baseline;
            self.rule.observe(if out { Side::Beyond } else { Side::Within });
            (self.candidate, self.baseline) = (candidate, baseline);
        }
    }
}

impl Rule {
    fn observe(&mut self, side: Side) {
        self.out = self.out << 1 | u64::from(side == Side::Beyond);
        self.seen = self.seen.saturating_add(1);
    }

    /// What the rule says when `consecutive` of the last `of` polls out of bounds are harm.
    pub(super) fn verdict(&self, consecutive: u32, of: u32) -> Verdict {
        if self.out_of(of) >= consecutive {
            Verdict::Harmful
        } else if self.seen >= of && self.out & 1 == 0 {
            Verdict::Healthy
        } else {
            Verdict::Undecided
        }
    }

    /// Polls that were looked at, `of` at most.
    pub(super) fn looked_at(&self, of: u32) -> u32 {
        self.seen.min(of)
    }

    /// Polls out of bounds among the last `of`.
    pub(super) fn out_of(&self, of: u32) -> u32 {
        (self.out & (u64::MAX >> (64 - of.clamp(1, 64)))).count_ones()
    }

    /// Polls within bounds among the last `of`.
    pub(super) fn within(&self, of: u32) -> u32 {
        self.looked_at(of).saturating_sub(self.out_of(of))
    }
}
