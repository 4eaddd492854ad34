//! The custom resource `PrecisionDecision`: one record of a decision. It is created and never changed.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// The record of one decision.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "guardbit.dev",
    version = "v1alpha1",
    kind = "PrecisionDecision",
    plural = "precisiondecisions",
    shortname = "pd",
    category = "guardbit",
    namespaced,
    derive = "PartialEq",
    doc = "PrecisionDecision is the record of one decision about a QuantizedModel: what was decided, from which evidence, under which rules. guardbit creates it and nobody changes it.",
    printcolumn = r#"{"name": "Sequence", "type": "integer", "jsonPath": ".spec.sequence"}"#,
    printcolumn = r#"{"name": "Time", "type": "string", "jsonPath": ".spec.time"}"#,
    printcolumn = r#"{"name": "Summary", "type": "string", "jsonPath": ".spec.summary"}"#,
    printcolumn = r#"{"name": "Key", "type": "string", "jsonPath": ".spec.signature.keyid", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a record is never changed"))]
pub struct PrecisionDecisionSpec {
    /// Number of the record in the chain of its model; counts from 1.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// When it was decided, by the clock of guardbit.
    #[schemars(length(max = 64))]
    pub time: String,
    /// What was decided, in a sentence.
    #[schemars(length(max = 2048))]
    pub summary: String,
    /// SHA-256 of the statement: `sha256:` and 64 hexadecimal digits.
    #[schemars(length(max = 71), pattern(r"^sha256:[0-9a-f]{64}$"))]
    pub payload_digest: String,
    /// The statement: an in-toto statement in canonical JSON, compressed by gzip, in Base64. `kubectl get … -o
    /// jsonpath='{.spec.payload}' | base64 -d | gunzip` shows it.
    #[schemars(length(max = 1_048_576))]
    pub payload: String,
    /// Signature over the statement; left out where guardbit has no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<DecisionSignature>,
    /// Signature by the key that signed until now, in the first record that a new key signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_from: Option<DecisionSignature>,
}

/// A signature over a statement, as DSSE defines it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionSignature {
    /// Base64 of the SHA-256 of the public key (SubjectPublicKeyInfo, DER).
    #[schemars(length(max = 64))]
    pub keyid: String,
    /// Base64 of the ECDSA signature (ASN.1, DER).
    #[schemars(length(max = 128))]
    pub sig: String,
}
