//! Rules on the ladder: precisions, calibrations, validations, and whether any guard compares the outputs.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::Precision;
use crate::api::Variant;
use crate::api::variant::{NumberType, QuantizationMethod};
use crate::guards::written;
use crate::model::{self, identity, template};
use crate::rollout::{calibration_gate, validation_gate};

use super::super::document::Model;
use super::super::rule::{
    CALIBRATION_DATES, CALIBRATION_MISSING, CALIBRATION_STALE, Finding, NO_FIDELITY_GUARD, PRECISION_MISMATCH,
    QUANTIZED_REFERENCE, SAME_WEIGHTS, SERVICE_NAME, Severity, VALIDATION_GATE, WEIGHTS_NOT_MOUNTED, WEIGHTS_WRITABLE,
};

/// Algorithms that need calibration data although they quantize nothing but weights.
const CALIBRATED: [&str; 6] = ["gptq", "awq", "smoothquant", "spqr", "quip", "autoround"];

pub(super) fn check(model: &Model, now: Timestamp, out: &mut Vec<Finding>) {
    let spec = &model.spec;
    let service = identity::service_name(&model.name);
    if spec.traffic.service.is_some() && !model.name.is_empty() && service != model.name {
        let told = format!(
            "a Service may not be called {:?}, so that of this model is {service}",
            model.name
        );
        out.push(model.finding(&SERVICE_NAME, "metadata.name", told));
    }
    let climbed = spec.variants.get(..=spec.target_index()).unwrap_or_default();
    for (i, (variant, read)) in spec.variants.iter().zip(&model.resolved.variants).enumerate() {
        let field = format!("spec.variants[{i}]");
        precision(model, variant, &field, out);
        if let Some(other) = spec.variants[..i]
            .iter()
            .find(|v| v.weights.digest == variant.weights.digest)
        {
            out.push(model.finding(
                &SAME_WEIGHTS,
                &format!("{field}.weights.digest"),
                format!(
                    "{} has the weights of {}: a step between them changes nothing of the model; give each its own digest, or remove one of them",
                    variant.name, other.name
                ),
            ));
        }
        if let Some(wrong) = template::unverified(spec, variant) {
            out.push(model.finding(
                &WEIGHTS_NOT_MOUNTED,
                &format!("{field}.weights.mount"),
                format!(
                    "the weights of {} cannot be verified with its pod template: {}",
                    variant.name, wrong.problem
                ),
            ));
        }
        if let Some(mount) = template::writable(spec, variant) {
            out.push(model.finding(
                &WEIGHTS_WRITABLE,
                &format!("{field}.weights.mount"),
                format!(
                    "the server of {} may write to the volume {:?} at {}, where its weights are verified: a file that it adds there, such as a cache of what it compiled, makes other weights of them, which are refused once its node restarts; mount the volume with readOnly: true, and let the server write elsewhere",
                    variant.name, mount.name, mount.mount_path
                ),
            ));
        }
        calibration(model, variant, &field, now, out);
        if i > 0 && i < climbed.len() {
            if let Err(stale) = calibration_gate(variant, read, now) {
                out.push(model.finding(
                    &CALIBRATION_STALE,
                    &format!("{field}.calibration.completedAt"),
                    format!("{stale}; until then no rollout of it begins"),
                ));
            } else if let Some(finding) = expires_meanwhile(model, variant, read, &field, now) {
                out.push(finding);
            }
            if let Err(dropped) = validation_gate(variant, read) {
                out.push(model.finding(
                    &VALIDATION_GATE,
                    &format!("{field}.validation.metrics"),
                    format!("{dropped}; until then it gets no traffic"),
                ));
            }
        }
    }
    if let Some(first) = spec
        .variants
        .first()
        .filter(|v| v.quantization.is_some() || v.precision.bits() <= 8)
    {
        out.push(model.finding(
            &QUANTIZED_REFERENCE,
            "spec.variants[0]",
            format!(
                "{} comes first and is the reference that outputs are compared with, but it is quantized itself: put the full-precision variant before it",
                first.name
            ),
        ));
    }
    nobody_looks_at_outputs(model, climbed, out);
}

fn nobody_looks_at_outputs(model: &Model, climbed: &[Variant], out: &mut Vec<Finding>) {
    let quantized = climbed.iter().skip(1).find(|v| v.quantization.is_some());
    // What a preset looks at shows that outputs collapse, and not that they drift.
    let looked_at = model
        .spec
        .guards
        .iter()
        .filter_map(written)
        .any(|guard| guard.looks_at_outputs());
    if let (Some(variant), false) = (quantized, looked_at) {
        let field = if model.writes("spec.guards") {
            "spec.guards"
        } else {
            "spec.preset"
        };
        out.push(model.finding(
            &NO_FIDELITY_GUARD,
            field,
            format!(
                "{} is quantized, and no guard compares its outputs with the reference's: a variant that answers quickly and wrongly would be promoted; add an agreement guard, which compares answers in pairs, with spec.comparer (docs/compare.md); where the server exports its scores, a fidelity guard such as fidelity: {{histogram: model_score}} sees less",
                variant.name
            ),
        ));
    }
}

fn precision(model: &Model, variant: &Variant, field: &str, out: &mut Vec<Finding>) {
    let Some(quantization) = &variant.quantization else {
        return;
    };
    let (wanted, written) = (variant.precision.bits(), quantization.weights.bits);
    let floating = matches!(
        variant.precision,
        Precision::FP32 | Precision::TF32 | Precision::FP16 | Precision::BF16 | Precision::FP8 | Precision::FP4
    );
    let kind = quantization.weights.kind;
    if wanted != written {
        out.push(model.finding(
            &PRECISION_MISMATCH,
            &format!("{field}.quantization.weights.bits"),
            format!(
                "{} says precision {} and weights of {written} bits; correct one of them: the ladder is ordered by precision",
                variant.name, variant.precision
            ),
        ));
    } else if floating != (kind == NumberType::Float) {
        out.push(model.finding(
            &PRECISION_MISMATCH,
            &format!("{field}.quantization.weights.type"),
            format!(
                "{} says precision {} and weights of type {kind}; correct one of them",
                variant.name, variant.precision
            ),
        ));
    }
}

fn calibration(model: &Model, variant: &Variant, field: &str, now: Timestamp, out: &mut Vec<Finding>) {
    let Some(calibration) = &variant.calibration else {
        missing(model, variant, field, out);
        return;
    };
    let Some(done) = calibration.completed_at.as_ref().map(|at| at.0) else {
        return;
    };
    let window = calibration.window.as_ref();
    if done > now {
        out.push(model.finding(
            &CALIBRATION_DATES,
            &format!("{field}.calibration.completedAt"),
            format!(
                "the calibration of {} will have been completed at {done}, which is still to come; correct the date",
                variant.name
            ),
        ));
    } else if let Some(window) = window.filter(|w| w.to.0 > done) {
        out.push(model.finding(
            &CALIBRATION_DATES,
            &format!("{field}.calibration.window"),
            format!(
                "the calibration of {} was completed at {done}, before its data was there (to {}); correct one of them",
                variant.name, window.to.0
            ),
        ));
    }
}

fn missing(model: &Model, variant: &Variant, field: &str, out: &mut Vec<Finding>) {
    let Some(quantization) = &variant.quantization else {
        return;
    };
    let algorithm = quantization.algorithm.as_deref().unwrap_or_default();
    let needs = CALIBRATED.iter().any(|name| algorithm.to_lowercase().contains(name));
    let (severity, why) = match quantization.method {
        QuantizationMethod::PostTrainingStatic => (Severity::Warning, "PostTrainingStatic fixes its scales"),
        QuantizationMethod::WeightOnly if needs => (Severity::Note, algorithm),
        _ => return,
    };
    let mut finding = model.finding(
        &CALIBRATION_MISSING,
        &format!("{field}.quantization"),
        format!(
            "{why} by calibration data, and {} names none: set calibration with the dataset, completedAt and maxAge, or nobody can tell what it was fitted to",
            variant.name
        ),
    );
    finding.severity = severity;
    if severity == Severity::Note {
        finding.message = finding.message.replacen("by calibration", "works by calibration", 1);
    }
    out.push(finding);
}

/// A calibration that is fresh now and will be too old when its variant is tried.
fn expires_meanwhile(
    model: &Model,
    variant: &Variant,
    read: &model::Variant,
    field: &str,
    now: Timestamp,
) -> Option<Finding> {
    let expires = read.calibration_expires?;
    let holds = before(model, variant);
    let left = expires.duration_since(now);
    (left < holds).then(|| {
        model.finding(
            &CALIBRATION_STALE,
            &format!("{field}.calibration.maxAge"),
            format!(
                "the calibration of {} is older than its maxAge from {expires} on, and the steps of the variants before it take {} h: it would be refused when its turn comes; calibrate again, or raise maxAge",
                variant.name,
                holds.as_secs().div_euclid(3600)
            ),
        )
    })
}

/// Time that the steps of all variants before one take at least.
fn before(model: &Model, variant: &Variant) -> SignedDuration {
    let variants = model
        .spec
        .variants
        .iter()
        .skip(1)
        .take_while(|v| v.name != variant.name)
        .count();
    let holds = model.resolved.rollout.steps.iter().map(|step| step.hold);
    let holds = holds.fold(SignedDuration::ZERO, SignedDuration::saturating_add);
    holds.saturating_mul(i32::try_from(variants).unwrap_or(i32::MAX))
}
