//! Rules: all that policies ask for together, and where a model falls short of it. Each kind of rule has a file of its own.

mod asked;
mod calibration;
mod findings;
mod floor;
mod freezes;
mod guards;
mod prometheus;
mod rollout;
mod validation;

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{ApprovalRule, PolicyFinding, QuantizedModelSpec, SignedRecords, Variant, WeightsProof};
use crate::guards::Required;
use crate::model::{Model, identity};

pub use asked::Asked;
use asked::{nothing, strictest};
pub use calibration::Freshness;
pub(super) use findings::Findings;
pub use floor::{Floor, bits};
pub(super) use freezes::zone;
pub use freezes::{Freeze, Frozen, When, frozen_at};
pub use prometheus::lies_below;
pub use rollout::Limits;
pub use validation::Metrics;

/// All that policies ask for. What several ask for is the strictest of each rule, or all of their rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    /// The least precision.
    #[serde(skip_serializing_if = "nothing")]
    pub floor: Floor,
    /// The floor below which what serves already falls back.
    #[serde(skip_serializing_if = "nothing")]
    pub falls_back_below: Floor,
    /// How loose the settings of a rollout may be.
    #[serde(skip_serializing_if = "nothing")]
    pub rollout: Limits,
    /// Guards that a model must have.
    #[serde(skip_serializing_if = "nothing")]
    pub guards: BTreeSet<Asked<Required>>,
    /// How fresh and how large calibrations must be.
    #[serde(skip_serializing_if = "nothing")]
    pub calibration: Freshness,
    /// The freshness without which what serves already falls back.
    #[serde(skip_serializing_if = "nothing")]
    pub falls_back_when_stale: Freshness,
    /// Offline quality that a variant must have shown.
    #[serde(skip_serializing_if = "nothing")]
    pub validation: Metrics,
    /// What must be known of the weights; `None` if no more than what a model declares.
    #[serde(skip_serializing_if = "nothing")]
    pub proof: Option<Asked<WeightsProof>>,
    /// Public keys in PEM, one of each set must have signed the weights.
    #[serde(skip_serializing_if = "nothing")]
    pub weights: BTreeSet<Asked<BTreeSet<String>>>,
    /// What people must approve.
    #[serde(skip_serializing_if = "nothing")]
    pub approvals: BTreeSet<Asked<ApprovalRule>>,
    /// Times in which nothing rises.
    #[serde(skip_serializing_if = "nothing")]
    pub freezes: BTreeSet<Asked<Freeze>>,
    /// Rollouts that may be in progress at once, for each policy among the models that it selects.
    #[serde(skip_serializing_if = "nothing")]
    pub slots: BTreeSet<Asked<i32>>,
    /// URLs of Prometheus servers; at or below one of each set may be asked.
    #[serde(skip_serializing_if = "nothing")]
    pub prometheus: BTreeSet<Asked<BTreeSet<String>>>,
    /// What is kept on record.
    #[serde(skip_serializing_if = "nothing")]
    pub records: Records,
}

/// What is kept on record of each decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Records {
    /// How long at least, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Asked<i64>>,
    /// Whether anything may rise while records cannot be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Asked<SignedRecords>>,
}

/// What is known when a variant is to get weight.
#[derive(Clone, Copy, Debug)]
pub struct Rise<'a> {
    /// The model as its author wrote it.
    pub spec: &'a QuantizedModelSpec,
    /// The model as it was read.
    pub model: &'a Model,
    /// The variant.
    pub variant: &'a Variant,
    /// Whether it is the first install, where nothing is compared.
    pub first_install: bool,
    /// The completion of its calibration that was first claimed of this revision.
    pub calibrated: Option<Timestamp>,
    /// Public keys of policies by which its weights are signed.
    pub signed_by: &'a BTreeSet<String>,
    /// URL of the Prometheus server that is asked, by the model or by default.
    pub prometheus: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

impl Rules {
    /// What two sets of rules ask for together.
    pub fn meet(self, other: Self) -> Self {
        Self {
            floor: self.floor.meet(other.floor),
            falls_back_below: self.falls_back_below.meet(other.falls_back_below),
            rollout: self.rollout.meet(other.rollout),
            guards: all(self.guards, other.guards),
            calibration: self.calibration.meet(other.calibration),
            falls_back_when_stale: self.falls_back_when_stale.meet(other.falls_back_when_stale),
            validation: self.validation.meet(other.validation),
            proof: strictest(self.proof, other.proof),
            weights: all(self.weights, other.weights),
            approvals: all(self.approvals, other.approvals),
            freezes: all(self.freezes, other.freezes),
            slots: all(self.slots, other.slots),
            prometheus: all(self.prometheus, other.prometheus),
            records: Records {
                keep: strictest(self.records.keep, other.records.keep),
                signed: strictest(self.records.signed, other.records.signed),
            },
        }
    }

    /// The rules of a rollout that began under others: it keeps those, but for what holds at once.
    pub fn during(&self, begun: &Self) -> Self {
        Self {
            floor: self.floor.clone(),
            falls_back_below: self.falls_back_below.clone(),
            freezes: self.freezes.clone(),
            prometheus: self.prometheus.clone(),
            ..begun.clone()
        }
    }

    /// SHA-256 over what is asked for: `sha256:` and 64 hexadecimal digits. Who asks for it is no part of it, so that a
    /// policy which asks for nothing new changes nothing for those who approved a rollout.
    pub fn digest(&self) -> String {
        // Serialisation cannot fail: all keys are strings.
        let written = serde_json::to_value(self).unwrap_or_default();
        format!("sha256:{}", identity::digest(&without_policies(written)))
    }

    /// Where a model falls short when a variant is to get weight. Approvals, freezes and slots are no part of it: they ask
    /// nothing of the model.
    pub fn check(&self, rise: &Rise<'_>, enforced: bool) -> Vec<PolicyFinding> {
        let mut findings = Findings::new(enforced);
        let Rise {
            spec, model, variant, ..
        } = *rise;
        self.floor.check(variant, &mut findings);
        self.rollout.check(&model.rollout, &mut findings);
        if rise.first_install {
            self.rollout.check_install(spec, &mut findings);
        }
        guards::check(&self.guards, spec, &mut findings);
        self.calibration
            .check(variant, rise.calibrated, rise.now, &mut findings);
        self.validation.check(spec, variant, &mut findings);
        self.check_weights(rise, &mut findings);
        prometheus::check(&self.prometheus, rise.prometheus, &mut findings);
        findings.all()
    }

    fn check_weights(&self, rise: &Rise<'_>, findings: &mut Findings) {
        let Variant { name, weights, .. } = rise.variant;
        if let Some(Asked { what, by }) = &self.proof
            && *what > weights.proof()
        {
            findings.add(
                by,
                "weights.require",
                format!("the weights of {name} ({}) are {} and must be {what}: set weights.mount, so that its pods check them before they serve", weights.digest, weights.proof()),
            );
        }
        for Asked { what: keys, by } in &self.weights {
            if keys.is_disjoint(rise.signed_by) {
                findings.add(
                    by,
                    "weights.publicKeys",
                    format!("the weights of {name} ({}) must be signed by one of {} keys of the policy, and no such signature was found: have them signed, and set weights.signature", weights.digest, keys.len()),
                );
            }
        }
    }

    /// The freeze that holds at an instant, if one does.
    pub fn frozen_at(&self, now: Timestamp) -> Option<Frozen> {
        frozen_at(&self.freezes, now)
    }
}

/// The rules of both.
fn all<T: Ord>(mut one: BTreeSet<Asked<T>>, other: BTreeSet<Asked<T>>) -> BTreeSet<Asked<T>> {
    one.extend(other);
    one
}

/// What is asked for, without the names of those that ask, and each rule once.
fn without_policies(written: Value) -> Value {
    match written {
        Value::Object(mut fields) => match (fields.remove("by"), fields.remove("what")) {
            (Some(_), Some(what)) => without_policies(what),
            _ => {
                let fields = fields.into_iter().map(|(key, value)| (key, without_policies(value)));
                Value::Object(fields.collect())
            }
        },
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(without_policies).collect();
            // Rules are ordered by what they ask for, so equal ones stand side by side.
            items.dedup();
            Value::Array(items)
        }
        other => other,
    }
}
