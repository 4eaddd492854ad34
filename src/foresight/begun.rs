//! A rollout that has begun: what can be foreseen of it from the traffic that its baseline had until then.

use std::collections::BTreeMap;

use crate::api::{ArmStatus, QuantizedModelSpec, Role, RolloutKind, RolloutStatus};
use crate::evidence::{Cursor, Observed};
use crate::guards::traffic::{Effect, Shape, percent};
use crate::guards::{Compared, Kind};
use crate::model::interval_ms;
use crate::rollout::Observation;

use super::pool::Budget;
use super::remedy::figure;
use super::scene::{End, Goal, Scene};
use super::stage::{Question, Stagecraft};
use super::times::{Times, clock};
use super::traffic::Traffic;

/// Fewest evaluations from which a rate can be estimated.
const LEAST: f64 = 3.0;

/// Share of bad events of guards whose baseline nobody has seen.
const ERROR_RATE: f64 = 0.005;

/// A rollout at its first step, with the traffic it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// The model.
    pub spec: QuantizedModelSpec,
    /// Its traffic.
    pub traffic: Traffic,
    /// Seconds between two scrapes.
    pub scrape: f64,
    /// Whether outputs are compared with an arm beside stable.
    pub control_arm: bool,
}

/// Counts of the baseline arms.
struct Past {
    /// By guard, oldest first.
    history: BTreeMap<String, Vec<Observed>>,
    /// How long it took, in seconds.
    seconds: f64,
    /// Seconds between two polls that had new samples.
    gap: f64,
}

impl Begun {
    /// Of a rollout in progress, whose `arms` carry traffic, and what one evaluation of it saw: at the first evaluation of a trial that is
    /// the hour before. `None` where the traffic does not show, or where the rollout is beyond its beginning.
    pub fn of(rollout: &RolloutStatus, arms: &[ArmStatus], seen: &Observation) -> Option<Self> {
        // A new reference is judged by other guards, and later steps have half of their rollout behind them.
        if rollout
            .kind
            .known()
            .is_none_or(|kind| kind == RolloutKind::NewReference)
            || rollout.weight == 0
            || rollout.step > 0
            || rollout.promoting
        {
            return None;
        }
        let spec = &seen.model.spec;
        let past = past(seen)?;
        let arm = |role: Role| arms.iter().find(|arm| arm.role == role);
        let share = |role: Role| arm(role).map(|arm| f64::from(arm.weight) / 100.0);
        let (stable, control) = (share(Role::Stable).unwrap_or(1.0), share(Role::Reference));
        let of_baseline = |guard: &Kind| match guard.compared_with() {
            Compared::Reference => control.unwrap_or(stable),
            Compared::Baseline | Compared::Bounds => stable,
        };
        let traffic = Traffic::measured(spec, &past.history, past.seconds, ERROR_RATE, of_baseline);
        (traffic.per_second() > 0.0).then(|| Self {
            spec: spec.clone(),
            traffic,
            scrape: past.gap,
            control_arm: control.is_some(),
        })
    }

    /// What is foreseen, in a sentence.
    pub fn headline(&self, budget: &Budget<'_>) -> Option<String> {
        let question = Question {
            spec: &self.spec,
            traffic: &self.traffic,
            scrape: self.scrape,
            prompt_tokens: None,
        };
        headline(&question, budget, self.control_arm)
    }
}

/// The past of the baseline; `None` where it is too short, or nothing happened in it.
fn past(seen: &Observation) -> Option<Past> {
    let interval = interval_ms(&seen.model.spec);
    let (mut history, mut seconds, mut gap) = (BTreeMap::new(), 0.0, 0.0);
    for (guard, answer) in &seen.evidence {
        let Ok(samples) = answer else { continue };
        let polls = Cursor::past(samples, seen.now.as_millisecond(), interval);
        // Polls before the first event saw no traffic, and the poll of that event covers only a part of its interval.
        let begun = polls.iter().position(|poll| events(&poll.observed) > 0);
        let Some((first, rest)) = begun.and_then(|at| polls[at..].split_first()) else {
            continue;
        };
        let Some(last) = rest.last() else { continue };
        let took = (last.through - first.through) as f64 / 1000.0;
        if took >= LEAST * interval as f64 / 1000.0 {
            seconds = f64::max(seconds, took);
            gap = f64::max(gap, took / rest.len() as f64);
            let observed = rest.iter().map(|poll| poll.observed.clone()).collect();
            history.insert(guard.clone(), observed);
        }
    }
    (!history.is_empty()).then_some(Past { history, seconds, gap })
}

/// Events of the baseline that can be counted.
fn events(observed: &Observed) -> u64 {
    match observed {
        Observed::Proportion { baseline, .. } => baseline.n,
        Observed::Histogram { baseline, .. } => baseline.counts.iter().sum(),
        Observed::Ratio { .. } | Observed::Value(_) => 0,
    }
}

/// "at 120 rps: health in about 12 min, 2% errors found in 3 min; deadline 4h". `control_arm` says whether outputs are compared
/// with an arm beside stable. Times count from the first weight. `None` without traffic.
pub fn headline(question: &Question<'_>, budget: &Budget<'_>, control_arm: bool) -> Option<String> {
    let stage = Stagecraft::new(question);
    let rps = stage.traffic.per_second();
    if rps <= 0.0 {
        return None;
    }
    let first = stage.spec.rollout.steps.first()?.weight;
    // Twice what is tolerated of the first share of bad events that is watched.
    let worse = stage.guards.guards.iter().find_map(|(name, guard)| {
        let errors = guard.as_proportion()?;
        let Shape::Share(bad) = &stage.traffic.streams.get(name)?.shape else {
            return None;
        };
        let share = 2.0 * errors.tolerance.edge(*bad);
        (share < 0.95).then_some((name, share))
    });
    let mut scenes = vec![stage.climb(control_arm, stage.deadline)];
    scenes.extend(worse.map(|(name, share)| Scene {
        effect: Some((name, Effect::Share(share))),
        only: Some(name),
        ..stage.at(first, control_arm, Goal::Harm, stage.deadline)
    }));
    let runs = budget.run(&scenes, 1.0);
    let time = |runs: &[super::scene::Run], end| {
        Times::of(
            runs.iter().map(|run| (run.end == end).then_some(run.at - run.begun)),
            stage.deadline,
        )
    };
    let deadline = &stage.spec.rollout.deadline;
    let health = match time(&runs[0], End::Healthy) {
        times if times.reached < 0.9 => {
            format!("health by the deadline in only {} of rollouts", percent(times.reached))
        }
        Times {
            median: Some(median), ..
        } => format!("health in about {}", clock(median)),
        _ => "no health by the deadline".to_owned(),
    };
    let harm = worse
        .zip(runs.get(1))
        .map(|((name, share), runs)| match time(runs, End::Harmful).median {
            Some(median) => format!(", {} {name} found in {}", percent(share), clock(median)),
            None => format!(", {} {name} not found by the deadline", percent(share)),
        });
    Some(format!(
        "at {} rps: {health}{}; deadline {deadline}",
        figure(rps),
        harm.unwrap_or_default()
    ))
}
