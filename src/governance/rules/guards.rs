//! Guards: whether a model has one that is at least as strict as each that policies ask for.

use std::collections::BTreeSet;

use crate::api::{self, ArmLabel, ArmMatchers, QuantizedModelSpec};
use crate::guards::{self, Guard, Required};
use crate::model::presets;

use super::asked::Asked;
use super::findings::Findings;

pub(super) fn check(required: &BTreeSet<Asked<Required>>, spec: &QuantizedModelSpec, findings: &mut Findings) {
    if required.is_empty() {
        return;
    }
    let of_model: Vec<(Guard, bool)> = presets::guards(spec)
        .iter()
        .filter_map(|guard| Some((guards::resolve(guard).ok()?, tells_arms_apart(guard, spec))))
        .collect();
    for Asked { what: required, by } in required {
        if let Some(problem) = missing(required, &of_model) {
            findings.add(
                by,
                format!("guards[{}]", required.name),
                format!("{required} is asked for, and {problem}"),
            );
        }
    }
}

/// Why no guard of a model will do; `None` if one does.
fn missing(required: &Required, of_model: &[(Guard, bool)]) -> Option<String> {
    let of_kind = of_model.iter().filter(|(guard, _)| required.is_of_kind(guard));
    let lacking = of_kind.map(|(guard, apart)| {
        let mut lacks: Vec<String> = required.lacks(guard).iter().map(ToString::to_string).collect();
        if !apart {
            lacks.push("its armLabels are the same for both arms: write {deployment}, {service}, {revision} or {pod} into one of them".to_owned());
        }
        (guard, lacks)
    });
    let nearest = lacking.min_by_key(|(_, lacks)| lacks.len());
    match nearest {
        Some((_, lacks)) if lacks.is_empty() => None,
        Some((guard, lacks)) => Some(format!(
            "of those of the model {:?} comes nearest; {}",
            guard.name,
            lacks.join("; ")
        )),
        None => Some("the model has none of that kind: add it to spec.guards".to_owned()),
    }
}

/// Whether the series of a guard differ from arm to arm: a candidate that is compared with itself is never worse.
fn tells_arms_apart(guard: &api::Guard, spec: &QuantizedModelSpec) -> bool {
    if guards::counts_pairs(guard) {
        return true;
    }
    let shared = spec.prometheus.as_ref();
    let (how, labels) = match guard.arm_matchers {
        Some(how) => (Some(how), &guard.arm_labels),
        None => match shared {
            Some(shared) => (shared.arm_matchers, &shared.arm_labels),
            None => return true,
        },
    };
    how != Some(ArmMatchers::Labels) || labels.iter().any(ArmLabel::differs)
}
