//! Replicas and weights: how many pods each arm needs, and which share of the traffic it gets. Must not decide what
//! either should be: that is on record in the status, or found by the steps.

mod comparer;
mod routing;
mod unwritten;
mod view;
mod workloads;

pub(super) use comparer::Mirroring;
pub use comparer::halved;
pub use view::control_weight;
pub(super) use view::{Capacity, DRAIN};
