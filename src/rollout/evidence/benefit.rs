//! The benefit gate: a candidate that is safe but no better than stable is not worth promoting.

use crate::api::{RolloutKind, RolloutStatus};
use crate::judge::BenefitConfig;
use crate::model::Rollout;

/// What a rollout asks of its candidate beyond being safe. A new revision of the same variant, and a new reference,
/// replace the old one without being better.
pub(super) fn benefit(settings: &Rollout, rollout: Option<&RolloutStatus>) -> Option<BenefitConfig> {
    let wanted = settings.benefit.as_ref()?;
    rollout.filter(|r| r.kind == RolloutKind::Climb)?;
    Some(BenefitConfig {
        guard: wanted.guard.clone(),
        at_least: wanted.at_least,
        false_promotion: settings.false_promotion,
    })
}
