//! Rules on the clock and the weights of a rollout: what can never end in time, and what ends later than it says.

use k8s_openapi::jiff::SignedDuration;

use crate::api::{OnUndecided, QuantizedModelSpec, SplitBy, Variant};
use crate::rollout::control_weight;

use super::super::document::Model;
use super::super::rule::{
    AT_LOAD_UNREACHABLE, DEADLINE_TOO_SHORT, Finding, HOLD_SHORTER_THAN_LOOKS, HOLD_WHEN_UNDECIDED, LATENCY_SCALE,
    LAX_ERROR_RATE, NEVER_HEALTHY, NO_HOLDOUT, SLOW_TO_DECIDE,
};
use super::super::surroundings::Surroundings;
use super::paths::field_of;
use crate::foresight::{LatencyScale, Shape, latency_scales};
use crate::guards::compare_outputs;
use crate::model::{Rollout, presets};
use crate::rollout::{Stage, guards_of};

/// Evaluations with data that every step takes at least.
const EVALUATIONS: i32 = 3;

/// Error rate above which a verdict is wrong too often to act on.
const LAX: f64 = 0.2;

pub(super) fn check(model: &Model, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    let (spec, rollout, read) = (&model.spec, &model.spec.rollout, &model.resolved.rollout);
    let evaluations = least(read);
    let holds = read.steps.iter().map(|step| step.hold.max(evaluations));
    let all = holds.fold(SignedDuration::ZERO, SignedDuration::saturating_add);
    if all >= read.deadline {
        out.push(model.finding(
            &DEADLINE_TOO_SHORT,
            "spec.rollout.deadline",
            format!(
                "the steps take {} at least (each its hold, or the warm-up and {EVALUATIONS} evaluations where that is longer), and the deadline is {}: no candidate can be promoted; raise the deadline well beyond that, for health takes its time, or shorten the holds",
                told(all),
                rollout.deadline
            ),
        ));
    }
    for (i, (step, read)) in rollout.steps.iter().zip(&read.steps).enumerate() {
        if read.hold < evaluations {
            out.push(model.finding(
                &HOLD_SHORTER_THAN_LOOKS,
                &format!("spec.rollout.steps[{i}].hold"),
                format!(
                    "a step waits for {EVALUATIONS} evaluations with data, {} with this interval and warmUp: hold {} is over before; write hold: {}, or shorten the interval",
                    told(evaluations),
                    step.hold,
                    told(evaluations)
                ),
            ));
        }
    }
    if rollout.on_undecided == OnUndecided::Hold {
        out.push(model.finding(
            &HOLD_WHEN_UNDECIDED,
            "spec.rollout.onUndecided",
            "Hold leaves a candidate that was not shown to be healthy on its share of the traffic for as long as nobody looks; write Escalate, which asks a person, or RollBack".to_owned(),
        ));
    }
    for (name, rate, read) in [
        ("falseRollback", &rollout.false_rollback, read.false_rollback),
        ("falsePromotion", &rollout.false_promotion, read.false_promotion),
    ] {
        if read > LAX {
            out.push(model.finding(
                &LAX_ERROR_RATE,
                &format!("spec.rollout.{name}"),
                format!("{name} {rate}: that many verdicts may be wrong; the default is \"5%\""),
            ));
        }
    }
    if rollout.holdout == 0 && spec.target_index() > 0 {
        let field = "spec.rollout.holdout";
        out.push(model.finding(
            &NO_HOLDOUT,
            field,
            "with holdout: 0 the guards have nothing to compare with once a variant is promoted: what turns bad later is not noticed; write 5 or more".to_owned(),
        ));
    }
    at_load(model, out);
    if surroundings.traffic.is_some() {
        with_traffic(model, surroundings, out);
    }
}

/// How long every step takes at least.
pub(super) fn least(rollout: &Rollout) -> SignedDuration {
    rollout.warm_up.saturating_add(rollout.interval * EVALUATIONS)
}

/// Steps at whose weight a pod of the candidate never carries what `atLoad` asks for.
fn at_load(model: &Model, out: &mut Vec<Finding>) {
    let spec = &model.spec;
    // Behind one Service every pod carries the same.
    if spec.traffic.split_by() == SplitBy::Replicas {
        return;
    }
    let climbed = spec.variants.get(..=spec.target_index()).unwrap_or_default();
    for guard in &spec.guards {
        let Some(wanted) = guard.latency.as_ref().and_then(|l| l.at_load.as_ref()?.value().ok()) else {
            continue;
        };
        let lightest = climbed.windows(2).enumerate().filter_map(|(i, pair)| {
            let most = load(spec, &pair[0], &pair[1], i > 0)?;
            (most < wanted).then_some((most, &pair[1]))
        });
        if let Some((most, variant)) = lightest.min_by(|a, b| a.0.total_cmp(&b.0)) {
            out.push(model.finding(
                &AT_LOAD_UNREACHABLE,
                &format!("spec.guards[{}].latency.atLoad", guard.name),
                format!(
                    "at no step a pod of {} carries more than {:.0}% of what a pod of stable carries, so {} is never shown to be healthy: add a step with a larger weight, or write atLoad: \"{:.0}%\" or less",
                    variant.name,
                    100.0 * most,
                    guard.name,
                    (100.0 * most).floor()
                ),
            ));
        }
    }
}

/// Largest load of a candidate pod as a multiple of that of a stable pod, over all steps.
fn load(spec: &QuantizedModelSpec, stable: &Variant, candidate: &Variant, control_arm: bool) -> Option<f64> {
    let (stable, full) = (spec.replicas(stable)?.max(1), spec.replicas(candidate)?.max(1));
    let compared = compare_outputs(&presets::guards(spec));
    let loads = spec.rollout.steps.iter().map(|step| {
        let holdout = match (control_arm, compared) {
            (false, _) => 0,
            (true, true) => control_weight(spec.rollout.holdout, step.weight),
            (true, false) => spec.rollout.holdout,
        };
        let pods = ((full * step.weight + 99) / 100).max(1);
        let of_stable = f64::from((100 - step.weight - holdout).max(0)) / f64::from(stable);
        f64::from(step.weight) / f64::from(pods) / of_stable
    });
    loads.max_by(f64::total_cmp)
}

fn with_traffic(model: &Model, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    let (spec, Some(traffic)) = (&model.spec, &surroundings.traffic) else {
        return;
    };
    for problem in &surroundings.foreseen {
        out.push(model.finding(
            &SLOW_TO_DECIDE,
            &format!("spec.rollout.steps[{}].weight", problem.step),
            format!("{} ({})", problem.sentence, problem.candidates.join(", ")),
        ));
    }
    let guards = guards_of(spec, Stage::Rollout);
    scales(model, &latency_scales(&guards, traffic), out);
    for (name, guard) in &guards.guards {
        let (Some(errors), Some(Shape::Share(bad))) =
            (guard.as_proportion(), traffic.streams.get(name).map(|s| &s.shape))
        else {
            continue;
        };
        if let Some(why) = errors.tolerates_all(*bad) {
            out.push(model.finding(&NEVER_HEALTHY, &field_of(spec, name, "proportion.tolerance"), why));
        }
    }
}

/// What the tolerance of each latency guard means for latencies.
fn scales(model: &Model, scales: &[LatencyScale], out: &mut Vec<Finding>) {
    for of_guard in scales.chunk_by(|a, b| a.guard == b.guard) {
        let guard = &of_guard[0].guard;
        let factors: Vec<_> = of_guard
            .iter()
            .map(|s| {
                format!(
                    "{:.2} × at {:.0} ms (p{})",
                    s.scale,
                    1000.0 * s.edge,
                    (10.0 * s.percentile).round() / 10.0
                )
            })
            .collect();
        out.push(model.finding(
            &LATENCY_SCALE,
            &field_of(&model.spec, guard, "latency.tolerance"),
            format!(
                "within its tolerance of {guard} a candidate may take {} as long as its baseline, by the bounds that are watched; for less write a smaller slowdown, or add bounds to the histogram",
                factors.join(", ")
            ),
        ));
    }
}

/// A length of time as the API writes it.
fn told(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let seconds = millis % 60_000;
    let mut text = String::new();
    for (n, unit) in [
        (hours, "h"),
        (minutes, "m"),
        (seconds / 1000, "s"),
        (seconds % 1000, "ms"),
    ] {
        if n > 0 {
            text.push_str(&format!("{n}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
