//! What was counted on both arms over one interval: the evidence that is judged.

use serde::{Deserialize, Serialize};

mod decimal;
mod whole;

/// Events counted on one arm over one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events (requests).
    #[serde(with = "whole")]
    pub n: u64,
    /// Bad events among them; never more than `n`.
    #[serde(with = "whole")]
    pub x: u64,
}

impl Counts {
    /// Adds `more`.
    pub fn add(&mut self, more: Self) {
        self.n += more.n;
        self.x += more.x;
    }
}

/// A histogram counted on one arm over one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    /// Finite upper bounds (`le`), strictly ascending.
    #[serde(with = "decimal::list")]
    pub bounds: Vec<f64>,
    /// Events per bucket, *not* cumulative; one more than `bounds`, the last being `+Inf`.
    #[serde(with = "whole::list")]
    pub counts: Vec<u64>,
    /// Number of pods that had samples, by the label `pod`, or `instance` where there is none; 0 if it is not known.
    pub pods: u32,
}

impl Buckets {
    /// Events per pod; `None` where it is not known how many pods there were.
    pub fn per_pod(&self) -> Option<f64> {
        let events: u64 = self.counts.iter().sum();
        (self.pods > 0).then(|| events as f64 / f64::from(self.pods))
    }
}

/// Two real-valued counters of one arm, such as joules and requests, over one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Amounts {
    /// By how much the numerator rose; not negative.
    #[serde(with = "decimal")]
    pub numerator: f64,
    /// By how much the denominator rose; not negative.
    #[serde(with = "decimal")]
    pub denominator: f64,
}

impl Amounts {
    /// The numerator per denominator; `None` where the denominator did not rise.
    pub fn ratio(self) -> Option<f64> {
        (self.denominator > 0.0).then(|| self.numerator / self.denominator)
    }
}

/// What one guard counted in one interval, on both arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observed {
    /// A share of bad events.
    Proportion {
        /// The arm on trial.
        candidate: Counts,
        /// The arm it is judged against.
        baseline: Counts,
    },
    /// Two histograms over the same bounds.
    Histogram {
        /// The arm on trial.
        candidate: Buckets,
        /// The arm it is judged against.
        baseline: Buckets,
    },
    /// What was spent, and on how much, on each arm; it has no sampling model.
    Ratio {
        /// The arm on trial.
        candidate: Amounts,
        /// The arm it is judged against.
        baseline: Amounts,
    },
    /// The value of a free query; it has no sampling model.
    Value(#[serde(with = "decimal")] f64),
}

impl Observed {
    /// Requests of the candidate and of the baseline. An observation without a sampling model counts as one request of
    /// the candidate, if it is usable.
    pub fn requests(&self) -> (u64, u64) {
        match self {
            Self::Proportion { candidate, baseline } => (candidate.n, baseline.n),
            Self::Histogram { candidate, baseline } => (candidate.counts.iter().sum(), baseline.counts.iter().sum()),
            Self::Ratio { candidate, baseline } => {
                let usable = candidate.ratio().is_some() && baseline.ratio().is_some_and(|ratio| ratio > 0.0);
                (u64::from(usable), 0)
            }
            Self::Value(value) => (u64::from(!value.is_nan()), 0),
        }
    }
}

impl Observed {
    /// The same without what the candidate did.
    pub(super) fn of_baseline(self) -> Self {
        match self {
            Self::Proportion { baseline, .. } => Self::Proportion {
                candidate: Counts::default(),
                baseline,
            },
            Self::Histogram { candidate, baseline } => Self::Histogram {
                candidate: Buckets {
                    counts: vec![0; candidate.counts.len()],
                    pods: 0,
                    ..candidate
                },
                baseline,
            },
            Self::Ratio { baseline, .. } => Self::Ratio {
                candidate: Amounts::default(),
                baseline,
            },
            Self::Value(value) => Self::Value(value),
        }
    }
}

/// One interval of evidence of one guard. Times are Unix milliseconds; the interval is `(from, through]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// Exclusive start.
    pub from: i64,
    /// Inclusive end: no sample up to here counts again.
    pub through: i64,
    /// The counts.
    pub observed: Observed,
}
