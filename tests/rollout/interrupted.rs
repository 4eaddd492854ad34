//! Evaluations that were cut off between the record and its effect, or between a lowering and its record.

use crate::golden::at_25_percent;
use crate::world::{World, spec};
use guardbit::api::{Action, RevisionRef};
use guardbit::rollout::{EvidenceProblem, EvidenceReason, RouteHarm};
use k8s_openapi::jiff::SignedDuration;

fn candidate(world: &World) -> RevisionRef {
    world.status.rollout.as_ref().expect("a rollout").candidate.clone()
}

/// Time passes, requests are served, nobody evaluates.
fn unwatched(world: &mut World, seconds: i64) {
    for _ in 0..seconds {
        world.now += SignedDuration::from_secs(1);
        world.live_one_second();
    }
}

#[test]
fn a_weight_on_record_is_held_from_when_the_route_carries_it() {
    let mut world = World::new(spec());
    while world.status.rollout.as_ref().is_none_or(|r| r.weight < 5) {
        world.run(1);
    }
    let before = world.route.clone();
    while world.status.rollout.as_ref().is_some_and(|r| r.weight < 25) {
        world.run(1);
    }
    // The rise was recorded, and then guardbit was away for longer than any hold.
    world.route = before;
    unwatched(&mut world, 900);
    let plan = world.evaluate();
    assert_eq!(plan.decisions, [], "nobody was sent to the step yet");
    assert_eq!(world.route.weights[&candidate(&world)], 25);
    let since = world.status.rollout.as_ref().and_then(|r| r.weight_since.clone());
    assert_eq!(since.map(|t| t.0), Some(world.now));
    let (carried, known) = (world.now, world.status.decisions.len());
    while world.status.decisions.len() == known {
        world.run(1);
    }
    let hold = world.spec.rollout.steps[1].hold.millis().expect("a duration");
    let next = world.status.decisions.last().expect("one more");
    assert_eq!(next.action, Action::Raised);
    assert!(
        next.time.0.duration_since(carried).as_millis() >= i128::from(hold),
        "{next:?}"
    );
}

/// The route was lowered by this decision, the status was not written, and Prometheus is gone.
pub fn lowered(action: Action, variant: &str, seconds_ago: i64) -> World {
    let mut world = at_25_percent();
    let (stable, lowered) = (world.status.stable.clone().expect("stable"), candidate(&world));
    world.route.harm = Some(RouteHarm {
        time: world.now - SignedDuration::from_secs(seconds_ago),
        action,
        variant: variant.to_owned(),
        revision: Some(lowered.revision.clone()),
        guard: "errors".to_owned(),
        message: "errors: 90 of 100 (90%), beyond the tolerance".to_owned(),
        drift: None,
    });
    world.route.weights = [(stable, 100), (lowered, 0)].into();
    world.prometheus = Err(EvidenceProblem {
        reason: EvidenceReason::Unreachable,
        message: "it cannot be reached".to_owned(),
    });
    world
}

#[test]
fn harm_that_was_acted_on_is_put_on_record_though_the_metrics_are_gone() {
    let mut world = lowered(Action::RolledBack, "int8", 0);
    let harmful = candidate(&world);
    let plan = world.evaluate();
    let decided: Vec<_> = plan
        .decisions
        .iter()
        .map(|d| (d.action.known(), d.why.as_str()))
        .collect();
    assert_eq!(
        decided,
        [(
            Some(Action::RolledBack),
            "errors: 90 of 100 (90%), beyond the tolerance"
        )]
    );
    let rejected: Vec<_> = world
        .status
        .rejected
        .iter()
        .map(|r| (&r.revision, r.guard.as_str()))
        .collect();
    assert_eq!(rejected, [(&harmful.revision, "errors")]);
    world.run(600);
    assert_eq!(world.route.weights.get(&harmful).copied().unwrap_or(0), 0);
    let times = world
        .status
        .decisions
        .iter()
        .filter(|d| d.action == Action::RolledBack)
        .count();
    assert_eq!(times, 1, "once on record it is done");
}

#[test]
fn what_a_route_says_of_others_or_of_the_past_harms_nobody() {
    for (name, action, variant, seconds_ago, weight) in [
        ("another variant", Action::RolledBack, "int4", 0, Some(0)),
        ("before the last decision", Action::RolledBack, "int8", 3_600, Some(0)),
        ("in the future", Action::RolledBack, "int8", -1, Some(0)),
        ("no harm", Action::Raised, "int8", 0, Some(0)),
        ("harm after a promotion", Action::FellBack, "int8", 0, Some(0)),
        ("not carried out", Action::RolledBack, "int8", 0, Some(25)),
        ("not in the list", Action::RolledBack, "int8", 0, None),
    ] {
        let mut world = lowered(action, variant, seconds_ago);
        let revision = candidate(&world);
        world.route.weights.remove(&revision);
        world.route.weights.extend(weight.map(|weight| (revision, weight)));
        harms_nobody(world, name);
    }
    let mut world = lowered(Action::RolledBack, "int8", 0);
    let harm = world.route.harm.as_mut().expect("harm");
    harm.revision = Some("v1:of-the-weights-before".to_owned());
    harms_nobody(world, "another revision");
}

fn harms_nobody(mut world: World, name: &str) {
    let plan = world.evaluate();
    assert_eq!(plan.decisions, [], "{name}");
    assert!(world.status.rejected.is_empty(), "{name}");
}

#[test]
fn a_fallback_that_was_carried_out_is_put_on_record_though_the_metrics_are_gone() {
    let mut world = World::new(spec());
    while world.status.decisions.iter().all(|d| d.action != Action::Promoted) {
        world.run(10);
    }
    world.run(60);
    let (stable, reference) = (
        world.status.stable.clone().unwrap(),
        world.status.reference.clone().unwrap(),
    );
    world.route.weights = [(stable.clone(), 0), (reference.clone(), 100)].into();
    // Release 0.1 did not name the revision.
    world.route.harm = Some(RouteHarm {
        time: world.now,
        action: Action::FellBack,
        variant: "int8".to_owned(),
        revision: None,
        guard: "drift".to_owned(),
        message: "drift: total variation 0.2".to_owned(),
        drift: Some("TV 0.200".to_owned()),
    });
    world.prometheus = Err(EvidenceProblem {
        reason: EvidenceReason::Unreachable,
        message: "it cannot be reached".to_owned(),
    });
    world.evaluate();
    assert_eq!(world.status.stable, Some(reference));
    assert_eq!(world.status.rejected[0].guard, "drift");
    let last = world.status.decisions.last().unwrap();
    assert_eq!(last.action, Action::FellBack);
    assert!(last.why.ends_with(": drift: total variation 0.2"), "{}", last.why);
    assert_eq!(last.drift.as_deref(), Some("TV 0.200"));
}
