//! What the command prints, and in which form.

use clap::ValueEnum;
use serde::Serialize;

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// What is printed.
pub(super) struct Told {
    pub(super) text: String,
    /// Whether nothing is refused, or all is as expected.
    pub(super) is_good: bool,
}

/// A document for programs.
pub(super) fn json(document: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(document).map_err(|e| e.to_string())
}
