//! Evidence: raw Prometheus samples → integer counts per arm. Pure; no clock, no IO.
//!
//! Owns how samples are counted; must not judge them (that is `judge`). Counts come from raw range vectors, because
//! `rate()`, `increase()` and `histogram_quantile()` extrapolate and interpolate, and a test on them has no guarantee.

use serde::{Deserialize, Serialize};

mod counter;
mod cursor;
mod decimal;
mod histogram;
mod labels;
mod native;
pub mod promql;
mod ratio;
pub mod sample;

pub use cursor::{Advance, Cursor, HISTORY_MS, Pods};
pub use labels::Labels;
pub use native::{NativeHistogram, NativeMatrix, NativeSeries};
pub use promql::{
    ArmMatcher, Batch, BatchedArm, MatcherOp, POD_OF_DEPLOYMENT, PromqlError, Ranged, Selection, arm_query,
    expression_query, fitting, histogram_query, native_histogram_query, shape,
};
pub use sample::{Matrix, SampleError, Series};

/// Events counted on one arm over one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events (requests).
    pub n: u64,
    /// Bad events among them; never more than `n`.
    pub x: u64,
}

impl Counts {
    /// Counts `more` as well.
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
    pub counts: Vec<u64>,
    /// Pods that had samples, told by the label `pod`, or `instance` where there is none; 0 if it is not known.
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
    /// The one per the other; `None` where the denominator stood still.
    pub fn ratio(self) -> Option<f64> {
        (self.denominator > 0.0).then(|| self.numerator / self.denominator)
    }
}

/// What one guard saw in one interval, on both arms.
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
    /// What was spent on what, on each arm; no sampling model.
    Ratio {
        /// The arm on trial.
        candidate: Amounts,
        /// The arm it is judged against.
        baseline: Amounts,
    },
    /// The value of a free query; no sampling model.
    Value(#[serde(with = "decimal")] f64),
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

/// What Prometheus answered for one guard, on both arms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardSamples {
    /// The arm on trial.
    pub candidate: ArmSamples,
    /// The arm it is judged against.
    pub baseline: ArmSamples,
}

/// How a histogram is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketForm {
    /// A counter for each bucket: `name_bucket{le="…"}`.
    Classic,
    /// Samples that are whole histograms.
    Native,
}

impl BucketForm {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Classic => Self::Native,
            Self::Native => Self::Classic,
        }
    }
}

impl GuardSamples {
    /// The form of the histograms, if there are any series of one. Of arms in different forms none is counted.
    pub fn form(&self) -> Option<BucketForm> {
        self.candidate.form().or(self.baseline.form())
    }
}

/// What Prometheus answered for one guard on one arm.
#[derive(Clone, Debug, PartialEq)]
pub enum ArmSamples {
    /// Counters of some and of all events, both asked for the same time, `total` first.
    Proportion {
        /// The counter of bad (or good) events.
        part: Matrix,
        /// The counter of all events.
        total: Matrix,
        /// Which events `part` counts.
        kind: PartKind,
    },
    /// The `_bucket` series of a classic histogram.
    Histogram(Matrix),
    /// A native histogram.
    Native(NativeMatrix),
    /// Two counters of anything, perhaps of different exporters.
    Ratio {
        /// What is spent.
        numerator: Matrix,
        /// What it is spent on.
        denominator: Matrix,
    },
    /// The result of a free query; the baseline is not looked at.
    Value(Matrix),
}

impl ArmSamples {
    /// The form of the histogram, if it is one and has any series.
    pub fn form(&self) -> Option<BucketForm> {
        match self {
            Self::Histogram(matrix) => (!matrix.series.is_empty()).then_some(BucketForm::Classic),
            Self::Native(matrix) => (!matrix.series.is_empty()).then_some(BucketForm::Native),
            Self::Proportion { .. } | Self::Ratio { .. } | Self::Value(_) => None,
        }
    }

    /// An answer to the same question without any series.
    fn nothing(&self) -> Self {
        match self {
            Self::Proportion { kind, .. } => Self::Proportion {
                part: Matrix::default(),
                total: Matrix::default(),
                kind: *kind,
            },
            Self::Histogram(_) | Self::Native(_) => Self::default(),
            Self::Ratio { .. } => Self::Ratio {
                numerator: Matrix::default(),
                denominator: Matrix::default(),
            },
            Self::Value(_) => Self::Value(Matrix::default()),
        }
    }
}

impl Default for ArmSamples {
    fn default() -> Self {
        Self::Histogram(Matrix::default())
    }
}

/// Which events the first counter of a proportion counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Bad ones: x is its count.
    Bad,
    /// Good ones: x is the rest.
    Good,
}
