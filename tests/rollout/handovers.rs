//! Who gets the traffic while stable or its successor has no endpoints, and what lowers or raises a candidate meanwhile.
//! Faults that the search of `tests/model` has found.

use crate::golden::{at_25_percent, bad, full_ladder_at_int4, story};
use crate::world::{World, spec};
use guardbit::api::{Action, Duration, OnHarm, Phase};
use guardbit::model::identity::Purpose;
use guardbit::rollout::{Plan, WorkloadKey};

pub fn key(world: &World, variant: &str) -> WorkloadKey {
    let of = |key: &&WorkloadKey| key.revision.variant == variant && key.purpose == Purpose::Serving;
    world.workloads.keys().find(of).expect("a Deployment").clone()
}

/// Leaves a variant so many ready pods.
pub fn pods(world: &mut World, variant: &str, ready: i32) {
    let key = key(world, variant);
    world.workloads.get_mut(&key).expect("a Deployment").ready = ready;
}

/// The same, and no more of them come.
pub fn only_pods(world: &mut World, variant: &str, ready: i32) {
    world.behaviour.entry(variant.into()).or_default().unschedulable = true;
    pods(world, variant, ready);
}

/// Share of the traffic, in percent.
pub fn weight(plan: &Plan, variant: &str) -> i32 {
    let weights = &plan.route.as_ref().expect("a route").weights;
    let of = weights.iter().filter(|(of, _)| of.variant == variant);
    of.map(|(_, weight)| weight).sum()
}

fn actions(plan: &Plan) -> Vec<Action> {
    plan.decisions.iter().filter_map(|d| d.action.known()).collect()
}

fn candidate_weight(world: &World, variant: &str) -> i32 {
    let rollout = world.status.rollout.as_ref();
    rollout
        .filter(|r| r.candidate.variant == variant)
        .map_or(0, |r| r.weight)
}

/// int8 is stable with fp32 as the control arm, int4 has its first weight.
fn int4_on_trial() -> World {
    let mut spec = spec();
    spec.target = None;
    let mut world = World::new(spec);
    while candidate_weight(&world, "int4") == 0 {
        world.run(5);
    }
    world
}

#[test]
fn a_harmful_candidate_gets_no_more_traffic_while_stable_has_no_endpoint() {
    let mut world = at_25_percent();
    world.transcript.clear();
    world.behaviour.insert("fp32".into(), bad(|b| b.disrupted = true));
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(60);
    world.behaviour.remove("fp32");
    world.run(60);
    story(
        "a_harmful_candidate_gets_no_more_traffic_while_stable_has_no_endpoint",
        &world,
    );
}

#[test]
fn a_harmful_candidate_gives_its_traffic_to_the_control_arm_if_stable_has_no_endpoint() {
    let mut world = int4_on_trial();
    world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
    world.behaviour.insert("int4".into(), bad(|b| b.errors = 0.3));
    let mut after = Vec::new();
    world.run_watched(60, &mut |_, _, plan| {
        if !after.is_empty() || actions(plan).contains(&Action::RolledBack) {
            after.push((weight(plan, "fp32"), weight(plan, "int4")));
        }
    });
    assert!(!after.is_empty(), "it is rolled back");
    assert!(after.iter().all(|weights| *weights == (100, 0)), "{after:?}");
}

#[test]
fn a_candidate_without_traffic_gets_none_when_it_is_given_up_while_stable_has_no_endpoint() {
    let mut world = World::new(spec());
    world.refused = Some("Accepted=False: NotAllowedByListeners".into());
    world.run(60);
    assert!(world.workloads[&key(&world, "int8")].ready > 0);
    only_pods(&mut world, "fp32", 0);
    world.spec.target = Some("fp32".into());
    let plan = world.evaluate();
    assert_eq!(actions(&plan), [Action::Superseded]);
    assert_eq!(weight(&plan, "int8"), 0);
    assert_eq!(world.status.phase, Some(Phase::Degraded.into()));
}

#[test]
fn what_falls_back_gets_no_traffic_back_when_its_fallback_loses_pods() {
    let mut world = full_ladder_at_int4();
    world.spec.rollout.on_harm = OnHarm::Reference;
    only_pods(&mut world, "fp32", 5);
    world.behaviour.insert("int4".into(), bad(|b| b.drift = 0.3));
    while world.status.phase != Some(Phase::RollingBack.into()) {
        world.run(1);
    }
    pods(&mut world, "fp32", 6);
    assert_eq!(weight(&world.evaluate(), "int4"), 40);
    for ready in [1, 0, 3] {
        pods(&mut world, "fp32", ready);
        assert_eq!(weight(&world.evaluate(), "int4"), 40, "{ready} pods of fp32");
    }
    pods(&mut world, "fp32", 8);
    assert_eq!(weight(&world.evaluate(), "int4"), 20);
}

#[test]
fn a_former_stable_that_is_healthy_gets_traffic_back_when_its_successor_loses_pods() {
    let mut world = full_ladder_at_int4();
    only_pods(&mut world, "int8", 0);
    world.spec.target = Some("int8".into());
    assert_eq!(actions(&world.evaluate()), [Action::TargetMoved]);
    // 5% are the holdout.
    for (ready, left) in [(6, 35), (2, 75), (0, 95)] {
        pods(&mut world, "int8", ready);
        assert_eq!(weight(&world.evaluate(), "int4"), left, "{ready} pods of int8");
    }
}

#[test]
fn harm_is_answered_while_traffic_is_handed_over() {
    let mut world = full_ladder_at_int4();
    only_pods(&mut world, "int8", 5);
    world.spec.target = Some("int8".into());
    world.run(30);
    assert_eq!(world.status.phase, Some(Phase::RollingBack.into()));
    world.behaviour.entry("int8".into()).or_default().errors = 0.3;
    let mut fallen = Vec::new();
    world.run_watched(60, &mut |_, _, plan| {
        let fell = plan.decisions.iter().filter(|d| d.action == Action::FellBack);
        fallen.extend(fell.map(|d| d.variant.clone()));
    });
    assert_eq!(fallen, ["int8"]);
    world.run(60);
    let shares: Vec<_> = world
        .status
        .arms
        .iter()
        .map(|a| (a.variant.as_str(), a.weight))
        .collect();
    assert!(shares.contains(&("fp32", 100)), "{shares:?}");
}

#[test]
fn a_gate_that_closes_while_a_candidate_waits_for_pods_keeps_it_from_traffic() {
    let mut world = World::new(spec());
    world.behaviour.insert("int8".into(), bad(|b| b.unschedulable = true));
    world.run(60);
    assert!(world.status.rollout.is_some());
    world.spec.variants[1].calibration.as_mut().unwrap().max_age = Some(Duration::from("24h"));
    world.behaviour.remove("int8");
    world.run(60);
    assert_eq!(candidate_weight(&world, "int8"), 0);
    let stalled = world.status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "Gated"));
    world.spec.variants[1].calibration.as_mut().unwrap().max_age = None;
    world.evaluate();
    world.run(30);
    assert_eq!(candidate_weight(&world, "int8"), 5);
}

#[test]
fn evidence_that_is_lost_before_the_pods_for_a_promotion_are_there_is_gathered_again() {
    let mut world = World::new(spec());
    while !world.status.rollout.as_ref().is_some_and(|r| r.promoting) {
        world.run(1);
        if candidate_weight(&world, "int8") == 50 {
            world.behaviour.entry("int8".into()).or_default().unschedulable = true;
        }
    }
    world.status.evidence = Some("v9:from-the-future".into());
    world.behaviour.remove("int8");
    let mut since = Vec::new();
    world.run_watched(300, &mut |_, _, plan| since.extend(actions(plan)));
    use Action::{EvidenceReset, Promoted, Promoting};
    since.truncate(3);
    assert_eq!(since, [EvidenceReset, Promoting, Promoted]);
}

#[test]
fn a_candidate_that_loses_its_pods_as_its_guards_are_edited_is_lowered_at_once() {
    let mut world = at_25_percent();
    world.spec.guards[0].proportion.as_mut().unwrap().tolerance.absolute = Some("1%".into());
    pods(&mut world, "int8", 0);
    let plan = world.evaluate();
    assert_eq!(actions(&plan), [Action::PlanChanged, Action::Withdrawn]);
    assert_eq!(weight(&plan, "int8"), 0);
}

/// A server that is slower than its share of the traffic fails its readiness probe, rests, and is ready again.
#[test]
fn a_candidate_whose_endpoints_go_again_and_again_is_given_up() {
    let mut world = at_25_percent();
    let mut ends = Vec::new();
    for times in 1..=3 {
        while candidate_weight(&world, "int8") == 0 {
            world.run(1);
        }
        while ends.len() < times {
            pods(&mut world, "int8", 0);
            world.run_watched(1, &mut |_, _, plan| ends.extend(actions(plan)));
        }
    }
    assert_eq!(ends, [Action::Withdrawn, Action::Withdrawn, Action::Failed]);
    let failed = &world.status.failed[0];
    assert!(
        failed.reason.contains("for the third time since it got traffic"),
        "{failed:?}"
    );
    assert_eq!(world.status.rollout, None, "{}", world.transcript);
}

#[test]
fn a_candidate_that_is_evicted_again_and_again_comes_back() {
    let mut world = at_25_percent();
    let mut ends = Vec::new();
    for _ in 0..4 {
        world.behaviour.remove("int8");
        while candidate_weight(&world, "int8") == 0 {
            world.run(1);
        }
        world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
        pods(&mut world, "int8", 0);
        world.run_watched(1, &mut |_, _, plan| ends.extend(actions(plan)));
    }
    assert_eq!(ends, [Action::Withdrawn; 4]);
    assert!(world.status.failed.is_empty(), "{}", world.transcript);
}

#[test]
fn a_promotion_that_was_suspended_waits_for_what_its_step_shows_afresh() {
    let mut world = World::new(spec());
    while !world.status.rollout.as_ref().is_some_and(|r| r.promoting) {
        world.run(1);
    }
    world.spec.suspend = true;
    world.evaluate();
    world.run(60);
    world.spec.suspend = false;
    world.evaluate();
    let mut since = Vec::new();
    world.run_watched(50, &mut |_, _, plan| since.extend(actions(plan)));
    assert!(since.is_empty(), "{since:?}");
    world.run_watched(60, &mut |_, _, plan| since.extend(actions(plan)));
    since.truncate(2);
    assert_eq!(since, [Action::Promoting, Action::Promoted]);
}
