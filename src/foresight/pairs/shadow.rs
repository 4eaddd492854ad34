//! What a shadow stage can see of a candidate, and what it cannot.

use serde::Serialize;

use crate::guards::traffic::Worse;

use super::super::scene::{End, Goal, Run, Scene};
use super::super::stage::Stagecraft;
use super::super::times::{Missed, share};

/// What a guard shows of several candidates by the end of the shadow stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowOutlook {
    /// Its name.
    pub guard: String,
    /// Pairs of the candidate after which the stage ends.
    pub pairs: u64,
    /// How long that takes, until the deadline at the most.
    pub seconds: f64,
    /// Whether it ends before the deadline.
    pub ends: bool,
    /// Pairs of the candidate that come by then.
    pub counted: f64,
    /// Candidates beyond what is tolerated, and how often they are found harmful.
    pub harm: Vec<Seen>,
    /// Candidates within it, and how often they are shown to be healthy.
    pub health: Vec<Seen>,
}

/// How often the truth about a candidate is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The candidate, for people: "7.5% differ".
    pub effect: String,
    /// The share of its answers that differ.
    pub size: f64,
    /// Share of the runs that show it.
    pub shown: Missed,
    /// Runs that were made.
    pub runs: usize,
}

/// A candidate in the shadow stage.
pub(in crate::foresight) struct Case<'a> {
    pub(in crate::foresight) scene: Scene<'a>,
    guard: &'a str,
    candidate: Worse,
    /// What is true of it.
    truth: End,
}

/// All candidates that are tried; none where there is no shadow stage.
pub(in crate::foresight) fn cases<'a>(stage: &'a Stagecraft<'_>) -> Vec<Case<'a>> {
    let Some(wanted) = stage.shadow else {
        return Vec::new();
    };
    let horizon = length(stage, wanted);
    let counting = stage.guards.guards.iter().filter(|(_, guard)| guard.counts_pairs());
    let cases = counting.flat_map(|(guard, config)| {
        let harmful = config
            .worse(None)
            .into_iter()
            .map(|worse| (worse, Goal::Harm, End::Harmful));
        let healthy = config.tolerable().into_iter();
        let healthy = healthy.map(|tolerable| (tolerable, Goal::Health, End::Healthy));
        harmful.chain(healthy).map(move |(candidate, goal, truth)| Case {
            scene: Scene {
                shadow: Some(wanted),
                effect: Some((guard.as_str(), candidate.effect)),
                only: Some(guard.as_str()),
                ..stage.at(0, false, goal, horizon)
            },
            guard,
            candidate,
            truth,
        })
    });
    cases.collect()
}

/// What the runs of the cases show, which `next` gives in their order.
pub(in crate::foresight) fn outlooks(
    stage: &Stagecraft<'_>,
    cases: &[Case<'_>],
    mut next: impl FnMut() -> Vec<Run>,
) -> Vec<ShadowOutlook> {
    let mut outlooks: Vec<ShadowOutlook> = Vec::new();
    for case in cases {
        let runs = next();
        let seen = Seen {
            effect: case.candidate.told.clone(),
            size: case.candidate.size,
            shown: share(&runs, case.truth),
            runs: runs.len(),
        };
        if outlooks.last().is_none_or(|last| last.guard != case.guard) {
            let pairs = stage.shadow.unwrap_or_default();
            let seconds = length(stage, pairs);
            let comes = seconds.min(stage.pace.lasts()) / stage.pace.takes(1.0);
            outlooks.push(ShadowOutlook {
                guard: case.guard.to_owned(),
                pairs,
                seconds,
                ends: stage.late_shadow().is_none(),
                counted: comes.min(pairs as f64),
                harm: Vec::new(),
                health: Vec::new(),
            });
        }
        if let Some(outlook) = outlooks.last_mut() {
            match case.truth {
                End::Harmful => outlook.harm.push(seen),
                End::Healthy | End::Open => outlook.health.push(seen),
            }
        }
    }
    outlooks
}

/// Seconds until the stage ends, or until the deadline where that is before.
fn length(stage: &Stagecraft<'_>, pairs: u64) -> f64 {
    stage.pace.takes(pairs as f64).min(stage.deadline)
}
