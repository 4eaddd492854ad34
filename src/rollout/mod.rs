//! The rollout: observation → plan. Pure and total: never fails, never reads a clock, never awaits.

pub mod observation;
pub mod plan;

pub use observation::{EvidenceProblem, Marks, ModelSeen, Observation, RouteSeen, Workload, WorkloadKey};
pub use plan::{Event, Joined, Order, Plan, Reason, Record, RoutePlan, Scope, Template, WorkloadPlan};
