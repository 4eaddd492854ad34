//! The ledger, by programs of others.

mod outside;
#[path = "../support/told.rs"]
mod told;
