//! One replay: the evaluations of a rollout on what was recorded, to its outcome or the end of the recording.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::word::words;
use crate::api::{Action, QuantizedModelSpec};
use crate::evidence::Selection;
use crate::guards::GuardReport;
use crate::model::problems;

use super::arms::{Arms, SimulateError};
use super::recording::Recording;
use super::world::World;

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Outcome {
    /// The candidate became stable.
    Promoted,
    /// A guard found it harmful.
    RolledBack,
    /// Neither, by the deadline or the end of the recording.
    Undecided,
}

words!(Outcome);

/// A decision on the way.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Since the first sample, in seconds.
    pub at_seconds: f64,
    /// What was decided.
    pub action: Action,
    /// Of which variant.
    pub variant: String,
    /// Traffic share of the candidate from now on, in percent.
    pub weight: i32,
    /// Why, in a sentence.
    pub why: String,
}

/// The guards at one evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Since the first sample, in seconds.
    pub at_seconds: f64,
    /// As they were judged.
    pub guards: Vec<GuardReport>,
}

/// A whole replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// How it ended.
    pub outcome: Outcome,
    /// Time of the first sample.
    pub start: Timestamp,
    /// When, in seconds since the first sample.
    pub at_seconds: f64,
    /// The guard that ended it, if one did.
    pub guard: Option<String>,
    /// Why, in a sentence with counts.
    pub why: String,
    /// Candidate and the arm that it was to replace.
    pub candidate: String,
    /// What it was to replace.
    pub stable: String,
    /// Everything that was decided.
    pub decisions: Vec<Step>,
    /// The guards over time, oldest first; the last is the one that decided.
    pub frames: Vec<Frame>,
}

/// Replays one rollout, from when the candidate gets its first requests to its outcome or the end of the recording. What
/// the baseline did in the hour before is its past, as for the controller.
///
/// `candidate` names the variant on trial. Left out, it is the first one above the reference, or the target if the
/// recording has a reference arm of its own. Stable is the variant before it.
pub fn simulate(
    spec: &QuantizedModelSpec,
    recording: &Recording,
    arms: &Arms,
    candidate: Option<&str>,
) -> Result<Replay, SimulateError> {
    let found = problems(spec);
    if !found.is_empty() {
        return Err(SimulateError::Spec(found));
    }
    let at = on_trial(spec, recording, arms, candidate)?;
    let mut world = World::new(prepared(spec, at), recording, arms.clone(), at == 1)?;
    let (first, last) = world.span().ok_or(SimulateError::Nothing)?;
    let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default();
    let (start, end) = (time(first), time(last));
    let mut replay = Replay {
        outcome: Outcome::Undecided,
        start,
        at_seconds: 0.0,
        guard: None,
        why: String::new(),
        candidate: spec.variants[at].name.clone(),
        stable: spec.variants[at - 1].name.clone(),
        decisions: Vec::new(),
        frames: Vec::new(),
    };
    let mut now = world.candidate_from().map_or(start, time);
    loop {
        let at_seconds = now.duration_since(start).as_secs_f64();
        replay.at_seconds = at_seconds;
        let again = loop {
            let plan = world.evaluate(now);
            if !plan.judged.is_empty() {
                replay.frames.pop_if(|frame| frame.at_seconds == at_seconds);
                replay.frames.push(Frame {
                    at_seconds,
                    guards: plan.judged.clone(),
                });
            }
            let weight = world.weight();
            replay.decisions.extend(plan.decisions.iter().filter_map(|d| {
                Some(Step {
                    at_seconds,
                    action: d.action.known()?,
                    variant: d.variant.clone(),
                    weight,
                    why: d.why.clone(),
                })
            }));
            if let Some((outcome, why)) = plan
                .decisions
                .iter()
                .find_map(|d| Some((ended(d.action.known()?)?, d.why.clone())))
            {
                replay.outcome = outcome;
                replay.why = why;
                replay.guard = world.rejected_by().filter(|_| outcome == Outcome::RolledBack);
                return Ok(replay);
            }
            // Capacity is ready at once, so what follows from a decision is evaluated at the same instant.
            if plan.decisions.is_empty() && !world.changed() {
                break plan.again;
            }
        };
        if now >= end {
            replay.why = world.open(last - first);
            return Ok(replay);
        }
        now = (now + again.max(SignedDuration::from_millis(1))).min(end);
    }
}

fn ended(action: Action) -> Option<Outcome> {
    match action {
        Action::Promoted => Some(Outcome::Promoted),
        Action::RolledBack => Some(Outcome::RolledBack),
        Action::Undecided => Some(Outcome::Undecided),
        _ => None,
    }
}

/// Index of the variant on trial.
pub(super) fn on_trial(
    spec: &QuantizedModelSpec,
    recording: &Recording,
    arms: &Arms,
    candidate: Option<&str>,
) -> Result<usize, SimulateError> {
    let variants: Vec<String> = spec.variants.iter().map(|v| v.name.clone()).collect();
    let target = spec.target.as_ref().or(variants.last()).cloned().unwrap_or_default();
    let reference = Selection::arm(std::slice::from_ref(&arms.reference));
    let has_reference = || reference.is_ok_and(|of| recording.series().iter().any(|s| of.matches(&s.labels)));
    let name = match candidate {
        Some(name) => name.to_owned(),
        None if variants.len() > 2 && has_reference() => target,
        None => variants.get(1).cloned().unwrap_or_default(),
    };
    let refuse = |why| SimulateError::Candidate {
        name: name.clone(),
        why,
        variants: variants.clone(),
    };
    match variants.iter().position(|v| *v == name) {
        None => Err(refuse("there is no such variant")),
        Some(0) => Err(refuse("it is the reference, which the others are judged against")),
        Some(at) => Ok(at),
    }
}

/// The model as it is on trial: stable serves, the gates are open, nobody holds anything.
fn prepared(spec: &QuantizedModelSpec, at: usize) -> QuantizedModelSpec {
    let mut spec = spec.clone();
    spec.rollout.bootstrap = Some(spec.variants[at - 1].name.clone());
    spec.target = Some(spec.variants[at].name.clone());
    (spec.paused, spec.suspend) = (false, false);
    spec.traffic.precision_routes.clear();
    for variant in &mut spec.variants {
        variant.validation = None;
        if let Some(calibration) = &mut variant.calibration {
            calibration.max_age = None;
        }
    }
    spec
}
