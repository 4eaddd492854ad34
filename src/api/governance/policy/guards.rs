//! Guards that a policy asks for.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::super::super::message::says;
use super::super::super::quantity::{Decimal, Fraction};

/// A guard that a model must have: one guard of the model, of whatever name, must be at least as strict. Selectors are
/// compared by what they mean, not by how they are written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.proportion), has(self.latency), has(self.fidelity), has(self.agreement)].filter(x, x).size() == 1")
    .message(says("'guard \"' + self.name + '\" must be exactly one of proportion, latency, fidelity and agreement'")))]
pub struct RequiredGuard {
    /// Name of what is asked for, which people are shown.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A share of bad events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proportion: Option<RequiredProportion>,
    /// How slow requests are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<RequiredLatency>,
    /// How far the distribution of outputs drifts from the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<RequiredFidelity>,
    /// How often the candidate answers the same question otherwise than the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<RequiredAgreement>,
}

/// A share of bad events that a model must guard.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.bad) != has(self.good)").message("set exactly one of bad and good"))]
pub struct RequiredProportion {
    /// Counters of bad events, any of which will do: selectors without arm labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub bad: Vec<String>,
    /// Counters of good events, any of which will do: selectors without arm labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub good: Vec<String>,
    /// Counters of all events, any of which will do: selectors without arm labels.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub total: Vec<String>,
    /// Largest share that may be tolerated beside the baseline's.
    #[serde(default = "half_a_percent")]
    pub max_absolute: Fraction,
    /// Largest factor on the baseline's share that may be tolerated.
    #[serde(default = "one")]
    pub max_ratio: Decimal,
}

/// Latencies that a model must guard.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredLatency {
    /// Histograms of request durations, any of which will do: selectors without arm labels, with or without `_bucket`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub histogram: Vec<String>,
    /// Largest share of slow requests that may be tolerated beside the baseline's.
    #[serde(default = "half_a_percent")]
    pub max_absolute: Fraction,
    /// Largest factor on latencies that may be tolerated, for a guard with `slowdown`. Where neither this nor `maxRatio` is
    /// set it is 1.25, and where only `maxRatio` is set a guard with `slowdown` will not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_slowdown: Option<Decimal>,
    /// Largest factor on the baseline's share of slow requests that may be tolerated, for a guard with `ratio`. Where only
    /// `maxSlowdown` holds, a guard with a `ratio` of 1 or less will do as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ratio: Option<Decimal>,
}

/// A distribution of outputs that a model must guard.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredFidelity {
    /// Histograms of output scores, any of which will do: selectors without arm labels, with or without `_bucket`. Any at
    /// all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub histogram: Vec<String>,
    /// Largest total variation distance from the reference that may be tolerated.
    #[serde(default = "five_percent")]
    pub max_total_variation: Fraction,
}

/// Pairs of answers that a model must guard. The comparer names their series.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredAgreement {
    /// Largest share of pairs that may differ.
    #[serde(default = "five_percent")]
    pub max_absolute: Fraction,
    /// Largest factor on the share in which the reference differs from itself that may be tolerated beside it.
    #[serde(default = "zero")]
    pub max_ratio: Decimal,
}

fn half_a_percent() -> Fraction {
    "0.5%".into()
}

fn five_percent() -> Fraction {
    "5%".into()
}

fn one() -> Decimal {
    "1".into()
}

fn zero() -> Decimal {
    "0".into()
}
