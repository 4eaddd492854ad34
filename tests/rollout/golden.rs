//! Whole rollouts as readable transcripts: `tests/golden/*.snap`. A change in behaviour shows as a change in a story.

use crate::world::{Behaviour, World, spec};
use guardbit::api::{DeletionPolicy, Duration, OnHarm, OnUndecided, QuantizedModelStatus, Serve, Traffic};
use guardbit::rollout::{EvidenceProblem, EvidenceReason};

pub fn story(name: &str, world: &World) {
    insta::with_settings!({snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, world.transcript);
    });
}

pub fn bad(change: impl FnOnce(&mut Behaviour)) -> Behaviour {
    let mut behaviour = Behaviour::default();
    change(&mut behaviour);
    behaviour
}

/// A world in which the rollout of int8 is at its second step.
pub fn at_25_percent() -> World {
    let mut world = World::new(spec());
    world.run(110);
    assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(25));
    world
}

#[test]
fn healthy_climb() {
    let mut world = World::new(spec());
    world.run(900);
    story("healthy_climb", &world);
}

#[test]
fn climb_of_the_whole_ladder() {
    let mut spec = spec();
    spec.target = None;
    let mut world = World::new(spec);
    world.run(2400);
    story("climb_of_the_whole_ladder", &world);
}

#[test]
fn drifting_int4_is_rolled_back_to_int8() {
    let mut spec = spec();
    spec.target = None;
    let mut world = World::new(spec);
    world.behaviour.insert("int4".into(), bad(|b| b.drift = 0.2));
    world.run(1800);
    story("drifting_int4_is_rolled_back_to_int8", &world);
}

#[test]
fn errors_are_rolled_back() {
    let mut world = World::new(spec());
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    story("errors_are_rolled_back", &world);
}

#[test]
fn latency_is_rolled_back() {
    let mut world = World::new(spec());
    world.behaviour.insert("int8".into(), bad(|b| b.slowdown = 3.0));
    world.run(300);
    story("latency_is_rolled_back", &world);
}

#[test]
fn energy_is_rolled_back() {
    let mut spec = spec();
    spec.guards.push(
        serde_json::from_value(serde_json::json!({
            "name": "energy",
            "ratio": {"numerator": "joules_total", "denominator": "http_requests_total", "max": "1.1", "consecutive": 3},
        }))
        .unwrap(),
    );
    let mut world = World::new(spec);
    world.behaviour.insert("int8".into(), bad(|b| b.joules = 0.54));
    world.run(300);
    story("energy_is_rolled_back", &world);
}

#[test]
fn harm_after_promotion_falls_back_while_warm() {
    let mut world = World::new(spec());
    world.run(500);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    story("harm_after_promotion_falls_back_while_warm", &world);
}

#[test]
fn harm_after_keep_warm_falls_back_as_capacity_comes() {
    let mut world = World::new(spec());
    world.run(1200);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    story("harm_after_keep_warm_falls_back_as_capacity_comes", &world);
}

pub fn full_ladder_at_int4() -> World {
    let mut spec = spec();
    spec.target = None;
    let mut world = World::new(spec);
    world.run(2400);
    assert_eq!(world.status.stable.as_ref().map(|s| s.variant.as_str()), Some("int4"));
    world.transcript.clear();
    world
}

#[test]
fn harm_on_int4_falls_back_to_int8() {
    let mut world = full_ladder_at_int4();
    world.behaviour.insert("int4".into(), bad(|b| b.drift = 0.3));
    world.run(600);
    story("harm_on_int4_falls_back_to_int8", &world);
}

#[test]
fn harm_on_int4_falls_back_to_the_reference_if_asked_to() {
    let mut world = full_ladder_at_int4();
    world.spec.rollout.on_harm = OnHarm::Reference;
    world.behaviour.insert("int4".into(), bad(|b| b.drift = 0.3));
    world.run(600);
    story("harm_on_int4_falls_back_to_the_reference_if_asked_to", &world);
}

#[test]
fn prometheus_away_for_two_minutes() {
    let mut world = at_25_percent();
    world.prometheus = Err(EvidenceProblem {
        reason: EvidenceReason::Unreachable,
        message: "http://prometheus:9090 refused the connection".into(),
    });
    world.run(120);
    world.prometheus = Ok(());
    world.run(400);
    story("prometheus_away_for_two_minutes", &world);
}

#[test]
fn no_metrics_until_the_deadline() {
    let mut world = World::new(spec());
    world.spec.rollout.deadline = "10m".into();
    world.prometheus = Err(EvidenceProblem {
        reason: EvidenceReason::Unauthorized,
        message: "401: check the token in the Secret".into(),
    });
    world.run(900);
    story("no_metrics_until_the_deadline", &world);
}

#[test]
fn undecided_at_the_deadline_is_held_if_asked_to() {
    let mut world = World::new(spec());
    world.spec.rollout.deadline = "5m".into();
    world.spec.rollout.on_undecided = OnUndecided::Hold;
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.007));
    world.run(700);
    story("undecided_at_the_deadline_is_held_if_asked_to", &world);
}

#[test]
fn superseded_candidate() {
    let mut world = at_25_percent();
    world.spec.variants[1].weights.digest = format!("sha256:{}", "5".repeat(64));
    world.generation += 1;
    world.evaluate();
    world.run(400);
    story("superseded_candidate", &world);
}

#[test]
fn target_moved_down_in_mid_rollout() {
    let mut world = at_25_percent();
    world.spec.target = Some("fp32".into());
    world.evaluate();
    world.run(120);
    story("target_moved_down_in_mid_rollout", &world);
}

#[test]
fn target_moved_down_after_promotion() {
    let mut world = full_ladder_at_int4();
    world.spec.target = Some("int8".into());
    world.evaluate();
    world.run(400);
    story("target_moved_down_after_promotion", &world);
}

#[test]
fn paused_in_mid_rollout() {
    let mut world = at_25_percent();
    world.spec.paused = true;
    world.evaluate();
    world.run(2400);
    world.spec.paused = false;
    world.evaluate();
    world.run(300);
    story("paused_in_mid_rollout", &world);
}

#[test]
fn rollback_works_while_paused() {
    let mut world = at_25_percent();
    world.spec.paused = true;
    world.evaluate();
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(60);
    story("rollback_works_while_paused", &world);
}

#[test]
fn suspended_in_mid_rollout() {
    let mut world = at_25_percent();
    world.spec.suspend = true;
    world.evaluate();
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(120);
    world.spec.suspend = false;
    world.evaluate();
    world.run(60);
    story("suspended_in_mid_rollout", &world);
}

#[test]
fn suspended_and_weights_set_by_hand_are_on_record() {
    let mut world = at_25_percent();
    world.spec.suspend = true;
    world.evaluate();
    world.set_by_hand(&[("fp32", 40), ("int8", 60)]);
    world.run(300);
    world.spec.suspend = false;
    world.evaluate();
    world.run(120);
    story("suspended_and_weights_set_by_hand_are_on_record", &world);
}

#[test]
fn weights_set_by_hand_go_on_record_and_are_put_right() {
    let mut world = at_25_percent();
    world.set_by_hand(&[("fp32", 0), ("int8", 100)]);
    world.evaluate();
    world.run(60);
    story("weights_set_by_hand_go_on_record_and_are_put_right", &world);
}

/// The hold is as long as it would have been without: a person may have given the candidate any weight meanwhile.
#[test]
fn resumed_after_a_suspension() {
    let mut world = at_25_percent();
    world.spec.suspend = true;
    world.evaluate();
    world.run(600);
    world.spec.suspend = false;
    world.evaluate();
    world.run(600);
    story("resumed_after_a_suspension", &world);
}

#[test]
fn candidate_that_crashes_is_tried_again_three_times() {
    let mut world = World::new(spec());
    world.behaviour.insert("int8".into(), bad(|b| b.crash = true));
    world.run(1200);
    world.behaviour.remove("int8");
    world.spec.attempt = 2;
    world.evaluate();
    world.run(60);
    story("candidate_that_crashes_is_tried_again_three_times", &world);
}

#[test]
fn candidate_that_begins_to_crash_goes_to_zero() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.crash = true));
    world.run(40);
    world.behaviour.remove("int8");
    world.run(500);
    story("candidate_that_begins_to_crash_goes_to_zero", &world);
}

#[test]
fn candidate_that_cannot_be_scheduled() {
    let mut world = World::new(spec());
    world.behaviour.insert("int8".into(), bad(|b| b.unschedulable = true));
    world.run(400);
    story("candidate_that_cannot_be_scheduled", &world);
}

#[test]
fn evicted_candidate_is_not_judged() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
    world.run(60);
    world.behaviour.remove("int8");
    world.run(300);
    story("evicted_candidate_is_not_judged", &world);
}

#[test]
fn different_images_in_one_arm_hold() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.images = 2));
    world.run(200);
    world.behaviour.remove("int8");
    world.run(100);
    story("different_images_in_one_arm_hold", &world);
}

#[test]
fn stale_calibration_gets_no_traffic() {
    let mut world = World::new(spec());
    world.spec.variants[1].calibration.as_mut().unwrap().max_age = Some(Duration::from("24h"));
    world.run(60);
    world.spec.variants[1].calibration.as_mut().unwrap().max_age = None;
    world.evaluate();
    world.run(30);
    story("stale_calibration_gets_no_traffic", &world);
}

#[test]
fn validation_drop_gets_no_traffic() {
    let mut world = World::new(spec());
    world.spec.variants[1].validation.as_mut().unwrap().metrics[0].measured = "0.9".into();
    world.run(60);
    story("validation_drop_gets_no_traffic", &world);
}

#[test]
fn guards_edited_in_mid_rollout() {
    let mut world = at_25_percent();
    world.spec.guards[0].proportion.as_mut().unwrap().tolerance.absolute = Some("1%".into());
    world.generation += 1;
    world.evaluate();
    world.run(300);
    story("guards_edited_in_mid_rollout", &world);
}

#[test]
fn lateral_rollout_of_recalibrated_weights() {
    let mut world = World::new(spec());
    world.run(900);
    world.transcript.clear();
    world.spec.variants[1].weights.digest = format!("sha256:{}", "6".repeat(64));
    world.evaluate();
    world.run(900);
    story("lateral_rollout_of_recalibrated_weights", &world);
}

#[test]
fn lateral_rollout_that_cannot_be_scheduled_leaves_the_old_revision() {
    let mut world = World::new(spec());
    world.run(900);
    world.transcript.clear();
    world.spec.variants[1].weights.digest = format!("sha256:{}", "6".repeat(64));
    world.evaluate();
    world.run(60);
    // Both revisions share the variant's name; only the one on trial asks for more pods.
    world.behaviour.insert("int8".into(), bad(|b| b.unschedulable = true));
    world.run(400);
    story(
        "lateral_rollout_that_cannot_be_scheduled_leaves_the_old_revision",
        &world,
    );
}

#[test]
fn new_reference_with_new_weights_climbs_again() {
    let mut world = World::new(spec());
    world.run(900);
    world.transcript.clear();
    let digest = "7".repeat(64);
    world.spec.variants[0].weights.uri = format!("oci://registry.example/fraud@sha256:{digest}");
    world.spec.variants[0].weights.digest = format!("sha256:{digest}");
    world.evaluate();
    world.run(1500);
    story("new_reference_with_new_weights_climbs_again", &world);
}

#[test]
fn new_reference_with_the_same_weights_only_takes_over_the_holdout() {
    let mut world = World::new(spec());
    world.run(900);
    world.transcript.clear();
    world.spec.variants[0].template = Some(guardbit::api::PodTemplate(
        serde_json::from_str(r#"{"metadata": {"labels": {"sidecar": "patched"}}}"#).unwrap(),
    ));
    world.evaluate();
    world.run(900);
    story(
        "new_reference_with_the_same_weights_only_takes_over_the_holdout",
        &world,
    );
}

#[test]
fn lost_status_is_recovered_without_a_change_of_weights() {
    let mut world = at_25_percent();
    world.status = QuantizedModelStatus::default();
    world.evaluate();
    world.run(400);
    story("lost_status_is_recovered_without_a_change_of_weights", &world);
}

#[test]
fn evidence_of_another_version_starts_afresh() {
    let mut world = at_25_percent();
    world.status.evidence = Some("v9:from-the-future".into());
    world.evaluate();
    world.run(200);
    story("evidence_of_another_version_starts_afresh", &world);
}

#[test]
fn refused_route_holds() {
    let mut world = at_25_percent();
    world.refused = Some("Accepted=False: NotAllowedByListeners".into());
    world.run(120);
    world.refused = None;
    world.run(120);
    story("refused_route_holds", &world);
}

#[test]
fn stable_that_loses_its_endpoints_is_degraded() {
    let mut world = World::new(spec());
    world.run(900);
    world.transcript.clear();
    world.behaviour.insert("int8".into(), bad(|b| b.disrupted = true));
    world.run(60);
    world.behaviour.remove("int8");
    world.run(60);
    story("stable_that_loses_its_endpoints_is_degraded", &world);
}

#[test]
fn invalid_spec_stalls_and_leaves_traffic_alone() {
    let mut world = at_25_percent();
    world.spec.rollout.interval = "10ms".into();
    world.evaluate();
    world.run(120);
    world.spec.rollout.interval = "5s".into();
    world.evaluate();
    world.run(60);
    story("invalid_spec_stalls_and_leaves_traffic_alone", &world);
}

#[test]
fn bootstrap_of_another_variant() {
    let mut world = World::new(spec());
    world.spec.rollout.bootstrap = Some("int8".into());
    world.run(120);
    story("bootstrap_of_another_variant", &world);
}

#[test]
fn plain_service_climbs_by_replicas() {
    let mut world = World::new(spec());
    world.spec.traffic = Traffic {
        service: Some(Default::default()),
        ..Traffic::default()
    };
    world.spec.serving.replicas = Some(20);
    world.spec.variants[1].replicas = Some(20);
    world.run(900);
    story("plain_service_climbs_by_replicas", &world);
}

#[test]
fn plain_service_rolls_back() {
    let mut world = World::new(spec());
    world.spec.traffic = Traffic {
        service: Some(Default::default()),
        ..Traffic::default()
    };
    world.spec.serving.replicas = Some(20);
    world.spec.variants[1].replicas = Some(20);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(200);
    story("plain_service_rolls_back", &world);
}

#[test]
fn pinned_requests_have_pods_of_their_own() {
    let mut world = World::new(spec());
    let header = guardbit::api::HeaderMatch {
        name: "x-decision-impact".into(),
        value: "high".into(),
    };
    world.spec.traffic.precision_routes = vec![guardbit::api::PrecisionRoute {
        name: "critical".into(),
        headers: vec![header],
        serve: Serve::Reference,
        replicas: 2,
    }];
    world.run(120);
    story("pinned_requests_have_pods_of_their_own", &world);
}

#[test]
fn deleted_in_mid_canary() {
    let mut world = at_25_percent();
    world.deleted_at = Some(world.now);
    world.evaluate();
    world.run(60);
    assert!(world.released && world.workloads.is_empty());
    story("deleted_in_mid_canary", &world);
}

#[test]
fn orphaned_in_mid_canary() {
    let mut world = at_25_percent();
    world.spec.deletion_policy = DeletionPolicy::Orphan;
    world.deleted_at = Some(world.now);
    world.evaluate();
    world.run(60);
    assert!(world.released && !world.workloads.is_empty() && world.route.exists);
    story("orphaned_in_mid_canary", &world);
}
