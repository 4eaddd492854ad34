//! The precision ladder: variants, how they were quantized, calibrated and validated.
//!
//! Server-side apply treats weights, quantization, calibration and validation as atomic: a mix of two field managers'
//! fields, such as one's URI with the other's digest, would be a claim that neither made.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::says;
use super::quantity::{Decimal, Duration, Fraction};
use super::word::words;

/// What the URI of weights in an image begins with.
const IMAGE: &str = "oci://";

/// A named precision configuration of the model: one entry of the ladder.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!(self.precision in ['INT8', 'INT4', 'INT2', 'FP8', 'FP4']) || has(self.quantization)")
    .message(says("'variant \"' + self.name + '\" of 8 bits or fewer must say how it was quantized: set quantization'")))]
pub struct Variant {
    /// Name of the variant: lower-case letters, digits and dashes.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Number format of most of the weights.
    pub precision: Precision,
    /// Pods that carry all traffic on this variant; `serving.replicas` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Where the weights are, and their digest.
    pub weights: Weights,
    /// How the weights were quantized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// The data that the quantization was calibrated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Offline quality on held-out data, as claimed by the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Pod template merged over `serving.template` (image, args, resources, nodeSelector, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplate>,
}

/// Number format of most of the weights of a variant.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Precision {
    FP32,
    TF32,
    FP16,
    BF16,
    FP8,
    INT8,
    FP4,
    INT4,
    INT2,
}

impl Precision {
    /// Bits of a number.
    pub fn bits(self) -> i32 {
        match self {
            Self::FP32 => 32,
            Self::TF32 => 19,
            Self::FP16 | Self::BF16 => 16,
            Self::FP8 | Self::INT8 => 8,
            Self::FP4 | Self::INT4 => 4,
            Self::INT2 => 2,
        }
    }
}

words!(Precision, NumberType, QuantizationMethod, WeightsProof);

/// Where the weights are, and what they are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!self.uri.contains('@sha256:') || self.uri.endsWith('@' + self.digest)")
    .message(says("'the digest in weights.uri and weights.digest ' + self.digest + ' must be the same: correct one of them'")))]
#[x_kube(validation = Rule::new("!has(self.mount) || !self.uri.startsWith('oci://') || (self.uri.endsWith('@' + self.digest) && !has(self.mount.volume))")
    .message(says("'weights.mount mounts the image of weights.uri by its digest: end weights.uri with @' + self.digest + ', and leave mount.volume out'")))]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Weights {
    /// Where the weights are; handed to the pods as `GUARDBIT_WEIGHTS_URI`.
    #[schemars(length(min = 1, max = 512))]
    pub uri: String,
    /// Digest of the weights: of an image its digest; of a file its SHA-256; of a directory what `guardbit weights digest`
    /// prints.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Where the pods have the weights. With it they are verified: an image is mounted there by its digest, and anything else
    /// is hashed before the server starts. Without it the digest is declared, and nobody checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<WeightsMount>,
    /// Signature of whoever made the weights: a bundle of OpenSSF Model Signing, as JSON. It is verified with the keys of
    /// policies, and no part of the identity of a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 65_536))]
    pub signature: Option<String>,
}

impl Weights {
    /// What is known of the weights that the pods of a variant have.
    pub fn proof(&self) -> WeightsProof {
        match self.mount {
            Some(_) => WeightsProof::Verified,
            None => WeightsProof::Declared,
        }
    }

    /// The image that has the weights, if they are mounted from one.
    pub fn image(&self) -> Option<&str> {
        self.mount.as_ref()?;
        self.uri.strip_prefix(IMAGE)
    }
}

/// Where the pods have the weights.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightsMount {
    /// Path of the file or directory in the container that serves the model. An image is mounted at it; of anything else the
    /// pod template mounts a volume at it or above it.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$"))]
    pub path: String,
    /// Name of the volume of the pod template that has the weights; the one that is mounted at the path, or nearest above it,
    /// when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub volume: Option<String>,
}

/// What is known of the weights of a variant.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WeightsProof {
    /// Their digest, as the model declares it.
    #[default]
    Declared,
    /// That the pods have weights of that digest: no server starts with others.
    Verified,
}

/// A data set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Where the data is.
    #[schemars(length(min = 1, max = 512))]
    pub uri: String,
    /// Digest of the data.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
}

/// How a variant was quantized.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Quantization {
    /// Family of the method.
    pub method: QuantizationMethod,
    /// Algorithm, in the words of its tool: GPTQ, AWQ, SmoothQuant, MinMax, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub algorithm: Option<String>,
    /// Number format of the weights.
    pub weights: NumberFormat,
    /// Number format of the activations; left out when they stay in full precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<NumberFormat>,
    /// Layers that are kept at another precision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub layers: Vec<LayerException>,
}

/// Family of a quantization method.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QuantizationMethod {
    /// After training, activation scales fixed from calibration data.
    PostTrainingStatic,
    /// After training, activation scales taken at run time.
    PostTrainingDynamic,
    /// Trained with the quantization in the loop.
    QuantizationAware,
    /// Weights only; activations stay in full precision.
    WeightOnly,
}

/// A quantized number format.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.granularity == 'PerGroup') == has(self.groupSize)")
    .message("groupSize goes with granularity: PerGroup: set both, or neither"))]
pub struct NumberFormat {
    /// Bits per number.
    #[schemars(range(min = 1, max = 16))]
    pub bits: i32,
    /// Integer or floating point.
    #[serde(rename = "type")]
    pub kind: NumberType,
    /// Whether zero maps to zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symmetric: Option<bool>,
    /// What shares one scale.
    pub granularity: Granularity,
    /// Numbers that share one scale, with `granularity: PerGroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub group_size: Option<i32>,
}

/// Integer or floating point.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumberType {
    /// Integers.
    Int,
    /// Floating point.
    Float,
}

/// What shares one scale.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Granularity {
    /// One scale for a tensor.
    PerTensor,
    /// One scale for a channel.
    PerChannel,
    /// One scale for `groupSize` numbers.
    PerGroup,
}

/// Layers that are kept at another precision.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerException {
    /// Pattern of layer names, in the words of the tool.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = 128))]
    pub pattern: String,
    /// Precision of those layers.
    pub precision: Precision,
}

/// The data that a quantization was calibrated on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxAge) || has(self.completedAt)")
    .message("maxAge needs completedAt: the age of a calibration counts from its completion"))]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Calibration {
    /// The calibration set.
    pub dataset: Dataset,
    /// Samples in the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub samples: Option<i64>,
    /// When the data was collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<TimeWindow>,
    /// When the calibration was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// A variant whose calibration is older gets no traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// When data was collected.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.from < self.to").message("window.from must be before window.to"))]
pub struct TimeWindow {
    /// Start, inclusive.
    pub from: Time,
    /// End, exclusive.
    pub to: Time,
}

/// Offline quality on held-out data.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Validation {
    /// The held-out data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// The metrics. A variant that dropped too far gets no traffic.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub metrics: Vec<QualityMetric>,
}

/// One offline quality metric, larger being better.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QualityMetric {
    /// Name of the metric.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Value of the metric for the reference.
    pub reference: Decimal,
    /// Value of the metric for this variant.
    pub measured: Decimal,
    /// Largest tolerated drop, as a share of `reference`.
    pub max_drop: Fraction,
}

/// A pod template as the user wrote it (`metadata`, `spec`). Projection open, because a schema of it would make the CRD
/// larger than a client-side apply can carry; the API server checks it when the Deployment is applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub Map<String, Value>);

impl JsonSchema for PodTemplate {
    fn schema_name() -> Cow<'static, str> {
        "PodTemplate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}
