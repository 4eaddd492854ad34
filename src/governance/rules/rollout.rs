//! Rollout: how loose the settings of a rollout may be.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::api::{BootstrapRule, QuantizedModelSpec};
use crate::guards::Billionths;
use crate::model;

use super::asked::{Asked, strictest};
use super::findings::{Findings, length};

/// How loose the settings of a rollout may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Largest weight of the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_first_step: Option<Asked<Reverse<i32>>>,
    /// Largest rise from one step to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_step_rise: Option<Asked<Reverse<i32>>>,
    /// Least time that a step is held, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_hold: Option<Asked<i64>>,
    /// Least share of traffic that stays on the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_holdout: Option<Asked<i32>>,
    /// Largest `falseRollback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_false_rollback: Option<Asked<Reverse<Billionths>>>,
    /// Least `falseRollback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_false_rollback: Option<Asked<Billionths>>,
    /// Largest `falsePromotion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_false_promotion: Option<Asked<Reverse<Billionths>>>,
    /// What may be declared proven at the first install.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Asked<BootstrapRule>>,
}

impl Limits {
    pub(super) fn meet(self, other: Self) -> Self {
        Self {
            max_first_step: strictest(self.max_first_step, other.max_first_step),
            max_step_rise: strictest(self.max_step_rise, other.max_step_rise),
            min_hold: strictest(self.min_hold, other.min_hold),
            min_holdout: strictest(self.min_holdout, other.min_holdout),
            max_false_rollback: strictest(self.max_false_rollback, other.max_false_rollback),
            min_false_rollback: strictest(self.min_false_rollback, other.min_false_rollback),
            max_false_promotion: strictest(self.max_false_promotion, other.max_false_promotion),
            bootstrap: strictest(self.bootstrap, other.bootstrap),
        }
    }

    /// Holds the settings of a rollout against the limits.
    pub(super) fn check(&self, rollout: &model::Rollout, findings: &mut Findings) {
        self.steps(rollout, findings);
        if let Some(Asked { what: least, by }) = &self.min_holdout
            && rollout.holdout < *least
        {
            findings.add(
                by,
                "rollout.minHoldout",
                format!(
                    "spec.rollout.holdout is {}, and {least} is the least: write {least} or more",
                    rollout.holdout
                ),
            );
        }
        self.rates(rollout, findings);
    }

    fn steps(&self, rollout: &model::Rollout, findings: &mut Findings) {
        let steps = &rollout.steps;
        if let (
            Some(Asked {
                what: Reverse(most),
                by,
            }),
            Some(first),
        ) = (&self.max_first_step, steps.first())
            && first.weight > *most
        {
            findings.add(
                by,
                "rollout.maxFirstStep",
                format!("spec.rollout.steps begins with {}%, and {most}% is the most: put a step of {most}% or less before it", first.weight),
            );
        }
        if let Some(Asked {
            what: Reverse(most),
            by,
        }) = &self.max_step_rise
        {
            let steep = steps.windows(2).find(|pair| pair[1].weight - pair[0].weight > *most);
            if let Some([from, to]) = steep {
                findings.add(
                    by,
                    "rollout.maxStepRise",
                    format!(
                        "spec.rollout.steps rises from {}% to {}% at once, and {most}% is the most: put a step of {}% or less between them",
                        from.weight,
                        to.weight,
                        from.weight + most
                    ),
                );
            }
        }
        if let Some(Asked { what: least, by }) = &self.min_hold {
            let held = |step: &model::Step| i64::try_from(step.hold.as_millis()).unwrap_or(i64::MAX);
            if let Some(step) = steps.iter().find(|step| held(step) < *least) {
                findings.add(
                    by,
                    "rollout.minHold",
                    format!(
                        "spec.rollout.steps holds {}% for {}, and {} is the least: write hold: {2} or more",
                        step.weight,
                        length(held(step)),
                        length(*least)
                    ),
                );
            }
        }
    }

    fn rates(&self, rollout: &model::Rollout, findings: &mut Findings) {
        let false_rollback = Billionths::of(rollout.false_rollback);
        let false_promotion = Billionths::of(rollout.false_promotion);
        for (limit, rule, field, found) in [
            (
                &self.max_false_rollback,
                "rollout.maxFalseRollback",
                "falseRollback",
                false_rollback,
            ),
            (
                &self.max_false_promotion,
                "rollout.maxFalsePromotion",
                "falsePromotion",
                false_promotion,
            ),
        ] {
            if let Some(Asked {
                what: Reverse(most),
                by,
            }) = limit
                && found > *most
            {
                let (found, most) = (found.percent(), most.percent());
                findings.add(
                    by,
                    rule,
                    format!("spec.rollout.{field} is {found}, and {most} is the most: write {most} or less"),
                );
            }
        }
        if let Some(Asked { what: least, by }) = &self.min_false_rollback
            && false_rollback < *least
        {
            let (found, least) = (false_rollback.percent(), least.percent());
            findings.add(
                by,
                "rollout.minFalseRollback",
                format!("spec.rollout.falseRollback is {found}, and {least} is the least, because with less harm is found later: write {least} or more"),
            );
        }
    }

    /// Holds the first install against the limits.
    pub(super) fn check_install(&self, spec: &QuantizedModelSpec, findings: &mut Findings) {
        let (Some(declared), Some(reference)) = (&spec.rollout.bootstrap, spec.variants.first()) else {
            return;
        };
        if let Some(Asked {
            what: BootstrapRule::Reference,
            by,
        }) = &self.bootstrap
            && *declared != reference.name
        {
            findings.add(
                by,
                "rollout.bootstrap",
                format!("spec.rollout.bootstrap declares {declared} proven without evidence, and only the reference may be: leave it out, and {declared} climbs from {}", reference.name),
            );
        }
    }
}
