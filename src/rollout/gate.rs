//! Gates: what must hold before a candidate gets any weight.

use k8s_openapi::jiff::Timestamp;

use crate::api::{RevisionRef, Variant};

use super::look::Look;
use super::reason::{Wait, WaitReason};

impl Look<'_> {
    /// What holds a revision of the spec back, if its gates are not open now.
    pub(super) fn closed_gate(&self, revision: &RevisionRef) -> Option<Wait> {
        let variant = self.spec.variants.iter().find(|v| v.name == revision.variant)?;
        let message = gate(variant, self.now).err()?;
        Some(Wait {
            reason: WaitReason::Gated,
            message,
        })
    }
}

/// Why a variant may not get traffic, with what to do about it.
fn gate(variant: &Variant, now: Timestamp) -> Result<(), String> {
    calibration_gate(variant, now)?;
    validation_gate(variant)
}

/// Whether the calibration of a variant is fresh enough.
pub fn calibration_gate(variant: &Variant, now: Timestamp) -> Result<(), String> {
    if let Some(calibration) = &variant.calibration
        && calibration.expires().is_some_and(|at| now > at)
        && let (Some(done), Some(max)) = (&calibration.completed_at, &calibration.max_age)
    {
        return Err(format!(
            "the calibration of {} was completed at {} and is older than maxAge {max}: calibrate again and set completedAt, or raise maxAge",
            variant.name, done.0
        ));
    }
    Ok(())
}

/// Whether a variant is good enough offline.
pub fn validation_gate(variant: &Variant) -> Result<(), String> {
    for metric in variant.validation.iter().flat_map(|v| &v.metrics) {
        let (Ok(reference), Ok(measured), Ok(max_drop)) = (
            metric.reference.value(),
            metric.measured.value(),
            metric.max_drop.value(),
        ) else {
            continue; // told by `api::validate`, which comes first
        };
        let drop = (reference - measured) / reference.abs().max(f64::MIN_POSITIVE);
        if drop > max_drop {
            return Err(format!(
                "{} of {} dropped by {:.2}%, from {} to {}, and may drop by {}: quantize again, or raise maxDrop",
                metric.name,
                variant.name,
                drop * 100.0,
                metric.reference,
                metric.measured,
                metric.max_drop
            ));
        }
    }
    Ok(())
}
