//! Commands on records of decisions, which need no controller.

mod source;

pub mod export;
pub mod report;
pub mod verify;
