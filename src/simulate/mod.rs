//! Replays recorded metrics through the same evidence, judge and rollout code as the controller, on a virtual clock.
//!
//! Pure: the recording is in memory, time is that of its samples. Capacity is always ready, so what is replayed is the
//! judgement. The recorded traffic does not follow the weights: a replay shows what guardbit would have decided on it.

mod arms;
mod drawn;
mod expression;
pub mod openmetrics;
mod placebo;
pub mod recording;
mod replay;
pub mod report;
mod world;

pub use arms::{Arms, SimulateError};
pub use drawn::with_pairs;
pub use placebo::{Mock, NoPlacebo, Placebo, TOGETHER, stable_alone};
pub use replay::{Frame, Outcome, Replay, Step, simulate};
