//! Evidence: raw Prometheus samples → integer counts per arm. It is pure: no clock, no IO.
//!
//! Owns how samples are counted; must not judge them (that is `judge`). Counts come from raw range vectors, because
//! `rate()`, `increase()` and `histogram_quantile()` extrapolate and interpolate, and a test on them has no guarantee.

mod answer;
mod counter;
mod counts;
mod cursor;
mod histogram;
mod labels;
mod native;
pub mod promql;
mod ratio;
mod role;
pub mod sample;

pub use answer::{ArmSamples, BucketForm, GuardSamples, MOST_LINES, Part, Shown, incomparable, lacks_part, look_alike};
pub use counts::{Amounts, Buckets, Counts, Observed, Poll};
pub use cursor::{Advance, Cursor, HISTORY_MS, Pace, Pods};
pub use labels::Labels;
pub use native::{NativeHistogram, NativeMatrix, NativeSeries};
pub use promql::{
    ArmMatcher, Batch, BatchedArm, MatcherOp, POD_OF_DEPLOYMENT, PromqlError, REVISION, Selection, arm_query,
    expression_query, fitting, histogram_query, native_histogram_query, shape,
};
pub use role::{Form, Role};
pub use sample::{Matrix, SampleError, Series};
