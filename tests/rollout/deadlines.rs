//! What a promotion needs beyond health, and what follows when it is not reached in time.

use crate::golden::{bad, story};
use crate::world::{Behaviour, World, spec};
use guardbit::api::{Action, Benefit, OnUndecided, Phase, QuantizedModelSpec};

fn asking_for(guard: &str, at_least: &str) -> QuantizedModelSpec {
    let mut spec = spec();
    spec.rollout.benefit = Some(Benefit {
        guard: guard.into(),
        at_least: at_least.into(),
    });
    spec.rollout.deadline = "10m".into();
    spec
}

fn actions(world: &World) -> Vec<Action> {
    world.status.decisions.iter().filter_map(|d| d.action.known()).collect()
}

fn weight(world: &World) -> i32 {
    world.status.rollout.as_ref().map_or(0, |r| r.weight)
}

fn stalled(world: &World) -> (&str, &str, &str) {
    let condition = world.status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

#[test]
fn a_faster_variant_is_promoted_with_its_benefit_on_record() {
    let mut world = World::new(asking_for("latency", "5%"));
    world.behaviour.insert("int8".into(), bad(|b| b.slowdown = 0.7));
    world.run(600);
    story("a_faster_variant_is_promoted_with_its_benefit_on_record", &world);
}

#[test]
fn a_variant_without_the_benefit_is_undecided_and_not_rejected() {
    let mut world = World::new(asking_for("latency", "5%"));
    world.run(700);
    story("a_variant_without_the_benefit_is_undecided_and_not_rejected", &world);
    assert!(world.status.rejected.is_empty());
    assert_eq!(world.status.failed.len(), 1);
}

#[test]
fn a_benefit_is_shown_beside_the_guard_that_it_is_asked_of() {
    let mut world = World::new(asking_for("errors", "20%"));
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.0005));
    world.run(180);
    let benefits: Vec<_> = world.status.guards.iter().map(|g| g.benefit.as_deref()).collect();
    assert_eq!(benefits.iter().flatten().count(), 1, "{benefits:?}");
    let errors = world.status.guards.iter().find(|g| g.name == "errors").unwrap();
    insta::assert_snapshot!(errors.benefit.as_deref().unwrap(), @"errors: a share of 0.04% over 4,930 against 0.20% over 23,100, 80% lower (wanted: 20% lower), evidence 5.04 of 20.00");
}

#[test]
fn a_lateral_rollout_needs_no_benefit() {
    let mut world = World::new(asking_for("latency", "5%"));
    world.behaviour.insert("int8".into(), bad(|b| b.slowdown = 0.7));
    world.run(600);
    assert_eq!(world.status.stable.as_ref().unwrap().variant, "int8");
    world.spec.variants[1].weights.digest = format!("sha256:{}", "6".repeat(64));
    world.evaluate();
    world.run(600);
    assert!(world.status.rollout.is_none() && world.status.failed.is_empty());
    assert_eq!(actions(&world).last(), Some(&Action::Promoted));
}

#[test]
fn a_benefit_that_is_asked_of_no_guard_stalls_and_names_the_guards() {
    let mut world = World::new(asking_for("latencies", "5%"));
    world.run(60);
    insta::assert_snapshot!(stalled(&world).2, @r#"spec.rollout.benefit.guard: there is no guard "latencies"; write the name of one of them: errors, latency, drift"#);
    assert!(world.status.stable.is_none());
}

#[test]
fn a_benefit_that_is_edited_in_mid_rollout_starts_the_evidence_afresh() {
    let mut world = World::new(asking_for("latency", "5%"));
    world.run(200);
    world.spec.rollout.benefit = None;
    world.evaluate();
    assert_eq!(actions(&world).last(), Some(&Action::PlanChanged));
    assert!(world.status.guards.iter().all(|g| g.benefit.is_none()));
}

/// A rollout whose errors lie at the edge of what is tolerated, five minutes after its first weight.
fn escalated() -> World {
    let mut world = World::new(spec());
    world.spec.rollout.deadline = "5m".into();
    world.spec.rollout.on_undecided = OnUndecided::Escalate;
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.007));
    world.run(400);
    assert_eq!(world.status.phase, Some(Phase::AwaitingApproval.into()));
    assert_eq!(weight(&world), 50);
    world
}

#[test]
fn undecided_at_the_deadline_a_person_is_asked() {
    let mut world = escalated();
    let (status, reason, message) = stalled(&world);
    assert_eq!((status, reason), ("True", "AwaitingApproval"));
    assert!(message.contains("raise spec.rollout.deadline") && message.contains("lower spec.target to fp32"));
    world.run(1800);
    // Raised from 5 to 8 minutes: three more, whatever time a person took.
    world.spec.rollout.deadline = "8m".into();
    world.generation += 1;
    world.run(60);
    assert_eq!(world.status.phase, Some(Phase::Progressing.into()));
    world.run(180);
    assert_eq!(world.status.phase, Some(Phase::AwaitingApproval.into()));
    world.spec.target = Some("fp32".into());
    world.generation += 1;
    world.run(60);
    story("undecided_at_the_deadline_a_person_is_asked", &world);
}

#[test]
fn an_escalated_candidate_that_turns_out_healthy_is_promoted() {
    let mut world = escalated();
    world.behaviour.insert("int8".into(), Behaviour::default());
    world.run(1200);
    story("an_escalated_candidate_that_turns_out_healthy_is_promoted", &world);
}

#[test]
fn an_escalated_candidate_that_turns_out_harmful_is_rolled_back_at_once() {
    let mut world = escalated();
    world.behaviour.insert("int8".into(), bad(|b| b.errors = 0.2));
    world.run(30);
    assert_eq!(actions(&world).last(), Some(&Action::RolledBack));
    assert_eq!(world.status.rejected.len(), 1);
    assert_eq!(stalled(&world).1, "TargetRejected");
}

#[test]
fn a_wider_tolerance_decides_an_escalated_rollout() {
    let mut world = escalated();
    world.spec.guards[0].proportion.as_mut().unwrap().tolerance.absolute = Some("2%".into());
    world.generation += 1;
    world.run(300);
    assert!(actions(&world).contains(&Action::PlanChanged));
    assert_eq!(actions(&world).last(), Some(&Action::Promoted));
}

#[test]
fn while_a_person_is_asked_on_an_earlier_step_the_weight_stays() {
    let mut world = World::new(spec());
    world.spec.rollout.deadline = "2m".into();
    world.spec.rollout.on_undecided = OnUndecided::Escalate;
    world.run(1200);
    assert_eq!(weight(&world), 25);
    assert_eq!(world.status.phase, Some(Phase::AwaitingApproval.into()));
    insta::assert_snapshot!(stalled(&world).2, @"not decided within 2m: it is healthy so far, but the steps were not over; the weight stays and the evidence goes on: on the last step health still promotes, and harm rolls back at any. To go on raise spec.rollout.deadline; to withdraw the candidate lower spec.target to fp32; or widen a tolerance of spec.guards, which starts the evidence afresh, on record");
    world.spec.rollout.deadline = "1h".into();
    world.generation += 1;
    world.run(300);
    assert_eq!(actions(&world).last(), Some(&Action::Promoted));
}

#[test]
fn a_change_of_mind_about_the_undecided_applies_at_once() {
    for (then, expected) in [
        (OnUndecided::Hold, Action::Overdue),
        (OnUndecided::RollBack, Action::Undecided),
    ] {
        let mut world = escalated();
        world.spec.rollout.on_undecided = then;
        world.generation += 1;
        world.run(10);
        assert_eq!(actions(&world).last(), Some(&expected));
        assert_ne!(world.status.phase, Some(Phase::AwaitingApproval.into()));
    }
}

#[test]
fn a_pause_while_a_person_is_asked_does_not_start_the_clock() {
    let mut world = escalated();
    world.spec.paused = true;
    world.generation += 1;
    world.run(600);
    assert_eq!(world.status.phase, Some(Phase::Paused.into()));
    world.spec.paused = false;
    world.spec.rollout.deadline = "6m".into();
    world.generation += 1;
    world.run(30);
    assert_eq!(world.status.phase, Some(Phase::Progressing.into()));
    world.run(60);
    assert_eq!(world.status.phase, Some(Phase::AwaitingApproval.into()));
}

#[test]
fn a_candidate_that_is_never_ready_has_the_whole_schedule_deadline_at_each_try() {
    let mut world = World::new(spec());
    world.behaviour.insert("int8".into(), bad(|b| b.slow = true));
    world.run(3_600);
    let times = |action: Action| -> Vec<_> {
        let of = world.status.decisions.iter().filter(|d| d.action == action);
        of.map(|d| (d.time.0, d.why.clone())).collect()
    };
    let (started, failed) = (times(Action::Started), times(Action::Failed));
    assert_eq!((started.len(), failed.len()), (4, 4), "{}", world.transcript);
    for ((started, _), (failed, why)) in started.iter().zip(&failed) {
        assert_eq!(failed.duration_since(*started).as_secs(), 300, "{}", world.transcript);
        assert_eq!(why, "its pods for 5% were not ready within 5m");
    }
    assert_eq!(stalled(&world).1, "CandidateFailed");
}
