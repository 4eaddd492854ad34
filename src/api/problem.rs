//! What is wrong with a spec, by field.

/// A field whose value cannot be used: which one, what it holds, what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecProblem {
    /// Path of the field.
    pub field: String,
    /// What is wrong with the value, and what to write instead.
    pub problem: String,
}

impl SpecProblem {
    /// A problem of one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
