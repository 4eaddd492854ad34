//! Governance: what policies ask of the rollouts in their namespaces and what people allow, and where a model falls short.
//!
//! Owns how policies are read, which models they select, and how several become one set of rules, of which each is the
//! strictest that any of them asks for: another policy never permits more, and their order does not matter. Pure: whoever
//! asks brings the time, the labels of the namespace and what is known of signatures. Must not hold anything back itself:
//! `rollout` asks here before a weight rises, and never before one is lowered.

mod applies;
mod effective;
mod passage;
pub mod people;
mod policy;
mod rules;

pub use crate::api::PolicyFinding as Finding;
pub use effective::{Governed, effective};
pub use passage::{Answer, Condition, Foreseen, Passage, passages};
pub use policy::Policy;
pub use rules::{
    Asked, Floor, Freeze, Freshness, Frozen, Limits, Metrics, Records, Rise, Rules, When, bits, frozen_at, lies_below,
};
