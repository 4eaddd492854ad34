//! Foresight: what a rollout will take, before it runs. Pure; no clock, no IO.
//!
//! Every figure is a count over many runs of the *real* judge on drawn traffic (Monte-Carlo), with the error of that count
//! beside it; nothing is approximated by a formula that nobody checked. Owns how traffic is imagined and what is asked of
//! it; must not judge (that is `judge`) nor know where traffic figures come from.

mod begun;
mod forecast;
mod outlook;
mod pairs;
mod pool;
mod remedy;
pub mod report;
mod scales;
mod scene;
mod stage;
mod times;
mod traffic;

pub use begun::{Begun, headline};
pub use forecast::{forecast, problems};
pub use outlook::{Arms, Climb, Forecast, GuardOutlook, Harm, Holdout, Problem, Remedy, StepOutlook};
pub use pairs::{BudgetOutlook, Cost, PairCosts, Seen, ShadowOutlook, StageCost, StepRate};
pub use pool::Budget;
pub use scales::{LatencyScale, latency_scales};
pub use scene::{End, Goal, Held, Run, Scene, Split};
pub use stage::{Question, asked_at_steps};
pub use times::{Missed, Times, clock};
pub use traffic::Traffic;

pub use crate::guards::traffic::{Effect, Shape, Stream, Tail, percent};
