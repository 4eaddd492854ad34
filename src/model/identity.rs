//! Identity of a revision: one digest over what the user wrote of a variant, and the names derived from it.
//!
//! The digest is taken before merging and defaulting, so that an upgrade of guardbit never changes the identity, or the
//! pod template, of a live revision. Its scheme version is part of it; golden digests in the tests show every change.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use crate::api::status::short;

use crate::api::{PodTemplate, Precision, Quantization, QuantizedModelSpec, RevisionRef, Variant, WeightsMount};

use super::template::{self, TemplateProblem};

/// Version of what is hashed and of how it is hashed.
const SCHEME: &str = "v1";

/// Longest name of a Deployment that its pods' names keep whole: the ReplicaSet adds a dash and up to ten characters,
/// and Kubernetes cuts that at 58 characters before it adds five random ones.
const LONGEST_NAME: usize = 46;

/// Longest name of a Service.
const LONGEST_SERVICE_NAME: usize = 63;

/// Integers up to here have one text; RFC 8785 writes all numbers as JavaScript does.
const LARGEST_INTEGER: u64 = 1 << 53;

/// SHA-256 over canonical JSON (RFC 8785), as 64 hexadecimal digits.
pub fn digest(value: &impl Serialize) -> String {
    // Canonicalisation cannot fail for types of the API: their numbers are finite.
    let value = serde_json::to_value(value).unwrap_or_default();
    let canonical = if is_canonical(&value) {
        serde_json::to_vec(&value)
    } else {
        serde_json_canonicalizer::to_vec(&value)
    };
    hex::encode(Sha256::digest(canonical.unwrap_or_default()))
}

/// Whether serde's text of a value is canonical already: its keys are in order, and no number can be written in two
/// ways. It nearly always is, and it is many times cheaper to write.
fn is_canonical(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number
            .as_i64()
            .is_some_and(|integer| integer.unsigned_abs() <= LARGEST_INTEGER),
        Value::Array(items) => items.iter().all(is_canonical),
        // RFC 8785 orders keys by UTF-16 code units, which is the order of bytes for certain only among ASCII.
        Value::Object(fields) => fields.iter().all(|(key, value)| key.is_ascii() && is_canonical(value)),
    }
}

/// The fields that an identity is the digest of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    scheme: &'static str,
    variant: &'a str,
    precision: &'a Precision,
    weights: WrittenWeights<'a>,
    quantization: &'a Option<Quantization>,
    calibration: Option<&'a str>,
    port: i32,
    template: &'a PodTemplate,
    variant_template: &'a Option<PodTemplate>,
}

/// What of the weights is part of an identity: all but the signature over them, which changes nothing of what serves.
#[derive(Serialize)]
struct WrittenWeights<'a> {
    uri: &'a str,
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<&'a WeightsMount>,
}

/// Identity digest of a variant: weights, quantization, calibration data and both pod templates, as the user wrote
/// them.
pub fn revision(spec: &QuantizedModelSpec, variant: &Variant) -> String {
    let written = Written {
        scheme: SCHEME,
        variant: &variant.name,
        precision: &variant.precision,
        weights: WrittenWeights {
            uri: &variant.weights.uri,
            digest: &variant.weights.digest,
            mount: variant.weights.mount.as_ref(),
        },
        quantization: &variant.quantization,
        calibration: variant.calibration.as_ref().map(|c| c.dataset.digest.as_str()),
        port: spec.serving.port,
        template: &spec.serving.template,
        variant_template: &variant.template,
    };
    format!("{SCHEME}:{}", digest(&written))
}

/// The variants of a spec with their identities, in the order of the spec.
pub fn revisions(spec: &QuantizedModelSpec) -> Vec<RevisionRef> {
    let of = |v: &Variant| RevisionRef {
        variant: v.name.clone(),
        revision: revision(spec, v),
    };
    spec.variants.iter().map(of).collect()
}

/// Digests of one version of a spec: its own, and the identities of its variants, and what is wrong with its templates.
/// They are computed once and shared, because reading and hashing the templates is the most expensive part of a reconcile that decides nothing.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    spec: String,
    revisions: Vec<RevisionRef>,
    templates: Vec<TemplateProblem>,
}

impl Digests {
    /// Computes the digests of a spec.
    pub fn of(spec: &QuantizedModelSpec) -> Self {
        Self {
            spec: format!("sha256:{}", digest(spec)),
            revisions: revisions(spec),
            templates: template::problems(spec),
        }
    }

    /// Digest of the whole spec, with the name of its algorithm.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// What of the pod templates the pods would lack.
    pub fn templates(&self) -> &[TemplateProblem] {
        &self.templates
    }

    /// The variants with their identities, in the order of the spec.
    pub fn revisions(&self) -> &[RevisionRef] {
        &self.revisions
    }
}

/// What a Deployment of a revision is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Stable, candidate or holdout.
    #[default]
    Serving,
    /// Header-pinned requests.
    Pinned,
    /// The shadow stage of a candidate, where pods that could serve would get requests. No user is answered by it.
    Shadow,
}

impl Purpose {
    /// The purpose as labels write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Pinned => "pinned",
            Self::Shadow => "shadow",
        }
    }
}

/// Name of the Deployment and the Service of a revision: `<model>-<variant>-<hash>`, at most 46 characters. A Service must
/// begin with a letter, so `m-` comes before a model whose name does not.
pub fn object_name(namespace: &str, model: &str, variant: &str, revision: &str, purpose: Purpose) -> String {
    let hash = short_hash(&[namespace, model, variant, revision, purpose.as_str()]);
    let middle = match purpose {
        Purpose::Serving => variant.to_owned(),
        Purpose::Pinned | Purpose::Shadow => purpose.as_str().to_owned(),
    };
    let room = LONGEST_NAME.saturating_sub(hash.len() + middle.len() + 2);
    let model: String = of_letters(model).chars().take(room).collect();
    format!("{}-{middle}-{hash}", model.trim_end_matches('-'))
}

/// Name of the Service of a model in plain Service mode: the model's, where a Service may be called so, and else one that
/// is like it, with a hash so that two models of a namespace never share it.
pub fn service_name(model: &str) -> String {
    name_like(model, "", LONGEST_SERVICE_NAME)
}

/// Name of the Deployment of the comparer of a model: `<model>-comparer`, or one that is like it, at most 46 characters.
pub fn comparer_name(model: &str) -> String {
    name_like(model, "-comparer", LONGEST_NAME)
}

/// The name of a model with an ending, of `longest` characters at the most. It has a hash where the model's had to be
/// changed or cut.
fn name_like(model: &str, ending: &str, longest: usize) -> String {
    let wanted = of_letters(model);
    if wanted == model && model.len() + ending.len() <= longest {
        return wanted + ending;
    }
    let hash = short_hash(&[model]);
    let room = longest.saturating_sub(hash.len() + ending.len() + 1);
    let wanted: String = wanted.chars().take(room).collect();
    format!("{}-{hash}{ending}", wanted.trim_end_matches('-'))
}

/// The name of a model with a letter at its beginning, and without dots.
fn of_letters(model: &str) -> String {
    let model = model.replace('.', "-");
    if model.starts_with(|c: char| c.is_ascii_alphabetic()) {
        model
    } else {
        format!("m-{model}")
    }
}

fn short_hash(parts: &[&str]) -> String {
    let mut hash = hex::encode(Sha256::digest(parts.join("/").as_bytes()));
    hash.truncate(8);
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_called_like_its_model_where_kubernetes_takes_that() {
        assert_eq!(service_name("fraud-scorer"), "fraud-scorer");
        let dotted = service_name("llama-3.1-8b");
        assert!(
            dotted.starts_with("llama-3-1-8b-") && dotted.len() == "llama-3-1-8b-".len() + 8,
            "{dotted}"
        );
        assert_ne!(dotted, service_name("llama-3-1-8b"));
        let long = service_name(&"a".repeat(200));
        assert_eq!(long.len(), 63);
        for name in [
            service_name("7b-chat"),
            object_name("ns", "7b-chat", "int8", "v1:0", Purpose::Serving),
        ] {
            assert!(name.starts_with("m-7b-chat-"), "{name}");
        }
    }

    #[test]
    fn a_comparer_is_called_like_its_model_and_no_two_models_share_one() {
        assert_eq!(comparer_name("fraud-scorer"), "fraud-scorer-comparer");
        let long = "a".repeat(37);
        assert_eq!(comparer_name(&long), format!("{long}-comparer"));
        let names = [
            comparer_name("llama-3.1-8b"),
            comparer_name("llama-3-1-8b"),
            comparer_name("7b-chat"),
            comparer_name("m-7b-chat"),
            comparer_name(&"a".repeat(38)),
            comparer_name(&"a".repeat(39)),
            comparer_name(&format!("{}-b", "a".repeat(27))),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(name.len() <= LONGEST_NAME && name.ends_with("-comparer"), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            let of_a_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(of_a_label) && !name.contains("--"), "{name}");
            assert!(!names[..at].contains(name), "{name}");
        }
    }

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
            object_name("a", "m", "v", "v1:0", Purpose::Shadow),
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

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-9i64..9).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-zA-Z_/\\\\\"\n\u{7f}é\u{e000}\u{1f600}]{0,3}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn by_the_library(value: &Value) -> String {
        hex::encode(Sha256::digest(serde_json_canonicalizer::to_vec(value).unwrap()))
    }

    proptest! {
        #[test]
        fn a_digest_is_that_of_canonical_json(value in value()) {
            prop_assert_eq!(digest(&value), by_the_library(&value), "{}", value);
        }
    }

    #[test]
    fn what_can_be_written_in_two_ways_is_left_to_the_library() {
        let control: String = (0..=0x7f).map(char::from).collect();
        let plain = json!({"b": [1, -9_007_199_254_740_992_i64, null, true, {}], "a": control, (control.as_str()): "\u{1f600}/"});
        assert!(is_canonical(&plain));
        assert_eq!(digest(&plain), by_the_library(&plain));
        // By bytes the second key comes first, by UTF-16 the other.
        for not in [
            json!({"\u{1f600}": 1, "\u{e000}": 2}),
            json!([1.0]),
            json!([1e21]),
            json!([9_007_199_254_740_993_i64]),
        ] {
            assert!(!is_canonical(&not), "{not}");
            assert_eq!(digest(&not), by_the_library(&not));
        }
    }
}
