//! Reads the strings of a guard, and says for each unusable one what would be right.

use crate::api::{Decimal, Fraction, LatencyTolerance, SpecProblem, ToleranceSpec};
use crate::judge::{Tolerance, Tolerated};

/// The share that is tolerated beside a slowdown where none is written.
const HALF_A_PERCENT: f64 = 0.005;

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
        let ratio = self.factor(&format!("{field}.ratio"), written.ratio.as_ref(), 0.0);
        let absolute = self.share(&format!("{field}.absolute"), written.absolute.as_ref());
        ratio.and(absolute).map(|()| tolerance(written))
    }

    pub(super) fn tolerated(&mut self, field: &str, written: &LatencyTolerance) -> Option<Tolerated> {
        let ratio = self.factor(&format!("{field}.ratio"), written.ratio.as_ref(), 0.0);
        let slowdown = self.factor(&format!("{field}.slowdown"), written.slowdown.as_ref(), 1.0);
        let absolute = self.share(&format!("{field}.absolute"), written.absolute.as_ref());
        if written.ratio.is_some() && written.slowdown.is_some() {
            self.add(
                field,
                "has both ratio and slowdown, which say the same in two ways; leave one out",
            );
            return None;
        }
        ratio.and(slowdown).and(absolute).map(|()| tolerated(written))
    }

    /// Checks a factor of `least` or more.
    fn factor(&mut self, field: &str, written: Option<&Decimal>, least: f64) -> Option<()> {
        let read = match written.map(Decimal::value) {
            Some(Ok(factor)) if !(least..=100.0).contains(&factor) => Err(format!(
                "{factor} is out of range; write a factor from \"{least}\" to \"100\", such as \"1.5\""
            )),
            Some(Err(e)) => Err(e.to_string()),
            _ => Ok(()),
        };
        self.value(field, read)
    }

    /// Checks a share below 1.
    fn share(&mut self, field: &str, written: Option<&Fraction>) -> Option<()> {
        let read = match written.map(Fraction::value) {
            Some(Ok(share)) if share >= 1.0 => {
                Err("a tolerance of 100% tolerates everything; write a share below 1, such as \"0.5%\"".to_owned())
            }
            Some(Err(e)) => Err(e.to_string()),
            _ => Ok(()),
        };
        self.value(field, read)
    }
}

/// Reads a tolerance. A part that is left out or cannot be read tolerates no more than the baseline's share.
pub(super) fn tolerance(written: &ToleranceSpec) -> Tolerance {
    Tolerance {
        ratio: written.ratio.as_ref().and_then(|r| r.value().ok()).unwrap_or(1.0),
        absolute: written.absolute.as_ref().and_then(|a| a.value().ok()).unwrap_or(0.0),
    }
}

/// Reads a tolerance on latency: a slowdown if one is written, else a factor on the baseline's share. A part that cannot be
/// read tolerates no more than the baseline does.
pub(super) fn tolerated(written: &LatencyTolerance) -> Tolerated {
    let LatencyTolerance {
        ratio,
        slowdown,
        absolute,
    } = written;
    match slowdown {
        None => Tolerated::Share(tolerance(&ToleranceSpec {
            ratio: ratio.clone(),
            absolute: absolute.clone(),
        })),
        Some(factor) => Tolerated::Slowdown {
            factor: factor.value().unwrap_or(1.0),
            // What few requests show at a large latency needs some room, so it has a default beside a slowdown.
            absolute: absolute
                .as_ref()
                .map_or(Ok(HALF_A_PERCENT), Fraction::value)
                .unwrap_or(0.0),
        },
    }
}

/// How many polls out of bounds, of how many, are harm: at most sixty, because a rule remembers no more.
pub(super) fn rule(consecutive: i32, of: Option<i32>) -> (u32, u32) {
    let polls = |n: i32| n.clamp(1, 60).unsigned_abs();
    (polls(consecutive), of.map_or(polls(consecutive), polls))
}
