//! Reads the strings of a guard, and says for each unusable one what would be right.

use crate::api::{Decimal, Fraction, SpecProblem, ToleranceSpec};
use crate::judge::Tolerance;

/// The fields of one guard, with the problems found so far.
pub(super) struct Fields {
    /// Path of the guard, such as `spec.guards[errors]`.
    path: String,
    pub(super) problems: Vec<SpecProblem>,
}

impl Fields {
    pub(super) fn of(guard: &str) -> Self {
        Self {
            path: format!("spec.guards[{guard}]"),
            problems: Vec::new(),
        }
    }

    /// Records a problem of a field of the guard, or of the guard itself where `field` is empty.
    pub(super) fn add(&mut self, field: &str, problem: impl Into<String>) {
        let dot = if field.is_empty() { "" } else { "." };
        let field = format!("{}{dot}{field}", self.path);
        self.problems.push(SpecProblem::new(field, problem));
    }

    /// Returns the value, or records why it could not be read.
    pub(super) fn value<T>(&mut self, field: &str, read: Result<T, impl ToString>) -> Option<T> {
        read.map_err(|error| self.add(field, error.to_string())).ok()
    }

    pub(super) fn tolerance(&mut self, field: &str, written: &ToleranceSpec) -> Option<Tolerance> {
        let ratio = match written.ratio.as_ref().map(Decimal::value) {
            Some(Ok(ratio)) if !(0.0..=100.0).contains(&ratio) => Err(format!(
                "{ratio} is out of range; write a factor from \"0\" to \"100\", such as \"1.5\""
            )),
            Some(Err(e)) => Err(e.to_string()),
            _ => Ok(()),
        };
        let ratio = self.value(&format!("{field}.ratio"), ratio);
        let absolute = match written.absolute.as_ref().map(Fraction::value) {
            Some(Ok(share)) if share >= 1.0 => {
                Err("a tolerance of 100% tolerates everything; write a share below 1, such as \"0.5%\"".to_owned())
            }
            Some(Err(e)) => Err(e.to_string()),
            _ => Ok(()),
        };
        let absolute = self.value(&format!("{field}.absolute"), absolute);
        ratio.and(absolute).map(|()| tolerance(written))
    }
}

/// Reads a tolerance. A part that is left out or cannot be read tolerates no more than the baseline's share.
pub(super) fn tolerance(written: &ToleranceSpec) -> Tolerance {
    Tolerance {
        ratio: written.ratio.as_ref().and_then(|r| r.value().ok()).unwrap_or(1.0),
        absolute: written.absolute.as_ref().and_then(|a| a.value().ok()).unwrap_or(0.0),
    }
}

/// How many polls out of bounds, of how many, are harm: at most sixty, because a rule remembers no more.
pub(super) fn rule(consecutive: i32, of: Option<i32>) -> (u32, u32) {
    let polls = |n: i32| n.clamp(1, 60).unsigned_abs();
    (polls(consecutive), of.map_or(polls(consecutive), polls))
}
