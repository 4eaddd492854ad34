//! What no schema can check: rules on a model as a whole, and on what is known of its metrics and traffic.

mod bounds;
mod guards;
mod ladder;
mod measured;
mod mirror;
mod pairs;
mod paths;
mod policies;
mod steps;

use super::document::Model;
use super::rule::Finding;
use super::surroundings::Surroundings;

/// All findings, in the order of the file.
pub(super) fn check(model: &Model, surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    ladder::check(model, surroundings.now, &mut findings);
    guards::check(model, surroundings, &mut findings);
    pairs::check(model, surroundings, &mut findings);
    steps::check(model, surroundings, &mut findings);
    measured::check(model, surroundings, &mut findings);
    mirror::check(model, &mut findings);
    policies::check(model, surroundings, &mut findings);
    findings.sort_by_key(|f| (f.line, f.column));
    findings
}
