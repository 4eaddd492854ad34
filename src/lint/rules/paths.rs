//! Paths of the fields of guards.

use crate::api::QuantizedModelSpec;

/// The path of a guard: its own, or that of the preset that brings it.
fn guard_field(spec: &QuantizedModelSpec, guard: &str) -> String {
    if spec.guards.iter().any(|g| g.name == guard) {
        format!("spec.guards[{guard}]")
    } else {
        "spec.preset".to_owned()
    }
}

/// The path of a field of a guard; of one that a preset brings, that of the preset.
pub(super) fn field_of(spec: &QuantizedModelSpec, guard: &str, field: &str) -> String {
    match guard_field(spec, guard) {
        own if own.ends_with(']') => format!("{own}.{field}"),
        preset => preset,
    }
}
