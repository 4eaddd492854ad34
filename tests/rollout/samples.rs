//! The samples climb to their targets: their guards can be answered, their tolerances be shown, at the traffic of this world.

use guardbit::api::{Action, Phase, QuantizedModelSpec};

use crate::world::{Behaviour, World};

const SAMPLES: [(&str, &str); 4] = [
    ("fraud-scorer", include_str!("../../config/samples/fraud-scorer.yaml")),
    (
        "edge-inference",
        include_str!("../../config/samples/edge-inference.yaml"),
    ),
    (
        "recommendations",
        include_str!("../../config/samples/recommendations.yaml"),
    ),
    (
        "content-moderation",
        include_str!("../../config/samples/content-moderation.yaml"),
    ),
];

/// A sample as it is, but for its holds: a day of each would only be waiting.
fn world(sample: &str) -> World {
    let (_, text) = SAMPLES.iter().find(|(name, _)| *name == sample).expect("a sample");
    let mut model: serde_json::Value = serde_yaml_ng::from_str(text).expect("YAML");
    let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].take()).expect("a spec");
    spec.rollout.interval = "5s".into();
    spec.rollout.steps.iter_mut().for_each(|step| step.hold = "1m".into());
    spec.rollout.keep_warm = "1m".into();
    spec.rollout.deadline = "3h".into();
    let mut world = World::new(spec);
    let thrifty = Behaviour {
        joules: 0.2,
        ..Behaviour::default()
    };
    world.behaviour.insert("int8".into(), thrifty.clone());
    world.behaviour.insert("int4".into(), thrifty);
    world
}

fn reached(world: &World, target: &str) -> bool {
    let stable = world.status.stable.as_ref().is_some_and(|s| s.variant == target);
    stable && world.status.phase == Some(Phase::Guarding.into())
}

#[test]
fn every_sample_climbs_to_its_target() {
    for (sample, _) in SAMPLES {
        let mut world = world(sample);
        let target = world.spec.variants[world.spec.target_index()].name.clone();
        for _ in 0..60 {
            world.run(180);
            if reached(&world, &target) {
                break;
            }
        }
        assert!(reached(&world, &target), "{sample}\n{}", world.transcript);
        assert!(world.status.rejected.is_empty(), "{sample}\n{}", world.transcript);
    }
}

#[test]
fn at_the_edge_a_variant_that_saves_no_energy_is_rolled_back() {
    let mut world = world("edge-inference");
    world.behaviour.insert("int8".into(), Behaviour::default());
    world.run(1_800);
    let decision = world.status.decisions.iter().find(|d| d.action == Action::RolledBack);
    assert!(
        decision.is_some_and(|d| d.why.starts_with("energy")),
        "{}",
        world.transcript
    );
}
