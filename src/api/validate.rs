//! What CEL cannot see of a guard: quantities out of range, members of a one-of that this release does not know.

use super::{ArmMatchers, Guard, SpecProblem, ToleranceSpec};

struct Found(Vec<SpecProblem>);

impl Found {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SpecProblem::new(field, problem));
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

/// All problems of a guard that the API server let through.
pub fn guard(guard: &Guard) -> Vec<SpecProblem> {
    let mut found = Found(Vec::new());
    guard_problems(guard, &mut found);
    found.0
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
