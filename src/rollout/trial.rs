//! The trial: which revisions are compared, at which error rates.

use serde_json::{Value, json};

use crate::api::{QuantizedModelSpec, QuantizedModelStatus, RevisionRef, RolloutKind, SplitBy};
use crate::guards::Kind;
use crate::judge::Regime;
use crate::model::identity::Purpose;
use crate::model::presets::guards;
use crate::model::{Rollout, comparer, identity};

/// After promotion there is at most one false alarm in this time, on average.
const FALSE_ALARM_MILLIS: f64 = 90.0 * 24.0 * 3_600_000.0;

/// The revisions that are compared, and the error rates.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Match {
    pub(super) candidate: RevisionRef,
    /// Baseline for errors and latency.
    pub(super) baseline: Option<RevisionRef>,
    /// Baseline for outputs; `None` where outputs are not judged.
    pub(super) reference: Option<RevisionRef>,
    pub(super) regime: Regime,
    /// Digest of the plan, or of what is guarded. Evidence of another epoch does not count.
    pub(super) epoch: String,
}

/// The trial that goes on, if there is one.
pub(super) fn on_trial(spec: &QuantizedModelSpec, settings: &Rollout, status: &QuantizedModelStatus) -> Option<Match> {
    let stable = status.stable.clone()?;
    let reference = status.reference.clone();
    if let Some(rollout) = &status.rollout {
        let new_reference = rollout.kind.known()? == RolloutKind::NewReference;
        return Some(Match {
            candidate: rollout.candidate.clone(),
            baseline: if new_reference { reference } else { Some(stable) },
            reference: if new_reference { None } else { status.reference.clone() },
            regime: rollout_regime(settings),
            epoch: rollout.plan_digest.clone(),
        });
    }
    // Stable full precision has no arm to be compared with, and none to fall back to.
    let control = reference.filter(|r| *r != stable)?;
    let mut guarded = json!({"guarding": stable, "control": control, "guards": guards(spec)});
    if let Some(questions) = questions(spec) {
        guarded["comparer"] = questions;
    }
    Some(Match {
        epoch: identity::digest(&guarded),
        candidate: stable,
        baseline: Some(control.clone()),
        reference: Some(control),
        regime: guarding_regime(settings),
    })
}

/// Whether a guard is asked now: no request reaches a candidate without weight, and in its shadow stage there are pairs of
/// answers.
pub(super) fn is_asked(status: &QuantizedModelStatus, guard: &Kind) -> bool {
    match &status.rollout {
        Some(rollout) if rollout.weight == 0 => rollout.is_shadow() && guard.counts_pairs(),
        _ => true,
    }
}

/// The candidate that has a pod of its own until its shadow stage is over: behind one plain Service each pod that could
/// serve is an endpoint from when it is created.
pub(super) fn staged_apart<'a>(spec: &QuantizedModelSpec, status: &'a QuantizedModelStatus) -> Option<&'a RevisionRef> {
    let rollout = status.rollout.as_ref()?;
    // The answers of a new reference are compared with nothing.
    let staged =
        spec.rollout.shadow.is_some() && rollout.first_weight_at.is_none() && rollout.kind != RolloutKind::NewReference;
    (staged && spec.traffic.split_by() == SplitBy::Replicas).then_some(&rollout.candidate)
}

/// Purpose of the Deployment whose pods a trial is about.
pub(super) fn purpose_of(spec: &QuantizedModelSpec, status: &QuantizedModelStatus, revision: &RevisionRef) -> Purpose {
    if staged_apart(spec, status) == Some(revision) {
        Purpose::Shadow
    } else {
        Purpose::Serving
    }
}

/// What is asked, and how answers are compared: pairs of other questions are no evidence. `None` without a comparer, so
/// that the digests of all other models stay as they are.
pub(super) fn questions(spec: &QuantizedModelSpec) -> Option<Value> {
    let comparer = spec.comparer.as_ref()?;
    let golden = comparer.golden.as_ref();
    let mut questions = json!({
        "protocol": comparer::protocol(spec),
        "golden": golden.map(|golden| &golden.digest),
        "path": golden.and_then(|golden| golden.path.as_ref()),
        "answer": comparer.answer,
    });
    // How many requests are mirrored does not change which ones they are.
    if comparer.mirror.is_some() {
        questions["mirror"] = json!(true);
    }
    Some(questions)
}

pub(super) fn rollout_regime(rollout: &Rollout) -> Regime {
    Regime::Rollout {
        false_rollback: rollout.false_rollback,
        false_promotion: rollout.false_promotion,
    }
}

pub(super) fn guarding_regime(rollout: &Rollout) -> Regime {
    Regime::Guarding {
        polls_between_false_alarms: (FALSE_ALARM_MILLIS / rollout.interval.as_millis() as f64).max(2.0),
    }
}
