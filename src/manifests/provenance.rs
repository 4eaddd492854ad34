//! Provenance: digests and pointers on every object that guardbit owns. The README lists the keys.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::{Decision, GROUP, RevisionRef, Variant, WeightsProof, visible};
use crate::model::identity;
use crate::rollout::WorkloadKey;

use super::document::{Document, Kind};
use super::names::{MANAGER_FACTS, MODEL_LABEL, Owner, REVISION_ANNOTATION, model_label};

/// Longest annotation, in bytes. Annotations are pointers and sentences, not records.
pub(super) const LONGEST: usize = 1024;

/// Annotation with the last decision, as a sentence for people.
pub(super) const DECISION: &str = "guardbit.dev/decision";

/// Annotation with what is known of the weights. It is left out where they are only declared.
pub(super) const PROOF: &str = "guardbit.dev/weights-proof";

/// Cuts a sentence at a character boundary, and removes characters that are obeyed instead of shown.
pub(super) fn cut(text: &str) -> String {
    // Usually there is nothing to do.
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

/// Annotations that belong to the identity of a variant. They may stand on pods, because they change only with them.
pub(super) fn of_identity(variant: &Variant) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([(format!("{GROUP}/model-digest"), variant.weights.digest.clone())]);
    // Pods of earlier releases have no such annotation, and must not restart for it.
    let proof = variant.weights.proof();
    if proof == WeightsProof::Verified {
        out.insert(PROOF.to_owned(), proof.to_string());
    }
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

/// Annotations about one revision. What people did to the whole model is no decision about it.
pub(super) fn of_revision(owner: &Owner, key: &WorkloadKey) -> Map<String, Value> {
    let mut out = of_model(owner);
    put(&mut out, REVISION_ANNOTATION, &key.revision.revision);
    lineage(&mut out, owner, &key.revision);
    let mut decisions = owner.status.decisions.iter().rev();
    let about =
        |d: &&Decision| !d.is_of_people() && d.variant == key.revision.variant && d.revision == key.revision.revision;
    if let Some(decision) = decisions.find(about) {
        decided(&mut out, decision);
    }
    out
}

/// Annotations of the route and of the shared Service: stable's lineage and the last decision.
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
        decided(&mut out, decision);
    }
    out
}

/// Provenance of the model itself, with its own field manager.
pub fn model_annotations(owner: &Owner) -> Document {
    let metadata = json!({"annotations": of_route(owner)});
    Document::new(owner, MANAGER_FACTS, Kind::QuantizedModel, owner.name, metadata)
}

/// Annotations of everything that belongs to a model.
pub(super) fn of_model(owner: &Owner) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(reference) = owner.spec.variants.first() {
        put(
            &mut out,
            &format!("{GROUP}/base-model-digest"),
            &reference.weights.digest,
        );
    }
    put(&mut out, &format!("{GROUP}/spec-digest"), owner.digests.spec());
    if let Some(rollout) = &owner.status.rollout {
        put(
            &mut out,
            &format!("{GROUP}/plan-digest"),
            &format!("sha256:{}", rollout.plan_digest),
        );
    }
    let comparer = owner.spec.comparer.as_ref();
    if let Some(golden) = comparer.and_then(|comparer| comparer.golden.as_ref()) {
        put(&mut out, &format!("{GROUP}/golden-digest"), &golden.digest);
    }
    if let Some(tier) = owner.spec.model.risk_tier {
        put(&mut out, &format!("{GROUP}/risk-tier"), &tier.to_string());
    }
    put(&mut out, MODEL_LABEL, &model_label(owner.name));
    out
}

/// Adds the lineage of a revision. One that the spec no longer describes keeps what was written when it did.
fn lineage(out: &mut Map<String, Value>, owner: &Owner, revision: &RevisionRef) {
    let described = owner.digests.revisions().contains(revision);
    let Some(variant) = owner.variant(&revision.variant).filter(|_| described) else {
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

/// Adds the last decision: a sentence, and the drift figures that it rested on.
fn decided(out: &mut Map<String, Value>, decision: &Decision) {
    put(out, DECISION, &sentence(decision));
    if let Some(drift) = &decision.drift {
        put(out, &format!("{GROUP}/drift"), drift);
    }
}

/// A decision in one line. Its time is in whole seconds, as the status keeps it: the line must be the same after a
/// restart, or everything would be written again.
fn sentence(decision: &Decision) -> String {
    let Decision {
        time,
        action,
        variant,
        revision: _,
        why,
        drift: _,
    } = decision;
    let time = Timestamp::from_second(time.0.as_second()).unwrap_or(time.0);
    format!("{time} {action} {variant}: {why}")
}

fn put(out: &mut Map<String, Value>, key: &str, value: &str) {
    out.insert(key.to_owned(), Value::String(cut(value)));
}
