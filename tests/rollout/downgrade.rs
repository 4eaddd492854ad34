//! A status that a newer release wrote, in the hands of this one: words that it does not know move no traffic, and are there still
//! when the newer release is back.

use guardbit::api::{QuantizedModelStatus, Traffic, Verdict, Word, condition};
use guardbit::rollout::{Joined, QueryScope, Reason, Record, Scope, watch};
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use crate::golden::{at_25_percent, bad, full_ladder_at_int4};
use crate::handovers::{key, only_pods, pods, weight};
use crate::world::{World, spec};

/// Changes the status as another release would have written it.
fn rewrite(world: &mut World, change: impl FnOnce(&mut Value)) {
    let mut status = serde_json::to_value(&world.status).expect("JSON");
    change(&mut status);
    world.status = serde_json::from_value(status).expect("a status that can be read");
}

fn stalled(status: &QuantizedModelStatus) -> Option<(&str, &str)> {
    let stalled = status.conditions.iter().find(|c| c.type_ == condition::STALLED)?;
    (stalled.status == "True").then_some((&stalled.reason, &stalled.message))
}

#[test]
fn every_word_of_a_newer_release_is_kept_as_it_is() {
    let world = at_25_percent();
    let mut written = serde_json::to_value(&world.status).expect("JSON");
    written["retiring"] =
        json!([{"variant": "int4", "revision": "v1:0", "until": "2026-11-10T01:00:00Z", "reason": "Drain"}]);
    let lists = [
        ("arms", "role"),
        ("guards", "verdict"),
        ("proven", "by"),
        ("decisions", "action"),
        ("retiring", "reason"),
    ];
    for (list, field) in lists {
        let items = written[list].as_array_mut().expect("a list");
        assert!(!items.is_empty(), "{list}");
        items.iter_mut().for_each(|item| item[field] = json!("Unheard"));
    }
    (written["phase"], written["rollout"]["kind"]) = (json!("Unheard"), json!("Unheard"));
    let read: QuantizedModelStatus = serde_json::from_value(written.clone()).expect("a status");
    assert_eq!(serde_json::to_value(&read).expect("JSON"), written);
    assert!(read.guards.iter().all(|guard| guard.verdict != Verdict::Healthy));
    // Fields are another matter: what is not known is read over.
    written["ballots"] = json!([1]);
    written["rollout"]["ballot"] = json!({"open": true});
    assert_eq!(
        serde_json::from_value::<QuantizedModelStatus>(written).expect("a status"),
        read
    );
}

#[test]
fn a_rollout_of_an_unknown_kind_is_held_as_it_is_until_its_release_is_back() {
    let mut world = at_25_percent();
    let known = world.status.clone();
    rewrite(&mut world, |status| status["rollout"]["kind"] = json!("Shadow"));
    let (before, route) = (world.status.clone(), world.route.clone());
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.3));
    assert!(
        watch(&world.observe().model, world.now, &QueryScope::default()).is_empty(),
        "nothing is judged"
    );
    let first = world.evaluate();
    assert_eq!((first.scope, first.record), (Scope::ConditionsOnly, Record::Now));
    let events: Vec<_> = first.events.iter().map(|e| e.reason).collect();
    assert_eq!(events, [Reason::UnknownStatus]);
    for _ in 0..60 {
        world.run(10);
        let plan = world.evaluate();
        assert_eq!(
            (plan.record, plan.events, plan.decisions),
            (Record::Later, vec![], vec![]),
            "said once"
        );
    }
    let (reason, message) = stalled(&world.status).expect("a person is told");
    assert_eq!(reason, "UnknownStatus");
    assert!(
        message.starts_with("status.rollout.kind: \"Shadow\" is the word of a newer guardbit"),
        "{message}"
    );
    let mut held = world.status.clone();
    held.conditions = before.conditions.clone();
    assert_eq!(
        (held, world.route.weights.clone()),
        (before, route.weights),
        "all else is as it was"
    );
    // The newer release is back, and has made of it what this one knows.
    world.status.rollout = known.rollout;
    world.evaluate();
    world.run(120);
    let rejected: Vec<_> = world.status.rejected.iter().map(|r| r.guard.as_str()).collect();
    assert_eq!(rejected, ["errors"]);
    assert_eq!(stalled(&world.status).map(|(reason, _)| reason), Some("TargetRejected"));
}

#[test]
fn who_leaves_for_an_unknown_reason_keeps_pods_and_traffic_until_its_time_is_over() {
    let mut world = full_ladder_at_int4();
    only_pods(&mut world, "int8", 2);
    world.spec.target = Some("int8".into());
    let handed = world.evaluate();
    let left = weight(&handed, "int4");
    assert!(left > 0 && left < 100, "{left}");
    let until = world.now + SignedDuration::from_mins(10);
    rewrite(&mut world, |status| {
        status["retiring"][0]["reason"] = json!("Parking");
        status["retiring"][0]["until"] = json!(until);
    });
    let int4 = key(&world, "int4");
    let desired = world.workloads[&int4].desired;
    pods(&mut world, "int8", 8);
    // Nor does anything new begin.
    world.spec.target = Some("int4".into());
    while world.now < until - SignedDuration::from_secs(20) {
        world.run(10);
        let plan = world.evaluate();
        assert_eq!(plan.decisions, []);
        assert_eq!(weight(&plan, "int4"), left);
        assert_eq!(plan.workloads[&int4].replicas, Some(desired));
        assert_eq!(world.status.retiring[0].reason, Word::Unknown("Parking".into()));
    }
    world.spec.target = Some("int8".into());
    while world.now <= until {
        world.run(1);
    }
    let plan = world.evaluate();
    assert_eq!((weight(&plan, "int4"), weight(&plan, "int8")), (0, 95));
    assert_eq!(plan.workloads[&int4].replicas, Some(desired), "its connections drain");
}

#[test]
fn behind_one_service_who_leaves_for_an_unknown_reason_stays_joined_if_it_was() {
    for (weight, joined) in [(40, Joined::All), (0, Joined::Nobody)] {
        let mut spec = spec();
        spec.traffic = Traffic {
            service: Some(Default::default()),
            ..Traffic::default()
        };
        spec.serving.replicas = Some(20);
        spec.variants[1].replicas = Some(20);
        let mut world = World::new(spec);
        world.run(100);
        let int8 = key(&world, "int8");
        let until = world.now + SignedDuration::from_mins(10);
        rewrite(&mut world, |status| {
            let (variant, revision) = (&int8.revision.variant, &int8.revision.revision);
            status["retiring"] =
                json!([{"variant": variant, "revision": revision, "until": until, "reason": "Parking"}]);
            status["rollout"] = Value::Null;
            for arm in status["arms"].as_array_mut().expect("arms") {
                arm["weight"] = json!(if arm["variant"] == "int8" { weight } else { 100 - weight });
            }
        });
        assert_eq!(world.evaluate().workloads[&int8].joined, joined, "at {weight}%");
    }
}

#[test]
fn what_went_on_under_an_unknown_phase_was_no_step() {
    let mut world = at_25_percent();
    rewrite(&mut world, |status| status["phase"] = json!("Frozen"));
    let plan = world.evaluate();
    let rollout = world.status.rollout.as_ref().expect("a rollout");
    assert_eq!((plan.decisions.len(), rollout.weight), (0, 25));
    assert_eq!(
        rollout.weight_since.as_ref().map(|t| t.0),
        Some(world.now),
        "the hold begins again"
    );
}

#[test]
fn words_that_decide_nothing_outlive_a_rollout() {
    let mut world = at_25_percent();
    rewrite(&mut world, |status| {
        status["decisions"][0]["action"] = json!("Attested");
        status["proven"][0]["by"] = json!("Attestation");
    });
    let decided = world.status.decisions.len();
    while world.status.rollout.is_some() {
        world.run(5);
    }
    assert!(world.status.decisions.len() > decided);
    assert_eq!(world.status.decisions[0].action, Word::Unknown("Attested".into()));
    assert_eq!(world.status.proven[0].by, Word::Unknown("Attestation".into()));
}
