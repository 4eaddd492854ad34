//! Findings as text, for people, and as JSON, for programs.

use serde::Serialize;

use super::rule::{Finding, Severity};
use crate::api::visible;

/// A finding with its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// As it was named, or as it was found in a directory that was.
    pub file: String,
    /// What was found.
    pub finding: Finding,
}

/// `file:line:column: severity: message [rule]`, as compilers write it, a finding a line.
pub fn text(findings: &[Located]) -> String {
    let lines = findings.iter().map(|Located { file, finding }| {
        format!(
            "{}:{}:{}: {}: {} [{}]\n",
            on_one_line(file),
            finding.line,
            finding.column,
            finding.severity.as_str(),
            on_one_line(&finding.message),
            finding.rule.id
        )
    });
    lines.collect()
}

/// Puts a message on one line without control characters: several lines would be read as several findings, and a terminal
/// would obey the characters.
pub(super) fn on_one_line(message: &str) -> String {
    message.chars().map(visible).collect()
}

/// Its fields are only ever added to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: Severity,
    rule: &'a str,
    field: &'a str,
    message: &'a str,
}

/// One JSON object.
pub fn json(findings: &[Located]) -> Result<String, serde_json::Error> {
    let count = |severity| findings.iter().filter(|f| f.finding.severity == severity).count();
    let rows = findings.iter().map(|Located { file, finding }| Row {
        file,
        line: finding.line,
        column: finding.column,
        severity: finding.severity,
        rule: finding.rule.id,
        field: &finding.field,
        message: &finding.message,
    });
    serde_json::to_string_pretty(&Document {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        findings: rows.collect(),
    })
}
