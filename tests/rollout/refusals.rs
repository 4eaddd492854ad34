//! What the API server does not take, early and late in a rollout.

use crate::world::{Behaviour, World, spec};
use guardbit::api::{Action, Duration, RevisionRef};
use guardbit::rollout::{Reason, Refused};

fn condition<'a>(world: &'a World, kind: &str) -> (&'a str, &'a str, &'a str) {
    let condition = world.status.conditions.iter().find(|c| c.type_ == kind).expect(kind);
    (&condition.status, &condition.reason, &condition.message)
}

fn actions(world: &World) -> Vec<Action> {
    world.status.decisions.iter().filter_map(|d| d.action.known()).collect()
}

fn weight(world: &World) -> i32 {
    world.status.rollout.as_ref().map_or(0, |rollout| rollout.weight)
}

fn behave(world: &mut World, behaviour: Behaviour) {
    world.behaviour.insert("int8".into(), behaviour);
}

#[test]
fn a_full_quota_late_in_a_rollout_costs_no_weight_and_no_evidence() {
    let mut world = World::new(spec());
    while weight(&world) < 25 {
        world.run(1);
    }
    let over = Behaviour {
        over_quota: true,
        ..Behaviour::default()
    };
    behave(&mut world, over);
    // Longer than scheduleDeadline, after which pods that cannot be placed would be given up.
    world.spec.rollout.schedule_deadline = Duration::from("5m");
    world.run(900);
    assert_eq!(weight(&world), 25, "{}", world.transcript);
    let (_, reason, message) = condition(&world, "Progressing");
    assert!(
        reason == "PodsRefused" && message.contains("exceeded quota: gpus"),
        "{message}"
    );
    let begun = [Action::Failed, Action::Withdrawn, Action::EvidenceReset];
    assert!(
        !actions(&world).iter().any(|a| begun.contains(a)),
        "{}",
        world.transcript
    );
    let counted = world.status.guards[0].candidate.total;
    assert!(counted > 10_000, "judging goes on meanwhile: {counted}");
    behave(&mut world, Behaviour::default());
    world.run(600);
    assert!(actions(&world).contains(&Action::Promoted), "{}", world.transcript);
}

#[test]
fn a_full_quota_before_the_first_weight_is_waited_for_as_long_as_pods_may_take() {
    let mut world = World::new(spec());
    world.spec.rollout.schedule_deadline = Duration::from("5m");
    let over = Behaviour {
        over_quota: true,
        ..Behaviour::default()
    };
    behave(&mut world, over);
    world.run(280);
    assert_eq!(
        condition(&world, "Progressing").1,
        "PodsRefused",
        "{}",
        world.transcript
    );
    world.run(60);
    let failed = world.status.decisions.iter().find(|d| d.action == Action::Failed);
    let why = &failed.unwrap_or_else(|| panic!("{}", world.transcript)).why;
    assert!(
        why.contains("none of its pods within 5m") && why.contains("exceeded quota"),
        "{why}"
    );
}

#[test]
fn what_cannot_be_written_is_named_and_what_carries_traffic_is_not_said_to_serve() {
    let mut world = World::new(spec());
    world.run(30);
    assert_eq!(condition(&world, "Available").0, "True");
    assert_eq!(condition(&world, "Applied").0, "True");
    let refused = |object: &str, is_carrier| Refused {
        object: object.to_owned(),
        is_carrier,
        why: "denied by policy.example: no".to_owned(),
    };
    world.not_taken = Some(vec![refused("Deployment fraud-int8-0", false)]);
    let plan = world.evaluate();
    assert!(
        plan.events.iter().any(|e| e.reason == Reason::Refused),
        "{:?}",
        plan.events
    );
    let (status, reason, message) = condition(&world, "Applied");
    assert_eq!((status, reason), ("False", "Refused"));
    assert_eq!(message, "Deployment fraud-int8-0: denied by policy.example: no");
    assert_eq!(condition(&world, "Available").0, "True");
    let again = world.evaluate();
    assert!(
        !again.events.iter().any(|e| e.reason == Reason::Refused),
        "it is said once"
    );
    world.not_taken = Some(vec![refused("HTTPRoute fraud", true)]);
    world.evaluate();
    let (status, reason, message) = condition(&world, "Available");
    assert_eq!((status, reason), ("False", "NotCarried"));
    assert!(message.contains("HTTPRoute fraud"), "{message}");
    // Another process does not know, and leaves the condition as it is.
    world.not_taken = None;
    world.evaluate();
    assert_eq!(condition(&world, "Applied").0, "False");
    world.not_taken = Some(Vec::new());
    world.evaluate();
    assert_eq!(
        (condition(&world, "Applied").0, condition(&world, "Available").0),
        ("True", "True")
    );
}

#[test]
fn a_revision_that_never_had_a_deployment_needs_no_drain() {
    let mut world = World::new(spec());
    let not_taken = Behaviour {
        not_taken: true,
        ..Behaviour::default()
    };
    behave(&mut world, not_taken);
    world.run(60);
    let candidate = world.status.rollout.as_ref().expect("a rollout").candidate.clone();
    behave(&mut world, Behaviour::default());
    world.spec.variants[1].weights.uri.push_str("-mended");
    world.generation += 1;
    world.evaluate();
    let leaves = |r: &RevisionRef| world.status.retiring.iter().any(|x| x.revision == r.revision);
    assert!(!leaves(&candidate), "{}", world.transcript);
    world.run(2);
    let next = world.status.rollout.as_ref().map(|rollout| rollout.candidate.clone());
    assert!(next.is_some_and(|next| next != candidate), "{}", world.transcript);
}

#[test]
fn a_first_variant_that_crashes_asks_for_a_person_and_serves_when_it_is_mended() {
    let mut world = World::new(spec());
    let crash = Behaviour {
        crash: true,
        ..Behaviour::default()
    };
    world.behaviour.insert("fp32".into(), crash);
    world.run(30);
    let (status, reason, message) = condition(&world, "Stalled");
    assert_eq!((status, reason), ("True", "CannotStart"), "{}", world.transcript);
    assert!(message.contains("CrashLoopBackOff"), "{message}");
    assert_eq!(
        world.transcript.matches("! CannotStart: fp32").count(),
        1,
        "{}",
        world.transcript
    );
    assert_eq!(world.workloads.len(), 1, "it is left to try: {}", world.transcript);
    world.behaviour.clear();
    world.run(30);
    assert_eq!(condition(&world, "Stalled").0, "False");
    assert_eq!(condition(&world, "Available").0, "True", "{}", world.transcript);
}
