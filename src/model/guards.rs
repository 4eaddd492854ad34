//! Checks the guards of a spec against the rest of it.

use crate::api::{Benefit, QuantizedModelSpec};
use crate::guards;

use super::presets;
use super::reader::Reader;

/// Checks that there are guards, that each can be used, and that a benefit is asked of one that can show it.
pub(super) fn check(spec: &QuantizedModelSpec, reader: &mut Reader) {
    if spec.guards.is_empty() && spec.preset.is_none() {
        reader.refuse(
            "spec.guards",
            "is empty, and there is no spec.preset: without a question to the metrics nothing can be promoted; set one of them",
        );
    }
    for guard in &spec.guards {
        reader.extend(guards::resolve(guard).err().unwrap_or_default());
    }
    if let Some(benefit) = &spec.rollout.benefit {
        of_benefit(benefit, spec, reader);
    }
}

/// Checks that a benefit names a guard that compares the candidate with stable; it may be one of the preset's.
fn of_benefit(Benefit { guard, at_least: _ }: &Benefit, spec: &QuantizedModelSpec, reader: &mut Reader) {
    let all = presets::guards(spec);
    let field = "spec.rollout.benefit.guard";
    match all.iter().find(|g| g.name == *guard) {
        None => {
            let names: Vec<_> = all.iter().map(|guard| guard.name.as_str()).collect();
            reader.refuse(
                field,
                format!("there is no guard {guard:?}; write the name of one of them: {}", names.join(", ")),
            );
        }
        Some(found) if guards::written(found).is_some_and(|kind| !kind.tells_benefit()) => reader.refuse(
            field,
            format!("guard {guard:?} cannot tell whether a candidate is better than stable; name a proportion, latency or ratio guard"),
        ),
        Some(_) => {}
    }
}
