//! What is foreseen, as programs and people read it.

use serde::Serialize;

use super::pairs::{PairCosts, ShadowOutlook};
use super::scales::LatencyScale;
use super::times::{Missed, Times};

/// Share of good candidates that may miss the deadline before it is called a problem.
pub(super) const TOO_MANY: f64 = 0.10;

/// What is foreseen. Times in seconds, shares in `[0, 1]`, weights in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Requests per second of the whole route.
    pub rps: f64,
    /// What the figures rest on.
    pub assumptions: Vec<String>,
    /// How long a rollout may take.
    pub deadline: f64,
    /// Seconds between two evaluations with new samples, as they were imagined.
    pub poll: f64,
    /// One for each kind of climb.
    pub climbs: Vec<Climb>,
    /// What the shadow stage shows, by guard that counts pairs of answers.
    pub shadow: Vec<ShadowOutlook>,
    /// What finding drift takes after promotion, by size of the holdout.
    pub holdouts: Vec<Holdout>,
    /// How much slower a candidate may be.
    pub latency_scales: Vec<LatencyScale>,
    /// What will not decide in time.
    pub problems: Vec<Problem>,
}

/// A climb to one variant; variants that are compared in the same way share one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Climb {
    /// The variants on trial.
    pub candidates: Vec<String>,
    /// Whether outputs are compared with an arm beside stable: from the second variant above the reference on.
    pub control_arm: bool,
    /// First weight to promotion of a candidate that is as good as its baseline.
    pub promotion: Times,
    /// The deadline comes first.
    pub missed: Missed,
    /// Share of such candidates that are rolled back.
    pub rolled_back: Missed,
    /// By step.
    pub steps: Vec<StepOutlook>,
    /// What pairs of answers cost; absent where no guard counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairCosts>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepOutlook {
    /// Percent.
    pub weight: i32,
    /// How long it is held at least.
    pub hold: f64,
    /// Requests per second by arm.
    pub rps: Arms,
    /// By guard: what this weight alone would show, from the first request on.
    pub guards: Vec<GuardOutlook>,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arms {
    /// On trial.
    pub candidate: f64,
    /// Carries the main traffic.
    pub stable: f64,
    /// What outputs are compared with; stable itself for the first variant above the reference.
    pub reference: f64,
}

/// What a guard shows at one weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardOutlook {
    /// Its name.
    pub guard: String,
    /// First request to health, of a candidate that is as good as its baseline.
    pub health: Times,
    /// First request to harm, of worse ones.
    pub harm: Vec<Harm>,
}

/// How long a candidate that is so much worse goes unnoticed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Harm {
    /// For people: "2% bad", "1.4 × as slow", "TV 0.1".
    pub effect: String,
    /// The share of bad events, the factor on latencies, or the total variation distance.
    pub size: f64,
    /// First request to harm.
    pub found: Times,
}

/// The watch after promotion at one size of the holdout.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holdout {
    /// The fidelity guard.
    pub guard: String,
    /// Percent of the traffic that stays on the reference.
    pub percent: i32,
    /// Total variation distance of the drift: twice what is tolerated.
    pub drift: f64,
    /// Its beginning to harm.
    pub found: Times,
}

/// Something that will not decide in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The variants on trial.
    pub candidates: Vec<String>,
    /// Index of the step that does not end.
    pub step: usize,
    /// The guard that it waits for.
    pub guard: String,
    /// All of it in a sentence, with what was found to help.
    pub sentence: String,
    /// Changes each of which was tried and helps.
    pub remedies: Vec<Remedy>,
}

/// A change that was tried, and with which a rollout decides in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// The field.
    pub field: String,
    /// What to write there.
    pub value: String,
    /// Share of rollouts that then miss the deadline.
    pub missed: Missed,
    /// Runs that show it.
    pub runs: usize,
}
