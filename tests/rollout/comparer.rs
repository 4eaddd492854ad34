//! The comparer beside a trial: when it runs, which arms it asks, and what becomes of the evidence when its questions change.

use guardbit::api::{Action, QuantizedModelSpec, RolloutKind, Shadow, Traffic};
use guardbit::model::identity::Purpose;
use guardbit::rollout::{ComparedArms, Plan, Scope};
use serde_json::json;

use crate::golden::bad;
use crate::world::{World, spec};

fn compared() -> QuantizedModelSpec {
    let mut spec = spec();
    let agreement = json!({"name": "agreement", "agreement": {"tolerance": {"absolute": "5%"}}});
    spec.guards.push(serde_json::from_value(agreement).unwrap());
    let golden = json!({"configMap": "fraud-golden", "digest": format!("sha256:{}", "0".repeat(64))});
    let comparer = json!({"protocol": "OpenInference", "golden": golden, "answer": {"threshold": "0.5"}});
    spec.comparer = Some(serde_json::from_value(comparer).unwrap());
    spec
}

/// Runs for so many seconds, and returns what the plans wanted of a comparer, each change once.
fn watched(world: &mut World, seconds: i64) -> Vec<Option<ComparedArms>> {
    let mut wanted: Vec<Option<ComparedArms>> = Vec::new();
    world.run_watched(seconds, &mut |_, _, plan| {
        if wanted.last() != Some(&plan.comparer) {
            wanted.push(plan.comparer.clone());
        }
    });
    wanted
}

fn names(arms: &ComparedArms) -> (&str, &str) {
    (&arms.reference.variant, &arms.candidate.variant)
}

fn weight(world: &World) -> i32 {
    world.status.rollout.as_ref().map_or(0, |rollout| rollout.weight)
}

fn at_5_percent() -> World {
    let mut world = World::new(compared());
    while weight(&world) < 5 {
        world.run(1);
    }
    world
}

fn changes_plan(plan: &Plan) -> bool {
    plan.decisions
        .iter()
        .any(|decision| decision.action == Action::PlanChanged)
}

#[test]
fn it_asks_once_both_are_ready_and_goes_on_after_the_promotion() {
    let mut world = World::new(compared());
    world.decides_twice = true;
    let mut early = 0;
    world.run_watched(1_200, &mut |seen, _, plan| {
        let Some(arms) = &plan.comparer else { return };
        early += arms.keys().iter().filter(|key| seen.workloads[*key].ready == 0).count();
    });
    assert_eq!(early, 0, "it waits for the pods of both");
    let Some(arms) = &world.comparer else {
        panic!("{}", world.transcript);
    };
    assert_eq!(names(arms), ("fp32", "int8"));
    assert!(world.status.rollout.is_none(), "{}", world.transcript);

    let wanted = watched(&mut World::new(compared()), 1_200);
    assert_eq!(wanted.len(), 2, "it begins once and is not restarted: {wanted:?}");
    assert_eq!((&wanted[0], &wanted[1]), (&None, &world.comparer));
}

#[test]
fn each_variant_of_the_ladder_is_compared_with_the_reference() {
    let mut spec = compared();
    spec.target = None;
    let wanted = watched(&mut World::new(spec), 2_400);
    let asked: Vec<_> = wanted.iter().flatten().map(names).collect();
    assert_eq!(asked, [("fp32", "int8"), ("fp32", "int4")]);
}

#[test]
fn behind_one_service_it_asks_the_pod_of_the_shadow_stage_and_then_those_that_serve() {
    let mut spec = compared();
    spec.rollout.shadow = Some(Shadow { pairs: 300 });
    spec.traffic = Traffic {
        service: Some(Default::default()),
        ..Traffic::default()
    };
    spec.serving.replicas = Some(20);
    spec.variants[1].replicas = Some(20);
    let wanted = watched(&mut World::new(spec), 1_500);
    let asked: Vec<_> = wanted.iter().flatten().map(|arms| (names(arms), arms.asked)).collect();
    let int8 = ("fp32", "int8");
    assert_eq!(asked, [(int8, Purpose::Shadow), (int8, Purpose::Serving)]);
}

#[test]
fn a_pod_that_is_away_for_a_while_does_not_restart_it() {
    let mut world = at_5_percent();
    let before = world.comparer.clone();
    assert!(before.is_some());
    world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
    assert_eq!(watched(&mut world, 20), std::slice::from_ref(&before));
    assert_eq!(weight(&world), 0, "it was withdrawn: {}", world.transcript);
    world.behaviour.clear();
    assert_eq!(watched(&mut world, 60), [before]);
}

#[test]
fn it_ends_with_the_trial() {
    let mut world = World::new(compared());
    world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.3));
    world.run(900);
    assert_eq!(world.status.rejected.len(), 1, "{}", world.transcript);
    assert_eq!(world.comparer, None);
}

/// Servers that batch answer one and the same question differently, at temperature 0 as well.
#[test]
fn a_candidate_as_noisy_as_its_reference_is_not_rejected_where_the_tolerance_counts_the_noise() {
    for (tolerance, rejected) in [
        (json!({"absolute": "5%"}), 1),
        (json!({"ratio": "1", "absolute": "5%"}), 0),
    ] {
        let mut spec = compared();
        let agreement = json!({"name": "agreement", "agreement": {"tolerance": tolerance}});
        *spec.guards.last_mut().expect("the guard") = serde_json::from_value(agreement).unwrap();
        let mut world = World::new(spec);
        world.behaviour.insert("fp32".into(), bad(|b| b.differs_itself = 0.1));
        world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.1));
        world.run(900);
        assert_eq!(world.status.rejected.len(), rejected, "{}", world.transcript);
        // Whoever reads of a rejection sees that the reference is no better.
        let mut reasons = world.status.rejected.iter().map(|rejected| &rejected.reason);
        assert!(
            reasons.all(|why| why.contains("the reference from itself ") && !why.contains("from itself 0 of")),
            "{:?}",
            world.status.rejected
        );
    }
}

#[test]
fn a_new_reference_is_compared_with_nothing() {
    let mut world = World::new(compared());
    world.run(900);
    let digest = "7".repeat(64);
    world.spec.variants[0].weights.uri = format!("oci://registry.example/fraud@sha256:{digest}");
    world.spec.variants[0].weights.digest = format!("sha256:{digest}");
    world.generation += 1;
    let (mut trials, mut asked) = (0, 0);
    world.run_watched(300, &mut |_, _, plan| {
        let rollout = plan.status.rollout.as_ref();
        if rollout.is_some_and(|rollout| rollout.kind == RolloutKind::NewReference) {
            trials += 1;
            asked += usize::from(plan.comparer.is_some());
        }
    });
    assert!(trials > 0, "{}", world.transcript);
    assert_eq!(asked, 0);
}

#[test]
fn without_a_comparer_or_while_a_person_is_in_control_none_is_wanted() {
    let mut none = compared();
    none.comparer = None;
    assert_eq!(watched(&mut World::new(none), 300), [None]);
    let mut world = at_5_percent();
    world.spec.suspend = true;
    let plan = world.evaluate();
    assert_eq!((plan.scope, plan.comparer), (Scope::StatusOnly, None));
    assert!(world.comparer.is_some(), "nothing is written, so it stays");
    world.spec.suspend = false;
    world.deleted_at = Some(world.now);
    assert_eq!(world.evaluate().comparer, None);
}

#[test]
fn other_questions_start_the_evidence_afresh_and_another_pace_does_not() {
    let mut world = at_5_percent();
    let pairs = |world: &World| {
        let mut guards = world.status.guards.iter();
        let agreement = guards.find(|guard| guard.name == "agreement");
        agreement.map_or(0, |guard| guard.candidate.total)
    };
    while pairs(&world) < 20 {
        world.run(5);
        assert!(weight(&world) > 0, "{}", world.transcript);
    }
    let before = weight(&world);
    let comparer = |world: &World| world.spec.comparer.clone().expect("a comparer");
    let edited = |world: &mut World, comparer| {
        world.spec.comparer = Some(comparer);
        world.generation += 1;
        world.evaluate()
    };

    let mut slower = comparer(&world);
    slower.rate = "1".into();
    assert!(!changes_plan(&edited(&mut world, slower)));

    let mut other = comparer(&world);
    let golden = other.golden.as_mut().expect("a golden set");
    golden.digest = format!("sha256:{}", "1".repeat(64));
    let plan = edited(&mut world, other);
    assert!(changes_plan(&plan), "{}", world.transcript);
    assert_eq!(
        (pairs(&world), weight(&world)),
        (0, before),
        "evidence begins afresh, the weight stays"
    );
    assert!(plan.comparer.is_some());

    let mut stricter = comparer(&world);
    stricter.answer = Some(serde_json::from_value(json!({"threshold": "0.7"})).unwrap());
    assert!(changes_plan(&edited(&mut world, stricter)));
}

#[test]
fn no_arm_is_asked_for_more_than_its_share_and_each_weight_restarts_it_once_at_the_most() {
    let mut spec = compared();
    spec.comparer.as_mut().expect("a comparer").share_of_arm = Some("6%".into());
    spec.rollout.steps.iter_mut().for_each(|step| step.hold = "3m".into());
    let mut world = World::new(spec.clone());
    let wanted = watched(&mut world, 1_500);
    let halved: Vec<_> = wanted.iter().flatten().map(|arms| arms.halved).collect();
    // Of 200 requests a second the candidate has 5%, then 25% and half; after its promotion the reference has 5%.
    assert_eq!(halved, [0, 2, 0, 2], "{}", world.transcript);

    // Nobody counts requests: the rate is what the spec says.
    spec.guards
        .retain(|guard| ["agreement", "drift"].contains(&guard.name.as_str()));
    let wanted = watched(&mut World::new(spec), 1_500);
    let halved: Vec<_> = wanted.iter().flatten().map(|arms| arms.halved).collect();
    assert_eq!(halved, [0]);
}
