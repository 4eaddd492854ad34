//! Rules on what Prometheus has of the selectors.

use crate::api::Guard;
use crate::evidence::Form;
use crate::guards::{Selector, asks, written};
use crate::model::presets;

use super::super::document::Model;
use super::super::rule::{ARM_LABEL_MISSING, Finding, LOOKS_WITHOUT_SCRAPES, NO_SERIES, Severity, WRONG_METRIC_TYPE};
use super::super::surroundings::{Matched, MetricKind, Surroundings};
use super::guards::arm_labels;
use super::paths::field_of;

pub(super) fn check(model: &Model, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    let Some(seen) = &surroundings.seen else { return };
    let spec = &model.spec;
    for guard in presets::guards(spec) {
        let labels = arm_labels(spec, &guard);
        for (field, matched) in seen.guards.get(&guard.name).into_iter().flatten() {
            let at = field_of(spec, &guard.name, field);
            if let Some(finding) = of_selector(model, &at, &guard, field, matched) {
                out.push(finding);
                continue;
            }
            // The labels of an expression are not checked, because it drops those of its series.
            let has_labels = |asked: &Selector| asked.field == *field && asked.form() != Form::Expression;
            let missing = labels.iter().find(|label| !matched.labels.contains(*label));
            if let Some(label) = missing.filter(|_| matched.series > 0 && asks(&guard).iter().any(has_labels)) {
                out.push(model.finding(
                    &ARM_LABEL_MISSING,
                    &at,
                    format!("not all of the {} series of {} ({field}) have the label {label}, by which guardbit tells the arms apart: let Prometheus keep it, or set armMatchers to a label that they have ({})", matched.series, guard.name, some(matched)),
                ));
            }
        }
    }
    let interval = model.resolved.rollout.interval.as_secs_f64();
    if let Some(scrape) = seen.scrape.filter(|scrape| *scrape > interval * 1.5) {
        out.push(model.finding(
            &LOOKS_WITHOUT_SCRAPES,
            "spec.rollout.interval",
            format!("Prometheus scrapes every {scrape} s, and guardbit evaluates every {interval} s: evaluations between scrapes find nothing new, and lose nothing; write interval: {scrape:.0}s to save queries, or scrape more often to decide sooner"),
        ));
    }
}

fn of_selector(model: &Model, at: &str, guard: &Guard, field: &str, matched: &Matched) -> Option<Finding> {
    let wrong = |what: &str| {
        let mut finding = model.finding(&WRONG_METRIC_TYPE, at, what.to_owned());
        finding.severity = Severity::Error;
        Some(finding)
    };
    match matched.kind {
        MetricKind::Gauge => {
            return wrong(
                "this falls as often as it rises: it is a gauge, and a counter is needed; use a query guard for it",
            );
        }
        MetricKind::Summary => {
            return wrong(
                "this is a summary: it has quantiles and no buckets, and quantiles cannot be counted; let the server export a histogram",
            );
        }
        MetricKind::Plain => {
            return wrong(
                "this is a single value and no histogram: it has no buckets; name a histogram, without _sum or _count",
            );
        }
        MetricKind::AsExpected => {}
    }
    if matched.series > 0 {
        return None;
    }
    let mut finding = model.finding(
        &NO_SERIES,
        at,
        format!("Prometheus has had no series of it in the past hour: {} would see nothing; check the name of the metric and its labels", guard.name),
    );
    // A counter of events that never happened has no series yet.
    if written(guard).is_some_and(|kind| kind.may_be_absent(field)) {
        finding.severity = Severity::Warning;
        finding.message = format!(
            "Prometheus has had no series of it in the past hour: that is well if no such event has ever happened, and if not {} counts none; check the labels",
            guard.name
        );
    }
    Some(finding)
}

fn some(matched: &Matched) -> String {
    let known: Vec<&str> = matched
        .labels
        .iter()
        .map(String::as_str)
        .filter(|l| *l != "le" && *l != "__name__")
        .collect();
    if known.is_empty() {
        "they have none in common".to_owned()
    } else {
        known.join(", ")
    }
}
