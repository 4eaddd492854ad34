//! Reads the strings of a spec, and records each one that cannot be read.

use k8s_openapi::jiff::SignedDuration;

use crate::api::{Decimal, Duration, Fraction, SpecProblem};

/// Reads values one by one. A value that cannot be read is recorded as a problem and is zero until the spec is refused.
#[derive(Debug, Default)]
pub struct Reader {
    problems: Vec<SpecProblem>,
}

impl Reader {
    /// Records that a field cannot be used.
    pub fn refuse(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.problems.push(SpecProblem::new(field, problem));
    }

    /// Reads a length of time.
    pub fn duration(&mut self, field: &str, value: &Duration) -> SignedDuration {
        let read = value.millis().map_err(|e| self.refuse(field, e.to_string()));
        SignedDuration::from_millis(read.unwrap_or(0))
    }

    /// Reads a decimal number.
    pub fn decimal(&mut self, field: &str, value: &Decimal) -> f64 {
        let read = value.value().map_err(|e| self.refuse(field, e.to_string()));
        read.unwrap_or(0.0)
    }

    /// Reads a share in `[0, 1]`.
    pub fn share(&mut self, field: &str, value: &Fraction) -> f64 {
        let read = value.value().map_err(|e| self.refuse(field, e.to_string()));
        read.unwrap_or(0.0)
    }

    /// Reads a share that must also be `usable`; `expected` says what it must be, and what to write.
    pub fn share_where(&mut self, field: &str, value: &Fraction, usable: impl Fn(f64) -> bool, expected: &str) -> f64 {
        match value.value() {
            Ok(share) if usable(share) => share,
            _ => {
                self.refuse(field, format!("{:?} is no usable {expected}", value.0));
                0.0
            }
        }
    }

    /// Records problems that were found elsewhere.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = SpecProblem>) {
        self.problems.extend(problems);
    }

    /// Returns `read` if every value could be read, otherwise all problems.
    pub fn finish<T>(self, read: T) -> Result<T, Vec<SpecProblem>> {
        if self.problems.is_empty() {
            Ok(read)
        } else {
            Err(self.problems)
        }
    }
}
