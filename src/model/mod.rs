//! The model: what a spec means, once its strings are read.

pub mod identity;
pub mod presets;

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use crate::api::validate::{self, SpecProblem};
use crate::api::{self, QuantizedModelSpec};

/// Time between two evaluations of the metrics; positive.
pub fn interval(spec: &QuantizedModelSpec) -> Duration {
    Duration::from_millis(spec.rollout.interval.millis().unwrap_or(15_000).max(1).unsigned_abs())
}

/// A duration of a spec that was checked before.
pub fn duration(duration: &api::Duration) -> SignedDuration {
    SignedDuration::from_millis(duration.millis().unwrap_or(0))
}

/// All problems of a spec that the API server let through, those with the guards of its preset as well.
pub fn problems(spec: &QuantizedModelSpec) -> Vec<SpecProblem> {
    let mut found = validate::problems(spec);
    found.extend(benefit_problem(spec));
    found
}

/// A benefit that is asked of no guard that there is; those of a preset are known here only.
fn benefit_problem(spec: &QuantizedModelSpec) -> Option<SpecProblem> {
    let wanted = spec.rollout.benefit.as_ref()?;
    let all = presets::guards(spec);
    (!all.iter().any(|guard| guard.name == wanted.guard)).then(|| SpecProblem {
        field: "spec.rollout.benefit.guard".to_owned(),
        problem: format!(
            "there is no guard {:?}; write the name of one of them: {}",
            wanted.guard,
            all.iter()
                .map(|guard| guard.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    })
}
