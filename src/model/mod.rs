//! The model: what a spec means, once its strings are read.

pub mod identity;
pub mod presets;

use std::time::Duration;

use crate::api::QuantizedModelSpec;

/// Time between two evaluations of the metrics; positive.
pub fn interval(spec: &QuantizedModelSpec) -> Duration {
    Duration::from_millis(spec.rollout.interval.millis().unwrap_or(15_000).max(1).unsigned_abs())
}
