//! The shell: everything that awaits. Observes, asks the pure core what to do, does it, records it.
//!
//! Makes no decisions of its own. What it reads it reads from watches; what it writes it writes by server-side apply, one
//! field manager a concern; every call has a timeout.

mod apply;
mod backoff;
mod context;
mod error;
mod events;
mod forecast;
mod leader;
mod observe;
mod reconcile;
mod record;

pub use context::Settings;
pub use error::Error;
pub use leader::Election;
pub use reconcile::run;
