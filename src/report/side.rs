//! What a revision is: its precision, its digests, and the data that it was calibrated and validated on.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Calibration, QualityMetric, RevisionRef, Variant};
use crate::judge::text::percent;
use crate::model::facts::listed;

use super::document::Table;
use super::text::{length, time};

/// What the specs of a chain said of revisions.
pub(super) type Lineage = BTreeMap<RevisionRef, Variant>;

/// What is written where nothing is known.
pub(super) const UNKNOWN: &str = "–";

/// A revision for people, from its parts; see [`RevisionRef::describe`].
pub(super) fn described(variant: &str, revision: &str) -> String {
    let of = RevisionRef {
        variant: variant.to_owned(),
        revision: revision.to_owned(),
    };
    of.describe()
}

/// A field of a variant in words.
type Told = fn(&Variant) -> Option<String>;

/// What of two variants stands side by side.
const FIELDS: [(&str, Told); 9] = [
    ("Precision", |of| {
        Some(format!("{}, {} bits", of.precision, of.precision.bits()))
    }),
    ("Quantization", |of| of.quantization.as_ref().map(listed)),
    ("Weights", |of| Some(of.weights.uri.clone())),
    ("Digest of the weights", |of| Some(of.weights.digest.clone())),
    ("Calibration set", |of| {
        Some(of.calibration.as_ref()?.dataset.uri.clone())
    }),
    ("Digest of the calibration set", |of| {
        Some(of.calibration.as_ref()?.dataset.digest.clone())
    }),
    ("Calibration completed", |of| {
        Some(time(of.calibration.as_ref()?.completed_at.as_ref()?.0))
    }),
    ("Validation set", |of| {
        Some(of.validation.as_ref()?.dataset.as_ref()?.uri.clone())
    }),
    ("Digest of the validation set", |of| {
        Some(of.validation.as_ref()?.dataset.as_ref()?.digest.clone())
    }),
];

/// What changes when one revision takes the place of another. Fields that neither has are left out.
pub(super) fn what_changed(from: Option<&RevisionRef>, to: &RevisionRef, known: &Lineage) -> Table {
    let of = |revision: &RevisionRef| known.get(revision);
    let (before, after) = (from.and_then(of), of(to));
    let name = |revision: Option<&RevisionRef>, what: fn(&RevisionRef) -> &String| {
        revision.map_or_else(|| UNKNOWN.to_owned(), |revision| what(revision).clone())
    };
    let mut rows = vec![
        vec![
            "Variant".to_owned(),
            name(from, |r| &r.variant),
            name(Some(to), |r| &r.variant),
        ],
        vec![
            "Identity".to_owned(),
            name(from, |r| &r.revision),
            name(Some(to), |r| &r.revision),
        ],
    ];
    for (field, told) in FIELDS {
        let (before, after) = (before.and_then(told), after.and_then(told));
        if before.is_some() || after.is_some() {
            let cell = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
            rows.push(vec![field.to_owned(), cell(before), cell(after)]);
        }
    }
    Table::new("What changed", &["Field", "From", "To"], rows)
}

/// How old the calibration of a variant was, and whether that is allowed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Age {
    /// How old it was; `None` where it does not say when it was done.
    pub(super) millis: Option<i64>,
    /// How old it may be; `None` where nothing limits it.
    pub(super) most: Option<i64>,
}

impl Age {
    pub(super) fn of(calibration: &Calibration, at: Timestamp) -> Self {
        let completed = calibration.completed_at.as_ref().map(|completed| completed.0);
        Self {
            millis: completed.map(|then| at.as_millisecond().saturating_sub(then.as_millisecond())),
            most: calibration.max_age.as_ref().and_then(|age| age.millis().ok()),
        }
    }

    /// Whether it was older than it may be.
    pub(super) fn is_stale(&self) -> bool {
        matches!((self.millis, self.most), (Some(age), Some(most)) if age > most)
    }

    /// Its standing in words.
    pub(super) fn standing(&self) -> &'static str {
        match (self.millis, self.most) {
            (None, _) => "Age not known: completedAt is not set",
            (Some(_), None) => "No largest age is set",
            (Some(_), Some(_)) if self.is_stale() => "Stale",
            (Some(_), Some(_)) => "Fresh",
        }
    }
}

/// The calibration of a variant at a time: its set, samples, window, completion, age, largest age and standing.
pub(super) fn calibration_cells(calibration: &Calibration, at: Timestamp) -> Vec<String> {
    let age = Age::of(calibration, at);
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let window = calibration.window.as_ref();
    vec![
        calibration.dataset.digest.clone(),
        or_unknown(calibration.samples.map(|samples| samples.to_string())),
        or_unknown(window.map(|window| format!("{} to {}", time(window.from.0), time(window.to.0)))),
        or_unknown(calibration.completed_at.as_ref().map(|at| time(at.0))),
        or_unknown(age.millis.map(length)),
        or_unknown(calibration.max_age.as_ref().map(ToString::to_string)),
        age.standing().to_owned(),
    ]
}

/// Names of what [`calibration_cells`] gives.
pub(super) const CALIBRATION_HEAD: [&str; 7] = [
    "Digest of the set",
    "Samples",
    "Window",
    "Completed",
    "Age",
    "Largest age",
    "Standing",
];

/// The offline quality of a variant as its author claims it, a row for each metric.
pub(super) fn validation_rows(variant: &Variant) -> Vec<Vec<String>> {
    let metrics = variant.validation.iter().flat_map(|validation| &validation.metrics);
    let row = |metric: &QualityMetric| {
        vec![
            variant.name.clone(),
            metric.name.clone(),
            metric.reference.to_string(),
            metric.measured.to_string(),
            dropped(metric).unwrap_or_else(|| UNKNOWN.to_owned()),
            metric.max_drop.to_string(),
        ]
    };
    metrics.map(row).collect()
}

/// By which share of the reference's a metric dropped; "none" where it did not.
fn dropped(metric: &QualityMetric) -> Option<String> {
    let (reference, measured) = (metric.reference.value().ok()?, metric.measured.value().ok()?);
    let share = (reference - measured) / reference.abs().max(f64::MIN_POSITIVE);
    Some(if share > 0.0 { percent(share) } else { "none".to_owned() })
}
