//! The change that people approve, and its digest.
//!
//! The digest of the plan is the epoch of the evidence, and must stay what it is over upgrades. People approve more
//! than that: how long a rollout may take, what happens when nothing is shown, where the evidence comes from, and what
//! is claimed of the variant. A change is all of this, for one model and from one revision to another; who edits
//! anything of it asks for approval again. Authors are no part of it: an approver who edits becomes an author.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::api::{
    Duration, OnHarm, OnUndecided, PrometheusSpec, QuantizedModelSpec, RevisionRef, RiskTier, RolloutKind, Shadow,
    Validation, Weights,
};
use crate::model::identity;

/// Version of what is hashed.
const SCHEME: &str = "c1";

/// Largest integer that every reader of JSON keeps exactly. Records hold none that is larger.
const LARGEST_INTEGER: i64 = 1 << 53;

/// A change, as a document for people and for the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    scheme: String,
    /// The model.
    pub model: ChangedModel,
    /// Why there is a rollout.
    pub kind: RolloutKind,
    /// The revision that has the traffic.
    pub from: RevisionRef,
    /// The revision that is to get it.
    pub to: RevisionRef,
    /// The revision whose outputs are compared with.
    pub reference: Option<RevisionRef>,
    /// How many bits both have.
    pub bits: Bits,
    /// Digest of what the rollout is judged by.
    pub plan: String,
    /// What else decides how it goes.
    pub rollout: Terms,
    /// Where the evidence comes from.
    pub prometheus: Option<PrometheusSpec>,
    /// The weights that are to serve.
    pub weights: Option<Weights>,
    /// What is claimed of their calibration.
    pub calibration: Option<CalibrationClaim>,
    /// What is claimed of their quality.
    pub validation: Option<Validation>,
    /// How much harm a wrong answer can do.
    pub risk_tier: Option<RiskTier>,
    /// Digest of the policy.
    pub policy: Option<String>,
}

/// The model that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedModel {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: the change of a model is none of another that is later called the same.
    pub uid: String,
}

/// Bits of a number, at the least, before and after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bits {
    /// Of the revision that has the traffic; unknown where the spec no longer describes it.
    pub from: Option<i32>,
    /// Of the revision that is to get it.
    pub to: Option<i32>,
}

/// What decides how a rollout goes, and is no part of what it is judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    deadline: Duration,
    schedule_deadline: Duration,
    on_undecided: OnUndecided,
    on_harm: OnHarm,
    holdout: i32,
    interval: Duration,
    warm_up: Duration,
    keep_warm: Duration,
    shadow: Option<Shadow>,
}

/// What is claimed of a calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalibrationClaim {
    /// Digest of the data.
    pub digest: String,
    /// Samples in the data.
    pub samples: Option<i64>,
    /// When it was done, as the first spec with this revision said.
    pub completed_at: Option<Time>,
    /// How old it may be.
    pub max_age: Option<Duration>,
}

/// What a change is made of, besides the spec.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// Why there is a rollout.
    pub kind: RolloutKind,
    /// The revision that has the traffic.
    pub from: &'a RevisionRef,
    /// The revision that is to get it.
    pub to: &'a RevisionRef,
    /// The revision whose outputs are compared with.
    pub reference: Option<&'a RevisionRef>,
    /// How many bits both have.
    pub bits: Bits,
    /// Digest of what the rollout is judged by.
    pub plan: &'a str,
    /// When the calibration of the revision was done, as the first spec with it said. What is typed later does not make
    /// it fresher.
    pub calibrated: Option<Time>,
    /// Digest of the policy.
    pub policy: Option<&'a str>,
}

impl Change {
    /// The change that a spec asks for.
    pub fn of(model: ChangedModel, spec: &QuantizedModelSpec, trial: &Trial<'_>) -> Self {
        let variant = spec.variants.iter().find(|variant| variant.name == trial.to.variant);
        let calibration = variant.and_then(|variant| variant.calibration.as_ref());
        let rollout = &spec.rollout;
        Self {
            scheme: SCHEME.to_owned(),
            model,
            kind: trial.kind,
            from: trial.from.clone(),
            to: trial.to.clone(),
            reference: trial.reference.cloned(),
            bits: trial.bits,
            plan: trial.plan.to_owned(),
            rollout: Terms {
                deadline: rollout.deadline.clone(),
                schedule_deadline: rollout.schedule_deadline.clone(),
                on_undecided: rollout.on_undecided,
                on_harm: rollout.on_harm,
                holdout: rollout.holdout,
                interval: rollout.interval.clone(),
                warm_up: rollout.warm_up.clone(),
                keep_warm: rollout.keep_warm.clone(),
                shadow: rollout.shadow.clone(),
            },
            prometheus: spec.prometheus.clone(),
            // A signature changes nothing of what serves, and may be renewed.
            weights: variant.map(|variant| Weights {
                signature: None,
                ..variant.weights.clone()
            }),
            calibration: calibration.map(|written| CalibrationClaim {
                digest: written.dataset.digest.clone(),
                samples: written.samples.map(|samples| samples.min(LARGEST_INTEGER)),
                completed_at: trial.calibrated.clone(),
                max_age: written.max_age.clone(),
            }),
            validation: variant.and_then(|variant| variant.validation.clone()),
            risk_tier: spec.model.risk_tier,
            policy: trial.policy.map(str::to_owned),
        }
    }

    /// The digest that people approve: `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        format!("sha256:{}", identity::digest(self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    const FRAUD: &str = include_str!("../../../tests/testdata/fraud-scorer.yaml");

    fn written() -> Value {
        let file: Value = serde_yaml_ng::from_str(FRAUD).unwrap();
        file["spec"].clone()
    }

    fn revision(variant: &str, digit: &str) -> RevisionRef {
        RevisionRef {
            variant: variant.to_owned(),
            revision: format!("v1:{}", digit.repeat(64)),
        }
    }

    fn model(uid: &str) -> ChangedModel {
        ChangedModel {
            namespace: "risk".to_owned(),
            name: "fraud-scorer".to_owned(),
            uid: uid.to_owned(),
        }
    }

    fn at(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    /// The change from fp32 to int8 that a spec asks for, with a trial that `edit` has changed.
    fn change(spec: Value, edit: impl FnOnce(&mut Trial<'_>)) -> Change {
        let spec: QuantizedModelSpec = serde_json::from_value(spec).unwrap();
        let (from, to) = (revision("fp32", "1"), revision("int8", "2"));
        let mut trial = Trial {
            kind: RolloutKind::Climb,
            from: &from,
            to: &to,
            reference: Some(&from),
            bits: Bits {
                from: Some(32),
                to: Some(8),
            },
            plan: "plan",
            calibrated: Some(at("2026-11-03T09:00:00Z")),
            policy: Some("policy"),
        };
        edit(&mut trial);
        Change::of(model("6f0c"), &spec, &trial)
    }

    /// The digest after one field of the spec was set.
    fn digest_with(pointer: &str, value: Value) -> String {
        let mut spec = written();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = spec.pointer_mut(parent).expect(pointer);
        match parent {
            Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
            parent => parent[field] = value,
        }
        change(spec, |_| {}).digest()
    }

    #[test]
    fn an_edit_of_what_was_approved_is_another_change() {
        let sha = format!("sha256:{}", "0".repeat(64));
        let mut digests = BTreeSet::from([change(written(), |_| {}).digest()]);
        for (pointer, value) in [
            ("/rollout/deadline", json!("8h")),
            ("/rollout/scheduleDeadline", json!("8h")),
            ("/rollout/onUndecided", json!("Hold")),
            ("/rollout/onHarm", json!("Reference")),
            ("/rollout/holdout", json!(0)),
            ("/rollout/interval", json!("1m")),
            ("/rollout/warmUp", json!("1m")),
            ("/rollout/keepWarm", json!("0s")),
            ("/rollout/shadow", json!({"pairs": 10})),
            ("/prometheus/url", json!("http://elsewhere:9090")),
            ("/prometheus", Value::Null),
            ("/model/riskTier", json!("Minimal")),
            ("/model/riskTier", Value::Null),
            ("/variants/1/weights/digest", json!(sha)),
            ("/variants/1/weights/mount", json!({"path": "/models"})),
            ("/variants/1/calibration/dataset/digest", json!(sha)),
            ("/variants/1/calibration/samples", json!(1)),
            ("/variants/1/calibration/maxAge", json!("9000h")),
            ("/variants/1/calibration", Value::Null),
            ("/variants/1/validation/metrics/0/maxDrop", json!("50%")),
            ("/variants/1/validation", Value::Null),
        ] {
            assert!(
                digests.insert(digest_with(pointer, value.clone())),
                "{pointer}: {value}"
            );
        }
    }

    #[test]
    fn another_trial_is_another_change() {
        let (lower, higher) = (revision("fp32", "3"), revision("int8", "4"));
        let edits: [fn(&mut Trial<'_>); 6] = [
            |trial| trial.kind = RolloutKind::Lateral,
            |trial| trial.reference = None,
            |trial| trial.bits.to = Some(4),
            |trial| trial.plan = "another",
            |trial| trial.calibrated = None,
            |trial| trial.policy = None,
        ];
        let mut digests = BTreeSet::from([change(written(), |_| {}).digest()]);
        for (number, edit) in edits.into_iter().enumerate() {
            assert!(digests.insert(change(written(), edit).digest()), "edit {number}");
        }
        let mut other = change(written(), |_| {});
        other.from = lower;
        assert!(digests.insert(other.digest()), "from");
        other.to = higher;
        assert!(digests.insert(other.digest()), "to");
        other.model = model("7a1d");
        assert!(digests.insert(other.digest()), "uid");
    }

    #[test]
    fn other_edits_leave_an_approval_as_it_is() {
        let approved = change(written(), |_| {}).digest();
        for (pointer, value) in [
            ("/serving/replicas", json!(9)),
            ("/paused", json!(true)),
            ("/suspend", json!(true)),
            ("/attempt", json!(2)),
            ("/target", json!("int8")),
            ("/deletionPolicy", json!("Orphan")),
            ("/model/version", json!("2027.1.0")),
            ("/variants/1/replicas", json!(3)),
            ("/variants/2/weights/uri", json!("s3://elsewhere")),
            ("/variants/1/weights/signature", json!("{}")),
            ("/variants/1/calibration/window", Value::Null),
            // The time at which the revision was first seen stands for it.
            ("/variants/1/calibration/completedAt", json!("2027-01-01T00:00:00Z")),
            // What is left out means the same as its default.
            ("/rollout/deadline", json!("4h")),
            ("/rollout/onUndecided", json!("RollBack")),
        ] {
            assert_eq!(digest_with(pointer, value.clone()), approved, "{pointer}: {value}");
        }
    }

    #[test]
    fn the_document_on_record_has_the_digest_that_was_approved() {
        let approved = change(written(), |_| {});
        let read: Change = serde_json::from_str(&serde_json::to_string(&approved).unwrap()).unwrap();
        assert_eq!(read, approved);
        assert_eq!(read.digest(), approved.digest());
        let digest = approved.digest();
        let digits = digest.strip_prefix("sha256:").expect("the algorithm");
        assert!(
            digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()),
            "{digest}"
        );
    }

    #[test]
    fn a_variant_that_the_spec_does_not_have_has_no_claims() {
        let mut spec = written();
        spec["variants"].as_array_mut().unwrap().remove(1);
        let change = change(spec, |_| {});
        assert_eq!(
            (change.weights, change.calibration, change.validation),
            (None, None, None)
        );
    }
}
