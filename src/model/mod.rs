//! The model: what a spec means once its strings are read.
//!
//! Owns the step from what the user wrote to what the rest of guardbit works with, after the example of ripgrep's raw
//! and resolved arguments: durations, rates and tolerances are read here and in `guards`, once, and nowhere else. Also
//! owns the identity of revisions and the presets. Must not decide anything.

pub mod comparer;
pub mod facts;
mod guards;
pub mod identity;
pub mod presets;
mod reader;
mod rollout;
pub mod template;
mod traffic;
mod variant;
pub mod weights;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::api::{QuantizedModelSpec, SpecProblem};

pub use comparer::Comparer;
pub use reader::Reader;
pub use rollout::{Benefit, Rollout, Step};
pub use variant::{Dropped, Variant};

/// A spec with its strings parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// How a candidate climbs.
    pub rollout: Rollout,
    /// The variants, in the order of the spec.
    pub variants: Vec<Variant>,
    /// How answers are compared, if guardbit runs a comparer.
    pub comparer: Option<Comparer>,
}

/// Resolves a spec, or returns every problem in it that the API server let through.
pub fn resolve(spec: &QuantizedModelSpec) -> Result<Model, Vec<SpecProblem>> {
    let mut reader = Reader::default();
    let model = read_with(spec, &mut reader);
    reader.finish(model)
}

/// Resolves a spec as far as it can be read, for callers that comment on an unusable one: values that cannot be read
/// are zero.
pub fn read(spec: &QuantizedModelSpec) -> Model {
    read_with(spec, &mut Reader::default())
}

/// All problems of a spec that the API server let through.
pub fn problems(spec: &QuantizedModelSpec) -> Vec<SpecProblem> {
    resolve(spec).err().unwrap_or_default()
}

fn read_with(spec: &QuantizedModelSpec, reader: &mut Reader) -> Model {
    let rollout = rollout::read(&spec.rollout, reader);
    traffic::check(spec, reader);
    guards::check(spec, reader);
    let comparer = comparer::read(spec, reader);
    let variants = spec.variants.iter().enumerate();
    let variants = variants.map(|(at, variant)| variant::read(at, variant, reader));
    let model = Model {
        rollout,
        variants: variants.collect(),
        comparer,
    };
    traffic::timeouts(spec, reader);
    model
}

/// When the first calibration of a spec on the way to its target, or at it, will be older than its `maxAge`.
pub fn calibration_expires(spec: &QuantizedModelSpec) -> Option<Timestamp> {
    let model = read(spec);
    let ladder = model.variants.get(..=spec.target_index()).unwrap_or_default();
    ladder.iter().filter_map(|v| v.calibration_expires).min()
}

/// Time between two evaluations of the metrics, in milliseconds, at least one. It is for callers that need nothing else
/// of a spec that was not checked.
pub fn interval_ms(spec: &QuantizedModelSpec) -> i64 {
    spec.rollout.interval.millis().unwrap_or(15_000).max(1)
}

/// Time between two evaluations of the metrics, as [`interval_ms`] gives it.
pub fn interval(spec: &QuantizedModelSpec) -> Duration {
    Duration::from_millis(interval_ms(spec).unsigned_abs())
}
