//! Guards: the questions asked of the metrics.
//!
//! Server-side apply treats each kind of question as atomic: two field managers that own half each would make another
//! question.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::message::says;
use super::quantity::{Decimal, Duration, Fraction};
use super::word::words;

/// One question asked of the metrics.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.proportion), has(self.latency), has(self.fidelity), has(self.agreement), has(self.ratio), has(self.query)].filter(x, x).size() == 1")
    .message(says("'guard \"' + self.name + '\" must be exactly one of proportion, latency, fidelity, agreement, ratio and query'")))]
#[x_kube(validation = Rule::new("(has(self.armMatchers) && self.armMatchers == 'Labels') == (has(self.armLabels) && self.armLabels.size() > 0)")
    .message("armLabels and armMatchers: Labels go together: set both, or neither"))]
pub struct Guard {
    /// Name of the guard.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A share of bad events: errors, refusals, disagreements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proportion: Option<Proportion>,
    /// How slow requests are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// How far the distribution of outputs drifts from the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// How often the candidate answers the same question otherwise than the reference, as the comparer counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// What is spent on a request, such as energy or money, against the baseline. No sampling model: a plain k-of-n
    /// rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// The value of any PromQL expression against fixed bounds. No sampling model: a plain k-of-n rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// How the series of one arm are told from those of another; `prometheus.armMatchers` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm_matchers: Option<ArmMatchers>,
    /// The matchers themselves, with `armMatchers: Labels`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub arm_labels: Vec<ArmLabel>,
}

/// Guards that go with a model server or a mesh; docs/presets.md lists them.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// vLLM: errors and latency.
    #[serde(rename = "vLLM")]
    VLlm,
    /// NVIDIA Triton Inference Server: errors, and the mean latency by a plain rule.
    Triton,
    /// Hugging Face Text Generation Inference, archived by its owner on 21 March 2026: errors and latency.
    #[serde(rename = "TGI")]
    Tgi,
    /// KServe's Python model server: latency. It does not count errors.
    KServe,
    /// Istio's sidecars: errors and latency.
    Istio,
    /// Envoy Gateway, where each arm has an Envoy cluster of its own: errors and latency.
    EnvoyGateway,
    /// llama.cpp: the mean time of a token by a plain rule. It does not count requests or errors.
    LlamaCpp,
    /// vLLM: errors and latency, the times to the first token and between tokens, and tripwires on the length of answers
    /// and on those that were cut off. They catch collapse, not drift.
    #[serde(rename = "vLLMOutputs")]
    VLlmOutputs,
    /// SGLang: errors and latency.
    #[serde(rename = "SGLang")]
    SgLang,
    /// TensorRT-LLM behind `trtllm-serve`: latency. It does not count errors.
    #[serde(rename = "TensorRTLLM")]
    TensorRtLlm,
    /// Envoy AI Gateway, where a label tells its backends apart: errors and latency.
    #[serde(rename = "EnvoyAIGateway")]
    EnvoyAiGateway,
}

/// How the series of one arm are told from those of another.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArmMatchers {
    /// By the label `pod`.
    #[default]
    Pod,
    /// By the label `guardbit_revision`, where scraping keeps pod labels.
    Revision,
    /// By `armLabels`.
    Labels,
}

/// A label of the series of one arm.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmLabel {
    /// Name of the label, such as `exported_pod`, or `k8s.pod.name` as OpenTelemetry writes it.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_.:/-]*$"))]
    pub label: String,
    /// Its value; `{deployment}`, `{service}` and `{revision}` stand for those of the arm, `{pod}` for any pod of it.
    #[schemars(length(min = 1, max = 256))]
    pub value: String,
}

impl ArmLabel {
    /// Whether its value differs from arm to arm.
    pub fn differs(&self) -> bool {
        let parts = ["{deployment}", "{service}", "{revision}", "{pod}"];
        parts.iter().any(|part| self.value.contains(part))
    }
}

/// A share of bad events.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.bad) != has(self.good)").message("set exactly one of bad and good"))]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Proportion {
    /// Counter of bad events: a selector without arm labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub bad: Option<String>,
    /// Counter of good events (clicks): a selector without arm labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub good: Option<String>,
    /// Counter of all events: a selector without arm labels.
    #[schemars(length(min = 1, max = 512))]
    pub total: String,
    /// How much worse than the baseline a candidate may be.
    #[serde(default = "ToleranceSpec::proportion")]
    pub tolerance: ToleranceSpec,
}

/// A candidate may be as bad as `ratio` × the baseline's share + `absolute`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToleranceSpec {
    /// Factor on the baseline's share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Decimal>,
    /// Share added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<Fraction>,
}

impl ToleranceSpec {
    /// Default tolerance of a share of bad events.
    pub fn proportion() -> Self {
        Self {
            ratio: Some("1".into()),
            absolute: Some("0.5%".into()),
        }
    }

    /// Default tolerance of a share of answers that differ.
    pub fn agreement() -> Self {
        Self {
            ratio: Some("0".into()),
            absolute: Some("5%".into()),
        }
    }
}

/// How much slower a candidate may be: by a factor on its latencies (`slowdown`), or by a factor on its share of slow
/// requests (`ratio`). Where neither is written, its share of slow requests may be the baseline's + `absolute`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(has(self.ratio) && has(self.slowdown))")
    .message("set ratio or slowdown, not both: they say in two ways how much slower a candidate may be"))]
pub struct LatencyTolerance {
    /// Factor on latencies, 1 or more: with `"1.25"` a candidate may be a quarter slower. Its share above a bound is held
    /// against the baseline's share above that bound divided by `slowdown`, + `absolute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowdown: Option<Decimal>,
    /// Factor on the baseline's share of slow requests. Where latencies are narrow, a small factor on them is a large one
    /// on shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Decimal>,
    /// Share added; `"0.5%"` if left out beside `slowdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<Fraction>,
}

impl LatencyTolerance {
    /// What is tolerated where a guard says nothing. It is no default of the schema, so that an object does not store it.
    pub fn usual() -> Self {
        Self {
            slowdown: Some("1.25".into()),
            ratio: None,
            absolute: Some("0.5%".into()),
        }
    }
}

/// How slow requests are, against the baseline and, if a budget is set, against a fixed bound.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Latency {
    /// Histogram of request durations: a selector without arm labels, with or without `_bucket`. Native histograms are
    /// counted where there are no classic buckets.
    #[schemars(length(min = 1, max = 512))]
    pub histogram: String,
    /// Absolute latency budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// How much slower than the baseline a candidate may be; when left out by a quarter (`slowdown: "1.25"`), and by 0.5%
    /// of the requests beside that (`absolute: "0.5%"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<LatencyTolerance>,
    /// Counts health only from polls in which a pod of the candidate carries at least this share of what a pod of
    /// stable carries, such as `"80%"`: a lightly loaded pod is always fast. Harm counts always. Pods are told apart by
    /// the label `pod`, or `instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_load: Option<Fraction>,
    /// The unit of the histogram.
    #[serde(default, skip_serializing_if = "LatencyUnit::is_default")]
    pub unit: LatencyUnit,
}

impl Latency {
    /// The tolerance that is written, or the usual one.
    pub fn tolerance(&self) -> LatencyTolerance {
        self.tolerance.clone().unwrap_or_else(LatencyTolerance::usual)
    }
}

/// The unit of a histogram of durations.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatencyUnit {
    /// Seconds, as Prometheus recommends.
    #[default]
    Seconds,
    /// Milliseconds, as service meshes do.
    Milliseconds,
}

words!(LatencyUnit);

impl LatencyUnit {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An absolute latency budget: the percentile must lie within a bound.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Percentile, above 0 and below 100, such as `"95"` or `"99.9"`.
    pub percentile: Decimal,
    /// The bound.
    pub within: Duration,
}

/// How far the distribution of outputs may drift from that of the reference.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Fidelity {
    /// Histogram of output scores: a selector without arm labels, with or without `_bucket`. Native histograms are
    /// counted where there are no classic buckets.
    #[schemars(length(min = 1, max = 512))]
    pub histogram: String,
    /// Largest tolerated total variation distance from the reference.
    #[serde(default = "five_percent")]
    pub max_total_variation: Fraction,
}

fn five_percent() -> Fraction {
    "0.05".into()
}

/// How often the candidate's answer may differ from the reference's: of pairs of answers to the same question, at most
/// `absolute` + `ratio` × the share in which the reference differs from itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Agreement {
    /// The share of pairs that may differ. `ratio` is `"0"` when left out: the reference's own noise is then shown and
    /// not counted.
    #[serde(default = "ToleranceSpec::agreement")]
    pub tolerance: ToleranceSpec,
}

/// What is spent on a request, against the baseline: in each poll, the candidate's increment of `numerator` per
/// increment of `denominator` may be at most `max` × that of the baseline. A poll in which either arm did nothing is
/// not counted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.of) || self.of >= self.consecutive")
    .message("of must be at least consecutive: consecutive of the last of polls must be out of bounds"))]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Ratio {
    /// Counter of what is spent, such as joules: a selector without arm labels. It may come from another exporter than
    /// `denominator`.
    #[schemars(length(min = 1, max = 512))]
    pub numerator: String,
    /// Counter of what it is spent on, such as requests: a selector without arm labels.
    #[schemars(length(min = 1, max = 512))]
    pub denominator: String,
    /// Largest factor on the baseline's ratio, such as `"1.0"`.
    pub max: Decimal,
    /// Polls out of bounds that make a candidate harmful.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 60))]
    pub consecutive: i32,
    /// Size of the window, in polls, that the rule counts in; `consecutive` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60))]
    pub of: Option<i32>,
}

/// The value of any PromQL expression against fixed bounds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.min) || has(self.max)").message("set min, max or both"))]
#[x_kube(validation = Rule::new("!has(self.of) || self.of >= self.consecutive")
    .message("of must be at least consecutive: consecutive of the last of polls must be out of bounds"))]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Query {
    /// Expression with one value; the arm's matchers are added to every selector in it.
    #[schemars(length(min = 1, max = 1024))]
    pub promql: String,
    /// Values below are out of bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// Values above are out of bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// Polls out of bounds that make a candidate harmful.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 60))]
    pub consecutive: i32,
    /// Size of the window, in polls, that the rule counts in; `consecutive` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60))]
    pub of: Option<i32>,
}

fn three() -> i32 {
    3
}
