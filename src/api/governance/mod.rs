//! The resources of governance: what policies ask, what people do, and what goes on record.

pub mod action;
pub mod decision;
pub mod policy;
