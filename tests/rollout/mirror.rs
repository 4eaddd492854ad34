//! Users' requests that are mirrored to the comparer: when they are, and what becomes of it where the gateway does not want to.

use guardbit::api::{Action, QuantizedModelSpec};
use guardbit::rollout::{MirrorSeen, Order, Plan, Refused};
use serde_json::json;

use crate::golden::bad;
use crate::world::{World, spec};

const REFUSAL: &str = "the gateway refuses the HTTPRoute: Accepted=False (UnsupportedValue): no mirrors";

fn mirrored(percent: i32) -> QuantizedModelSpec {
    let mut spec = spec();
    let agreement = json!({"name": "agreement", "agreement": {"tolerance": {"absolute": "5%"}}});
    spec.guards.push(serde_json::from_value(agreement).unwrap());
    let comparer = json!({"protocol": "OpenInference", "mirror": {"percent": percent}});
    spec.comparer = Some(serde_json::from_value(comparer).unwrap());
    spec
}

fn percent(plan: &Plan) -> Option<i32> {
    plan.route.as_ref().and_then(|route| route.mirror)
}

/// Runs for so many seconds, and returns what the plans wanted of the gateway, each change once.
fn watched(world: &mut World, seconds: i64) -> Vec<Option<i32>> {
    let mut wanted: Vec<Option<i32>> = Vec::new();
    world.run_watched(seconds, &mut |_, _, plan| {
        if wanted.last() != Some(&percent(plan)) {
            wanted.push(percent(plan));
        }
    });
    wanted
}

/// Status, reason and message of the condition, if there is one.
fn condition(world: &World) -> Option<(&str, &str, &str)> {
    let mut conditions = world.status.conditions.iter();
    let found = conditions.find(|condition| condition.type_ == "Mirroring")?;
    Some((found.status.as_str(), found.reason.as_str(), found.message.as_str()))
}

fn is_promoted(world: &World) -> bool {
    let mut decisions = world.status.decisions.iter();
    decisions.any(|decision| decision.action == Action::Promoted)
}

/// A world in which int8 is at 5%.
fn at_5_percent() -> World {
    let mut world = World::new(mirrored(10));
    while world.status.rollout.as_ref().map_or(0, |rollout| rollout.weight) < 5 {
        world.run(1);
    }
    world
}

#[test]
fn requests_are_mirrored_for_as_long_as_a_comparer_is_there() {
    let mut world = World::new(mirrored(10));
    world.decides_twice = true;
    world.run_watched(1_200, &mut |seen, _, plan| {
        let has_comparer = seen.comparer.is_some() && plan.comparer.is_some();
        assert!(percent(plan).is_none() || has_comparer, "{:?}", plan.route);
    });
    assert!(is_promoted(&world), "{}", world.transcript);
    let wanted = watched(&mut World::new(mirrored(10)), 1_200);
    assert_eq!(wanted, [None, Some(10)], "it begins once");
    assert_eq!(
        condition(&world).map(|(status, reason, _)| (status, reason)),
        Some(("True", "AsPlanned"))
    );
    // A trial that ends takes the comparer with it, and the mirror before it.
    let mut world = at_5_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.5));
    world.run(900);
    assert_eq!(world.status.rejected.len(), 1, "{}", world.transcript);
    assert_eq!(
        (world.comparer.as_ref(), &world.route.mirror),
        (None, &MirrorSeen::Absent)
    );
    assert_eq!(
        condition(&world).map(|(status, reason, _)| (status, reason)),
        Some(("Unknown", "NothingCompared"))
    );
}

#[test]
fn without_a_mirror_in_the_spec_there_is_none_and_no_condition_of_it() {
    let mut world = at_5_percent();
    assert!(condition(&world).is_some());
    world.spec.comparer = None;
    world.generation += 1;
    assert_eq!(watched(&mut world, 60), [None]);
    assert_eq!((condition(&world), world.status.mirror.clone()), (None, None));
}

#[test]
fn a_gateway_that_refuses_a_mirror_is_asked_once_and_the_rollout_goes_on() {
    let mut world = World::new(mirrored(10));
    world.mirror_refused = Some(REFUSAL.to_owned());
    world.decides_twice = true;
    assert_eq!(
        watched(&mut world, 1_200),
        [None, Some(10), None],
        "{}",
        world.transcript
    );
    assert!(is_promoted(&world), "{}", world.transcript);
    let (status, reason, message) = condition(&world).expect("a condition");
    assert_eq!((status, reason), ("False", "GatewayRefuses"));
    assert!(
        message.starts_with(REFUSAL) && message.contains("spec.comparer.mirror"),
        "{message}"
    );

    // Another release of the gateway would take it; nobody has said so, and nothing is tried.
    world.mirror_refused = None;
    assert_eq!(watched(&mut world, 1_200), [None]);
    // Now somebody has.
    world.spec.comparer = mirrored(20).comparer;
    world.generation += 1;
    let wanted = watched(&mut world, 60);
    assert_eq!(wanted.last(), Some(&Some(20)), "{wanted:?}");
    assert_eq!(condition(&world).map(|(status, ..)| status), Some("True"));
}

#[test]
fn a_gateway_that_leaves_the_mirror_out_without_a_word_is_told_of_and_holds_nothing() {
    let mut world = World::new(mirrored(10));
    (world.mirrors, world.leaves_mirror_out, world.decides_twice) = (true, true, true);
    while condition(&world).is_none_or(|(status, ..)| status != "True") {
        world.run(1);
    }
    let told = |world: &World| condition(world).map(|(status, reason, _)| (status.to_owned(), reason.to_owned()));
    let (as_planned, silent) = (("True", "AsPlanned"), ("Unknown", "NothingComes"));
    let is = |(status, reason): (&str, &str)| Some((status.to_owned(), reason.to_owned()));
    world.run(840);
    assert_eq!(told(&world), is(as_planned), "a mirror may take its time");
    assert_eq!(watched(&mut world, 120), [Some(10)], "it stays in the route");
    assert_eq!(told(&world), is(silent), "{}", world.transcript);
    let message = condition(&world).map_or("", |(.., message)| message);
    assert!(message.contains("guardbit_mirrored_dropped_total"), "{message}");
    // Nothing new is known while no comparer is scraped.
    world.compares = false;
    world.run(120);
    assert_eq!(told(&world), is(silent));
    (world.compares, world.leaves_mirror_out) = (true, false);
    world.run(60);
    assert_eq!(told(&world), is(as_planned), "{}", world.transcript);
    world.run(600);
    assert!(is_promoted(&world), "{}", world.transcript);
}

#[test]
fn what_is_said_of_an_earlier_mirror_does_not_count_for_another() {
    let mut world = at_5_percent();
    world.run(5);
    assert_eq!(world.route.mirror, MirrorSeen::Written(10), "{}", world.transcript);
    world.mirror_refused = Some(REFUSAL.to_owned());
    world.spec.comparer = mirrored(20).comparer;
    world.generation += 1;
    assert_eq!(percent(&world.evaluate()), Some(20), "this one was not tried yet");
    assert_eq!(percent(&world.evaluate()), None);
    let refused = world
        .status
        .mirror
        .as_ref()
        .and_then(|mirror| mirror.refused.as_deref());
    assert_eq!(refused, Some(REFUSAL));
}

#[test]
fn a_route_that_the_api_server_does_not_take_with_a_mirror_is_written_without_one() {
    let why = "failed to create typed patch object: .spec.rules[0].filters[0].requestMirror.percent: field not declared in schema";
    let not_taken = || {
        Some(vec![Refused {
            object: "HTTPRoute fraud".to_owned(),
            is_carrier: true,
            why: why.to_owned(),
        }])
    };
    // What is refused before anything was tried is refused for another reason.
    let mut world = World::new(mirrored(10));
    world.not_taken = not_taken();
    assert_eq!(watched(&mut world, 60), [None], "{}", world.transcript);
    world.not_taken = Some(Vec::new());
    while percent(&world.evaluate()).is_none() {
        world.run(1);
    }
    // It was not taken.
    world.route.mirror = MirrorSeen::Absent;
    world.not_taken = not_taken();
    assert_eq!(percent(&world.evaluate()), None);
    let (status, reason, message) = condition(&world).expect("a condition");
    assert_eq!((status, reason), ("False", "GatewayRefuses"));
    assert!(message.starts_with(why), "{message}");
    // So it is with one that the route does not have yet, and not with the one that it has.
    let mut known = at_5_percent();
    known.run(5);
    known.not_taken = not_taken();
    assert_eq!(percent(&known.evaluate()), Some(10));
    known.not_taken = Some(Vec::new());
    known.spec.comparer = mirrored(20).comparer;
    known.generation += 1;
    assert_eq!(percent(&known.evaluate()), Some(20));
    known.route.mirror = MirrorSeen::Written(10);
    known.not_taken = not_taken();
    assert_eq!(percent(&known.evaluate()), None);
    // Without it, it is.
    world.not_taken = Some(Vec::new());
    assert_eq!(watched(&mut world, 1_200), [None]);
    assert!(is_promoted(&world), "{}", world.transcript);
}

/// A write that lowers the candidate must not be refused for something new in it.
#[test]
fn no_mirror_begins_in_a_write_that_lowers_the_candidate() {
    for (there, wanted) in [
        (MirrorSeen::Absent, None),
        (MirrorSeen::Written(10), Some(10)),
        // The spec asked for another share a moment before.
        (MirrorSeen::Written(100), Some(100)),
    ] {
        let mut world = at_5_percent();
        world.run(5);
        assert_eq!(world.route.mirror, MirrorSeen::Written(10), "{}", world.transcript);
        world.route.mirror = there;
        world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
        world.live_one_second();
        let plan = world.evaluate();
        assert_eq!(
            (plan.order, percent(&plan)),
            (Order::LowerFirst, wanted),
            "{}",
            world.transcript
        );
        let next = world.evaluate();
        assert_eq!((next.order, percent(&next)), (Order::RecordFirst, Some(10)));
    }
}

#[test]
fn a_route_that_is_refused_anyway_gets_no_mirror_and_keeps_one() {
    let mut world = World::new(mirrored(10));
    world.refused = Some("Accepted=False: NotAllowedByListeners".into());
    assert_eq!(watched(&mut world, 60), [None], "{}", world.transcript);
    world.refused = None;
    assert_eq!(watched(&mut world, 60).last(), Some(&Some(10)), "{}", world.transcript);
    world.refused = Some("Accepted=False: NotAllowedByListeners".into());
    assert_eq!(watched(&mut world, 60), [Some(10)], "{}", world.transcript);
}

#[test]
fn questions_of_users_are_other_evidence_and_more_of_them_are_not() {
    let mut world = at_5_percent();
    let changes_plan = |world: &mut World, spec: QuantizedModelSpec| {
        world.spec.comparer = spec.comparer;
        world.generation += 1;
        let plan = world.evaluate();
        let mut decisions = plan.decisions.iter();
        decisions.any(|decision| decision.action == Action::PlanChanged)
    };
    assert!(!changes_plan(&mut world, mirrored(50)));
    let mut golden = mirrored(50);
    let set = json!({"configMap": "fraud-golden", "digest": format!("sha256:{}", "0".repeat(64))});
    let comparer = json!({"protocol": "OpenInference", "golden": set});
    golden.comparer = Some(serde_json::from_value(comparer).unwrap());
    assert!(changes_plan(&mut world, golden.clone()));
    let comparer = golden.comparer.as_mut().unwrap();
    comparer.mirror = mirrored(5).comparer.and_then(|comparer| comparer.mirror);
    assert!(changes_plan(&mut world, golden));
}
