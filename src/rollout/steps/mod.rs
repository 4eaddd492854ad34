//! The steps of an evaluation. Each reads the state, puts what it decides on record, and returns what comes next.

mod begin;
mod climb;
mod deadline;
mod gate;
mod guarding;
mod install;
mod listen;
mod people;
mod promotion;
mod unrecorded;
mod untouched;
mod withdrawal;

pub use gate::{calibration_gate, validation_gate};
pub(super) use untouched::{stall, suspend, tear_down, untouched};
