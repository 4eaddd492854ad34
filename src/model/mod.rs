//! The model: what a spec means, once its strings are read.

pub mod identity;
pub mod presets;

use std::time::Duration;

use crate::api::QuantizedModelSpec;
use crate::api::validate::{self, SpecProblem};
use crate::guards;

/// All problems of a spec that the API server let through.
pub fn problems(spec: &QuantizedModelSpec) -> Vec<SpecProblem> {
    let mut found = validate::problems(spec);
    found.extend(
        spec.guards
            .iter()
            .filter_map(|guard| guards::resolve(guard).err())
            .flatten(),
    );
    found.extend(no_benefit(spec));
    found
}

/// A benefit is asked of a guard that compares the candidate with stable. One that is not listed is perhaps of the preset; those
/// of presets all do.
fn no_benefit(spec: &QuantizedModelSpec) -> Option<SpecProblem> {
    let wanted = &spec.rollout.benefit.as_ref()?.guard;
    let guard = spec.guards.iter().find(|guard| guard.name == *wanted)?;
    (!guards::written(guard)?.tells_benefit()).then(|| SpecProblem {
        field: "spec.rollout.benefit.guard".to_owned(),
        problem: format!("guard {wanted:?} cannot tell whether a candidate is better than stable; name a proportion, latency or ratio guard"),
    })
}

/// Time between two evaluations of the metrics; positive.
pub fn interval(spec: &QuantizedModelSpec) -> Duration {
    Duration::from_millis(spec.rollout.interval.millis().unwrap_or(15_000).max(1).unsigned_abs())
}
