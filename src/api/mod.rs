//! The custom resources: types, validation rules, conditions. They have no behaviour.
//!
//! What can be checked when an object is applied is a CEL rule beside the field it protects; what CEL cannot see is
//! checked where specs are read, in `model`. There is no rule at the root of the object: a later, tighter one would
//! refuse every status write on old objects, and with it a rollback.

pub mod comparer;
pub mod governance;
pub mod guard;
mod message;
pub mod plain;
pub mod problem;
pub mod quantity;
pub mod rollout;
pub mod status;
pub mod traffic;
pub mod variant;
pub mod word;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use comparer::{AnswerSpec, ComparerSpec, GoldenSet, MirrorSpec, PairBudget, Protocol};
pub use governance::action::{
    ActEffect, ActKind, ActState, Actor, ApprovalGate, Approved, ApprovedChanges, Awaiting, ModelRef, PrecisionAction,
    PrecisionActionSpec, PrecisionActionStatus, Waive,
};
pub use governance::decision::{DecisionSignature, PrecisionDecision, PrecisionDecisionSpec};
pub use governance::policy::{
    AppliesTo, ApprovalRule, BootstrapRule, PolicyFinding, PolicyMode, PolicyStatus, PrecisionPolicy,
    PrecisionPolicySpec, RequiredAgreement, RequiredFidelity, RequiredGuard, RequiredLatency, RequiredProportion,
    SignedRecords, Weekday,
};
pub use guard::{
    Agreement, ArmLabel, ArmMatchers, Budget, Fidelity, Guard, Latency, LatencyTolerance, LatencyUnit, Preset,
    Proportion, Query, Ratio, ToleranceSpec,
};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use message::says;
pub use plain::{LONGEST_MESSAGE, plain, plain_lines, visible};
pub use problem::SpecProblem;
pub use quantity::{Decimal, Duration, Fraction};
pub use rollout::{Benefit, OnHarm, OnUndecided, RolloutSpec, Shadow, Step};
pub use status::*;
pub use traffic::{Gateway, HeaderMatch, PrecisionRoute, RouteMatch, Serve, ServiceTraffic, SplitBy, Traffic};
pub use variant::{
    Calibration, Dataset, PodTemplate, Precision, QualityMetric, Quantization, Validation, Variant, Weights,
    WeightsMount, WeightsProof,
};
pub use word::Word;
use word::words;

/// Group of the API, and prefix of every label and annotation that guardbit writes.
pub const GROUP: &str = "guardbit.dev";

/// Governed rollout of one model and its precision variants.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "guardbit.dev",
    version = "v1alpha1",
    kind = "QuantizedModel",
    plural = "quantizedmodels",
    shortname = "qm",
    shortname = "qms",
    category = "all",
    category = "guardbit",
    namespaced,
    status = "QuantizedModelStatus",
    derive = "PartialEq",
    doc = "QuantizedModel governs the rollout of one model through its precision variants: it deploys them as canaries, judges them from Prometheus, and promotes or rolls back by itself.",
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Stable", "type": "string", "jsonPath": ".status.arms[?(@.role=='Stable')].variant"}"#,
    printcolumn = r#"{"name": "Candidate", "type": "string", "jsonPath": ".status.arms[?(@.role=='Candidate')].variant"}"#,
    printcolumn = r#"{"name": "Weight", "type": "integer", "jsonPath": ".status.arms[?(@.role=='Candidate')].weight", "description": "Traffic share of the candidate, in percent"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Target", "type": "string", "jsonPath": ".spec.target", "priority": 1}"#,
    printcolumn = r#"{"name": "Step", "type": "integer", "jsonPath": ".status.rollout.step", "priority": 1}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status", "priority": 1}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Progressing')].message", "priority": 1}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.target) || self.variants.exists(v, v.name == self.target)")
    .message(says("'target \"' + self.target + '\" must be the name of one of spec.variants'")))]
#[x_kube(validation = Rule::new("!has(self.rollout) || !has(self.rollout.bootstrap) || self.variants.exists(v, v.name == self.rollout.bootstrap)")
    .message(says("'rollout.bootstrap \"' + self.rollout.bootstrap + '\" must be the name of one of spec.variants'")))]
#[x_kube(validation = Rule::new("has(self.preset) || self.guards.size() > 0")
    .message("set guards, or the preset of a model server: without a question to the metrics nothing can be promoted"))]
#[x_kube(validation = Rule::new("!has(self.preset) || !(self.preset in ['EnvoyGateway', 'EnvoyAIGateway']) || (has(self.prometheus) && has(self.prometheus.armMatchers) && self.prometheus.armMatchers == 'Labels')")
    .message("preset EnvoyGateway or EnvoyAIGateway needs prometheus.armMatchers: Labels with a label that tells the variants apart: the series are the gateway's, and by default one Envoy cluster serves all variants of a rule; or use the preset of the model server"))]
#[x_kube(validation = Rule::new("self.variants.size() <= 2 || (!self.guards.exists(g, has(g.fidelity) || has(g.agreement)) && (!has(self.preset) || self.preset != 'vLLMOutputs')) || !has(self.rollout) || !has(self.rollout.holdout) || self.rollout.holdout >= 1")
    .message("rollout.holdout must be at least 1: with more than two variants a guard on outputs (fidelity or agreement) needs the reference to compare with"))]
#[x_kube(validation = Rule::new("!has(self.rollout) || !has(self.rollout.shadow) || self.guards.exists(g, has(g.agreement))")
    .message("rollout.shadow needs an agreement guard, which counts its pairs"))]
#[x_kube(validation = Rule::new("!has(self.comparer) || !has(self.comparer.mirror) || has(self.traffic.gateway)")
    .message("comparer.mirror needs traffic.gateway: one plain Service mirrors nothing; write comparer.golden"))]
#[x_kube(validation = Rule::new("!has(self.rollout) || !has(self.rollout.benefit) || has(self.preset) || self.guards.exists(g, g.name == self.rollout.benefit.guard && !has(g.fidelity) && !has(g.agreement) && !has(g.query))")
    .message(says("'rollout.benefit.guard \"' + self.rollout.benefit.guard + '\" must be the name of one of spec.guards that compares the candidate with stable: a proportion, latency or ratio guard'")))]
pub struct QuantizedModelSpec {
    /// The model that the variants are forms of.
    pub model: Model,
    /// Name of the variant to climb to; the last of `variants` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub target: Option<String>,
    /// Freezes the weights. A rollback still works.
    #[serde(default)]
    pub paused: bool,
    /// guardbit leaves everything as it is: a person is in control.
    #[serde(default)]
    pub suspend: bool,
    /// Raise it to try a Failed or undecided revision again.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub attempt: i64,
    /// What happens to the serving objects when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What the variants have in common.
    pub serving: Serving,
    /// The precision ladder, safest first; the first variant is the reference.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new("[1, 2, 3, 4, 5, 6, 7].all(i, i >= self.size() || {'FP32': 32, 'TF32': 19, 'FP16': 16, 'BF16': 16, 'FP8': 8, 'INT8': 8, 'FP4': 4, 'INT4': 4, 'INT2': 2}[self[i].precision] <= {'FP32': 32, 'TF32': 19, 'FP16': 16, 'BF16': 16, 'FP8': 8, 'INT8': 8, 'FP4': 4, 'INT4': 4, 'INT2': 2}[self[i - 1].precision])")
        .message("variants must be ordered safest first: the bits of precision may never rise down the list"))]
    pub variants: Vec<Variant>,
    /// How requests reach the variants.
    pub traffic: Traffic,
    /// Where the evidence comes from; defaults to the operator's `--prometheus-url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
    /// Guards that go with a model server or a mesh, in addition to those in `guards`. A guard in `guards` replaces the
    /// preset's guard of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The questions asked of the metrics. A candidate is promoted only when all of them are answered well.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub guards: Vec<Guard>,
    /// The comparer that guardbit runs beside a trial, for an `agreement` guard. Left out, none is run; one that somebody
    /// else runs is counted as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparer: Option<ComparerSpec>,
    /// Steps, clocks and error rates of a rollout.
    #[serde(default)]
    pub rollout: RolloutSpec,
}

fn one() -> i64 {
    1
}

/// The model that the variants are forms of.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name of the model, as its registry knows it.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Version of the model, as its registry knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// How much harm a wrong answer can do; recorded as provenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
}

/// How much harm a wrong answer can do.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RiskTier {
    /// High risk, in the words of the EU AI Act.
    High,
    /// Limited risk.
    Limited,
    /// Minimal risk.
    Minimal,
}

words!(RiskTier);

/// What happens to the serving objects when the model is deleted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// The route goes first, connections drain, then the pods go.
    #[default]
    Delete,
    /// Owner references are removed and everything serves on.
    Orphan,
}

/// What the variants have in common.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// Port of the container that serves requests.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// What the port speaks, where it is not plain HTTP/1.1: `appProtocol` of the Services that guardbit makes.
    /// `"kubernetes.io/h2c"` is HTTP/2 without TLS, which gRPC servers speak behind a gateway; meshes know `"grpc"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    pub app_protocol: Option<String>,
    /// Pods that carry all traffic. Leave it out when an autoscaler owns the scale: a candidate then gets, before each
    /// weight, its share of what stable has at that time, and is the autoscaler's from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Pod template shared by all variants (`metadata` and `spec`, as in a Deployment).
    pub template: PodTemplate,
}

/// Where the evidence comes from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.armMatchers) && self.armMatchers == 'Labels') == (has(self.armLabels) && self.armLabels.size() > 0)")
    .message("armLabels and armMatchers: Labels go together: set both, or neither"))]
pub struct PrometheusSpec {
    /// Base URL of a Prometheus-compatible server, for example `http://prometheus.monitoring:9090`. The operator's
    /// flags say which ones may be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: Option<String>,
    /// Secret in the same namespace with any of the keys `token`, `username` and `password`, `tenant` (sent as
    /// X-Scope-OrgID), `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// How the series of one arm are told from those of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm_matchers: Option<ArmMatchers>,
    /// The matchers themselves, with `armMatchers: Labels`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub arm_labels: Vec<ArmLabel>,
}

/// A Secret in the namespace of the model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

impl SecretRef {
    /// Whether it is a name, and not a path to a Secret in another namespace. The schema checks this too, but an object
    /// may have been stored before its schema did.
    pub fn is_name(&self) -> bool {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        self.name.chars().all(inner) && self.name.starts_with(outer) && self.name.ends_with(outer)
    }
}

impl QuantizedModelSpec {
    /// Position of the variant to climb to; the last one when `target` is left out.
    pub fn target_index(&self) -> usize {
        self.target
            .as_ref()
            .and_then(|t| self.variants.iter().position(|v| v.name == *t))
            .unwrap_or(self.variants.len().saturating_sub(1))
    }

    /// Pods that carry all traffic on this variant; `None` when an autoscaler owns the scale.
    pub fn replicas(&self, variant: &Variant) -> Option<i32> {
        variant.replicas.or(self.serving.replicas)
    }
}
