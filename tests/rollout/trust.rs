//! Which evidence is trusted: not that of cold pods, and none where requests do not follow the weights.

use crate::golden::{at_25_percent, bad, story};
use crate::world::{World, spec};
use guardbit::api::{Action, Traffic};

fn actions(world: &World) -> Vec<Action> {
    world.status.decisions.iter().filter_map(|d| d.action.known()).collect()
}

/// When a decision was made, in seconds since the start.
fn decided_at(world: &World, action: Action) -> Option<i64> {
    let decision = world.status.decisions.iter().find(|d| d.action == action)?;
    Some(decision.time.0.duration_since(world.start).as_secs())
}

fn evidence(world: &World) -> (&str, &str, &str) {
    let kind = "EvidenceAvailable";
    let condition = world.status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

/// A candidate that fails while it is cold: twenty seconds from its first request.
fn cold(warm_up: &str) -> World {
    let mut world = World::new(spec());
    world.spec.rollout.warm_up = warm_up.into();
    world.behaviour.insert("int8".into(), bad(|b| b.cold_errors = 0.5));
    world
}

#[test]
fn a_cold_start_is_no_evidence_with_a_warm_up() {
    let mut hasty = cold("0s");
    hasty.run(120);
    assert_eq!(actions(&hasty).last(), Some(&Action::RolledBack));
    let mut world = cold("30s");
    world.run(400);
    story("a_cold_start_is_no_evidence_with_a_warm_up", &world);
}

/// Else a second in which the machine is slow would hit the candidate alone.
#[test]
fn while_the_candidate_is_cold_its_baseline_does_not_count_either() {
    let mut world = World::new(spec());
    world.spec.rollout.warm_up = "30s".into();
    let counted = loop {
        world.run(1);
        assert!(
            world.now.duration_since(world.start).as_secs() < 120,
            "{}",
            world.transcript
        );
        let errors = world.status.guards.iter().find(|guard| guard.name == "errors");
        if let Some(errors) = errors.filter(|errors| errors.candidate.total > 0) {
            break errors.clone();
        }
    };
    let (candidate, baseline) = (counted.candidate.total, counted.baseline.total);
    assert!(baseline <= 20 * candidate, "{baseline} for {candidate} at 5%");
}

#[test]
fn a_hold_that_is_shorter_than_the_warm_up_does_not_end_a_step() {
    let mut world = cold("60s");
    world.spec.rollout.steps.iter_mut().for_each(|s| s.hold = "1s".into());
    world.run(82);
    // First weight at 22 s, warm at 82 s, then three polls.
    assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(5));
    world.run(12);
    assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(5));
    let errors = world.status.guards.iter().find(|g| g.name == "errors").unwrap();
    assert!(errors.candidate.total < 200, "{errors:?}");
    world.run(60);
    assert!(world.status.rollout.as_ref().unwrap().weight > 5);
}

#[test]
fn a_warm_up_that_is_over_delays_no_rollback() {
    let found = |warm_up: &str| {
        let mut world = World::new(spec());
        world.spec.rollout.warm_up = warm_up.into();
        // On the last step, whose weight the pods of the steps before carry as well.
        world.run(180);
        assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(50));
        world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.05));
        world.run(120);
        decided_at(&world, Action::RolledBack).unwrap()
    };
    assert_eq!(found("30s"), found("0s"));
}

#[test]
fn the_counts_of_a_candidate_begin_when_it_is_warm() {
    let mut world = cold("30s");
    world.spec.rollout.steps[0].hold = "5m".into();
    // 22 s until the first weight, 30 s of warm-up, then 10 requests a second.
    world.run(22 + 30 + 60);
    let errors = world.status.guards.iter().find(|g| g.name == "errors").unwrap();
    assert!((500..=600).contains(&errors.candidate.total), "{errors:?}");
    assert!(errors.candidate.bad <= 2, "{errors:?}");
}

#[test]
fn a_pod_whose_readiness_flaps_does_not_hide_behind_the_warm_up() {
    let mut world = World::new(spec());
    world.spec.rollout.warm_up = "30s".into();
    // The step has had its first poll.
    world.run(110);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    // Ready anew every ten seconds, and never for as long as a warm-up.
    for _ in 0..6 {
        for workload in world.workloads.values_mut() {
            workload.ready_since.values_mut().for_each(|at| *at = world.now);
        }
        world.run(10);
    }
    assert_eq!(decided_at(&world, Action::RolledBack).map(|at| at <= 170), Some(true));
}

#[test]
fn requests_that_do_not_follow_the_weights_hold_until_they_do() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.routed = 0.1));
    world.run(300);
    assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(25));
    let (status, reason, message) = evidence(&world);
    assert_eq!((status, reason), ("False", "TrafficSplit"));
    assert!(message.contains("requests") && message.contains("say 25%"), "{message}");
    world.behaviour.remove("int8");
    world.run(300);
    story("requests_that_do_not_follow_the_weights_hold_until_they_do", &world);
}

#[test]
fn harm_rolls_back_while_the_split_is_broken() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.routed = 3.0));
    world.spec.rollout.steps[1].hold = "10m".into();
    world.generation += 1;
    world.run(120);
    assert_eq!(evidence(&world).1, "TrafficSplit");
    world.behaviour.insert(
        "int8".into(),
        bad(|b| {
            b.routed = 3.0;
            b.errors = 0.2;
        }),
    );
    world.run(30);
    assert_eq!(actions(&world).last(), Some(&Action::RolledBack));
}

#[test]
fn a_broken_split_holds_a_promotion_and_is_why_nothing_was_decided() {
    let mut world = World::new(spec());
    world.spec.rollout.deadline = "10m".into();
    world.run(170);
    assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(50));
    world.behaviour.insert("int8".into(), bad(|b| b.routed = 0.2));
    world.run(500);
    let last = world.status.decisions.last().unwrap();
    assert_eq!(last.action, Action::Undecided);
    assert!(
        last.why.contains("where the weights of it and its baseline say 50%"),
        "{}",
        last.why
    );
}

#[test]
fn behind_one_service_the_split_is_that_of_the_pods() {
    let by_pods = |routed: f64| {
        let mut world = World::new(spec());
        world.spec.traffic = Traffic {
            service: Some(Default::default()),
            ..Traffic::default()
        };
        world.spec.serving.replicas = Some(20);
        world.spec.variants[1].replicas = Some(20);
        world.spec.rollout.steps.iter_mut().for_each(|s| s.hold = "3m".into());
        world.behaviour.insert("int8".into(), bad(|b| b.routed = routed));
        world.run(170);
        (evidence(&world).1.to_owned(), evidence(&world).2.to_owned())
    };
    assert_eq!(by_pods(1.0).0, "Fresh");
    let (reason, message) = by_pods(0.1);
    assert_eq!(reason, "TrafficSplit");
    assert!(
        message.contains("say 4.8%") && message.contains("splits connections"),
        "{message}"
    );
}

#[test]
fn without_a_holdout_a_promoted_variant_is_said_to_be_unjudged() {
    let mut spec = spec();
    spec.rollout.holdout = 0;
    let mut world = World::new(spec);
    world.run(2);
    assert_eq!(evidence(&world).1, "NothingOnTrial");
    world.run(1_200);
    assert!(
        world.status.decisions.iter().any(|d| d.action == Action::Promoted),
        "{}",
        world.transcript
    );
    let (status, reason, message) = evidence(&world);
    assert_eq!((status, reason), ("False", "NoHoldout"), "{}", world.transcript);
    assert!(message.contains("rollout.holdout is 0"), "{message}");
}

#[test]
fn a_broken_split_survives_a_restart() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.routed = 0.1));
    world.run(120);
    let before = evidence(&world).2.to_owned();
    assert_eq!(evidence(&world).1, "TrafficSplit");
    let stored = serde_json::to_string(&world.status).unwrap();
    world.status = serde_json::from_str(&stored).unwrap();
    world.run(10);
    assert_eq!(evidence(&world).2, before);
}

#[test]
fn a_candidate_that_leans_towards_harm_gets_no_more_weight_until_that_is_decided() {
    let mut spec = spec();
    // Latency takes three quarters of a minute to be found harmful, which is longer than these steps.
    spec.rollout.steps.iter_mut().for_each(|step| step.hold = "10s".into());
    let mut world = World::new(spec);
    world.behaviour.insert("int8".into(), bad(|b| b.slowdown = 3.0));
    let mut reasons = std::collections::BTreeSet::new();
    while world.status.rejected.is_empty() {
        world.run(1);
        let weight = world.status.rollout.as_ref().map_or(0, |rollout| rollout.weight);
        assert!(weight <= 5, "{}", world.transcript);
        assert!(
            world.now.duration_since(world.start).as_mins() < 5,
            "{}",
            world.transcript
        );
        let progressing = world.status.conditions.iter().find(|c| c.type_ == "Progressing");
        reasons.extend(progressing.map(|condition| condition.reason.clone()));
    }
    assert!(reasons.contains("LeansToHarm"), "{reasons:?}");
}
