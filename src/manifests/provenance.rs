//! Provenance: digests and pointers on every object that guardbit owns. The README lists the keys.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::{Decision, GROUP, QuantizedModelSpec, RevisionRef, Variant, visible};
use crate::model::identity;
use crate::rollout::{RouteDecision, WorkloadKey};

use super::{MODEL_LABEL, Owner, REVISION_ANNOTATION, model_label, variant};

/// Longest annotation, in bytes: they are pointers and sentences, not records.
const LONGEST: usize = 1024;

/// Cuts a sentence at a character, and takes out what is obeyed and not shown.
pub(super) fn cut(text: &str) -> String {
    // Nearly always there is nothing to do.
    if text.len() <= LONGEST && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars().map(visible) {
        if out.len() + c.len_utf8() > LONGEST {
            break;
        }
        out.push(c);
    }
    out
}

/// What belongs to the identity of a variant; it may stand on pods, for it changes only with them.
pub(super) fn of_identity(variant: &Variant) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([(format!("{GROUP}/model-digest"), variant.weights.digest.clone())]);
    if let Some(quantization) = &variant.quantization {
        out.insert(
            format!("{GROUP}/quant-config-digest"),
            format!("sha256:{}", identity::digest(quantization)),
        );
    }
    if let Some(calibration) = &variant.calibration {
        out.insert(
            format!("{GROUP}/calibration-digest"),
            calibration.dataset.digest.clone(),
        );
    }
    out
}

/// What is known of one revision.
pub(super) fn of_revision(owner: &Owner, key: &WorkloadKey) -> Map<String, Value> {
    let mut out = of_model(owner);
    put(&mut out, REVISION_ANNOTATION, &key.revision.revision);
    lineage(&mut out, owner, &key.revision);
    let mut decisions = owner.status.decisions.iter().rev();
    if let Some(decision) = decisions.find(|d| d.variant == key.revision.variant && d.revision == key.revision.revision)
    {
        put(&mut out, &format!("{GROUP}/decision"), &sentence(decision));
        drift(&mut out, &decision.why);
    }
    out
}

/// What is known of the route, and of the shared Service: stable's lineage and the last decision.
pub(super) fn of_route(owner: &Owner) -> Map<String, Value> {
    let mut out = of_model(owner);
    if let Some(stable) = &owner.status.stable {
        put(&mut out, REVISION_ANNOTATION, &stable.revision);
        lineage(&mut out, owner, stable);
    }
    if let Some(rollout) = &owner.status.rollout {
        put(
            &mut out,
            &format!("{GROUP}/candidate-revision"),
            &rollout.candidate.revision,
        );
    }
    if let Some(decision) = owner.status.decisions.last() {
        put(&mut out, &format!("{GROUP}/decision"), &sentence(decision));
        drift(&mut out, &decision.why);
    }
    out
}

/// Provenance of the model itself, as a server-side apply document of its own field manager.
pub fn model_annotations(owner: &Owner) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "QuantizedModel",
        "metadata": {"name": owner.name, "namespace": owner.namespace, "annotations": of_route(owner)},
    })
}

/// Digests of a spec: taken once, for every object bears some of them.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    /// Of the whole spec.
    spec: String,
    /// The variants with their identities.
    revisions: Vec<RevisionRef>,
}

impl Digests {
    /// Takes them.
    pub fn of(spec: &QuantizedModelSpec) -> Self {
        Self {
            spec: format!("sha256:{}", identity::digest(spec)),
            revisions: identity::revisions(spec),
        }
    }

    /// The variants with their identities, in the order of the spec.
    pub fn revisions(&self) -> &[RevisionRef] {
        &self.revisions
    }
}

fn of_model(owner: &Owner) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(reference) = owner.spec.variants.first() {
        put(
            &mut out,
            &format!("{GROUP}/base-model-digest"),
            &reference.weights.digest,
        );
    }
    put(&mut out, &format!("{GROUP}/spec-digest"), &owner.digests.spec);
    if let Some(rollout) = &owner.status.rollout {
        put(
            &mut out,
            &format!("{GROUP}/plan-digest"),
            &format!("sha256:{}", rollout.plan_digest),
        );
    }
    if let Some(tier) = owner.spec.model.risk_tier {
        put(&mut out, &format!("{GROUP}/risk-tier"), &format!("{tier:?}"));
    }
    put(&mut out, MODEL_LABEL, &model_label(owner.name));
    out
}

/// A revision that the spec no longer describes keeps what was written when it did.
fn lineage(out: &mut Map<String, Value>, owner: &Owner, revision: &RevisionRef) {
    let described = owner.digests.revisions.contains(revision);
    let Some(variant) = variant(owner, &revision.variant).filter(|_| described) else {
        return;
    };
    for (key, value) in of_identity(variant) {
        put(out, &key, &value);
    }
    if let Some(window) = variant.calibration.as_ref().and_then(|c| c.window.as_ref()) {
        put(
            out,
            &format!("{GROUP}/calibration-window"),
            &format!("{}/{}", window.from.0, window.to.0),
        );
    }
}

/// A decision in one line. Its time in whole seconds, as the status keeps it: the same line after a restart, or everything
/// would be written once more.
fn sentence(decision: &Decision) -> String {
    let Decision {
        time,
        action,
        variant,
        revision: _,
        why,
    } = decision;
    let time = Timestamp::from_second(time.0.as_second()).unwrap_or(time.0);
    format!("{time} {action:?} {variant}: {why}")
}

/// The decision that a route was written with; the inverse of how it is written.
pub fn decision(annotations: &BTreeMap<String, String>) -> Option<RouteDecision> {
    let text = annotations.get(&format!("{GROUP}/decision"))?;
    let (head, why) = text.split_once(": ")?;
    let [time, action, variant] = head.split(' ').collect::<Vec<_>>().try_into().ok()?;
    Some(RouteDecision {
        time: time.parse().ok()?,
        action: serde_json::from_value(json!(action)).ok()?,
        variant: variant.to_owned(),
        why: why.to_owned(),
    })
}

/// The drift figures that a decision rested on, as its sentence gives them.
fn drift(out: &mut Map<String, Value>, why: &str) {
    if let Some(at) = why.find("total variation ") {
        let figures: String = why[at..].chars().take_while(|c| *c != ';').collect();
        put(out, &format!("{GROUP}/drift"), &figures);
    }
}

fn put(out: &mut Map<String, Value>, key: &str, value: &str) {
    out.insert(key.to_owned(), Value::String(cut(value)));
}
