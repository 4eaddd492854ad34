//! Which models a policy is about.

use std::collections::BTreeMap;

use crate::api::governance::policy::{LabelOperator, LabelRequirement};
use crate::api::{AppliesTo, RiskTier};

/// Whether a policy is about a model of this tier in a namespace with these labels. A model without a tier is High.
pub(super) fn selects(applies: &AppliesTo, namespace: &BTreeMap<String, String>, tier: Option<RiskTier>) -> bool {
    let tier = tier.unwrap_or(RiskTier::High);
    let of_tier = applies.risk_tiers.is_empty() || applies.risk_tiers.contains(&tier);
    let of_namespace = applies.namespaces.as_ref().is_none_or(|selector| {
        let labels = selector.match_labels.iter();
        let mut labels = labels.map(|(key, value)| namespace.get(key) == Some(value));
        labels.all(|holds| holds) && selector.match_expressions.iter().all(|of| holds(of, namespace))
    });
    of_tier && of_namespace
}

/// Whether a requirement on a label holds, as in label selectors of Kubernetes: a label that is not there is not in any set.
fn holds(LabelRequirement { key, operator, values }: &LabelRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(key);
    let is_in = value.is_some_and(|value| values.contains(value));
    match operator {
        LabelOperator::In => is_in,
        LabelOperator::NotIn => !is_in,
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
    }
}
