//! What a guard asks of the metrics.

use crate::evidence::{Form, PromqlError, Role};

/// A selector, or an expression, that a guard asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// What the series that it finds are to the guard.
    pub role: Role,
    /// The field of the guard that it stands in, such as `proportion.bad`.
    pub field: &'static str,
    /// The text of the spec, without the labels of an arm.
    pub text: String,
}

impl Selector {
    pub(super) fn new(role: Role, field: &'static str, text: &str) -> Self {
        Self {
            role,
            field,
            text: text.to_owned(),
        }
    }

    /// The form in which it is asked for.
    pub fn form(&self) -> Form {
        self.role.form()
    }

    /// Fails if no query can be made of it.
    pub fn usable(&self) -> Result<(), PromqlError> {
        self.form().query(&self.text, &[], 60_000).map(drop)
    }
}
