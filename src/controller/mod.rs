//! controller (under construction).

pub mod prometheus;
