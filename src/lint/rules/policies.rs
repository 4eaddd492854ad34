//! Rules on what policies ask of a model.

use std::collections::{BTreeMap, BTreeSet};

use super::super::document::Model;
use super::super::rule::{
    Finding, POLICY_CALIBRATION, POLICY_FLOOR, POLICY_GUARDS, POLICY_LABELS, POLICY_PROMETHEUS, POLICY_ROLLOUT,
    POLICY_VALIDATION, POLICY_WAITS, POLICY_WEIGHTS, Rule, Severity,
};
use super::super::surroundings::Surroundings;
use crate::api::{PolicyFinding, Variant};
use crate::governance::{Answer, Condition, Policy, bits, effective, passages};

pub(super) fn check(model: &Model, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    let Surroundings {
        policies,
        namespace,
        now,
        ..
    } = surroundings;
    let spec = &model.spec;
    let is_known = |policy: &&Policy| namespace.is_some() || !policy.asks_for_labels();
    let (known, unknown): (Vec<&Policy>, Vec<&Policy>) = policies.iter().partition(is_known);
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.iter().map(|policy| policy.name.as_str()).collect();
        let message = format!(
            "the labels of the namespace decide whether {} may ask something of {}, and they are not known: put the Namespace among the files of policies, or say --namespace-labels",
            names.join(", "),
            model.name
        );
        out.push(model.finding(&POLICY_LABELS, "metadata.namespace", message));
    }
    let none = BTreeMap::new();
    let governed = effective(known, namespace.as_ref().unwrap_or(&none), spec.model.risk_tier);
    let freshness = &governed.enforced.calibration;
    let mut told = BTreeSet::new();
    for foreseen in passages(&governed, spec, &model.resolved, *now) {
        let variant = foreseen.variant;
        let is_stale = freshness.stale_at(variant, None).is_some_and(|stale| stale < *now);
        for Condition { finding, answer } in foreseen.conditions {
            let (rule, field) = place(&finding.rule, variant);
            let message = sentence(&finding);
            // Steps are asked the same, each anew.
            if !told.insert(message.clone()) {
                continue;
            }
            let mut found = model.finding(rule, &field, message);
            found.severity = match answer {
                // Time makes it so, and a variant that was promoted before serves on.
                Answer::Refused if is_stale && finding.rule == "calibration.maxAge" => Severity::Warning,
                Answer::Refused => Severity::Error,
                Answer::Waits | Answer::May => Severity::Note,
            };
            out.push(found);
        }
    }
}

/// What is asked for, by whom, and whether it holds.
fn sentence(finding: &PolicyFinding) -> String {
    let PolicyFinding {
        policy,
        rule,
        message,
        enforced,
    } = finding;
    let dry_run = if *enforced {
        ""
    } else {
        ", DryRun: nothing is held back"
    };
    format!("{message} ({policy}: {rule}{dry_run})")
}

/// The rule of lint that a rule of policies belongs to, and the field of the model that it is about.
fn place(rule: &str, variant: &Variant) -> (&'static Rule, String) {
    let of_variant = |field: &str| format!("spec.variants[{}].{field}", variant.name);
    let of_rollout = |field: &str| format!("spec.rollout.{field}");
    let (kind, name) = rule.split_once(['.', '[']).unwrap_or((rule, ""));
    match (kind, name) {
        ("floor", "methods") => (&POLICY_FLOOR, of_variant("quantization.method")),
        ("floor", _) if variant.precision.bits() > bits(variant) => (&POLICY_FLOOR, of_variant("quantization")),
        ("floor", _) => (&POLICY_FLOOR, of_variant("precision")),
        ("rollout", "maxFirstStep") => (&POLICY_ROLLOUT, of_rollout("steps[0]")),
        ("rollout", "minHoldout") => (&POLICY_ROLLOUT, of_rollout("holdout")),
        ("rollout", "maxFalseRollback" | "minFalseRollback") => (&POLICY_ROLLOUT, of_rollout("falseRollback")),
        ("rollout", "maxFalsePromotion") => (&POLICY_ROLLOUT, of_rollout("falsePromotion")),
        ("rollout", "bootstrap") => (&POLICY_ROLLOUT, of_rollout("bootstrap")),
        ("rollout", _) => (&POLICY_ROLLOUT, of_rollout("steps")),
        ("guards", _) => (&POLICY_GUARDS, "spec.guards".to_owned()),
        ("calibration", "minSamples") => (&POLICY_CALIBRATION, of_variant("calibration.samples")),
        ("calibration", _) => (&POLICY_CALIBRATION, of_variant("calibration.completedAt")),
        // The path of the metric is the same in both.
        ("validation", _) => (&POLICY_VALIDATION, of_variant(rule)),
        ("weights", _) => (&POLICY_WEIGHTS, of_variant("weights")),
        ("prometheus", _) => (&POLICY_PROMETHEUS, "spec.prometheus.url".to_owned()),
        // Approvals, freezes and slots ask nothing of the model.
        _ => (&POLICY_WAITS, "spec.rollout".to_owned()),
    }
}
