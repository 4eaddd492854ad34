//! Steps, clocks and error rates of a rollout, parsed.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{OnHarm, OnUndecided, RolloutSpec};

use super::reader::Reader;

/// Shortest time between two evaluations of the metrics.
const SHORTEST_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// How a candidate climbs. Durations are not negative.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Time between two evaluations of the metrics; at least a second.
    pub interval: SignedDuration,
    /// Time after readiness in which what a pod does is no evidence.
    pub warm_up: SignedDuration,
    /// Pairs of answers that are counted before the first weight; `None` where there is no shadow stage.
    pub shadow: Option<u64>,
    /// The weights, rising.
    pub steps: Vec<Step>,
    /// How long a candidate may wait for its pods to become ready.
    pub schedule_deadline: SignedDuration,
    /// How long a rollout may take, from its first weight.
    pub deadline: SignedDuration,
    /// What happens when the deadline passes without a verdict.
    pub on_undecided: OnUndecided,
    /// Where traffic goes when a promoted variant turns out harmful.
    pub on_harm: OnHarm,
    /// Share of traffic, in percent, that stays on the reference.
    pub holdout: i32,
    /// How long the old stable keeps its capacity after a promotion.
    pub keep_warm: SignedDuration,
    /// Largest probability that a rollout of a tolerable candidate is rolled back; in `(0, 0.5]`.
    pub false_rollback: f64,
    /// Largest probability that a candidate beyond a tolerance is promoted; in `(0, 0.5]`.
    pub false_promotion: f64,
    /// What the next variant must be better at before it is promoted.
    pub benefit: Option<Benefit>,
}

impl Rollout {
    /// Time between two evaluations of the metrics, in milliseconds.
    pub fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX)
    }

    /// When the hold of a step that began at `since` is over; at `since` where there is no such step.
    pub fn hold_ends(&self, step: usize, since: Timestamp) -> Timestamp {
        let hold = self.steps.get(step).map_or(SignedDuration::ZERO, |step| step.hold);
        since.checked_add(hold).unwrap_or(Timestamp::MAX)
    }
}

/// One weight of a rollout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Share of traffic for the candidate, in percent.
    pub weight: i32,
    /// How long it is held at least.
    pub hold: SignedDuration,
}

/// By how much a candidate must be better than stable, at what one guard counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Benefit {
    /// Name of the guard.
    pub guard: String,
    /// The share, in `(0, 1)`.
    pub at_least: f64,
}

/// Reads the settings of a rollout.
pub(super) fn read(spec: &RolloutSpec, reader: &mut Reader) -> Rollout {
    let RolloutSpec {
        // The ladder reads it.
        bootstrap: _,
        interval,
        warm_up,
        shadow,
        steps,
        schedule_deadline,
        deadline,
        on_undecided,
        on_harm,
        holdout,
        keep_warm,
        false_rollback,
        false_promotion,
        benefit,
    } = spec;
    let mut duration = |name: &str, value| reader.duration(&format!("spec.rollout.{name}"), value);
    let read_interval = duration("interval", interval);
    let read_warm_up = duration("warmUp", warm_up);
    let schedule_deadline = duration("scheduleDeadline", schedule_deadline);
    let read_deadline = duration("deadline", deadline);
    let keep_warm = duration("keepWarm", keep_warm);
    if interval.millis().is_ok() && read_interval < SHORTEST_INTERVAL {
        reader.refuse(
            "spec.rollout.interval",
            format!(
                "{:?} is shorter than the shortest interval; write \"1s\" or more",
                interval.0
            ),
        );
    }
    if warm_up.millis().is_ok() && deadline.millis().is_ok() && read_warm_up >= read_deadline {
        reader.refuse(
            "spec.rollout.warmUp",
            format!(
                "{:?} leaves nothing of the deadline of {deadline} to judge in; write less, such as \"30s\"",
                warm_up.0
            ),
        );
    }
    if steps.is_empty() {
        reader.refuse(
            "spec.rollout.steps",
            "is empty; list the weights that a candidate climbs through, or leave it out",
        );
    }
    let steps = steps.iter().enumerate().map(|(i, step)| {
        let hold = reader.duration(&format!("spec.rollout.steps[{i}].hold"), &step.hold);
        if !(1..=99).contains(&step.weight) {
            reader.refuse(
                format!("spec.rollout.steps[{i}].weight"),
                format!("{} is no share of the traffic; write a percentage from 1 to 99", step.weight),
            );
        } else if step.weight + holdout >= 100 {
            reader.refuse(
                format!("spec.rollout.steps[{i}].weight"),
                format!(
                    "{} and a holdout of {holdout} leave nothing for stable; lower one of them so that they sum to less than 100",
                    step.weight
                ),
            );
        }
        Step {
            weight: step.weight,
            hold,
        }
    });
    let steps = steps.collect();
    Rollout {
        interval: read_interval,
        shadow: shadow
            .as_ref()
            .map(|shadow| u64::from(shadow.pairs.max(1).unsigned_abs())),
        warm_up: read_warm_up,
        steps,
        schedule_deadline,
        deadline: read_deadline,
        on_undecided: *on_undecided,
        on_harm: *on_harm,
        holdout: *holdout,
        keep_warm,
        false_rollback: error_rate("falseRollback", false_rollback, reader),
        false_promotion: error_rate("falsePromotion", false_promotion, reader),
        benefit: benefit.as_ref().map(|benefit| Benefit {
            guard: benefit.guard.clone(),
            at_least: reader.share_where(
                "spec.rollout.benefit.atLeast",
                &benefit.at_least,
                |share| share > 0.0 && share < 1.0,
                "benefit; write a share above 0 and below 1, such as \"5%\"",
            ),
        }),
    }
}

fn error_rate(name: &str, value: &crate::api::Fraction, reader: &mut Reader) -> f64 {
    reader.share_where(
        &format!("spec.rollout.{name}"),
        value,
        |rate| rate > 0.0 && rate <= 0.5,
        "error rate; write a share above 0 and up to 50%, such as \"5%\"",
    )
}
