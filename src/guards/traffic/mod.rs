//! Simulated traffic: what a guard would count on a baseline and on a candidate, drawn at random.
//!
//! Owns the distributions. The kind of a guard says which of them goes with it, and which candidates are worse.

mod known;
mod random;
mod shape;
mod tail;

pub use known::Known;
pub(crate) use random::Random;
pub use shape::{Effect, Shape, Stream, Worse, percent};
pub use tail::Tail;
