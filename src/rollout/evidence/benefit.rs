//! The benefit gate: a candidate that is safe but no better than stable is not worth promoting.

use crate::api::{QuantizedModelSpec, RolloutKind, RolloutStatus};
use crate::judge::BenefitConfig;

/// What a rollout asks of its candidate beyond being safe. A new revision of the same rung replaces the old one, and a new
/// reference the old one, without being better.
pub(super) fn benefit(spec: &QuantizedModelSpec, rollout: Option<&RolloutStatus>) -> Option<BenefitConfig> {
    let wanted = spec.rollout.benefit.as_ref()?;
    rollout.filter(|r| r.kind == RolloutKind::Climb)?;
    Some(BenefitConfig {
        guard: wanted.guard.clone(),
        at_least: wanted.at_least.value().ok()?,
        false_promotion: spec.rollout.false_promotion.value().unwrap_or(0.05),
    })
}
