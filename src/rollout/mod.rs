//! The rollout: observation → plan. Pure and total: never fails, never reads a clock, never awaits.
//!
//! Owns every decision about weights and revisions; must not touch the cluster (that is `controller`) nor do statistics
//! (that is `judge`). Status is the state: a controller killed at any point goes on from the API objects alone. Whole
//! rollouts run to the end are the golden files of the tests, after Cluster API's rollout planner.

mod benefit;
mod capacity;
mod climb;
mod conditions;
mod deadline;
mod gate;
mod guarding;
mod ladder;
mod lifecycle;
mod listen;
mod look;
mod newer;
pub mod observation;
pub mod plan;
mod split;
mod trial;
mod unrecorded;
mod warm_up;

pub use capacity::control_weight;
pub use gate::{calibration_gate, validation_gate};
pub use listen::guard_status;
pub use newer::stands_still;
pub use observation::{
    EvidenceProblem, Marks, ModelSeen, Observation, RouteDecision, RouteSeen, Workload, WorkloadKey,
};
pub use plan::{Event, Joined, Order, Plan, Reason, Record, RoutePlan, Scope, Template, WorkloadPlan};
pub use trial::{Ask, AskedArm, GuardQuery, Stage, guards_of, watch};

use crate::api::QuantizedModelSpec;
use crate::api::validate::{self, SpecProblem};

use ladder::Ladder;
use look::Look;

/// All problems of a spec that the API server let through, those with the guards of its preset as well.
pub fn problems(spec: &QuantizedModelSpec) -> Vec<SpecProblem> {
    let mut found = validate::problems(spec);
    found.extend(benefit::problem(spec));
    found
}

/// What is to be done about what was seen.
pub fn decide(observation: &Observation) -> Plan {
    let model = &observation.model;
    if let Some(deleted_at) = model.deleted_at {
        return lifecycle::tear_down(observation, deleted_at);
    }
    // First, for whatever else writes the status writes all of it.
    if let Some(held) = newer::hold(observation) {
        return held;
    }
    let problems = problems(&model.spec);
    let ladder = match Ladder::of(&model.spec) {
        Some(ladder) if problems.is_empty() => ladder,
        _ => return lifecycle::stall(observation, &problems),
    };
    if model.spec.suspend {
        return lifecycle::suspend(observation);
    }
    let mut look = Look::new(observation, ladder);
    if look.status.stable.is_none() && !look.recover() {
        look.bootstrap();
    } else {
        look.prune();
        look.listen();
        if look.status.rollout.is_some() {
            look.climb();
        } else if look.status.stable.is_some() {
            look.guard();
            look.seek();
        }
    }
    look.finish()
}
