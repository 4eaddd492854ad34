//! Floor: the least precision of a variant, and the methods by which it may be quantized.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::api::Variant;
use crate::api::variant::QuantizationMethod;

use super::asked::{Asked, common, strictest};
use super::findings::Findings;

/// The least precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Floor {
    /// Least bits of a variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_bits: Option<Asked<i32>>,
    /// Methods by which it may be quantized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Asked<BTreeSet<QuantizationMethod>>>,
}

impl Floor {
    pub(super) fn meet(self, other: Self) -> Self {
        Self {
            min_bits: strictest(self.min_bits, other.min_bits),
            methods: common(self.methods, other.methods),
        }
    }

    /// Whether a variant is not below the floor.
    pub fn holds(&self, variant: &Variant) -> bool {
        let mut findings = Findings::new(true);
        self.check(variant, &mut findings);
        findings.all().is_empty()
    }

    pub(super) fn check(&self, variant: &Variant, findings: &mut Findings) {
        let Variant { name, .. } = variant;
        let (found, field) = least(variant);
        if let Some(Asked { what: least, by }) = &self.min_bits
            && found < *least
        {
            findings.add(
                by,
                "floor.minBits",
                format!("{name} has {found} bits by its {field}, and {least} are the least: choose a variant of {least} bits or more as target, or have the policy changed"),
            );
        }
        let method = variant.quantization.as_ref().map(|quantization| quantization.method);
        if let (Some(Asked { what: methods, by }), Some(method)) = (&self.methods, method)
            && !methods.contains(&method)
        {
            findings.add(
                by,
                "floor.methods",
                format!("{name} was quantized by {method}, and permitted {}: quantize it otherwise, or have the policy changed", one_of(methods)),
            );
        }
    }
}

fn one_of(methods: &BTreeSet<QuantizationMethod>) -> String {
    let names: Vec<_> = methods.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "is no method that all policies name".to_owned(),
        [one] => format!("is {one} alone"),
        _ => format!("are {}", names.join(", ")),
    }
}

/// Bits of a variant: the least of those that it is declared with.
pub fn bits(variant: &Variant) -> i32 {
    least(variant).0
}

/// The least bits of a variant, and the field that says so. `precision` alone could say FP16 of weights of four bits.
fn least(variant: &Variant) -> (i32, &'static str) {
    let of_quantization = variant.quantization.iter().flat_map(|quantization| {
        let weights = (quantization.weights.bits, "quantization.weights");
        let activations = quantization
            .activations
            .iter()
            .map(|of| (of.bits, "quantization.activations"));
        let layers = quantization
            .layers
            .iter()
            .map(|layer| (layer.precision.bits(), "quantization.layers"));
        std::iter::once(weights)
            .chain(activations)
            .chain(layers)
            .collect::<Vec<_>>()
    });
    let precision = (variant.precision.bits(), "precision");
    of_quantization.fold(precision, |least, other| if other.0 < least.0 { other } else { least })
}
