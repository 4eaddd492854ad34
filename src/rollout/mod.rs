//! The rollout: observation → plan. Pure and total: never fails, never reads a clock, never awaits.
//!
//! Owns every decision about weights and revisions; must not touch the cluster (that is `controller`) nor do statistics
//! (that is `judge`). Status is the state: a controller killed at any point goes on from the API objects alone. Whole
//! rollouts run to the end are the golden files of the tests, after Cluster API's rollout planner.
//!
//! An evaluation has two halves. [`hear`] does all that needs samples, and gives counts. [`resolve`] decides from these and from
//! what was [`Seen`] besides; both can be printed, so a decision can be taken once more by whoever has them.

mod ask;
mod capacity;
mod conditions;
mod evaluation;
mod evidence;
mod ladder;
mod newer;
mod next;
pub mod observation;
pub mod plan;
mod reason;
mod steps;
mod trial;
mod wire;

pub use ask::{AskedArm, GuardQuery, Stage, guards_of, watch};
pub use capacity::control_weight;
pub use evidence::{GuardHeard, Heard, WarmUntil, guard_status, hear};
pub use newer::stands_still;
pub use observation::{
    EvidenceProblem, ModelSeen, Observation, RecoveryMarks, Rejection, RouteHarm, RouteSeen, Seen, Workload,
    WorkloadKey,
};
pub use plan::{Event, Joined, Order, Plan, Reason, Record, RoutePlan, Scope, Template, WorkloadPlan};
pub use reason::{EvidenceReason, WaitReason};
pub use steps::{calibration_gate, validation_gate};

use crate::model;

use evaluation::Evaluation;
use ladder::Ladder;

/// What is to be done about what was seen.
pub fn decide(observation: &Observation) -> Plan {
    resolve(&observation.seen(), hear(observation))
}

/// What is to be done about what was seen, and heard of the samples.
pub fn resolve(seen: &Seen<'_>, heard: Heard) -> Plan {
    let model = &seen.model;
    if let Some(deleted_at) = model.deleted_at {
        return steps::tear_down(seen, deleted_at);
    }
    // First, for whatever else writes the status writes all of it.
    if let Some(held) = newer::hold(seen) {
        return held;
    }
    let resolved = match model::resolve(&model.spec) {
        Ok(resolved) => resolved,
        Err(problems) => return steps::stall(seen, &problems),
    };
    let Some(ladder) = Ladder::of(&model.spec, &model.revisions) else {
        return steps::stall(seen, &[]);
    };
    if model.spec.suspend {
        return steps::suspend(seen);
    }
    let mut evaluation = Evaluation::new(seen, resolved, ladder);
    if evaluation.status.stable.is_none() && !evaluation.recover() {
        let next = evaluation.bootstrap();
        return evaluation.finish(next);
    }
    let pruned = evaluation.prune();
    evaluation.listen(heard);
    let next = match (evaluation.status.rollout.clone(), evaluation.status.stable.clone()) {
        (Some(rollout), _) => evaluation.climb(&rollout),
        (None, Some(stable)) => evaluation.guard(&stable).and(evaluation.seek()),
        (None, None) => next::Next::default(),
    };
    evaluation.finish(pruned.and(next))
}
