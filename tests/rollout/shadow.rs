//! Pairs of answers: the shadow stage before the first weight, and agreement from then on.

use guardbit::api::{QuantizedModelSpec, RevisionRef, Shadow, Traffic};
use guardbit::model::identity::Purpose;
use guardbit::rollout::Joined;
use serde_json::json;

use crate::golden::{bad, story};
use crate::world::{World, spec};

/// int8 climbs after 300 pairs, with 5% tolerated.
fn shadowed() -> QuantizedModelSpec {
    let mut spec = spec();
    let agreement = json!({"name": "agreement", "agreement": {"tolerance": {"absolute": "5%"}}});
    // It comes first, and pairs follow no weight: the split of the traffic must not be read from them.
    spec.guards.insert(0, serde_json::from_value(agreement).unwrap());
    spec.rollout.shadow = Some(Shadow { pairs: 300 });
    spec
}

/// The same behind one plain Service.
fn behind_one_service() -> QuantizedModelSpec {
    let mut spec = shadowed();
    spec.traffic = Traffic {
        service: Some(Default::default()),
        ..Traffic::default()
    };
    spec.serving.replicas = Some(20);
    spec.variants[1].replicas = Some(20);
    spec
}

fn weight(world: &World) -> Option<i32> {
    world.status.rollout.as_ref().map(|rollout| rollout.weight)
}

fn reason(world: &World, kind: &str) -> String {
    let found = world.status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map(|condition| condition.reason.clone()).unwrap_or_default()
}

#[test]
fn a_candidate_that_answers_otherwise_is_rejected_before_any_user_is_answered() {
    let mut world = World::new(shadowed());
    world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.12));
    world.run(600);
    story("drifting_int8_is_rejected_in_the_shadow_stage", &world);
    let [rejected] = world.status.rejected.as_slice() else {
        panic!("{:?}", world.status.rejected);
    };
    assert_eq!(
        (rejected.variant.as_str(), rejected.guard.as_str()),
        ("int8", "agreement")
    );
    let candidate = RevisionRef {
        variant: rejected.variant.clone(),
        revision: rejected.revision.clone(),
    };
    assert_eq!(world.served(&candidate), 0.0, "no user was answered by it");
}

#[test]
fn an_honest_candidate_climbs_after_its_pairs() {
    let mut world = World::new(shadowed());
    world.run(1_200);
    story("healthy_climb_after_a_shadow_stage", &world);
    assert_eq!(
        world.status.stable.as_ref().map(|stable| stable.variant.as_str()),
        Some("int8")
    );
}

#[test]
fn a_dead_comparer_holds_the_stage_until_the_deadline() {
    let mut world = World::new(shadowed());
    world.compares = false;
    world.run(600);
    assert_eq!(weight(&world), Some(0));
    assert_eq!(reason(&world, "EvidenceAvailable"), "NoSamples");
    world.run(1_800);
    assert_eq!(weight(&world), None, "{}", world.transcript);
    let last = world.status.decisions.last().unwrap();
    assert_eq!(last.action.to_string(), "Undecided", "{last:?}");
    assert!(world.status.rejected.is_empty());
}

#[test]
fn a_step_waits_until_pairs_come_again() {
    let mut world = World::new(shadowed());
    while weight(&world) != Some(5) {
        world.run(5);
    }
    world.compares = false;
    world.run(300);
    assert_eq!(weight(&world), Some(5), "{}", world.transcript);
    world.compares = true;
    world.run(120);
    assert!(weight(&world) > Some(5), "{}", world.transcript);
}

#[test]
fn answers_that_change_after_a_promotion_fall_back() {
    let mut world = World::new(shadowed());
    world.run(1_200);
    world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.3));
    world.run(600);
    assert_eq!(
        world.status.stable.as_ref().map(|stable| stable.variant.as_str()),
        Some("fp32")
    );
    let last = world
        .status
        .decisions
        .iter()
        .rfind(|d| d.action.to_string() == "FellBack")
        .unwrap();
    assert!(last.why.contains("answers differ"), "{}", last.why);
}

#[test]
fn a_rejection_names_lines_of_the_golden_set_that_are_answered_otherwise() {
    let mut world = World::new(shadowed());
    world.decides_twice = true;
    world.lines = vec![388, 17, 230];
    world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.12));
    let (mut shown, mut events) = (0, Vec::new());
    world.run_watched(600, &mut |_, _, plan| {
        let guards = plan.status.guards.iter();
        shown += guards.filter(|guard| guard.examples == [17, 230, 388]).count();
        events.extend(plan.events.iter().map(|event| event.note.clone()));
    });
    assert!(shown > 0, "{}", world.transcript);
    let [rejected] = world.status.rejected.as_slice() else {
        panic!("{:?}", world.status.rejected);
    };
    let told = "; such as lines 17, 230 and 388 of the golden set";
    assert!(rejected.reason.ends_with(told), "{}", rejected.reason);
    assert!(events.iter().any(|note| note.contains(told)), "{events:?}");
}

#[test]
fn behind_one_service_no_pod_that_could_get_requests_exists_before_the_stage_is_over() {
    let mut world = World::new(behind_one_service());
    let mut asked = 0;
    world.run_watched(1_500, &mut |world, _, plan| {
        let rollout = plan.status.rollout.as_ref();
        let staged = rollout.filter(|rollout| rollout.first_weight_at.is_none());
        let own = plan.workloads.iter().filter(|(key, _)| key.purpose == Purpose::Shadow);
        assert_eq!(own.count(), usize::from(staged.is_some()), "it goes with its stage");
        let Some(candidate) = staged.map(|rollout| &rollout.candidate) else {
            return;
        };
        for (key, workload) in plan.workloads.iter().filter(|(key, _)| key.revision == *candidate) {
            let pods = i32::from(key.purpose == Purpose::Shadow);
            assert_eq!(
                (workload.replicas, workload.joined),
                (Some(pods), Joined::Nobody),
                "{key}"
            );
            asked += world.workloads.get(key).map_or(0, |seen| seen.ready);
        }
        assert_eq!(world.served(candidate), 0.0, "no user is answered by it");
    });
    assert!(asked > 0, "{}", world.transcript);
    story("plain_service_climbs_after_a_shadow_stage", &world);
    assert_eq!(
        world.status.stable.as_ref().map(|stable| stable.variant.as_str()),
        Some("int8")
    );
    assert!(world.workloads.keys().all(|key| key.purpose == Purpose::Serving));
}

#[test]
fn behind_one_service_a_candidate_that_answers_otherwise_never_has_an_endpoint() {
    let mut world = World::new(behind_one_service());
    world.behaviour.insert("int8".into(), bad(|b| b.differs = 0.12));
    world.run(600);
    let [rejected] = world.status.rejected.as_slice() else {
        panic!("{:?}", world.status.rejected);
    };
    assert_eq!(rejected.guard, "agreement");
    let candidate = RevisionRef {
        variant: rejected.variant.clone(),
        revision: rejected.revision.clone(),
    };
    assert_eq!(world.served(&candidate), 0.0, "no user was answered by it");
    assert!(world.workloads.keys().all(|key| key.purpose == Purpose::Serving));
}

#[test]
fn behind_one_service_a_pod_that_does_not_start_is_one_of_its_stage_and_of_no_weight() {
    let mut world = World::new(behind_one_service());
    world.behaviour.insert("int8".into(), bad(|b| b.slow = true));
    let mut told = false;
    world.run_watched(900, &mut |_, _, plan| {
        for condition in &plan.status.conditions {
            assert!(!condition.message.contains(" for 5%"), "{}", condition.message);
            told |= condition.message.contains("is brought up for its shadow stage");
        }
    });
    assert!(told, "{}", world.transcript);
    let failed = world.status.decisions.iter().find(|d| d.action.to_string() == "Failed");
    let why = failed.map(|failed| failed.why.as_str());
    assert_eq!(why, Some("its pods for its shadow stage were not ready within 5m"));
}

#[test]
fn behind_one_service_what_happens_to_the_pod_of_the_stage_happens_to_the_candidate() {
    let mut world = World::new(behind_one_service());
    while !world.status.rollout.as_ref().is_some_and(|rollout| rollout.is_shadow()) {
        world.run(1);
    }
    world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
    world.run(30);
    assert_eq!(reason(&world, "EvidenceAvailable"), "Disrupted");
    assert_eq!(weight(&world), Some(0), "a drained node judges nothing");
    world.behaviour.insert("int8".into(), bad(|b| b.crash = true));
    world.run(30);
    assert_eq!(weight(&world), None, "{}", world.transcript);
    assert_eq!(world.status.failed.len(), 1);
}
