//! Imagined traffic: what a guard would count of a baseline and of a candidate, drawn at random.
//!
//! Owns the distributions. Which of them goes with a guard, and which candidates are worse, is for its kind to say.

mod random;
mod shape;
mod tail;

pub(crate) use random::Random;
pub use shape::{Effect, Shape, Stream, Worse, percent};
pub use tail::Tail;
