//! The forecast in status: what it rests on, how long it stands, and that it is no reason to write.

use guardbit::foresight::Begun;
use guardbit::rollout::Record;

use crate::world::{World, spec};

/// What would be foreseen at each evaluation: weight of the candidate, and requests per second.
fn foreseen(world: &mut World, seconds: i64) -> Vec<(i32, f64)> {
    let mut found = Vec::new();
    world.run_watched(seconds, &mut |world, _, plan| {
        let Some(rollout) = &plan.status.rollout else { return };
        if let Some(begun) = Begun::of(rollout, &plan.status.arms, &world.observe()) {
            found.push((rollout.weight, begun.traffic.per_second()));
        }
    });
    found
}

#[test]
fn it_rests_on_the_traffic_that_the_baseline_had_and_on_nothing_else() {
    let mut world = World::new(spec());
    let found = foreseen(&mut world, 600);
    let (first, rps) = *found.first().expect("the first step shows traffic");
    assert_eq!(first, 5);
    assert!((rps / 200.0 - 1.0).abs() < 0.15, "{rps} instead of the world's 200");
    assert!(
        found.iter().all(|(weight, _)| *weight == 5),
        "at the beginning only: {found:?}"
    );

    let mut dark = World::new(spec());
    dark.prometheus = Err(guardbit::rollout::EvidenceProblem {
        reason: guardbit::rollout::EvidenceReason::Unreachable,
        message: "away".to_owned(),
    });
    assert_eq!(foreseen(&mut dark, 600), [], "no traffic is known");
}

/// Runs a world whose rollouts get a forecast with every status; gives how many evaluations asked for a write.
fn writes(world: &mut World, seconds: i64, sentence: Option<&str>) -> usize {
    let mut writes = 0;
    for _ in 0..seconds / 5 {
        world.run(5);
        if let Some(rollout) = &mut world.status.rollout {
            rollout.forecast = rollout.forecast.take().or(sentence.map(str::to_owned));
        }
        writes += usize::from(world.last_plan.as_ref().is_some_and(|p| p.record == Record::Now));
    }
    writes
}

#[test]
fn it_stands_as_long_as_the_rollout_and_causes_no_write() {
    let (mut plain, mut told) = (World::new(spec()), World::new(spec()));
    assert_eq!(
        writes(&mut told, 60, Some("at 200 rps")),
        writes(&mut plain, 60, None),
        "as many writes as without"
    );
    let forecast = |world: &World| world.status.rollout.as_ref().and_then(|r| r.forecast.clone());
    assert_eq!(forecast(&told).as_deref(), Some("at 200 rps"));
    told.run(15);
    assert_eq!(
        forecast(&told).as_deref(),
        Some("at 200 rps"),
        "kept from evaluation to evaluation"
    );

    told.spec.rollout.false_promotion = "1%".into();
    told.generation += 1;
    told.run(2);
    assert!(told.status.rollout.is_some());
    assert_eq!(forecast(&told), None, "it was of another plan");
}
