//! The custom resource `PrecisionPolicy`: what an organisation asks of the rollouts in its namespaces.
//!
//! Several policies may select a model; of each rule the strictest holds. Every type refuses fields that this release does
//! not know, because a rule of a newer release that was dropped in silence would permit what it forbids. Policies are
//! therefore read in `governance`, from the text of the API server, where one that cannot be read holds back every rise.

mod finding;
mod freezes;
mod guards;
mod selector;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::RiskTier;
use super::super::quantity::{Duration, Fraction};
use super::super::status::RolloutKind;
use super::super::variant::{QuantizationMethod, WeightsProof};
use super::action::ApprovalGate;

pub use finding::{PolicyFinding, PolicyStatus};
pub use freezes::{Freeze, FreezePeriod, Weekday};
pub use guards::{RequiredAgreement, RequiredFidelity, RequiredGuard, RequiredLatency, RequiredProportion};
pub use selector::{LabelOperator, LabelRequirement, NamespaceSelector};

/// What is asked of the rollouts of the models that the policy selects. A rule that is left out asks nothing.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "guardbit.dev",
    version = "v1alpha1",
    kind = "PrecisionPolicy",
    plural = "precisionpolicies",
    shortname = "pp",
    category = "guardbit",
    derive = "PartialEq",
    doc = "PrecisionPolicy says what is asked of the rollouts of QuantizedModels in many namespaces: least precision, guards, approvals, freezes. Where several select a model, the strictest of each rule holds. Lowering a weight is never held back.",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
    printcolumn = r#"{"name": "Min Bits", "type": "integer", "jsonPath": ".spec.floor.minBits"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Tiers", "type": "string", "jsonPath": ".spec.appliesTo.riskTiers", "priority": 1}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrecisionPolicySpec {
    /// Whether the rules hold, or are only told where they would.
    #[serde(default)]
    pub mode: PolicyMode,
    /// The models that the policy is about; all when left out.
    #[serde(default)]
    pub applies_to: AppliesTo,
    /// The least precision. It holds at once, for every rise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<FloorRule>,
    /// How loose the settings of a rollout may be. A rollout that has begun keeps the rules that it began under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutRule>,
    /// Guards that a model must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub guards: Vec<RequiredGuard>,
    /// How fresh and how large calibrations must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationRule>,
    /// Offline quality that a variant must have shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationRule>,
    /// What must be known of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightsRule>,
    /// What people must approve, each rule on its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub approvals: Vec<ApprovalRule>,
    /// Times in which nothing rises. They hold at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub freezes: Vec<Freeze>,
    /// Rollouts that may be in progress at once among the models that this policy selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_in_progress: Option<i32>,
    /// Prometheus servers that may be asked. They hold at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusUrls>,
    /// What is kept on record of each decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsRule>,
}

/// Whether the rules of a policy hold.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyMode {
    /// They hold.
    #[default]
    Enforce,
    /// The status of each model says what they would have held back.
    DryRun,
}

/// The models that a policy is about: those for which both hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppliesTo {
    /// Labels of the Namespaces of the models; all Namespaces when left out. Labels of models are not asked, because
    /// whoever writes a model sets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceSelector>,
    /// Risk tiers of the models; all when left out. A model without a tier is High. Whoever writes a model says its tier, so
    /// hard rules should select by namespace alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 3))]
    pub risk_tiers: Vec<RiskTier>,
}

/// The least precision.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.minBits) || has(self.methods)").message("set minBits, methods or both"))]
pub struct FloorRule {
    /// Least bits of a variant: of its `precision`, of its quantized weights and activations, and of the layers that are
    /// kept at another precision, whichever is least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub min_bits: Option<i32>,
    /// Methods by which a variant may be quantized; all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 4))]
    pub methods: Vec<QuantizationMethod>,
    /// What happens to a variant below the floor that serves already.
    #[serde(default)]
    pub on_breach: OnBreach,
}

/// What happens to a variant below the floor that serves already.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBreach {
    /// It is told in the status of the model.
    #[default]
    Report,
    /// Traffic goes back to the next safer variant that is above the floor, one model at a time within `maxInProgress`.
    FallBack,
}

/// How loose the settings of a rollout may be.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutRule {
    /// Largest weight of the first step, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub max_first_step: Option<i32>,
    /// Largest rise from one step to the next, in percent of the traffic. The promotion is no step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub max_step_rise: Option<i32>,
    /// Least time that each step is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_hold: Option<Duration>,
    /// Least share of traffic, in percent, that stays on the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub min_holdout: Option<i32>,
    /// Largest `falseRollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_false_rollback: Option<Fraction>,
    /// Least `falseRollback`. The smaller it is, the more evidence is needed before a harmful candidate is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_false_rollback: Option<Fraction>,
    /// Largest `falsePromotion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_false_promotion: Option<Fraction>,
    /// What may be declared proven at the first install; any variant when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapRule>,
}

/// What may be declared proven at the first install.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BootstrapRule {
    /// Any variant.
    Any,
    /// The reference alone: all others climb.
    Reference,
}

/// How fresh and how large calibrations must be. It asks of variants that name a calibration, and of all that were quantized
/// by `PostTrainingStatic` or `WeightOnly`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.maxAge) || has(self.minSamples)").message("set maxAge, minSamples or both"))]
pub struct CalibrationRule {
    /// Largest age, from its completion. A stale calibration never rises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Least samples in the calibration set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_samples: Option<i64>,
    /// What happens when the calibration of a variant that serves already goes stale.
    #[serde(default)]
    pub on_stale: OnStale,
}

/// What happens when the calibration of a variant that serves goes stale.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStale {
    /// It is told in the status of the model.
    #[default]
    Warn,
    /// Traffic goes back to the next safer variant that is fresh, one model at a time within `maxInProgress`.
    FallBack,
}

/// Offline quality that a variant must have shown. It asks of every variant but a reference that is not quantized.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidationRule {
    /// The metrics.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub metrics: Vec<RequiredMetric>,
}

/// A metric of offline quality, larger being better.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredMetric {
    /// Name of the metric in `validation.metrics` of a variant.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Largest drop that is tolerated, as a share of the reference's value.
    pub max_drop: Fraction,
}

/// What must be known of the weights of a variant.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.require == 'Verified' || !has(self.publicKeys) || self.publicKeys.size() == 0")
    .message("publicKeys goes with require: Verified: write require: Verified, or leave the keys out"))]
pub struct WeightsRule {
    /// What must be known: with `Verified` the variant has `weights.mount`, so that no server starts with other weights than
    /// those of its digest.
    pub require: WeightsProof,
    /// Public keys in PEM (ECDSA on P-256), with `require: Verified`: one of them must have signed the weights of that digest
    /// (`weights.signature`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 64, max = 2048)))]
    pub public_keys: Vec<String>,
}

/// What people must approve.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRule {
    /// What waits for the approval.
    pub before: ApprovalGate,
    /// Kinds of rollouts that need it; all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 3))]
    pub kinds: Vec<RolloutKind>,
    /// How many people must approve, none of whom had a hand in the change. One more is needed where it is not known for
    /// certain who had.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10))]
    pub count: i32,
    /// Groups of which each must have a member among those who approve; any group when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 256)))]
    pub from_groups: Vec<String>,
}

fn one() -> i32 {
    1
}

/// Prometheus servers that may be asked.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusUrls {
    /// Base URLs; a server may also be asked at a path below one of them. They narrow the operator's flags and never widen
    /// them.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 512), regex(pattern = r"^https?://[^\s@?#%\\]+$"))
    )]
    pub urls: Vec<String>,
}

/// What is kept on record of each decision.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordsRule {
    /// How long records are kept at least; the last 50 of a model are always kept.
    #[serde(default = "RecordsRule::keep")]
    pub keep: Duration,
    /// Whether anything may rise while records cannot be signed.
    #[serde(default)]
    pub signed: SignedRecords,
}

impl RecordsRule {
    /// Six months.
    fn keep() -> Duration {
        "4416h".into()
    }
}

/// Whether anything may rise while records cannot be signed.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SignedRecords {
    /// It may; records are then unsigned, and the status of the model says so.
    #[default]
    Optional,
    /// It may not.
    Required,
}
