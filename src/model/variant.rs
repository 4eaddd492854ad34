//! What a variant must show before it gets any traffic, parsed.

use k8s_openapi::jiff::Timestamp;

use crate::api::{self, Calibration, QualityMetric, Validation};

use super::reader::Reader;

/// The facts about a variant that the gates check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// When its calibration will be older than `maxAge`; `None` where no age or no time of completion is set.
    pub calibration_expires: Option<Timestamp>,
    /// The first metric of its validation that dropped further than it may.
    pub dropped: Option<Dropped>,
}

/// A metric of the validation that dropped too far.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// The metric, as the user wrote it.
    pub metric: QualityMetric,
    /// By which share of the reference's it dropped.
    pub share: f64,
}

/// Reads the variant at a position of `spec.variants`.
pub(super) fn read(at: usize, variant: &api::Variant, reader: &mut Reader) -> Variant {
    let field = format!("spec.variants[{at}]");
    let calibration = variant.calibration.as_ref();
    let validation = variant.validation.as_ref();
    Variant {
        calibration_expires: calibration.and_then(|c| expires(&field, c, reader)),
        dropped: validation.and_then(|v| dropped(&field, v, reader)),
    }
}

fn expires(field: &str, calibration: &Calibration, reader: &mut Reader) -> Option<Timestamp> {
    let written = calibration.max_age.as_ref()?;
    let max_age = reader.duration(&format!("{field}.calibration.maxAge"), written);
    // An age that cannot be read is noted, and is not taken for zero: the calibration would seem to have expired.
    written.millis().ok()?;
    calibration.completed_at.as_ref()?.0.checked_add(max_age).ok()
}

fn dropped(field: &str, validation: &Validation, reader: &mut Reader) -> Option<Dropped> {
    let mut found = None;
    for metric in &validation.metrics {
        let field = format!("{field}.validation.metrics[{}]", metric.name);
        let reference = reader.decimal(&format!("{field}.reference"), &metric.reference);
        let measured = reader.decimal(&format!("{field}.measured"), &metric.measured);
        let max_drop = reader.share(&format!("{field}.maxDrop"), &metric.max_drop);
        let share = (reference - measured) / reference.abs().max(f64::MIN_POSITIVE);
        if share > max_drop {
            let metric = metric.clone();
            found.get_or_insert(Dropped { metric, share });
        }
    }
    found
}
