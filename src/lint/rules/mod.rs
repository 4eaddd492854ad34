//! What no schema can see: rules on a model as a whole, and on what is known of its metrics and traffic.

mod bounds;
mod guards;
mod ladder;
mod measured;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use crate::api::QuantizedModelSpec;
use crate::foresight::{Problem, Traffic};

use super::document::Model;
use super::rule::Finding;

/// What is known beside the file.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The time.
    pub now: Timestamp,
    /// What Prometheus has of the selectors of each guard, where it was asked.
    pub seen: Option<Seen>,
    /// The traffic, where it is known.
    pub traffic: Option<Traffic>,
    /// What will not decide in time with that traffic.
    pub foreseen: Vec<Problem>,
}

/// What Prometheus has.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By guard, by field, such as `proportion.total`.
    pub guards: BTreeMap<String, BTreeMap<String, Matched>>,
    /// Seconds between two scrapes.
    pub scrape: Option<f64>,
}

/// What one selector matched in the past hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matched {
    /// Series.
    pub series: usize,
    /// Labels that all of them have.
    pub labels: BTreeSet<String>,
    /// Finite bucket bounds, ascending, in units of the metric.
    pub bounds: Vec<f64>,
    /// What the series are, as far as their samples tell.
    pub kind: MetricKind,
}

/// What the samples of a metric look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricKind {
    /// What was asked for, or nothing that says otherwise.
    #[default]
    AsExpected,
    /// It falls as often as it rises: no counter.
    Gauge,
    /// It has quantiles instead of buckets.
    Summary,
    /// It is a single value where buckets were asked for.
    Plain,
}

/// All findings, in the order of the file.
pub(super) fn check(model: &Model, surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    ladder::check(model, surroundings.now, &mut findings);
    guards::check(model, surroundings, &mut findings);
    steps::check(model, surroundings, &mut findings);
    measured::check(model, surroundings, &mut findings);
    findings.sort_by_key(|f| (f.line, f.column));
    findings
}

/// The path of a guard: its own, or that of the preset that brings it.
fn guard_field(spec: &QuantizedModelSpec, guard: &str) -> String {
    if spec.guards.iter().any(|g| g.name == guard) {
        format!("spec.guards[{guard}]")
    } else {
        "spec.preset".to_owned()
    }
}

/// The path of a field of a guard; of one that a preset brings, that of the preset.
fn field_of(spec: &QuantizedModelSpec, guard: &str, field: &str) -> String {
    match guard_field(spec, guard) {
        own if own.ends_with(']') => format!("{own}.{field}"),
        preset => preset,
    }
}
