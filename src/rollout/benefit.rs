//! The benefit gate: a candidate that is safe but no better than stable is not worth promoting.

use crate::api::validate::SpecProblem;
use crate::api::{QuantizedModelSpec, RolloutKind, RolloutStatus};
use crate::judge::{BenefitConfig, GuardConfig};
use crate::model::presets::guards;

use super::listen::Listened;
use super::look::Look;
use super::reason::{Wait, WaitReason};

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

/// A benefit that is asked of no guard that there is; those of a preset are known here only.
pub(super) fn problem(spec: &QuantizedModelSpec) -> Option<SpecProblem> {
    let wanted = spec.rollout.benefit.as_ref()?;
    let all = guards(spec);
    (!all.iter().any(|guard| guard.name == wanted.guard)).then(|| SpecProblem {
        field: "spec.rollout.benefit.guard".to_owned(),
        problem: format!(
            "there is no guard {:?}; write the name of one of them: {}",
            wanted.guard,
            all.iter()
                .map(|guard| guard.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    })
}

impl Listened {
    /// The benefit that is asked for, with the guard that it is asked of.
    fn benefit_of(&self) -> Option<(&BenefitConfig, &GuardConfig)> {
        let wanted = self.benefit.as_ref()?;
        Some((wanted, self.config.guards.get(&wanted.guard)?))
    }

    /// What is wanted and not shown yet, in words that follow "shown to be".
    fn lacking_benefit(&self) -> Option<String> {
        let (wanted, guard) = self.benefit_of()?;
        let test = self.running.benefit.as_ref();
        (!test.is_some_and(|test| test.is_shown(wanted, guard))).then(|| wanted.wanted(guard))
    }

    /// What was found of the benefit, in a sentence with counts; with the name of the guard.
    pub(super) fn benefit_message(&self) -> Option<(&str, String)> {
        let (wanted, guard) = self.benefit_of()?;
        let test = self.running.benefit.as_ref()?;
        Some((&wanted.guard, test.message(wanted, guard)))
    }
}

impl Look<'_> {
    /// What is wanted of the candidate and not shown yet.
    pub(super) fn lacking_benefit(&self) -> Option<String> {
        self.trial().and_then(|(listened, _)| listened.lacking_benefit())
    }

    /// What a promotion waits for while the candidate has not been shown to be better.
    pub(super) fn not_yet_better(&self) -> Option<Wait> {
        let wanted = self.lacking_benefit()?;
        Some(Wait {
            reason: WaitReason::NoBenefitYet,
            message: format!(
                "every guard is healthy, but the candidate is not shown to be {wanted} yet; see status.guards"
            ),
        })
    }
}
