//! Users' requests beside the golden set, after a promotion: whether the inputs have moved, or what serves has changed.

use guardbit::api::{Condition, QuantizedModelSpec};
use guardbit::rollout::Reason;
use serde_json::json;

use crate::golden::bad;
use crate::world::{World, spec};

/// A tenth of the answers may differ.
fn compared() -> QuantizedModelSpec {
    let mut spec = spec();
    let agreement = json!({"name": "agreement", "agreement": {"tolerance": {"absolute": "10%"}}});
    spec.guards.push(serde_json::from_value(agreement).unwrap());
    spec
}

fn moved(world: &World) -> Option<&Condition> {
    world.status.conditions.iter().find(|c| c.type_ == "InputsMoved")
}

/// int8 was promoted, and users' requests are answered as alike as the golden set.
fn guarded() -> World {
    let mut world = World::new(compared());
    world.mirrors = true;
    world.decides_twice = true;
    let reason = |world: &World| moved(world).map(|c| c.reason.clone()).unwrap_or_default();
    for _ in 0..40 {
        world.run(60);
        if reason(&world) == "AsOnTheGoldenSet" {
            assert_eq!(world.stable(), "int8");
            return world;
        }
    }
    panic!("{:?} {}", moved(&world), world.transcript);
}

/// Runs until the condition is of this status, or for so many minutes; returns the notes of its events.
fn run_until(world: &mut World, status: &str, minutes: usize) -> Vec<String> {
    let mut notes = Vec::new();
    for _ in 0..minutes {
        world.run_watched(60, &mut |_, _, plan| {
            let events = plan.events.iter().filter(|event| event.reason == Reason::InputsMoved);
            notes.extend(events.map(|event| event.note.clone()));
        });
        if moved(world).is_some_and(|c| c.status == status) {
            break;
        }
    }
    notes
}

#[test]
fn users_requests_that_are_answered_otherwise_say_that_the_inputs_have_moved_and_move_no_traffic() {
    let mut world = guarded();
    let drifted = bad(|b| (b.differs, b.differs_mirrored) = (0.002, 0.19));
    world.behaviour.insert("int8".into(), drifted);
    let notes = run_until(&mut world, "True", 60);
    let condition = moved(&world).cloned().expect("the condition");
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("True", "MirroredAnswersDiffer"),
        "{}",
        world.transcript
    );
    assert!(
        condition.message.contains("calibrate it anew on recent inputs"),
        "{}",
        condition.message
    );
    assert_eq!(notes, std::slice::from_ref(&condition.message), "it is told once");
    assert_eq!(world.stable(), "int8");

    world.run(300);
    let later = moved(&world).expect("the condition");
    assert_eq!((&later.status, &later.message), (&condition.status, &condition.message));

    world.behaviour.clear();
    run_until(&mut world, "False", 120);
    assert_eq!(moved(&world).map(|c| c.reason.as_str()), Some("AsOnTheGoldenSet"));
    assert_eq!(world.stable(), "int8");
}

#[test]
fn answers_that_differ_on_both_say_that_what_serves_has_changed() {
    let mut world = guarded();
    let changed = bad(|b| (b.differs, b.differs_mirrored) = (0.4, 0.4));
    world.behaviour.insert("int8".into(), changed);
    let notes = run_until(&mut world, "True", 10);
    assert_eq!((world.stable(), notes.len()), ("fp32", 0), "{}", world.transcript);
    let [rejected] = world.status.rejected.as_slice() else {
        panic!("{:?}", world.status.rejected);
    };
    assert!(
        rejected.reason.contains("what serves has changed, and not the inputs"),
        "{}",
        rejected.reason
    );
    let condition = moved(&world).expect("the condition");
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "NotCompared")
    );
}

#[test]
fn a_fallback_says_that_the_inputs_have_moved_where_they_have() {
    let mut world = guarded();
    let drifted = bad(|b| (b.differs, b.differs_mirrored) = (0.01, 0.5));
    world.behaviour.insert("int8".into(), drifted);
    world.run(900);
    assert_eq!(world.stable(), "fp32", "{}", world.transcript);
    let [rejected] = world.status.rejected.as_slice() else {
        panic!("{:?}", world.status.rejected);
    };
    assert!(
        rejected.reason.contains("the inputs have moved: calibrate anew"),
        "{}",
        rejected.reason
    );
}

#[test]
fn a_model_whose_users_requests_are_not_compared_has_no_such_condition() {
    let mut world = World::new(compared());
    world.run(1_800);
    assert_eq!((world.stable(), moved(&world)), ("int8", None), "{}", world.transcript);
}
