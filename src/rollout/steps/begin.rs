//! How a rollout begins, and the digest of what it is judged by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::api::{Action, QuantizedModelSpec, RevisionRef, RolloutKind, RolloutStatus};
use crate::model::identity;
use crate::model::presets::guards;

use super::super::evaluation::Evaluation;
use super::super::observation::Governed;
use super::super::trial::questions;

/// Digest of what a rollout is judged by. When it changes, the weights stay and evidence starts afresh.
pub(super) fn plan_digest(spec: &QuantizedModelSpec, kind: RolloutKind, candidate: &RevisionRef) -> String {
    let rollout = &spec.rollout;
    let mut plan = json!({
        "kind": kind,
        "candidate": candidate,
        "steps": rollout.steps,
        "guards": guards(spec),
        "falseRollback": rollout.false_rollback,
        "falsePromotion": rollout.false_promotion,
    });
    // It is left out where it is not asked for, because an upgrade must not change the plan of a rollout in progress.
    if let Some(benefit) = &rollout.benefit {
        plan["benefit"] = json!(benefit);
    }
    if let Some(questions) = questions(spec) {
        plan["comparer"] = questions;
    }
    identity::digest(&plan)
}

impl Evaluation<'_> {
    /// A rollout that begins now, without any weight, under the rules that hold now.
    pub(super) fn begun(&self, kind: RolloutKind, candidate: &RevisionRef) -> RolloutStatus {
        let mut rollout = rollout(self.spec, kind, candidate, self.time());
        if let Some(governed) = self.seen.governance.governed() {
            put_under(governed, &mut rollout);
        }
        rollout
    }

    /// Puts a rollout under the rules that hold now if its status was lost and rebuilt while nobody knew what policies ask: else it
    /// would go on under none.
    pub(in crate::rollout) fn put_under_rules(&mut self) {
        let (seen, status) = (self.seen, &mut self.status);
        let (Some(governed), Some(rollout)) = (seen.governance.governed(), &mut status.rollout) else {
            return;
        };
        let mut decisions = status.decisions.iter();
        // Status keeps whole seconds.
        let began = |at: &Time| at.0.as_second() == rollout.started_at.0.as_second();
        let is_rebuilt = decisions.any(|of| of.action == Action::Recovered && began(&of.time));
        if is_rebuilt && rollout.policy.is_none() {
            put_under(governed, rollout);
        }
    }
}

fn put_under(governed: &Governed, rollout: &mut RolloutStatus) {
    rollout.policy = Some(governed.digest.clone());
    // Serialisation cannot fail: all keys are strings.
    rollout.rules = serde_json::to_string(&governed.rules).ok();
}

/// A new rollout, without any weight.
fn rollout(spec: &QuantizedModelSpec, kind: RolloutKind, candidate: &RevisionRef, started_at: Time) -> RolloutStatus {
    RolloutStatus {
        kind: kind.into(),
        candidate: candidate.clone(),
        plan_digest: plan_digest(spec, kind, candidate),
        started_at,
        step: 0,
        weight: 0,
        weight_since: None,
        shadow_since: None,
        first_weight_at: None,
        stood_still_millis: 0,
        stands_still_since: None,
        promoting: false,
        overdue: false,
        escalated_at: None,
        policy: None,
        rules: None,
        approved: None,
        forecast: None,
    }
}
