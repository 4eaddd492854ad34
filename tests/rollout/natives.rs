//! Native histograms through whole rollouts.

use crate::world::{Behaviour, World, spec};
use guardbit::api::{Action, Benefit, GuardStatus};
use guardbit::evidence::BucketForm;

fn why(world: &World, action: Action) -> String {
    let decision = world.status.decisions.iter().find(|d| d.action == action);
    decision
        .unwrap_or_else(|| panic!("no {action:?}:\n{}", world.transcript))
        .why
        .clone()
}

fn guard<'a>(world: &'a World, name: &str) -> &'a GuardStatus {
    world.status.guards.iter().find(|g| g.name == name).expect("a guard")
}

#[test]
fn a_good_candidate_with_native_histograms_is_promoted() {
    let mut world = World::new(spec());
    world.buckets = BucketForm::Native;
    world.run(900);
    let why = why(&world, Action::Promoted);
    assert_eq!(
        why.matches("(native buckets); within the tolerance").count(),
        2,
        "{why}"
    );
}

#[test]
fn a_slow_candidate_with_native_histograms_is_rolled_back() {
    let mut world = World::new(spec());
    world.buckets = BucketForm::Native;
    let slow = Behaviour {
        slowdown: 3.0,
        ..Behaviour::default()
    };
    world.behaviour.insert("int8".into(), slow);
    world.run(300);
    let why = why(&world, Action::RolledBack);
    assert!(
        why.starts_with("latency: ") && why.contains("(native buckets)"),
        "{why}"
    );
}

#[test]
fn a_guard_whose_histograms_change_their_form_starts_afresh_and_the_others_go_on() {
    let mut world = World::new(spec());
    world.run(110);
    let (latency, errors) = (guard(&world, "latency").candidate, guard(&world, "errors").candidate);
    assert!(latency.total > 0 && errors.total > 0);
    world.buckets = BucketForm::Native;
    world.run(10);
    let after = guard(&world, "latency");
    assert!(after.message.contains("(native buckets)"), "{}", after.message);
    // 50 requests a second for ten seconds at the most: nothing from before is counted again.
    assert!(after.candidate.total <= 500, "{}", after.message);
    assert!(guard(&world, "errors").candidate.total > errors.total);
    world.run(900);
    why(&world, Action::Promoted);
}

#[test]
fn a_benefit_and_a_warm_up_know_native_histograms() {
    let mut world = World::new(spec());
    world.buckets = BucketForm::Native;
    world.spec.rollout.warm_up = "20s".into();
    world.spec.rollout.benefit = Some(Benefit {
        guard: "latency".into(),
        at_least: "5%".into(),
    });
    world.behaviour.insert(
        "int8".into(),
        Behaviour {
            slowdown: 0.7,
            ..Behaviour::default()
        },
    );
    world.run(900);
    let why = why(&world, Action::Promoted);
    assert!(why.contains("better in latency: a mean of 8."), "{why}");
}
