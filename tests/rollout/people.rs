//! What people do to a whole model goes on record, once, and holds nothing up.

use guardbit::api::{Action, DeletionPolicy, ServiceTraffic, Traffic};
use guardbit::rollout::{Order, Plan, Record};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::golden::{at_25_percent, full_ladder_at_int4};
use crate::handovers::pods;
use crate::interrupted::lowered;
use crate::world::{World, spec};

fn actions(plan: &Plan) -> Vec<Action> {
    plan.decisions.iter().filter_map(|d| d.action.known()).collect()
}

/// All that a restart has is what the API server stores.
fn kill(world: &mut World) {
    let stored = serde_json::to_string(&world.status).expect("JSON");
    world.status = serde_json::from_str(&stored).expect("a status");
}

#[test]
fn each_is_on_record_once_also_when_guardbit_is_killed() {
    let mut world = World::new(spec());
    world.decides_twice = true;
    world.run(110);
    type Change = fn(&mut World);
    let changes: [(Change, Action); 5] = [
        (|w| w.spec.paused = true, Action::Paused),
        (|w| w.spec.paused = false, Action::Unpaused),
        (|w| w.spec.suspend = true, Action::Suspended),
        (|w| w.spec.suspend = false, Action::Unsuspended),
        (|w| w.set_by_hand(&[("fp32", 10), ("int8", 90)]), Action::HandSet),
    ];
    for (change, action) in changes {
        change(&mut world);
        world.generation += 1;
        let plan = world.evaluate();
        assert_eq!((actions(&plan), plan.record), (vec![action], Record::Now));
        let reasons: Vec<_> = plan.events.iter().map(|event| event.reason.to_string()).collect();
        assert_eq!(reasons, [action.to_string()]);
        let weight = world.status.rollout.as_ref().map(|rollout| rollout.weight);
        assert_eq!(weight, Some(25), "after {action}");
        kill(&mut world);
        let mut again = 0;
        world.run_watched(20, &mut |_, _, plan| {
            again += plan.decisions.iter().filter(|d| d.is_of_people()).count();
        });
        assert_eq!(again, 0, "after {action}: {}", world.transcript);
    }
}

#[test]
fn a_model_that_is_paused_again_and_again_loses_no_decision_of_its_rollout() {
    let mut world = at_25_percent();
    let mut ends = Vec::new();
    for times in 1..=3 {
        while world.status.rollout.as_ref().is_none_or(|rollout| rollout.weight == 0) {
            world.run(1);
        }
        let known = |world: &World| {
            let decisions = world.status.decisions.iter();
            decisions.filter(|d| !d.is_of_people()).cloned().collect::<Vec<_>>()
        };
        let before = known(&world);
        for _ in 0..6 {
            world.spec.paused = !world.spec.paused;
            world.evaluate();
        }
        assert_eq!(known(&world), before);
        let of_people = world.status.decisions.iter().filter(|d| d.is_of_people());
        assert_eq!(of_people.count(), 2, "the last of each kind");
        while ends.len() < times {
            pods(&mut world, "int8", 0);
            world.run_watched(1, &mut |_, _, plan| ends.extend(actions(plan)));
        }
    }
    assert_eq!(ends, [Action::Withdrawn, Action::Withdrawn, Action::Failed]);
}

#[test]
fn weights_that_are_set_by_hand_go_on_record_once_for_each_change() {
    let mut world = at_25_percent();
    world.set_by_hand(&[("fp32", 10), ("int8", 90)]);
    let set = world.route.clone();
    let plan = world.evaluate();
    assert_eq!(actions(&plan), [Action::HandSet]);
    let why = &plan.decisions[0].why;
    let (found, written) = why.split_once(", and guardbit had written ").expect("both weights");
    assert!(
        found.contains("fp32 (") && found.contains(" 10%") && found.contains(" 90%"),
        "{why}"
    );
    assert!(written.contains(" 75%") && written.contains(" 25%"), "{why}");
    // The API server does not take what puts it right.
    for _ in 0..3 {
        world.route = set.clone();
        assert_eq!(actions(&world.evaluate()), []);
    }
    world.route = set;
    world.set_by_hand(&[("fp32", 0), ("int8", 100)]);
    assert_eq!(actions(&world.evaluate()), [Action::HandSet], "another change");
    assert_eq!(actions(&world.evaluate()), [], "it is put right");
    world.set_by_hand(&[("fp32", 10), ("int8", 90)]);
    assert_eq!(actions(&world.evaluate()), [Action::HandSet], "others once more");
}

/// Another tool that takes the route for its own sets its weights as often as guardbit puts them right.
#[test]
fn who_fights_over_the_route_is_on_record_once_an_hour() {
    let mut world = at_25_percent();
    world.spec.paused = true;
    world.generation += 1;
    let begun = world.now;
    let mut told = Vec::new();
    while world.now.duration_since(begun) < SignedDuration::from_mins(125) {
        world.set_by_hand(&[("fp32", 10), ("int8", 90)]);
        if actions(&world.evaluate()).contains(&Action::HandSet) {
            told.push(world.now);
        }
        assert_eq!(world.route.changed_from, None, "it is put right each time");
        kill(&mut world);
        world.run(10);
    }
    assert_eq!(told.len(), 3, "{told:?}");
    let is_apart = |pair: &[Timestamp]| pair[1].duration_since(pair[0]) >= SignedDuration::from_mins(60);
    assert!(told.windows(2).all(is_apart), "{told:?}");
}

#[test]
fn what_a_suspension_ends_with_is_told_by_its_end_alone() {
    let mut world = at_25_percent();
    world.spec.suspend = true;
    world.evaluate();
    world.set_by_hand(&[("fp32", 40), ("int8", 60)]);
    world.route.weights.retain(|of, _| of.variant == "int8");
    world.route.elsewhere = 40;
    world.spec.suspend = false;
    let plan = world.evaluate();
    assert_eq!(actions(&plan), [Action::Unsuspended]);
    let why = &plan.decisions[0].why;
    assert!(why.contains(" 60%, other Services 40%, where "), "{why}");
    assert!(why.ends_with(" 25% was decided"), "{why}");
}

#[test]
fn behind_one_service_there_are_no_weights_to_tell_of() {
    let mut spec = spec();
    spec.traffic = Traffic {
        service: Some(ServiceTraffic {
            allow_coarse_steps: true,
        }),
        ..Traffic::default()
    };
    let mut world = World::new(spec);
    world.run(100);
    world.spec.suspend = true;
    let plan = world.evaluate();
    assert_eq!(
        plan.decisions[0].why,
        "spec.suspend is set: guardbit leaves everything as it is"
    );
}

/// The route was lowered, and before that was on record the model was suspended.
#[test]
fn harm_that_is_not_on_record_is_not_forgotten_over_a_suspension() {
    let mut world = lowered(Action::RolledBack, "int8", 0);
    world.now += SignedDuration::from_secs(5);
    world.spec.suspend = true;
    assert_eq!(actions(&world.evaluate()), [Action::Suspended]);
    world.now += SignedDuration::from_secs(60);
    world.spec.suspend = false;
    let plan = world.evaluate();
    assert_eq!(actions(&plan), [Action::Unsuspended, Action::RolledBack]);
    assert_eq!(plan.order, Order::LowerFirst);
}

#[test]
fn what_people_do_holds_nothing_up_and_leaves_a_settled_model_ready() {
    let mut world = full_ladder_at_int4();
    let is_ready = |world: &World| world.status.has_condition("Ready", "True");
    let before = (is_ready(&world), world.status.phase.clone());
    world.spec.paused = true;
    assert_eq!(actions(&world.evaluate()), [Action::Paused]);
    assert_eq!((is_ready(&world), world.status.phase.clone()), before);
    world.spec.paused = false;
    world.spec.target = Some("int8".into());
    assert_eq!(actions(&world.evaluate()), [Action::Unpaused, Action::TargetMoved]);
}

#[test]
fn a_deletion_is_on_record_before_anything_goes() {
    for (policy, action) in [
        (DeletionPolicy::Delete, Action::Deleted),
        (DeletionPolicy::Orphan, Action::Orphaned),
    ] {
        let mut world = at_25_percent();
        world.spec.deletion_policy = policy;
        world.deleted_at = Some(world.now);
        let plan = world.evaluate();
        assert_eq!((actions(&plan), plan.record), (vec![action], Record::Now));
        assert!(world.route.exists && !world.released, "{action}");
        kill(&mut world);
        let mut again = 0;
        world.run_watched(60, &mut |_, _, plan| again += plan.decisions.len());
        assert_eq!(again, 0, "{action}");
        assert!(world.released, "{action}");
    }
}

#[test]
fn the_deletion_of_a_model_that_cannot_be_read_waits_for_no_record() {
    let mut world = World::new(spec());
    world.spec.variants.clear();
    world.deleted_at = Some(world.now);
    let plan = world.evaluate();
    assert_eq!((actions(&plan), plan.record), (vec![], Record::Later));
    assert!(world.released);
}
