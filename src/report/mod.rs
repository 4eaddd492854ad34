//! Report: a chain of records as a change ticket, for people who did not watch the rollout.
//!
//! Owns how a chain is divided into rollouts and what lies between them, and what is told of each: what changed, the
//! thresholds as they were frozen, the counts that the guards saw, who served which share when, what people did, and
//! what was decided. All of it comes from the records, and each form is written from one [`Document`]. Pure; must not
//! verify anything (that is `ledger::verify`) nor judge anew: evidence is shown as counts and shares, with the verdicts
//! that are on record.

mod chain;
mod curve;
mod document;
mod inventory;
mod people;
mod period;
mod shares;
mod side;
mod text;
mod ticket;

pub use chain::Report;
pub use document::{Document, html, markdown};
pub use inventory::inventory;
pub use ticket::ticket;

#[cfg(test)]
mod tests;
