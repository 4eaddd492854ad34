//! Pairs of answers: how fast they come, what they cost, and what a shadow stage can see by them.

mod costs;
pub(super) mod pace;
mod shadow;

pub(super) use costs::of_climb;
pub use costs::{BudgetOutlook, Cost, PairCosts, StageCost, StepRate};
pub use shadow::{Seen, ShadowOutlook};
pub(super) use shadow::{cases, outlooks};
