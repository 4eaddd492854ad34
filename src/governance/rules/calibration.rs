//! Calibration: how fresh and how large the calibration of a variant must be.

use std::cmp::Reverse;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::Variant;
use crate::api::variant::QuantizationMethod;

use super::asked::{Asked, strictest};
use super::findings::{Findings, length};

/// How fresh and how large a calibration must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Freshness {
    /// Largest age, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Asked<Reverse<i64>>>,
    /// Least samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<Asked<i64>>,
}

impl Freshness {
    pub(super) fn meet(self, other: Self) -> Self {
        Self {
            max_age: strictest(self.max_age, other.max_age),
            min_samples: strictest(self.min_samples, other.min_samples),
        }
    }

    /// When the calibration of a variant is too old; `None` where no age is asked for, or no time of completion is known.
    pub fn stale_at(&self, variant: &Variant, first_seen: Option<Timestamp>) -> Option<Timestamp> {
        let Asked {
            what: Reverse(most), ..
        } = self.max_age.as_ref()?;
        let completed = completed(variant, first_seen)?;
        completed.checked_add(SignedDuration::from_millis(*most)).ok()
    }

    /// Whether the calibration of a variant, if it has one, is fresh and large enough.
    pub fn holds(&self, variant: &Variant, first_seen: Option<Timestamp>, now: Timestamp) -> bool {
        let mut findings = Findings::new(true);
        self.check(variant, first_seen, now, &mut findings);
        findings.all().is_empty()
    }

    /// `first_seen` is the time of completion that was first claimed of this calibration: who writes a later one without
    /// calibrating again makes it no fresher.
    pub(super) fn check(
        &self,
        variant: &Variant,
        first_seen: Option<Timestamp>,
        now: Timestamp,
        findings: &mut Findings,
    ) {
        let Variant { name, .. } = variant;
        if variant.calibration.is_none() && !needs_calibration(variant) {
            return;
        }
        if let Some(Asked {
            what: Reverse(most),
            by,
        }) = &self.max_age
        {
            let problem = match completed(variant, first_seen) {
                None => Some("it is not known when it was calibrated: set calibration.completedAt".to_owned()),
                Some(at) if at > now => Some(format!(
                    "calibration.completedAt is {at}, which is still to come: correct it"
                )),
                Some(at) => self
                    .stale_at(variant, first_seen)
                    .is_some_and(|stale| now > stale)
                    .then(|| {
                        format!("it was calibrated at {at}: calibrate it again, with new data, and set calibration")
                    }),
            };
            if let Some(problem) = problem {
                let most = length(*most);
                findings.add(
                    by,
                    "calibration.maxAge",
                    format!("the calibration of {name} may be {most} old, and {problem}"),
                );
            }
        }
        if let Some(Asked { what: least, by }) = &self.min_samples {
            let samples = variant.calibration.as_ref().and_then(|calibration| calibration.samples);
            if samples.is_none_or(|samples| samples < *least) {
                let found = samples.map_or("it does not say how many it has".to_owned(), |n| format!("it has {n}"));
                findings.add(
                    by,
                    "calibration.minSamples",
                    format!("the calibration of {name} must have {least} samples or more, and {found}: calibrate it with more, and set calibration.samples"),
                );
            }
        }
    }
}

/// When a variant was calibrated: the earlier of what is claimed now and what was claimed first.
fn completed(variant: &Variant, first_seen: Option<Timestamp>) -> Option<Timestamp> {
    let claimed = variant.calibration.as_ref()?.completed_at.as_ref()?.0;
    Some(first_seen.map_or(claimed, |first| first.min(claimed)))
}

/// Whether a variant was quantized by a method that is fitted to data.
fn needs_calibration(variant: &Variant) -> bool {
    use QuantizationMethod::{PostTrainingDynamic, PostTrainingStatic, QuantizationAware, WeightOnly};
    variant
        .quantization
        .as_ref()
        .is_some_and(|quantization| match quantization.method {
            PostTrainingStatic | WeightOnly => true,
            PostTrainingDynamic | QuantizationAware => false,
        })
}
