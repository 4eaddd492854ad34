//! Lint: what is wrong with a model before it is applied, with the place in its file. Pure; no clock, no IO.
//!
//! Owns the rules (docs/lint.md explains each), the reader that knows where every field stands, and how findings are written
//! for people, programs and code review. What the API server would refuse is refused by its own schema and CEL rules, and what
//! guardbit could not use by the validation of the controller itself, so that what passes here is accepted there. Must not know
//! where files, metrics or the time come from.

mod document;
mod fields;
mod policies;
mod report;
mod rule;
mod rules;
mod sarif;
mod schema;
mod surroundings;
mod yaml;

pub use document::{Model, Read};
pub use policies::{ReadPolicies, WrittenPolicy};
pub use report::{Located, json, text};
pub use rule::{ALL, Finding, Rule, Severity};
pub use sarif::sarif;
pub use schema::Schema;
pub use surroundings::{Matched, MetricKind, Seen, Surroundings};

/// All findings in one file, and the models in it that the rules can read.
pub fn read(bytes: &[u8], schema: &Schema) -> Read {
    document::read(bytes, schema)
}

/// All findings in one file of policies, the policies in it that can be read, and the labels of its Namespaces.
pub fn read_policies(bytes: &[u8], schema: &Schema) -> ReadPolicies {
    policies::read(bytes, schema)
}

/// What the rules find in a model, with what is known of its surroundings.
pub fn check(model: &Model, surroundings: &Surroundings) -> Vec<Finding> {
    rules::check(model, surroundings)
}
