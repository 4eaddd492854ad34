//! What waits for records and for policies, and what does not: nothing rises by what is not on record, and whoever is lowered is
//! lowered.

use guardbit::api::{Action, QuantizedModelStatus, RevisionRef};
use guardbit::model::identity::Purpose;
use guardbit::rollout::{
    Governance, Governed, LedgerProblem, LedgerReason, LedgerSeen, Order, Plan, Reason, RecoveryMarks, Remembered,
    RouteSeen, Workload, WorkloadKey, decide,
};

use crate::golden::{at_25_percent, bad};
use crate::world::{World, spec};

fn governed() -> Governance {
    Governance::Governed(Governed {
        from: vec!["high-risk@3".to_owned()],
        records: true,
        ..Governed::default()
    })
}

/// From now on something that was decided at this time is not on record.
fn is_behind(world: &mut World) {
    world.governance = governed();
    world.ledger.unwritten_since = Some(world.now);
}

fn weight(plan: &Plan, variant: &str) -> i32 {
    let route = plan.route.as_ref().expect("a route");
    assert_eq!(route.weights.iter().map(|(_, weight)| weight).sum::<i32>(), 100);
    let of = route.weights.iter().filter(|(of, _)| of.variant == variant);
    of.map(|(_, weight)| weight).sum()
}

fn carried(world: &World, variant: &str) -> i32 {
    let of = world.route.weights.iter().filter(|(of, _)| of.variant == variant);
    of.map(|(_, weight)| weight).sum()
}

fn reason(status: &QuantizedModelStatus, kind: &str) -> Option<(String, String)> {
    let condition = status.conditions.iter().find(|c| c.type_ == kind)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

fn said(truth: &str, reason: &str) -> Option<(String, String)> {
    Some((truth.to_owned(), reason.to_owned()))
}

fn has(world: &World, action: Action) -> bool {
    world.status.decisions.iter().any(|decision| decision.action == action)
}

/// The world as it was before a decision, with the status that says it: its record could not be written.
fn refused(mut world: World, action: Action) -> World {
    world.governance = governed();
    for _ in 0..2_000 {
        let before = world.route.clone();
        world.run(1);
        if has(&world, action) {
            world.route = before;
            let decision = world.status.decisions.iter().find(|decision| decision.action == action);
            world.ledger.unwritten_since = decision.map(|decision| decision.time.0);
            return world;
        }
    }
    panic!("never {action}: {}", world.transcript);
}

#[test]
fn no_weight_rises_until_what_was_decided_is_on_record() {
    let mut world = at_25_percent();
    is_behind(&mut world);
    world.run(300);
    assert_eq!(carried(&world, "int8"), 25);
    assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(25));
    assert_eq!(reason(&world.status, "Progressing"), said("True", "RecordPending"));
    assert_eq!(
        reason(&world.status, "Stalled"),
        said("False", "AsExpected"),
        "no person must act"
    );
    world.ledger = LedgerSeen::default();
    world.run(600);
    assert!(has(&world, Action::Promoted), "{}", world.transcript);
}

#[test]
fn a_weight_in_status_that_is_not_on_record_is_not_given() {
    let mut world = at_25_percent();
    world.status.rollout.as_mut().expect("a rollout").weight = 50;
    is_behind(&mut world);
    let held = decide(&world.observe());
    assert_eq!((weight(&held, "int8"), weight(&held, "fp32")), (25, 75));
    world.ledger = LedgerSeen::default();
    assert_eq!(weight(&decide(&world.observe()), "int8"), 50);
}

#[test]
fn harm_is_lowered_at_once_whatever_is_not_on_record() {
    for governance in [governed(), Governance::Unknown("not delivered".to_owned())] {
        let lowered_at = |behind: bool| {
            let mut world = at_25_percent();
            if behind {
                is_behind(&mut world);
                world.governance = governance.clone();
            }
            world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
            for _ in 0..300 {
                world.run(1);
                if has(&world, Action::RolledBack) {
                    let plan = world.last_plan.as_ref().expect("a plan");
                    assert_eq!(
                        (plan.order, weight(plan, "int8"), weight(plan, "fp32")),
                        (Order::LowerFirst, 0, 100)
                    );
                    return world.now.duration_since(world.start).as_secs();
                }
            }
            panic!("harm stays: {}", world.transcript);
        };
        assert_eq!(lowered_at(true), lowered_at(false));
    }
}

/// A raise that is not on record may be so for hours.
#[test]
fn harm_is_found_at_the_weight_that_there_is_while_a_raise_is_not_on_record() {
    let mut world = at_25_percent();
    world.status.rollout.as_mut().expect("a rollout").weight = 50;
    is_behind(&mut world);
    world.run(120);
    assert_eq!(carried(&world, "int8"), 25);
    assert_eq!(reason(&world.status, "Progressing"), said("True", "RecordPending"));
    assert_eq!(reason(&world.status, "EvidenceAvailable"), said("True", "Fresh"));
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(60);
    assert!(has(&world, Action::RolledBack), "{}", world.transcript);
    assert_eq!(carried(&world, "int8"), 0);
}

#[test]
fn a_promotion_moves_no_traffic_until_it_is_on_record() {
    let mut world = refused(World::new(spec()), Action::Promoted);
    let before = (carried(&world, "int8"), carried(&world, "fp32"));
    assert!(before.0 < 100 && before.0 > 0, "{before:?}");
    let held = decide(&world.observe());
    assert_eq!((weight(&held, "int8"), weight(&held, "fp32")), before);
    world.ledger = LedgerSeen::default();
    let moved = decide(&world.observe());
    assert!(weight(&moved, "int8") > before.0);
}

#[test]
fn a_promotion_that_is_not_on_record_moves_no_traffic_when_what_served_before_is_to_be_warm_no_longer() {
    let mut wanted = spec();
    wanted.rollout.keep_warm = "60s".into();
    let mut world = refused(World::new(wanted), Action::Promoted);
    let before = (carried(&world, "int8"), carried(&world, "fp32"));
    world.run(300);
    assert_eq!(
        (carried(&world, "int8"), carried(&world, "fp32")),
        before,
        "{}",
        world.transcript
    );
    world.ledger = LedgerSeen::default();
    world.run(10);
    assert!(carried(&world, "int8") > before.0, "{}", world.transcript);
}

#[test]
fn a_promoted_variant_that_turns_bad_before_it_is_on_record_loses_what_it_has() {
    let mut world = refused(World::new(spec()), Action::Promoted);
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    assert!(has(&world, Action::FellBack), "{}", world.transcript);
    assert_eq!((carried(&world, "int8"), carried(&world, "fp32")), (0, 100));
}

#[test]
fn the_first_install_gets_its_traffic_when_it_is_on_record() {
    let mut world = refused(World::new(spec()), Action::Bootstrapped);
    world.route = RouteSeen::default();
    let held = decide(&world.observe());
    assert!(
        held.route.is_none() && !held.workloads.is_empty(),
        "pods are made, and get no requests"
    );
    world.ledger = LedgerSeen::default();
    assert_eq!(weight(&decide(&world.observe()), "fp32"), 100);
}

#[test]
fn an_old_decision_that_is_on_record_is_carried_out_whatever_came_later() {
    let mut world = at_25_percent();
    is_behind(&mut world);
    // Somebody deletes the route while a later record is missing.
    world.route = RouteSeen::default();
    let plan = decide(&world.observe());
    assert_eq!(
        (weight(&plan, "int8"), weight(&plan, "fp32")),
        (0, 100),
        "stable serves at once"
    );
}

#[test]
fn behind_one_service_no_pod_joins_by_what_is_not_on_record() {
    let mut world = at_25_percent();
    is_behind(&mut world);
    world.spec.traffic =
        serde_json::from_value(serde_json::json!({"service": {"allowCoarseSteps": true}})).expect("a Service");
    let int8 = |plan: &Plan| {
        let mut workloads = plan.workloads.iter();
        let (_, workload) = workloads.find(|(key, _)| key.revision.variant == "int8").expect("int8");
        workload.joined
    };
    let mut observation = world.observe();
    for (key, workload) in &mut observation.workloads {
        workload.joined = if key.revision.variant == "int8" {
            2
        } else {
            workload.ready
        };
    }
    assert_eq!(int8(&decide(&observation)).of(9), 2, "those that serve go on");
    observation.ledger = LedgerSeen::default();
    assert_eq!(int8(&decide(&observation)).of(9), 9);
}

#[test]
fn while_nobody_knows_what_policies_ask_pods_are_made_and_nothing_rises() {
    let mut world = World::new(spec());
    world.governance = Governance::Unknown("the watch has not delivered".to_owned());
    world.run(120);
    assert!(world.status.decisions.is_empty() && !world.workloads.is_empty());
    assert_eq!(reason(&world.status, "Progressing"), said("True", "GovernanceUnknown"));
    assert_eq!(reason(&world.status, "Recorded"), None);
    world.governance = Governance::Ungoverned;
    world.run(120);
    assert!(has(&world, Action::Raised), "{}", world.transcript);
}

#[test]
fn a_policy_may_ask_for_signed_records_and_one_that_cannot_be_read_holds() {
    let held = |governed: Governed, unsigned: bool| {
        let mut world = at_25_percent();
        world.governance = Governance::Governed(governed);
        world.ledger.unsigned = unsigned.then(|| "no such file".to_owned());
        world.run(300);
        (carried(&world, "int8"), reason(&world.status, "Stalled"))
    };
    let asks = |signed: bool| Governed {
        records: true,
        signed,
        ..Governed::default()
    };
    assert_eq!(held(asks(true), true), (25, said("True", "KeyMissing")));
    assert!(held(asks(true), false).0 > 25);
    assert!(held(asks(false), true).0 > 25);
    let unreadable = Governed {
        unreadable: Some("this release cannot read spec.quorum".to_owned()),
        ..asks(false)
    };
    assert_eq!(held(unreadable, false), (25, said("True", "PolicyUnreadable")));
}

#[test]
fn the_condition_says_whether_every_decision_is_on_record() {
    let mut world = at_25_percent();
    world.run(5);
    assert_eq!(reason(&world.status, "Recorded"), None, "nothing goes on record");
    world.governance = governed();
    world.run(5);
    assert_eq!(reason(&world.status, "Recorded"), said("True", "Signed"));
    is_behind(&mut world);
    world.ledger.problem = Some(LedgerProblem {
        reason: LedgerReason::NotWritten,
        message: "exceeded quota".to_owned(),
    });
    let told = |world: &mut World| {
        let plan = world.evaluate();
        plan.events.iter().any(|event| event.reason == Reason::NotRecorded)
    };
    assert!(told(&mut world), "it is told");
    assert!(!told(&mut world), "and told once");
    assert_eq!(reason(&world.status, "Recorded"), said("False", "NotWritten"));
    world.ledger = LedgerSeen {
        unsigned: Some("no key".to_owned()),
        ..LedgerSeen::default()
    };
    let plan = world.evaluate();
    assert!(plan.events.iter().any(|event| event.reason == Reason::Unsigned));
    assert_eq!(reason(&world.status, "Recorded"), said("True", "Unsigned"));
    (world.governance, world.ledger) = (Governance::Ungoverned, LedgerSeen::default());
    world.evaluate();
    assert_eq!(reason(&world.status, "Recorded"), None);
}

/// The status is gone, and somebody wrote on the Deployments that int8 is stable and has earned its traffic, and set weights.
fn forged(mut world: World) -> World {
    world.status = QuantizedModelStatus::default();
    for (key, workload) in &mut world.workloads {
        let is_forged = key.revision.variant == "int8";
        workload.marks.stable = is_forged;
        workload.marks.proven = is_forged;
        workload.marks.reference = is_forged;
    }
    world
}

fn stable(world: &World) -> Option<&str> {
    world.status.stable.as_ref().map(|stable| stable.variant.as_str())
}

fn proven(world: &World) -> Vec<&str> {
    let proven = world.status.proven.iter();
    proven.map(|proven| proven.variant.as_str()).collect()
}

#[test]
fn a_lost_status_is_rebuilt_from_the_newest_record_whatever_objects_say() {
    let mut world = at_25_percent();
    let status = world.status.clone();
    let rollout = status.rollout.expect("a rollout");
    let of = |variant: &str| {
        let mut arms = world.route.weights.keys();
        arms.find(|of| of.variant == variant).cloned().expect("an arm")
    };
    let (fp32, int8): (RevisionRef, RevisionRef) = (of("fp32"), of("int8"));
    world = forged(world);
    world.governance = governed();
    world.route.weights.insert(fp32.clone(), 10);
    world.route.weights.insert(int8.clone(), 90);
    let without = world.observe();
    world.ledger.remembered = Some(Box::new(Remembered {
        stable: status.stable,
        reference: status.reference,
        on_trial: Some((rollout.candidate, rollout.weight)),
        proven: vec![fp32],
        rejected: status.rejected,
    }));
    let plan = world.evaluate();
    assert!(has(&world, Action::Recovered), "{}", world.transcript);
    assert_eq!((stable(&world), proven(&world)), (Some("fp32"), vec!["fp32"]));
    let on_trial = world.status.rollout.as_ref().map(|rollout| rollout.weight);
    assert_eq!(
        (on_trial, weight(&plan, "int8")),
        (Some(25), 25),
        "nobody decided on 90%"
    );
    // That this is so because of the record, is shown by what happens without it.
    let fooled = decide(&without).status.stable.map(|stable| stable.variant);
    assert_eq!(fooled.as_deref(), Some("int8"));
}

#[test]
fn what_was_rejected_on_record_stays_rejected_though_nothing_says_so_on_its_deployment() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(300);
    let status = world.status.clone();
    assert_eq!(status.rejected.len(), 1, "{}", world.transcript);
    for workload in world.workloads.values_mut() {
        workload.marks.rejected = None;
    }
    (world.status, world.governance) = (QuantizedModelStatus::default(), governed());
    world.ledger.remembered = Some(Box::new(Remembered {
        stable: status.stable,
        reference: status.reference,
        rejected: status.rejected.clone(),
        ..Remembered::default()
    }));
    world.evaluate();
    assert_eq!(world.status.rejected, status.rejected);
    world.ledger = LedgerSeen::default();
    world.run(600);
    assert_eq!(carried(&world, "int8"), 0, "{}", world.transcript);
}

#[test]
fn what_was_rejected_on_record_is_not_taken_for_stable_where_nothing_else_runs_that_the_record_knows() {
    let mut world = at_25_percent();
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    for _ in 0..300 {
        if world.status.rejected.is_empty() {
            world.run(1);
        }
    }
    let rejected = world.status.rejected.clone();
    assert_eq!(rejected.len(), 1, "{}", world.transcript);
    world = forged(world);
    for workload in world.workloads.values_mut() {
        workload.marks.rejected = None;
    }
    world.workloads.retain(|key, _| key.revision.variant == "int8");
    assert!(!world.workloads.is_empty());
    world.governance = governed();
    let without = decide(&world.observe()).status.stable.map(|stable| stable.variant);
    assert_eq!(without.as_deref(), Some("int8"), "it is marked");
    world.ledger.remembered = Some(Box::new(Remembered {
        rejected: rejected.clone(),
        ..Remembered::default()
    }));
    world.evaluate();
    assert_eq!(stable(&world), None, "{}", world.transcript);
    assert_eq!(world.status.rejected, rejected);
}

#[test]
fn a_deployment_that_somebody_made_before_the_model_is_not_taken_for_stable_where_policies_ask() {
    for is_governed in [true, false] {
        let mut world = World::new(spec());
        let int8 = world.observe().model.revisions[1].clone();
        let key = WorkloadKey {
            revision: int8,
            purpose: Purpose::Serving,
        };
        let planted = Workload {
            desired: 10,
            ready: 10,
            pods: 10,
            image_ids: vec!["sha256:aa".to_owned()],
            marks: RecoveryMarks {
                stable: true,
                proven: true,
                reference: true,
                ..RecoveryMarks::default()
            },
            ..Workload::default()
        };
        world.workloads.insert(key, planted);
        if is_governed {
            world.governance = governed();
        }
        world.evaluate();
        assert_eq!(has(&world, Action::Recovered), !is_governed, "{}", world.transcript);
        let fooled = (!is_governed).then_some("int8");
        assert_eq!(stable(&world), fooled, "{}", world.transcript);
        if is_governed {
            world.run(60);
            assert_eq!(stable(&world), Some("fp32"), "{}", world.transcript);
            assert!(has(&world, Action::Bootstrapped), "{}", world.transcript);
        }
    }
}
