//! Models whose scale is an autoscaler's: `replicas` is left out.

use crate::world::{Behaviour, World, spec};
use guardbit::api::{Action, QuantizedModelSpec};
use guardbit::model::identity::Purpose;

fn autoscaled() -> QuantizedModelSpec {
    let mut spec = spec();
    spec.serving.replicas = None;
    for variant in &mut spec.variants {
        variant.replicas = None;
    }
    spec
}

/// Pods that a variant is to have, and that are ready.
fn pods(world: &World, variant: &str) -> (i32, i32) {
    let serving = world
        .workloads
        .iter()
        .filter(|(key, _)| key.purpose == Purpose::Serving);
    let mut of = serving.filter(|(key, _)| key.revision.variant == variant);
    of.next()
        .map_or((0, 0), |(_, workload)| (workload.desired, workload.ready))
}

/// What the autoscaler does.
fn scale(world: &mut World, variant: &str, to: i32) {
    for (key, workload) in &mut world.workloads {
        if key.revision.variant == variant && key.purpose == Purpose::Serving {
            workload.desired = to;
            workload.ready = workload.ready.min(to);
        }
    }
}

fn weight(world: &World) -> i32 {
    world.status.rollout.as_ref().map_or(0, |rollout| rollout.weight)
}

#[test]
fn a_candidate_has_its_share_of_what_stable_has_now_before_it_gets_a_weight() {
    let mut world = World::new(autoscaled());
    world.run(12);
    scale(&mut world, "fp32", 20);
    for (step, least) in [(5, 1), (25, 5), (50, 10)] {
        while weight(&world) < step {
            world.run(1);
            assert!(
                world.now.duration_since(world.start).as_mins() < 30,
                "{}",
                world.transcript
            );
        }
        let (desired, ready) = pods(&world, "int8");
        assert!(
            ready >= least && desired == ready,
            "{ready} at {step}%\n{}",
            world.transcript
        );
        assert_eq!(pods(&world, "fp32").0, 20, "stable's scale is the autoscaler's");
    }
    // Once it has the pods for its weight, how many there are is up to the autoscaler.
    scale(&mut world, "int8", 14);
    world.run(2);
    assert_eq!(pods(&world, "int8").0, 14);
    world.run(900);
    let promoted = world.status.decisions.iter().any(|d| d.action == Action::Promoted);
    assert!(promoted && pods(&world, "int8").0 >= 20, "{}", world.transcript);
}

#[test]
fn a_stable_that_is_scaled_to_nothing_is_left_alone() {
    let mut spec = autoscaled();
    spec.target = Some("fp32".to_owned());
    let mut world = World::new(spec);
    world.run(30);
    scale(&mut world, "fp32", 0);
    world.run(120);
    assert_eq!(pods(&world, "fp32").0, 0, "{}", world.transcript);
}

#[test]
fn a_fallback_that_has_no_pods_gets_as_many_as_it_takes_over_from() {
    let mut spec = autoscaled();
    spec.rollout.holdout = 5;
    let mut world = World::new(spec);
    world.run(12);
    scale(&mut world, "fp32", 20);
    while !world.status.decisions.iter().any(|d| d.action == Action::Promoted) {
        world.run(5);
        assert!(
            world.now.duration_since(world.start).as_mins() < 60,
            "{}",
            world.transcript
        );
    }
    // Nothing of it is warm any more but the holdout.
    world.run(7_200);
    scale(&mut world, "fp32", 1);
    let bad = Behaviour {
        errors: 0.2,
        ..Behaviour::default()
    };
    world.behaviour.insert("int8".into(), bad);
    world.run(300);
    assert!(
        world.status.decisions.iter().any(|d| d.action == Action::FellBack),
        "{}",
        world.transcript
    );
    let stable = world.status.stable.as_ref().map(|stable| stable.variant.clone());
    assert_eq!(stable.as_deref(), Some("fp32"));
    assert!(
        pods(&world, "fp32").1 >= 20,
        "{:?}\n{}",
        pods(&world, "fp32"),
        world.transcript
    );
}
