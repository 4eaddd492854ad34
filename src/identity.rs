//! Identity of a revision: one digest over what the user wrote of a variant, and the names derived from it.
//!
//! The digest is taken before merging and defaulting, so that an upgrade of guardbit never changes the identity, or the
//! pod template, of a live revision. Its scheme version is part of it; golden digests in the tests hold it still.

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use crate::api::status::short;
use crate::api::{PodTemplate, Precision, Quantization, QuantizedModelSpec, Variant, Weights};

/// Version of what is hashed, and how.
const SCHEME: &str = "v1";

/// Longest name of a Deployment whose pods keep the whole of it in their own names, which Kubernetes cuts at 58 characters
/// before it adds five random ones; the ReplicaSet adds a dash and up to ten.
const LONGEST_NAME: usize = 46;

/// SHA-256 over canonical JSON (RFC 8785), as 64 hexadecimal digits.
pub fn digest(value: &impl Serialize) -> String {
    // Canonicalisation refuses nothing that types of the API can hold: numbers in them are finite.
    let canonical = serde_json_canonicalizer::to_vec(value).unwrap_or_default();
    hex::encode(Sha256::digest(canonical))
}

/// What an identity is taken over.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    scheme: &'static str,
    variant: &'a str,
    precision: &'a Precision,
    weights: &'a Weights,
    quantization: &'a Option<Quantization>,
    calibration: Option<&'a str>,
    port: i32,
    template: &'a PodTemplate,
    variant_template: &'a Option<PodTemplate>,
}

/// Identity digest of a variant: weights, quantization, calibration data and both pod templates, as the user wrote them.
pub fn revision(spec: &QuantizedModelSpec, variant: &Variant) -> String {
    let written = Written {
        scheme: SCHEME,
        variant: &variant.name,
        precision: &variant.precision,
        weights: &variant.weights,
        quantization: &variant.quantization,
        calibration: variant.calibration.as_ref().map(|c| c.dataset.digest.as_str()),
        port: spec.serving.port,
        template: &spec.serving.template,
        variant_template: &variant.template,
    };
    format!("{SCHEME}:{}", digest(&written))
}

/// What a Deployment of a revision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Stable, candidate or holdout.
    Serving,
    /// Header-pinned requests.
    Pinned,
}

impl Purpose {
    /// As written in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Pinned => "pinned",
        }
    }
}

/// Name of the Deployment and the Service of a revision: `<model>-<variant>-<hash>`, at most 46 characters.
pub fn object_name(namespace: &str, model: &str, variant: &str, revision: &str, purpose: Purpose) -> String {
    let hash = &hex::encode(Sha256::digest(
        [namespace, model, variant, revision, purpose.as_str()]
            .join("/")
            .as_bytes(),
    ))[..8];
    let middle = match purpose {
        Purpose::Serving => variant.to_owned(),
        Purpose::Pinned => "pinned".to_owned(),
    };
    let room = LONGEST_NAME - hash.len() - middle.len() - 2;
    let model: String = model.replace('.', "-").chars().take(room).collect();
    format!("{}-{middle}-{hash}", model.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn names_leave_room_for_what_kubernetes_adds() {
        let long = "a-model-with-a-very-long-name-that-someone-really-chose";
        let name = object_name("risk", long, "twenty-letters-long0", "v1:00", Purpose::Serving);
        assert!(name.len() <= LONGEST_NAME, "{name}");
        assert!(name.contains("-twenty-letters-long0-"), "{name}");
    }

    #[test]
    fn names_differ_by_namespace_model_variant_revision_and_purpose() {
        let base = object_name("a", "m", "v", "v1:0", Purpose::Serving);
        for other in [
            object_name("b", "m", "v", "v1:0", Purpose::Serving),
            object_name("a", "n", "v", "v1:0", Purpose::Serving),
            object_name("a", "m", "w", "v1:0", Purpose::Serving),
            object_name("a", "m", "v", "v1:1", Purpose::Serving),
            object_name("a", "m", "v", "v1:0", Purpose::Pinned),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn an_identity_survives_the_order_in_which_json_is_written() {
        let a: Value = serde_json::from_str(r#"{"b": 1, "a": {"y": 2.0, "x": [1]}}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a": {"x": [1], "y": 2}, "b": 1.0}"#).unwrap();
        assert_eq!(digest(&a), digest(&b));
    }
}
