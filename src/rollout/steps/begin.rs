//! How a rollout begins, and the digest of what it is judged by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::api::{QuantizedModelSpec, RevisionRef, RolloutKind, RolloutStatus};
use crate::model::identity;
use crate::model::presets::guards;

use super::super::evaluation::Evaluation;
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
            rollout.policy = Some(governed.digest.clone());
            // Serialisation cannot fail: all keys are strings.
            rollout.rules = serde_json::to_string(&governed.rules).ok();
        }
        rollout
    }
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
