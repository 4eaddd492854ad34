//! Whole rollouts that policies and people have a part in, as transcripts: `tests/golden/*.snap`. In each of them every decision
//! is taken twice, the second time from what goes on record.

use std::borrow::Cow;

use guardbit::api::{
    ActKind, Action, Actor, ModelRef, OnUndecided, Phase, PrecisionActionSpec, QuantizedModelSpec,
    QuantizedModelStatus, RiskTier, Waive,
};
use guardbit::governance::Policy;
use guardbit::governance::people::acts::{Act, Assurance};
use guardbit::ledger::{Predicate, Statement};
use guardbit::rollout::{Governance, Governed, People, Reason, Seen, Slot, resolve};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use crate::golden::{bad, story};
use crate::handovers::pods;
use crate::world::{World, spec};

const UID: &str = "6f0c";

/// What a policy asks for.
pub fn asks(rules: &Value) -> Governed {
    let policy = Policy::read("high-risk", 3, rules);
    let rules = policy.rules.unwrap_or_else(|problems| panic!("{rules}: {problems:?}"));
    Governed {
        from: vec!["high-risk@3".to_owned()],
        digest: rules.digest(),
        rules: Box::new(rules),
        records: true,
        turn: true,
        prometheus: Some("http://prometheus.monitoring:9090".to_owned()),
        ..Governed::default()
    }
}

/// People of whom it is known who they are; ann wrote the model.
pub fn people() -> People {
    People {
        authors: vec!["ann".to_owned()],
        assurance: Assurance::Pinned,
        author_assurance: Assurance::Pinned,
        uid: UID.to_owned(),
        ..People::default()
    }
}

/// A world in which a policy asks this.
pub fn governed(spec: QuantizedModelSpec, rules: &Value) -> World {
    let mut world = World::new(spec);
    world.governance = Governance::Governed(asks(rules));
    world.people = people();
    world.decides_twice = true;
    world
}

/// An act for the model of a world, made now.
pub fn act(world: &World, kind: ActKind, by: &str) -> Act {
    let number = world.people.acts.len();
    let awaiting = world.status.awaiting.as_ref();
    let needs_change = matches!(kind, ActKind::Approve | ActKind::Reject);
    let breaks = kind == ActKind::BreakGlass;
    let hours = match kind {
        ActKind::Resume | ActKind::BreakGlass => "1h",
        _ => "24h",
    };
    Act {
        name: format!("fraud-{}-{number}", kind.to_string().to_lowercase()),
        uid: format!("uid-{kind}-{number}"),
        created: Time(world.now),
        spec: PrecisionActionSpec {
            model_ref: ModelRef {
                name: "fraud".to_owned(),
                uid: UID.to_owned(),
            },
            action: kind,
            change_digest: awaiting
                .filter(|_| needs_change)
                .map(|awaiting| awaiting.change_digest.clone()),
            to: None,
            variant: (kind == ActKind::Retry).then(|| "int8".to_owned()),
            incident: breaks.then(|| "INC-7".to_owned()),
            waives: if breaks {
                vec![Waive::Approvals, Waive::Freezes, Waive::Freshness, Waive::Slots]
            } else {
                Vec::new()
            },
            actor: Actor {
                username: by.to_owned(),
                uid: None,
                groups: Vec::new(),
            },
            reason: "as the report says".to_owned(),
            valid_for: hours.into(),
        },
    }
}

/// Somebody acts, and a second passes.
fn acts(world: &mut World, kind: ActKind, by: &str) {
    let act = act(world, kind, by);
    world.people.acts.push(act);
    edited(world);
}

/// Something that a watch tells of has changed.
fn edited(world: &mut World) {
    world.generation += 1;
    world.run(1);
}

fn has(world: &World, action: Action) -> bool {
    world.status.decisions.iter().any(|decision| decision.action == action)
}

fn weight(world: &World) -> Option<i32> {
    world.status.rollout.as_ref().map(|rollout| rollout.weight)
}

fn reason<'a>(world: &'a World, kind: &str) -> &'a str {
    let mut conditions = world.status.conditions.iter();
    conditions.find(|c| c.type_ == kind).map_or("", |c| c.reason.as_str())
}

fn first_traffic(count: i32) -> Value {
    json!({"approvals": [{"before": "FirstTraffic", "count": count}]})
}

fn freeze(from: &str, to: &str) -> Value {
    let at = |time: &str| format!("2026-11-10T{time}Z");
    json!({"freezes": [{"name": "change-stop", "between": {"from": at(from), "to": at(to)}}]})
}

#[test]
fn waits_for_first_traffic_and_climbs() {
    let mut world = governed(spec(), &first_traffic(1));
    world.run(120);
    assert_eq!(weight(&world), Some(0));
    assert_eq!(world.status.phase, Some(Phase::AwaitingApproval.into()));
    acts(&mut world, ActKind::Approve, "bob");
    world.run(900);
    assert_eq!(world.stable(), "int8", "{}", world.transcript);
    story("waits_for_first_traffic_and_climbs", &world);
}

#[test]
fn waits_for_promotion_with_evidence_shown() {
    let mut world = governed(spec(), &json!({"approvals": [{"before": "Promotion"}]}));
    world.run(600);
    assert_eq!((weight(&world), world.stable()), (Some(50), "fp32"));
    assert!(world.status.guards.iter().all(|guard| !guard.message.is_empty()));
    acts(&mut world, ActKind::Approve, "bob");
    world.run(300);
    assert_eq!(world.stable(), "int8", "{}", world.transcript);
    story("waits_for_promotion_with_evidence_shown", &world);
}

/// The evidence of after the edits is other than what bob has seen.
#[test]
fn a_promotion_is_asked_about_again_after_an_edit_that_was_taken_back() {
    let mut world = governed(spec(), &json!({"approvals": [{"before": "Promotion"}]}));
    world.run(600);
    acts(&mut world, ActKind::Approve, "bob");
    assert!(has(&world, Action::Promoting), "{}", world.transcript);
    let guards = world.spec.guards.clone();
    world.spec.guards.pop();
    edited(&mut world);
    world.spec.guards = guards;
    edited(&mut world);
    world.run(900);
    assert_eq!(
        (weight(&world), world.stable()),
        (Some(50), "fp32"),
        "{}",
        world.transcript
    );
    assert_eq!(reason(&world, "Progressing"), "AwaitingApproval");
}

#[test]
fn the_clock_goes_on_while_a_candidate_that_lost_its_pods_climbs_again() {
    let mut world = governed(spec(), &json!({"approvals": [{"before": "Promotion"}]}));
    world.run(600);
    assert!(world.status.awaiting.is_some(), "{}", world.transcript);
    pods(&mut world, "int8", 0);
    edited(&mut world);
    assert!(has(&world, Action::Withdrawn), "{}", world.transcript);
    assert!(world.status.awaiting.is_none());
    edited(&mut world);
    let rollout = world.status.rollout.as_ref().expect("a rollout");
    assert!(rollout.stands_still_since.is_none(), "{rollout:?}");
}

#[test]
fn an_approval_of_a_promotion_that_is_older_than_its_evidence_does_not_count() {
    let mut world = governed(
        spec(),
        &json!({"approvals": [{"before": "FirstTraffic"}, {"before": "Promotion"}]}),
    );
    world.run(60);
    acts(&mut world, ActKind::Approve, "bob");
    world.run(900);
    assert_eq!(
        (weight(&world), world.stable()),
        (Some(50), "fp32"),
        "{}",
        world.transcript
    );
    acts(&mut world, ActKind::Approve, "bob");
    world.run(60);
    assert!(has(&world, Action::Promoting), "{}", world.transcript);
}

#[test]
fn the_author_alone_is_not_enough() {
    let mut world = governed(spec(), &first_traffic(1));
    world.run(60);
    acts(&mut world, ActKind::Approve, "ann");
    world.run(60);
    assert_eq!(weight(&world), Some(0));
    acts(&mut world, ActKind::Approve, "bob");
    world.run(30);
    assert_eq!(weight(&world), Some(5));
    story("the_author_alone_is_not_enough", &world);
}

#[test]
fn gitops_needs_two() {
    let mut world = governed(spec(), &first_traffic(1));
    world.people.authors = vec!["system:serviceaccount:argocd:argocd".to_owned()];
    world.run(60);
    for by in ["bob", "bob", "cid"] {
        assert_eq!(weight(&world), Some(0));
        acts(&mut world, ActKind::Approve, by);
        world.run(30);
    }
    assert_eq!(weight(&world), Some(5));
    story("gitops_needs_two", &world);
}

#[test]
fn one_person_never_counts_as_two() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let mut world = governed(spec(), &first_traffic(2));
        world.run(60);
        let all: Vec<Act> = (0..4)
            .map(|number| {
                let mut act = act(&world, ActKind::Approve, "bob");
                (act.name, act.uid) = (format!("bob-{number}"), format!("uid-of-bob-{number}"));
                act.spec.actor.groups = vec![format!("group-{number}")];
                act
            })
            .collect();
        world.people.acts = order.iter().map(|at| all[*at].clone()).collect();
        edited(&mut world);
        world.run(300);
        assert_eq!(weight(&world), Some(0), "{order:?}");
        let awaiting = world.status.awaiting.as_ref().expect("one more is asked for");
        assert_eq!((awaiting.need, awaiting.have.len()), (2, 1));
    }
}

#[test]
fn an_edit_in_mid_rollout_asks_again() {
    let mut world = governed(spec(), &first_traffic(1));
    world.run(60);
    acts(&mut world, ActKind::Approve, "bob");
    world.run(30);
    assert_eq!(weight(&world), Some(5));
    // No part of what it is judged by, and a part of what was approved.
    world.spec.rollout.deadline = "40m".into();
    edited(&mut world);
    world.run(240);
    assert_eq!(
        (weight(&world), reason(&world, "Progressing")),
        (Some(5), "AwaitingApproval")
    );
    acts(&mut world, ActKind::Approve, "bob");
    world.run(30);
    assert_eq!(weight(&world), Some(25));
    story("an_edit_in_mid_rollout_asks_again", &world);
}

#[test]
fn what_is_loosened_after_its_approval_waits_for_another() {
    type Edit = fn(&mut QuantizedModelSpec);
    let edits: [(&str, Edit); 5] = [
        ("deadline", |spec| spec.rollout.deadline = "60m".into()),
        ("holdout", |spec| spec.rollout.holdout = 1),
        ("interval", |spec| spec.rollout.interval = "10s".into()),
        ("guards", |spec| drop(spec.guards.pop())),
        ("tier", |spec| spec.model.risk_tier = Some(RiskTier::Minimal)),
    ];
    for (what, edit) in edits {
        let mut world = governed(spec(), &first_traffic(1));
        world.run(60);
        let approved = world.status.awaiting.as_ref().map(|of| of.change_digest.clone());
        assert!(approved.is_some(), "{what}");
        // Both come before the next evaluation.
        let approval = act(&world, ActKind::Approve, "bob");
        world.people.acts.push(approval);
        edit(&mut world.spec);
        edited(&mut world);
        world.run(60);
        let waits = (weight(&world), reason(&world, "Progressing"));
        assert_eq!(waits, (Some(0), "AwaitingApproval"), "{what}: {}", world.transcript);
        let awaiting = world.status.awaiting.as_ref();
        assert_ne!(awaiting.map(|of| of.change_digest.clone()), approved, "{what}");
    }
}

#[test]
fn who_changes_his_mind_many_times_decides_once_an_evaluation() {
    let mut world = governed(spec(), &first_traffic(1));
    world.run(60);
    let since = world.now - SignedDuration::from_secs(40);
    for second in 0..40 {
        let kind = if second % 2 == 0 {
            ActKind::Approve
        } else {
            ActKind::Reject
        };
        let mut act = act(&world, kind, "bob");
        act.created = Time(since + SignedDuration::from_secs(second));
        world.people.acts.push(act);
    }
    let records = world.chain.records.len();
    edited(&mut world);
    let decided: Vec<_> = world.status.decisions.iter().map(|of| of.action.clone()).collect();
    assert!(decided.last().is_some_and(|of| *of == Action::Declined), "{decided:?}");
    assert_eq!(world.chain.records.len(), records + 1, "{}", world.transcript);
    world.run(300);
    let held = (weight(&world), world.chain.records.len());
    assert_eq!(held, (None, records + 1), "{}", world.transcript);
}

#[test]
fn rejected_by_a_person_and_retried() {
    let mut world = governed(spec(), &first_traffic(1));
    world.run(60);
    acts(&mut world, ActKind::Approve, "bob");
    world.run(20);
    assert_eq!(weight(&world), Some(5));
    let mut reject = act(&world, ActKind::Reject, "cid");
    reject.spec.change_digest = world.people.acts[0].spec.change_digest.clone();
    world.people.acts.push(reject);
    edited(&mut world);
    assert_eq!(weight(&world), None);
    assert!(
        world
            .route
            .weights
            .iter()
            .all(|(of, weight)| of.variant == "fp32" || *weight == 0)
    );
    world.run(120);
    assert_eq!((weight(&world), reason(&world, "Stalled")), (None, "Declined"));
    acts(&mut world, ActKind::Retry, "cid");
    world.run(60);
    assert!(weight(&world).is_some(), "{}", world.transcript);
    story("rejected_by_a_person_and_retried", &world);
}

#[test]
fn what_was_found_harmful_is_tried_again_once_a_person_says_so() {
    let mut world = governed(spec(), &json!({}));
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    assert!(has(&world, Action::RolledBack) && weight(&world).is_none());
    world.behaviour.clear();
    acts(&mut world, ActKind::Retry, "cid");
    world.run(10);
    assert!(
        has(&world, Action::Retried) && weight(&world).is_some(),
        "{}",
        world.transcript
    );
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    assert!(weight(&world).is_none(), "the same act forgets nothing that is newer");
    assert_eq!(world.status.rejected.len(), 1);
}

#[test]
fn paused_and_resumed_by_act() {
    let mut world = governed(spec(), &json!({}));
    world.run(110);
    acts(&mut world, ActKind::Pause, "cid");
    world.run(3_600);
    assert_eq!(
        (weight(&world), world.status.phase.clone()),
        (Some(25), Some(Phase::Paused.into()))
    );
    acts(&mut world, ActKind::Resume, "cid");
    world.run(600);
    assert_eq!(world.stable(), "int8", "the deadline stood still: {}", world.transcript);
    assert!(has(&world, Action::Paused) && has(&world, Action::Resumed) && !has(&world, Action::Unpaused));
    story("paused_and_resumed_by_act", &world);
}

#[test]
fn a_pause_that_lapses_is_on_record() {
    let mut world = governed(spec(), &json!({}));
    world.run(110);
    let mut pause = act(&world, ActKind::Pause, "cid");
    pause.spec.valid_for = "5m".into();
    world.people.acts.push(pause);
    edited(&mut world);
    assert!(has(&world, Action::Paused));
    world.run(400);
    let unpaused = world
        .status
        .decisions
        .iter()
        .find(|decision| decision.action == Action::Unpaused);
    let why = &unpaused.expect("it is on record").why;
    assert_eq!(
        why,
        "Pause of cid (fraud-pause-0) has lapsed: the rollout goes on from 25%"
    );
}

#[test]
fn rolled_back_by_act_stays_down_while_git_insists() {
    let mut world = World::new(spec());
    world.people = people();
    world.decides_twice = true;
    world.run(110);
    acts(&mut world, ActKind::RollBack, "cid");
    assert_eq!((weight(&world), world.stable()), (None, "fp32"));
    for (target, attempt) in [("int4", 1), ("int8", 2), ("int4", 3)] {
        world.spec.target = Some(target.to_owned());
        world.spec.attempt = attempt;
        edited(&mut world);
        world.run(300);
        assert_eq!((weight(&world), world.stable()), (None, "fp32"), "{}", world.transcript);
    }
    assert_eq!(reason(&world, "Progressing"), "TakenBack");
    acts(&mut world, ActKind::Resume, "cid");
    world.run(60);
    assert!(
        has(&world, Action::Resumed) && weight(&world).is_some(),
        "{}",
        world.transcript
    );
    story("rolled_back_by_act_stays_down_while_git_insists", &world);
}

#[test]
fn whoever_rolls_back_before_the_first_install_gets_the_reference() {
    let mut wanted = spec();
    wanted.target = None;
    wanted.rollout.bootstrap = Some("int4".into());
    let mut world = World::new(wanted);
    world.people = people();
    acts(&mut world, ActKind::RollBack, "cid");
    world.run(120);
    assert_eq!(world.stable(), "fp32", "{}", world.transcript);
}

#[test]
fn rollback_act_expires() {
    let mut world = World::new(spec());
    world.people = people();
    world.decides_twice = true;
    world.run(900);
    assert_eq!(world.stable(), "int8");
    let mut roll_back = act(&world, ActKind::RollBack, "cid");
    roll_back.spec.valid_for = "10m".into();
    world.people.acts.push(roll_back);
    edited(&mut world);
    assert_eq!(world.stable(), "fp32", "{}", world.transcript);
    world.run(580);
    assert_eq!((weight(&world), world.stable()), (None, "fp32"));
    world.run(120);
    assert!(weight(&world).is_some(), "{}", world.transcript);
    story("rollback_act_expires", &world);
}

/// A RollBack of a new revision of what serves leaves the one that is proven.
#[test]
fn a_rollback_of_a_new_revision_leaves_the_old_one_where_it_is() {
    let mut world = World::new(spec());
    world.people = people();
    world.run(900);
    let before = world.status.stable.clone();
    world.spec.variants[1].weights.digest = format!("sha256:{}", "7".repeat(64));
    edited(&mut world);
    world.run(60);
    assert!(weight(&world).is_some());
    acts(&mut world, ActKind::RollBack, "cid");
    world.run(300);
    assert_eq!(
        (weight(&world), &world.status.stable),
        (None, &before),
        "{}",
        world.transcript
    );
}

#[test]
fn frozen_in_mid_climb_holds_and_goes_on() {
    let mut world = governed(spec(), &freeze("00:01:55", "01:01:55"));
    world.run(130);
    assert_eq!(weight(&world), Some(25));
    world.run(3_500);
    assert_eq!((weight(&world), reason(&world, "Progressing")), (Some(25), "Frozen"));
    world.run(700);
    assert_eq!(world.stable(), "int8", "the deadline stood still: {}", world.transcript);
    story("frozen_in_mid_climb_holds_and_goes_on", &world);
}

#[test]
fn harm_in_a_freeze_is_rolled_back_at_once() {
    let mut world = governed(spec(), &freeze("00:01:55", "01:01:55"));
    world.run(600);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(120);
    assert!(has(&world, Action::RolledBack), "{}", world.transcript);
    story("harm_in_a_freeze_is_rolled_back_at_once", &world);
}

#[test]
fn harm_while_awaiting_approval() {
    let mut world = governed(spec(), &json!({"approvals": [{"before": "Promotion"}]}));
    world.run(600);
    assert_eq!(reason(&world, "Progressing"), "AwaitingApproval");
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(120);
    assert!(
        has(&world, Action::RolledBack) && world.status.awaiting.is_none(),
        "{}",
        world.transcript
    );
    story("harm_while_awaiting_approval", &world);
}

#[test]
fn breakglass_opens_the_freeze_and_not_the_floor() {
    let mut rules = freeze("00:01:55", "05:01:55");
    rules["floor"] = json!({"minBits": 8});
    let mut wanted = spec();
    wanted.target = None;
    let mut world = governed(wanted, &rules);
    world.run(300);
    assert_eq!(weight(&world), Some(25));
    acts(&mut world, ActKind::BreakGlass, "dan");
    world.run(900);
    assert_eq!((world.stable(), weight(&world)), ("int8", None), "{}", world.transcript);
    assert_eq!(reason(&world, "Stalled"), "PolicyNotMet");
    story("breakglass_opens_the_freeze_and_not_the_floor", &world);
}

/// What was found harmful gets no weight by any gate that a person opens, whether he opens it before or afterwards.
#[test]
fn breakglass_gives_no_weight_to_what_is_harmful() {
    let mut world = governed(spec(), &first_traffic(1));
    acts(&mut world, ActKind::BreakGlass, "dan");
    world.run(110);
    assert_eq!(weight(&world), Some(25), "{}", world.transcript);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    assert!(has(&world, Action::RolledBack), "{}", world.transcript);
    acts(&mut world, ActKind::BreakGlass, "eve");
    world.run(900);
    let held = (weight(&world), world.stable(), world.status.rejected.len());
    assert_eq!(held, (None, "fp32", 1), "{}", world.transcript);
}

#[test]
fn floor_rises_under_a_candidate() {
    let mut world = governed(spec(), &json!({}));
    world.run(110);
    assert_eq!(weight(&world), Some(25));
    world.governance = Governance::Governed(asks(&json!({"floor": {"minBits": 16}})));
    edited(&mut world);
    world.run(240);
    assert_eq!((weight(&world), reason(&world, "Stalled")), (Some(25), "PolicyNotMet"));
    assert_eq!(reason(&world, "PolicyBreached"), "BelowFloor");
    let findings = &world.status.policy.as_ref().expect("it is governed").findings;
    assert_eq!(findings.iter().filter(|found| found.rule == "floor.minBits").count(), 1);
    story("floor_rises_under_a_candidate", &world);
}

/// int8 is stable, int4 has served before, and the floor rises above it. Without int8 in the spec nobody knows what is less.
#[test]
fn no_traffic_moves_below_the_floor_from_a_variant_that_is_taken_out_of_the_spec() {
    let mut wanted = spec();
    wanted.target = None;
    let mut world = governed(wanted, &json!({}));
    world.decides_twice = false;
    world.run(2_400);
    assert_eq!(world.stable(), "int4", "{}", world.transcript);
    world.spec.target = Some("int8".into());
    edited(&mut world);
    world.run(300);
    assert_eq!(world.stable(), "int8", "{}", world.transcript);
    world.governance = Governance::Governed(asks(&json!({"floor": {"minBits": 8}})));
    world.spec.target = None;
    world.spec.variants.remove(1);
    edited(&mut world);
    world.run(60);
    assert_eq!(
        (world.stable(), reason(&world, "Stalled")),
        ("int8", "PolicyNotMet"),
        "{}",
        world.transcript
    );
    world.spec.target = Some("fp32".into());
    edited(&mut world);
    assert_eq!(world.stable(), "fp32", "less waits for nothing: {}", world.transcript);
}

#[test]
fn floor_rises_under_stable_is_reported() {
    let mut world = governed(spec(), &json!({}));
    world.run(900);
    assert_eq!(world.stable(), "int8");
    world.governance = Governance::Governed(asks(&json!({"floor": {"minBits": 16}})));
    edited(&mut world);
    world.run(600);
    assert_eq!(
        (world.stable(), reason(&world, "PolicyBreached")),
        ("int8", "BelowFloor")
    );
    story("floor_rises_under_stable_is_reported", &world);
}

#[test]
fn floor_rises_under_stable_and_it_falls_back_when_it_is_its_turn() {
    let mut world = governed(spec(), &json!({}));
    world.run(900);
    let mut now = asks(&json!({"floor": {"minBits": 16, "onBreach": "FallBack"}}));
    now.turn = false;
    world.governance = Governance::Governed(now.clone());
    edited(&mut world);
    world.run(120);
    assert_eq!(world.stable(), "int8");
    (now.turn, now.slot) = (
        true,
        Slot::Full {
            of: 1,
            in_use: vec!["risk/other".to_owned()],
        },
    );
    world.governance = Governance::Governed(now.clone());
    edited(&mut world);
    assert_eq!(world.stable(), "int8");
    now.slot = Slot::Free;
    world.governance = Governance::Governed(now);
    edited(&mut world);
    world.run(120);
    assert_eq!((world.stable(), weight(&world)), ("fp32", None), "{}", world.transcript);
    assert!(has(&world, Action::Demoted));
    story("floor_rises_under_stable_and_it_falls_back_when_it_is_its_turn", &world);
}

/// A calibration of an hour is fresh when int8 is promoted, and is not for long.
fn stale_by_and_by(on_stale: &str) -> World {
    let mut wanted = spec();
    let calibration = wanted.variants[1].calibration.as_mut().expect("a calibration");
    (calibration.max_age, calibration.completed_at) =
        (None, serde_json::from_value(json!("2026-11-10T00:00:00Z")).ok());
    let mut world = governed(wanted, &json!({"calibration": {"maxAge": "1h", "onStale": on_stale}}));
    world.run(900);
    assert_eq!((world.stable(), reason(&world, "CalibrationFresh")), ("int8", "Fresh"));
    // Another date makes it no fresher.
    let calibration = world.spec.variants[1].calibration.as_mut().expect("a calibration");
    calibration.completed_at = serde_json::from_value(json!("2026-11-10T00:15:00Z")).ok();
    edited(&mut world);
    let mut told = 0;
    world.run_watched(3_600, &mut |_, _, plan| {
        let events = plan.events.iter();
        told += events.filter(|event| event.reason == Reason::CalibrationStale).count();
    });
    // One that falls back serves no more, which is told instead.
    assert_eq!(told, usize::from(on_stale == "Warn"));
    world
}

#[test]
fn stale_calibration_warns() {
    let world = stale_by_and_by("Warn");
    assert_eq!((world.stable(), reason(&world, "CalibrationFresh")), ("int8", "Stale"));
    story("stale_calibration_warns", &world);
}

#[test]
fn stale_calibration_falls_back() {
    let world = stale_by_and_by("FallBack");
    assert_eq!((world.stable(), reason(&world, "Stalled")), ("fp32", "PolicyNotMet"));
    story("stale_calibration_falls_back", &world);
}

#[test]
fn third_rollout_waits_for_a_slot() {
    let mut world = governed(spec(), &json!({"maxInProgress": 2}));
    let mut full = asks(&json!({"maxInProgress": 2}));
    full.slot = Slot::Full {
        of: 2,
        in_use: vec!["risk/one".to_owned(), "risk/two".to_owned()],
    };
    world.governance = Governance::Governed(full);
    world.run(120);
    assert_eq!((weight(&world), reason(&world, "Progressing")), (None, "AwaitingSlot"));
    world.governance = Governance::Governed(asks(&json!({"maxInProgress": 2})));
    edited(&mut world);
    world.run(40);
    assert_eq!(weight(&world), Some(5));
    story("third_rollout_waits_for_a_slot", &world);
}

#[test]
fn bootstrap_of_int4_is_refused() {
    let mut wanted = spec();
    wanted.target = None;
    wanted.rollout.bootstrap = Some("int4".into());
    let mut world = governed(wanted, &json!({"rollout": {"bootstrap": "Reference"}}));
    world.run(120);
    assert_eq!((world.stable(), reason(&world, "Stalled")), ("", "PolicyNotMet"));
    world.spec.rollout.bootstrap = None;
    edited(&mut world);
    world.run(120);
    assert_eq!(world.stable(), "fp32");
    story("bootstrap_of_int4_is_refused", &world);
}

#[test]
fn escalated_and_resumed() {
    let mut wanted = spec();
    wanted.rollout.deadline = "5m".into();
    wanted.rollout.on_undecided = OnUndecided::Escalate;
    let mut world = governed(wanted, &json!({}));
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.007));
    world.run(400);
    let escalated = |world: &World| {
        let rollout = world.status.rollout.as_ref().expect("a rollout");
        rollout.escalated_at.is_some()
    };
    assert!(escalated(&world), "{}", world.transcript);
    world.run(1_800);
    acts(&mut world, ActKind::Resume, "cid");
    assert!(!escalated(&world));
    world.run(290);
    assert!(!escalated(&world), "it has its whole deadline again");
    world.run(30);
    assert!(escalated(&world), "and no more");
    story("escalated_and_resumed", &world);
}

#[test]
fn policies_that_come_and_go_are_on_record_and_a_rollout_keeps_its_rules() {
    let mut world = governed(spec(), &json!({"rollout": {"maxFirstStep": 5}}));
    world.run(110);
    assert!(
        !has(&world, Action::Governed),
        "a model that is new begins under its policies"
    );
    world.governance = Governance::Ungoverned;
    edited(&mut world);
    assert!(has(&world, Action::Ungoverned) && world.status.policy.is_none());
    // The step that the rollout began with is loosened now that nobody asks.
    world.spec.rollout.steps[0].weight = 20;
    edited(&mut world);
    world.run(300);
    assert_eq!((weight(&world), reason(&world, "Stalled")), (Some(25), "PolicyNotMet"));
    world.governance = Governance::Governed(asks(&json!({})));
    edited(&mut world);
    assert!(has(&world, Action::Governed) && world.status.policy.is_some());
}

/// Its status is lost, and rebuilt before the watch of policies has delivered.
#[test]
fn a_rollout_that_is_rebuilt_while_nobody_knows_what_policies_ask_goes_on_under_their_rules() {
    let rules = json!({"approvals": [{"before": "FirstTraffic"}]});
    let mut world = governed(spec(), &rules);
    world.run(60);
    acts(&mut world, ActKind::Approve, "bob");
    world.run(30);
    assert_eq!(weight(&world), Some(5), "{}", world.transcript);
    world.decides_twice = false;
    world.people.acts.clear();
    world.status = QuantizedModelStatus::default();
    world.governance = Governance::Unknown("not delivered".to_owned());
    edited(&mut world);
    assert!(has(&world, Action::Recovered), "{}", world.transcript);
    assert_eq!(weight(&world), Some(5));
    world.governance = Governance::Governed(asks(&rules));
    edited(&mut world);
    world.run(300);
    assert_eq!(
        (weight(&world), reason(&world, "Progressing")),
        (Some(5), "AwaitingApproval"),
        "{}",
        world.transcript
    );
}

/// Each edit names another set of data, and the first is that of int8.
#[test]
fn a_calibration_is_not_made_fresher_by_many_others() {
    let mut world = governed(spec(), &json!({"calibration": {"maxAge": "1h"}}));
    world.run(5);
    let known = |world: &World| {
        let calibration = world.spec.variants[1].calibration.as_ref().expect("a calibration");
        let mut all = world.status.calibrations.iter();
        let first = all.find(|of| of.dataset == calibration.dataset.digest);
        first.map(|of| of.completed_at.clone())
    };
    let first = known(&world);
    assert!(first.is_some());
    // From now on it is said to have been done today.
    let calibration = world.spec.variants[1].calibration.as_mut().expect("a calibration");
    calibration.completed_at = serde_json::from_value(json!("2026-11-10T00:00:00Z")).ok();
    for number in 0..100 {
        let mut other = world.spec.variants[1].calibration.clone().expect("a calibration");
        other.dataset.digest = format!("sha256:{number:064}");
        world.spec.variants[2].calibration = Some(other);
        edited(&mut world);
    }
    assert_eq!((world.status.calibrations.len(), known(&world)), (64, first));
}

#[test]
fn a_dry_run_is_told_and_holds_nothing_back() {
    let mut world = governed(spec(), &json!({}));
    let Governance::Governed(governed) = &mut world.governance else {
        unreachable!()
    };
    governed.dry_run = asks(&json!({"floor": {"minBits": 16}})).rules;
    world.run(120);
    let findings = &world.status.policy.as_ref().expect("it is governed").findings;
    let told: Vec<_> = findings
        .iter()
        .map(|found| (found.rule.as_str(), found.enforced))
        .collect();
    assert_eq!(told, [("floor.minBits", false)]);
    world.run(900);
    assert_eq!(world.stable(), "int8");
}

#[test]
fn a_killed_controller_goes_on_from_the_status_alone() {
    let ended = |every: i64| {
        let mut world = governed(spec(), &first_traffic(1));
        let mut script = vec![(60, ActKind::Approve), (110, ActKind::Pause), (200, ActKind::Resume)];
        script.reverse();
        while world.now.duration_since(world.start).as_secs() < 1_200 {
            let now = world.now.duration_since(world.start).as_secs();
            if let Some((_, kind)) = script.pop_if(|(at, _)| *at <= now) {
                let act = act(&world, kind, "bob");
                world.people.acts.push(act);
                world.generation += 1;
            }
            world.run(1);
            if now % every == 0 {
                let stored = serde_json::to_string(&world.status).expect("JSON");
                world.status = serde_json::from_str(&stored).expect("a status");
            }
        }
        let decided: Vec<_> = world.status.decisions.iter().map(|d| d.action.clone()).collect();
        (decided, world.status.stable.clone(), world.route.weights.clone())
    };
    let alive = ended(i64::MAX);
    assert_eq!(alive.1.as_ref().map(|stable| stable.variant.as_str()), Some("int8"));
    for every in [1, 7, 50] {
        assert_eq!(ended(every), alive, "killed every {every} s");
    }
}

#[test]
fn people_who_may_be_anybody_open_nothing_and_lower_all_the_same() {
    let mut world = governed(spec(), &first_traffic(1));
    world.people.assurance = Assurance::Claimed;
    world.run(60);
    acts(&mut world, ActKind::Approve, "bob");
    acts(&mut world, ActKind::Approve, "cid");
    acts(&mut world, ActKind::BreakGlass, "dan");
    world.run(60);
    assert_eq!((weight(&world), reason(&world, "Governed")), (Some(0), "AdmissionOff"));
    acts(&mut world, ActKind::RollBack, "eve");
    assert_eq!(weight(&world), None);
    acts(&mut world, ActKind::Resume, "eve");
    assert_eq!(weight(&world), None);
}

/// Who approved, who wrote the change and what policies ask is in what was seen, so a verifier that decides again counts it again.
#[test]
fn without_its_approval_or_in_a_freeze_a_record_does_not_decide_the_same() {
    let mut world = governed(spec(), &first_traffic(1));
    world.run(60);
    acts(&mut world, ActKind::Approve, "bob");
    let read = |bytes: &Vec<u8>| Statement::parse(bytes).expect("a record").predicate;
    let mut records = world.chain.records.iter().map(read);
    let record = records.find(|record| {
        record
            .decisions
            .iter()
            .any(|decision| decision.action == Action::Raised)
    });
    let Predicate { look, decisions, .. } = record.expect("the raise is on record");
    assert_eq!(resolve(&look.seen, look.heard.clone()).decisions, decisions);
    let forgeries: [fn(&mut Seen<'static>); 4] = [
        |seen| seen.people.to_mut().acts.clear(),
        |seen| seen.people.to_mut().authors.push("bob".to_owned()),
        |seen| seen.people.to_mut().author_assurance = Assurance::Claimed,
        |seen| seen.governance = Cow::Owned(Governance::Governed(asks(&freeze("00:00:00", "01:00:00")))),
    ];
    for (number, forge) in forgeries.into_iter().enumerate() {
        let mut seen = look.seen.clone();
        forge(&mut seen);
        let again = resolve(&seen, look.heard.clone()).decisions;
        assert!(
            again.iter().all(|decision| decision.action != Action::Raised),
            "forgery {number}: {again:?}"
        );
    }
}
