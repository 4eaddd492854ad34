//! What CEL cannot see: quantities out of range, members of a one-of that this release does not know.

use super::{ArmMatchers, Benefit, Duration, Guard, QuantizedModelSpec, RolloutSpec, ToleranceSpec};

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

/// All problems of a spec that the API server let through.
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
        benefit_problems(benefit, spec, &mut found);
    }
    if spec.guards.is_empty() && spec.preset.is_none() {
        found.add(
            "spec.guards",
            "is empty, and there is no spec.preset: without a question to the metrics nothing can be promoted; set one of them",
        );
    }
    for guard in &spec.guards {
        guard_problems(guard, &mut found);
    }
    if spec.traffic.gateway.is_none() && spec.traffic.service.is_none() {
        found.add(
            "spec.traffic",
            "is of a kind that this release does not know; upgrade guardbit, or use one of gateway and service",
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

    fn tolerance(&mut self, field: &str, tolerance: &ToleranceSpec) {
        match tolerance.ratio.as_ref().map(super::Decimal::value) {
            Some(Ok(ratio)) if !(0.0..=100.0).contains(&ratio) => self.add(
                format!("{field}.ratio"),
                format!("{ratio} is out of range; write a factor from \"0\" to \"100\", such as \"1.5\""),
            ),
            Some(Err(e)) => self.add(format!("{field}.ratio"), e.to_string()),
            _ => {}
        }
        match tolerance.absolute.as_ref().map(super::Fraction::value) {
            Some(Ok(share)) if share >= 1.0 => self.add(
                format!("{field}.absolute"),
                "a tolerance of 100% tolerates everything; write a share below 1, such as \"0.5%\"",
            ),
            Some(Err(e)) => self.add(format!("{field}.absolute"), e.to_string()),
            _ => {}
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

/// A benefit is asked of a guard that compares the candidate with stable.
fn benefit_problems(benefit: &Benefit, spec: &QuantizedModelSpec, found: &mut Found) {
    let Benefit { guard, at_least } = benefit;
    let field = "spec.rollout.benefit.guard";
    match spec.guards.iter().find(|g| g.name == *guard) {
        // Not listed: perhaps one of the preset's, which is looked up where presets are known.
        None => {}
        Some(g) if g.fidelity.is_some() || g.query.is_some() => found.add(
            field,
            format!("guard {guard:?} cannot tell whether a candidate is better than stable; name a proportion, latency or ratio guard"),
        ),
        Some(_) => {}
    }
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

fn guard_problems(guard: &Guard, found: &mut Found) {
    let field = format!("spec.guards[{}]", guard.name);
    let Guard {
        name: _,
        proportion,
        latency,
        fidelity,
        ratio,
        query,
        arm_matchers,
        arm_labels,
    } = guard;
    if *arm_matchers == Some(ArmMatchers::Labels) && arm_labels.is_empty() {
        found.add(
            format!("{field}.armLabels"),
            "is empty although armMatchers is Labels; list the labels of an arm",
        );
    }
    if let Some(p) = proportion {
        found.tolerance(&format!("{field}.proportion.tolerance"), &p.tolerance);
    } else if let Some(l) = latency {
        found.tolerance(&format!("{field}.latency.tolerance"), &l.tolerance);
        match l.at_load.as_ref().map(super::Fraction::value) {
            None => {}
            Some(Ok(share)) if share > 0.0 => {}
            Some(_) => found.add(
                format!("{field}.latency.atLoad"),
                format!(
                    "{:?} is no usable share; write one above 0 and up to 100%, such as \"80%\"",
                    l.at_load.as_ref().map_or("", |share| &share.0)
                ),
            ),
        }
        if let Some(budget) = &l.budget {
            match budget.percentile.value() {
                Ok(p) if p > 0.0 && p < 100.0 => {}
                _ => found.add(
                    format!("{field}.latency.budget.percentile"),
                    format!(
                        "{:?} is no percentile; write a number above 0 and below 100, such as \"95\"",
                        budget.percentile.0
                    ),
                ),
            }
            match budget.within.millis() {
                Ok(0) => found.add(
                    format!("{field}.latency.budget.within"),
                    "\"0s\" can never be met; write the budget, such as \"60ms\"",
                ),
                Ok(_) => {}
                Err(e) => found.add(format!("{field}.latency.budget.within"), e.to_string()),
            }
        }
    } else if let Some(f) = fidelity {
        match f.max_total_variation.value() {
            Ok(v) if v > 0.0 && v < 1.0 => {}
            _ => found.add(
                format!("{field}.fidelity.maxTotalVariation"),
                format!(
                    "{:?} is no usable distance; write a share above 0 and below 1, such as \"0.05\"",
                    f.max_total_variation.0
                ),
            ),
        }
    } else if let Some(r) = ratio {
        match r.max.value() {
            Ok(max) if max > 0.0 => {}
            _ => found.add(
                format!("{field}.ratio.max"),
                format!(
                    "{:?} is no usable factor; write a number above 0, such as \"1.0\" for no more than the baseline",
                    r.max.0
                ),
            ),
        }
    } else if let Some(q) = query {
        for (name, bound) in [("min", &q.min), ("max", &q.max)] {
            if let Some(Err(e)) = bound.as_ref().map(super::Decimal::value) {
                found.add(format!("{field}.query.{name}"), e.to_string());
            }
        }
    } else {
        found.add(field, "is of a kind that this release does not know; upgrade guardbit, or use one of proportion, latency, fidelity, ratio and query");
    }
}
