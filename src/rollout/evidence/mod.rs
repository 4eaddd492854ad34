//! The evidence of the current trial: from samples to polls (`hear`), from polls to what the tests know (`feed`,
//! `running`, `test_state`), and how all of it is stored between two evaluations (`state`).
//!
//! Owns the line between what needs samples and what does not: a cursor says how far samples were counted and moves in
//! `hear`; the tests take the polls after it, so that their results can be repeated from the polls. Must not decide
//! anything.

mod benefit;
mod feed;
mod hear;
mod heard;
mod inputs;
mod running;
mod split;
pub(super) mod state;
mod test_state;
mod warm_up;

pub use hear::hear;
pub use heard::{GuardHeard, Heard, WarmUntil};
pub(super) use inputs::{Finding, moved_in_words};
pub(super) use running::Evidence;
pub use running::guard_status;
pub use test_state::TestState;
