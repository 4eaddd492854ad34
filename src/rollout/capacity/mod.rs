//! Replicas and weights: who needs how many pods, and who gets which share of the traffic. Must not decide what either
//! should be: that is on record in the status, or found by the steps.

mod routing;
mod view;
mod workloads;

pub use view::control_weight;
pub(super) use view::{Capacity, DRAIN};
