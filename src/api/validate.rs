//! What CEL cannot see: quantities out of range. Those of guards are read where guards are.

use super::{Benefit, Duration, QuantizedModelSpec, RolloutSpec};

/// A field whose value cannot be used: which one, what it holds, what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecProblem {
    /// Path of the field.
    pub field: String,
    /// What is wrong with the value, and what to write instead.
    pub problem: String,
}

/// Shortest time between two looks at the metrics, in milliseconds.
const SHORTEST_INTERVAL: i64 = 1_000;

/// Problems of a spec that the API server let through, but for those of its guards.
pub fn problems(spec: &QuantizedModelSpec) -> Vec<SpecProblem> {
    let mut found = Found(Vec::new());
    let RolloutSpec {
        bootstrap: _,
        interval,
        warm_up,
        steps,
        schedule_deadline,
        deadline,
        on_undecided: _,
        on_harm: _,
        holdout,
        keep_warm,
        false_rollback,
        false_promotion,
        benefit,
    } = &spec.rollout;
    for (field, value) in [
        ("interval", interval),
        ("warmUp", warm_up),
        ("scheduleDeadline", schedule_deadline),
        ("deadline", deadline),
        ("keepWarm", keep_warm),
    ] {
        found.duration(&format!("spec.rollout.{field}"), value);
    }
    if interval.millis().is_ok_and(|m| m < SHORTEST_INTERVAL) {
        found.add(
            "spec.rollout.interval",
            format!(
                "{interval:?} is shorter than the shortest interval; write \"1s\" or more",
                interval = interval.0
            ),
        );
    }
    if let (Ok(cold), Ok(allowed)) = (warm_up.millis(), deadline.millis())
        && cold >= allowed
    {
        found.add(
            "spec.rollout.warmUp",
            format!(
                "{:?} leaves nothing of the deadline of {deadline} to judge in; write less, such as \"30s\"",
                warm_up.0
            ),
        );
    }
    for (i, step) in steps.iter().enumerate() {
        found.duration(&format!("spec.rollout.steps[{i}].hold"), &step.hold);
        if step.weight + holdout >= 100 {
            found.add(format!("spec.rollout.steps[{i}].weight"), format!("{} and a holdout of {holdout} leave nothing for stable; lower one of them so that they sum to less than 100", step.weight));
        }
    }
    coarse_steps(spec, &mut found);
    for (field, value) in [("falseRollback", false_rollback), ("falsePromotion", false_promotion)] {
        match value.value() {
            Ok(v) if v > 0.0 && v <= 0.5 => {}
            _ => found.add(
                format!("spec.rollout.{field}"),
                format!(
                    "{:?} is no usable error rate; write a share above 0 and up to 50%, such as \"5%\"",
                    value.0
                ),
            ),
        }
    }
    if let Some(benefit) = benefit {
        benefit_problems(benefit, &mut found);
    }
    if spec.guards.is_empty() && spec.preset.is_none() {
        found.add(
            "spec.guards",
            "is empty, and there is no spec.preset: without a question to the metrics nothing can be promoted; set one of them",
        );
    }
    for (i, variant) in spec.variants.iter().enumerate() {
        if let Some(age) = variant.calibration.as_ref().and_then(|c| c.max_age.as_ref()) {
            found.duration(&format!("spec.variants[{i}].calibration.maxAge"), age);
        }
        for metric in variant.validation.iter().flat_map(|v| &v.metrics) {
            let field = format!("spec.variants[{i}].validation.metrics[{}]", metric.name);
            for (name, decimal) in [("reference", &metric.reference), ("measured", &metric.measured)] {
                if let Err(e) = decimal.value() {
                    found.add(format!("{field}.{name}"), e.to_string());
                }
            }
            if let Err(e) = metric.max_drop.value() {
                found.add(format!("{field}.maxDrop"), e.to_string());
            }
        }
    }
    if let Some(timeouts) = spec.traffic.gateway.as_ref().and_then(|g| g.timeouts.as_ref()) {
        for (name, value) in [
            ("request", &timeouts.request),
            ("backendRequest", &timeouts.backend_request),
        ] {
            if let Some(value) = value {
                found.duration(&format!("spec.traffic.gateway.timeouts.{name}"), value);
            }
        }
    }
    found.0
}

struct Found(Vec<SpecProblem>);

impl Found {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SpecProblem {
            field: field.into(),
            problem: problem.into(),
        });
    }

    fn duration(&mut self, field: &str, value: &Duration) {
        if let Err(e) = value.millis() {
            self.add(field, e.to_string());
        }
    }
}

/// Behind one Service the smallest share is that of one pod beside those of stable.
fn coarse_steps(spec: &QuantizedModelSpec, found: &mut Found) {
    if spec.traffic.service.as_ref().is_none_or(|s| s.allow_coarse_steps) {
        return;
    }
    let Some(pods) = spec.variants.iter().filter_map(|v| spec.replicas(v)).min() else {
        return;
    };
    for (i, step) in spec.rollout.steps.iter().enumerate() {
        if step.weight * (pods + 1) < 100 {
            let (share, enough) = (100 / (pods + 1), (100 - step.weight + step.weight - 1) / step.weight);
            found.add(
                format!("spec.rollout.steps[{i}].weight"),
                format!("{}% is less than one pod beside {pods} of stable, which takes {share}%; raise replicas to {enough}, raise the weight, or set spec.traffic.service.allowCoarseSteps: true to accept {share}%", step.weight),
            );
        }
    }
}

fn benefit_problems(benefit: &Benefit, found: &mut Found) {
    let Benefit { guard: _, at_least } = benefit;
    match at_least.value() {
        Ok(share) if share > 0.0 && share < 1.0 => {}
        _ => found.add(
            "spec.rollout.benefit.atLeast",
            format!(
                "{:?} is no usable benefit; write a share above 0 and below 1, such as \"5%\"",
                at_least.0
            ),
        ),
    }
}
