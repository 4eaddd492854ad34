//! The rollout: observation → plan. Pure and total: never fails, never reads a clock, never awaits.
//!
//! Owns every decision about weights and revisions. Must not touch the cluster (`controller` does) nor do statistics
//! (`judge` does). The status is the state: a controller that was killed at any point continues from the API objects
//! alone. The golden files of the tests hold whole rollouts, after Cluster API's rollout planner.
//!
//! An evaluation has two halves. [`hear`] does all that needs samples, and returns counts. [`resolve`] decides from
//! these and from everything else that was [`Seen`]. Both can be printed, so a decision can be repeated from a record
//! of them.

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

pub use ask::{AskedArm, GuardQuery, QueryScope, Stage, guards_of, watch};
pub use capacity::{control_weight, halved};
pub use conditions::applied;
pub use evidence::{GuardHeard, Heard, TestState, WarmUntil, guard_status, hear};
pub use newer::stands_still;
pub use observation::{
    ComparedArms, ComparerSeen, EvidenceProblem, Governance, Governed, LedgerProblem, LedgerReason, LedgerSeen,
    MirrorSeen, ModelSeen, Observation, People, RecoveryMarks, Refused, Rejection, Remembered, RouteHarm, RouteSeen,
    Seen, Slot, Workload, WorkloadKey,
};
pub use plan::{ActTold, Event, Joined, Order, Plan, Reason, Record, RoutePlan, Scope, Template, WorkloadPlan};
pub use reason::{EvidenceReason, WaitReason};
pub use steps::{calibration_gate, validation_gate};

use crate::model;

use evaluation::Evaluation;
use ladder::Ladder;

/// Plans what is to be done about an observation.
pub fn decide(observation: &Observation) -> Plan {
    resolve(&observation.seen(), hear(observation))
}

/// Plans what is to be done about what was seen, and what was heard of the samples.
pub fn resolve(seen: &Seen<'_>, heard: Heard) -> Plan {
    let model = &seen.model;
    if let Some(deleted_at) = model.deleted_at {
        return steps::tear_down(seen, deleted_at);
    }
    // This check comes first, because all other branches write the whole status.
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
    evaluation.put_under_rules();
    evaluation.heed();
    evaluation.note_people();
    if evaluation.status.stable.is_none() && !evaluation.recover() {
        let next = evaluation.bootstrap();
        return evaluation.finish(next);
    }
    let pruned = evaluation.prune();
    evaluation.retry();
    evaluation.listen(heard);
    let next = match (evaluation.status.rollout.clone(), evaluation.status.stable.clone()) {
        (Some(rollout), _) => evaluation.climb(&rollout),
        (None, Some(stable)) => evaluation.guard(&stable).and(evaluation.seek()),
        (None, None) => next::Next::default(),
    };
    evaluation.finish(pruned.and(next))
}
