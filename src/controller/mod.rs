//! The shell around the pure core, with everything that awaits. It observes, asks the core what to do, does it and
//! records it.
//!
//! Makes no decisions of its own. It reads from watches and writes by server-side apply, with one field manager for
//! each concern; every call has a timeout.

mod apply;
mod backoff;
mod carry_out;
mod context;
mod error;
mod events;
mod forecast;
mod governance;
mod leader;
mod ledger;
mod observe;
mod reconcile;
mod record;

pub use crate::watch::PolicyWatch;
pub use context::Settings;
pub use error::Error;
pub use leader::Election;
pub use reconcile::run;
