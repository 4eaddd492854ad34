//! The forecast in one sentence, for status: enough for a person who watches a rollout begin.

use super::forecast::{Question, Stagecraft};
use super::pool::Budget;
use super::remedy::figure;
use super::scene::{End, Goal, Scene};
use super::times::{Times, clock};
use crate::guards::traffic::{Effect, Shape, percent};

/// "at 120 rps: health in about 12 min, 2% errors found in 3 min; deadline 4h". `control_arm` says whether outputs are compared
/// with an arm beside stable. `None` without traffic.
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
            runs.iter().map(|run| (run.end == end).then_some(run.at)),
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
