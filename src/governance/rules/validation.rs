//! Validation: the offline quality that a variant must have shown.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{QualityMetric, QuantizedModelSpec, Variant};
use crate::guards::Billionths;

use super::asked::{Asked, strictest};
use super::findings::Findings;

/// The largest drop of each metric, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(pub BTreeMap<String, Asked<Reverse<Billionths>>>);

impl Metrics {
    pub(super) fn meet(mut self, other: Self) -> Self {
        for (name, most) in other.0 {
            let own = self.0.remove(&name);
            self.0.extend(strictest(own, Some(most)).map(|most| (name, most)));
        }
        self
    }

    /// A reference that is not quantized has nothing to be compared with, and any other variant has.
    pub(super) fn check(&self, spec: &QuantizedModelSpec, variant: &Variant, findings: &mut Findings) {
        let is_reference = spec.variants.first().is_some_and(|first| first.name == variant.name);
        if is_reference && variant.quantization.is_none() {
            return;
        }
        let metrics = variant
            .validation
            .as_ref()
            .map(|validation| validation.metrics.as_slice());
        for (
            name,
            Asked {
                what: Reverse(most),
                by,
            },
        ) in &self.0
        {
            let metric = metrics.unwrap_or_default().iter().find(|metric| metric.name == *name);
            if let Some(problem) = problem(metric, *most) {
                findings.add(
                    by,
                    format!("validation.metrics[{name}]"),
                    format!(
                        "{name} of {} may drop by {}, and {problem}",
                        variant.name,
                        most.percent()
                    ),
                );
            }
        }
    }
}

fn problem(metric: Option<&QualityMetric>, most: Billionths) -> Option<String> {
    let Some(metric) = metric else {
        return Some("it was not measured: add it to validation.metrics of the variant".to_owned());
    };
    let QualityMetric {
        reference, measured, ..
    } = metric;
    let (Ok(before), Ok(after)) = (reference.value(), measured.value()) else {
        return Some("its values are not both numbers: correct validation.metrics of the variant".to_owned());
    };
    let drop = Billionths::of((before - after) / before.abs().max(f64::MIN_POSITIVE));
    (drop > most).then(|| {
        format!(
            "it dropped by {}, from {reference} to {measured}: quantize the variant again",
            drop.percent()
        )
    })
}
