//! The invariants of a rollout, over random histories of at least fifty events. In these every decision is taken twice, the second
//! time from what goes on record of the observation: `resolve(parse(print(seen)), parse(print(heard)))` must be `decide`, and the
//! polls of a record must lead to what its tests know.

use std::collections::{BTreeMap, BTreeSet};

use crate::governed::{act, asks, governed, people};
use crate::world::{Behaviour, World, spec};
use guardbit::api::{
    ActKind, Action, Benefit, Decision, Duration, OnUndecided, PodTemplate, QuantizedModelStatus, RetiringReason,
    RevisionRef, RolloutKind, Verdict,
};
use guardbit::ledger::{Documents, Entry, Head, Predicate, Signing, Statement, Written};
use guardbit::model::identity::{self, Purpose};
use guardbit::rollout::{
    EvidenceProblem, EvidenceReason, Governance, Order, Plan, Scope, WorkloadKey, decide, hear, resolve,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Happening {
    Pass(i64),
    Behave(usize, Behaviour),
    Prometheus(bool),
    Refused(bool),
    Pause(bool),
    Suspend(bool),
    SetByHand(usize),
    Target(usize),
    Recalibrate(usize, u8),
    Tolerance(bool),
    Benefit(bool),
    Undecided(OnUndecided),
    Deadline(u8),
    WarmUp(u8),
    Stale(bool),
    Attempt,
    LoseStatus,
    SpoilEvidence,
    BreakSpec(bool),
    Policy(usize),
    Act(ActKind, &'static str),
}

const VARIANTS: [&str; 3] = ["fp32", "int8", "int4"];

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::default()),
        2 => Just(Behaviour { errors: 0.2, ..Behaviour::default() }),
        1 => Just(Behaviour { slowdown: 3.0, ..Behaviour::default() }),
        1 => Just(Behaviour { drift: 0.3, ..Behaviour::default() }),
        1 => Just(Behaviour { errors: 0.007, ..Behaviour::default() }),
        2 => Just(Behaviour { slowdown: 0.7, ..Behaviour::default() }),
        1 => Just(Behaviour { routed: 0.1, ..Behaviour::default() }),
        1 => Just(Behaviour { routed: 5.0, ..Behaviour::default() }),
        1 => Just(Behaviour { cold_errors: 0.5, ..Behaviour::default() }),
        1 => Just(Behaviour { unschedulable: true, ..Behaviour::default() }),
        1 => Just(Behaviour { crash: true, ..Behaviour::default() }),
        1 => Just(Behaviour { disrupted: true, ..Behaviour::default() }),
        1 => Just(Behaviour { images: 2, ..Behaviour::default() }),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => (1i64..150).prop_map(Happening::Pass),
        6 => (0usize..3, behaviour()).prop_map(|(i, b)| Happening::Behave(i, b)),
        2 => any::<bool>().prop_map(Happening::Prometheus),
        1 => any::<bool>().prop_map(Happening::Refused),
        1 => any::<bool>().prop_map(Happening::Pause),
        1 => prop::bool::weighted(0.3).prop_map(Happening::Suspend),
        1 => (0usize..3).prop_map(Happening::SetByHand),
        2 => (0usize..3).prop_map(Happening::Target),
        2 => (0usize..3, 0u8..4).prop_map(|(i, d)| Happening::Recalibrate(i, d)),
        1 => any::<bool>().prop_map(Happening::Tolerance),
        1 => any::<bool>().prop_map(Happening::Benefit),
        1 => prop_oneof![Just(OnUndecided::RollBack), Just(OnUndecided::Hold), Just(OnUndecided::Escalate)]
            .prop_map(Happening::Undecided),
        1 => (4u8..30).prop_map(Happening::Deadline),
        1 => (0u8..60).prop_map(Happening::WarmUp),
        1 => prop::bool::weighted(0.3).prop_map(Happening::Stale),
        1 => Just(Happening::Attempt),
        1 => Just(Happening::LoseStatus),
        1 => Just(Happening::SpoilEvidence),
        1 => prop::bool::weighted(0.3).prop_map(Happening::BreakSpec),
    ]
}

/// Rules of policies, some of them hard.
fn policies() -> [Value; 4] {
    [
        json!({}),
        forever_frozen(),
        json!({"approvals": [{"before": "FirstTraffic"}, {"before": "Promotion"}]}),
        json!({"floor": {"minBits": 8}, "rollout": {"maxFirstStep": 5, "bootstrap": "Reference"}}),
    ]
}

fn forever_frozen() -> Value {
    json!({"freezes": [{"name": "always", "between": {"from": "2026-01-01T00:00:00Z", "to": "2028-01-01T00:00:00Z"}}]})
}

/// The same, among policies that come and go, and people who act. Nobody has anything forgotten, so that a rejected identity never
/// rises again.
fn governed_happening() -> impl Strategy<Value = Happening> {
    let kinds = prop_oneof![
        4 => Just(ActKind::Approve),
        1 => Just(ActKind::Reject),
        2 => Just(ActKind::Pause),
        3 => Just(ActKind::Resume),
        2 => Just(ActKind::RollBack),
    ];
    prop_oneof![
        8 => happening(),
        2 => (0usize..4).prop_map(Happening::Policy),
        3 => (kinds, prop_oneof![Just("ann"), Just("bob"), Just("cid")])
            .prop_map(|(kind, by)| Happening::Act(kind, by)),
    ]
}

/// What bears on benefits, deadlines and the split of the traffic, in a rollout that is otherwise left alone.
fn undecided_happening() -> impl Strategy<Value = Happening> {
    let behaviour = prop_oneof![
        2 => Just(Behaviour::default()),
        2 => Just(Behaviour { slowdown: 0.7, ..Behaviour::default() }),
        2 => Just(Behaviour { errors: 0.007, ..Behaviour::default() }),
        1 => Just(Behaviour { errors: 0.0071, slowdown: 0.7, ..Behaviour::default() }),
        2 => Just(Behaviour { routed: 0.1, ..Behaviour::default() }),
        1 => Just(Behaviour { routed: 5.0, slowdown: 0.7, ..Behaviour::default() }),
        1 => Just(Behaviour { disrupted: true, ..Behaviour::default() }),
    ];
    prop_oneof![
        8 => (20i64..200).prop_map(Happening::Pass),
        5 => behaviour.prop_map(|b| Happening::Behave(1, b)),
        1 => Just(Happening::Behave(0, Behaviour { slowdown: 1.5, ..Behaviour::default() })),
        1 => any::<bool>().prop_map(Happening::Prometheus),
        1 => any::<bool>().prop_map(Happening::Pause),
        1 => prop::bool::weighted(0.8).prop_map(Happening::Benefit),
        2 => prop_oneof![1 => Just(OnUndecided::Hold), 3 => Just(OnUndecided::Escalate)].prop_map(Happening::Undecided),
        2 => (2u8..12).prop_map(Happening::Deadline),
        1 => (0u8..60).prop_map(Happening::WarmUp),
        1 => any::<bool>().prop_map(Happening::Tolerance),
    ]
}

/// Whoever is lowered is lowered, whatever nobody knows of policies and whatever is not on record; and who is on trial does not rise
/// then. Where nothing rises no pods are waited for, so that no candidate fails by them.
fn lowering_waits_for_no_record(world: &World, plan: &Plan) {
    let mut observation = world.observe();
    observation.governance = Governance::Unknown("not delivered".to_owned());
    observation.ledger.unwritten_since = Some(world.now);
    let held = decide(&observation);
    let lowers = |plan: &Plan| -> Vec<_> {
        let lowers = |action: Action| {
            use Action::{FellBack, RolledBack, Superseded, TargetMoved, Undecided, Withdrawn};
            matches!(
                action,
                FellBack | RolledBack | Superseded | TargetMoved | Undecided | Withdrawn
            )
        };
        let decisions = plan.decisions.iter();
        decisions
            .filter(|decision| decision.action.known().is_some_and(lowers))
            .cloned()
            .collect()
    };
    assert_eq!(lowers(&held), lowers(plan));
    if plan.order == Order::LowerFirst && !lowers(plan).is_empty() {
        assert_eq!(held.order, Order::LowerFirst);
    }
    if let (Some(rollout), Some(route)) = (&held.status.rollout, &held.route) {
        let carried = world.route.weights.get(&rollout.candidate).copied().unwrap_or(0);
        let given = route.weights.iter().find(|(of, _)| *of == rollout.candidate);
        assert!(
            given.is_none_or(|(_, weight)| *weight <= carried),
            "{given:?} of {carried}"
        );
        assert_eq!(route.weights.iter().map(|(_, weight)| weight).sum::<i32>(), 100);
    }
}

/// Whoever is lowered is lowered in the same evaluation, whatever policies ask and people do; and a policy lets nobody rise who would
/// not rise without it. `plan` was decided without any of them.
fn lowering_waits_for_nobody(world: &World, plan: &Plan) {
    let mut rules = forever_frozen();
    rules["floor"] = json!({"minBits": 32, "onBreach": "FallBack"});
    rules["approvals"] = json!([{"before": "FirstTraffic", "count": 3}, {"before": "Promotion"}]);
    let of = |plan: &Plan, is: fn(Action) -> bool| -> BTreeSet<RevisionRef> {
        let decisions = plan.decisions.iter();
        let decisions = decisions.filter(|decision| decision.action.known().is_some_and(is));
        let revision = |decision: &Decision| RevisionRef {
            variant: decision.variant.clone(),
            revision: decision.revision.clone(),
        };
        decisions.map(revision).collect()
    };
    // Where nothing rises no pods are waited for, the deadline stands still, and a target that moves down is the spec's wish.
    let must = |action: Action| {
        use Action::{FellBack, RolledBack, Superseded, Withdrawn};
        matches!(action, FellBack | RolledBack | Superseded | Withdrawn)
    };
    let lowers = |action: Action| {
        use Action::{Declined, Demoted, Failed, FellBack, RolledBack, Superseded, TakenBack, Undecided, Withdrawn};
        matches!(
            action,
            Declined | Demoted | Failed | FellBack | RolledBack | Superseded | TakenBack | Undecided | Withdrawn
        )
    };
    let rises = |action: Action| {
        use Action::{Bootstrapped, Promoted, Promoting, Raised, Started};
        matches!(action, Bootstrapped | Promoted | Promoting | Raised | Started)
    };
    for (turn, kinds) in [
        (false, &[][..]),
        (true, &[]),
        (false, &[ActKind::RollBack]),
        (false, &[ActKind::Pause]),
        (true, &[ActKind::BreakGlass, ActKind::Resume, ActKind::Retry]),
    ] {
        let mut observation = world.observe();
        let mut asked = asks(&rules);
        asked.turn = turn;
        observation.governance = Governance::Governed(asked);
        observation.people = people();
        observation.people.acts = kinds.iter().map(|kind| act(world, *kind, "dan")).collect();
        let held = decide(&observation);
        let (wanted, lowered) = (of(plan, must), of(&held, lowers));
        assert!(wanted.is_subset(&lowered), "{wanted:?} of {lowered:?} with {kinds:?}");
        if !wanted.is_empty() {
            assert_eq!(held.order, plan.order, "with {kinds:?}");
        }
        if !kinds.contains(&ActKind::Retry) {
            assert!(of(&held, rises).is_subset(&of(plan, rises)), "with {kinds:?}");
        }
    }
}

/// What must be remembered from evaluation to evaluation to know whether an invariant was broken.
#[derive(Default)]
struct Watcher {
    rejected: BTreeSet<RevisionRef>,
    /// Candidate, its weight, and what it had served when that was granted.
    granted: Option<(RevisionRef, i32, f64)>,
    /// Candidates that have been at least 5% faster than their stable at some time.
    faster: BTreeSet<RevisionRef>,
}

impl Watcher {
    fn check(&mut self, world: &World, before: &QuantizedModelStatus, plan: &Plan) {
        if plan.scope != Scope::Apply {
            assert!(
                plan.workloads.is_empty() && plan.route.is_none() && plan.delete.is_empty(),
                "a plan that only writes status touches objects"
            );
            return;
        }
        if !plan.decisions.is_empty() {
            lowering_waits_for_no_record(world, plan);
            if world.governance == Governance::Ungoverned {
                lowering_waits_for_nobody(world, plan);
            }
        }
        let status = &plan.status;
        let candidate = status.rollout.as_ref().map(|r| r.candidate.clone());
        let weights: BTreeMap<_, _> = plan.route.iter().flat_map(|r| r.weights.iter().cloned()).collect();
        let weight = |r: &RevisionRef| weights.get(r).copied().unwrap_or(0);
        let ready = |r: &RevisionRef| {
            world
                .workloads
                .get(&WorkloadKey {
                    revision: r.clone(),
                    purpose: Purpose::Serving,
                })
                .map_or(0, |w| w.ready)
        };

        if let Some(route) = &plan.route {
            // 1: weights sum to 100, each arm once.
            assert_eq!(route.weights.iter().map(|(_, w)| w).sum::<i32>(), 100, "{route:?}");
            assert_eq!(weights.len(), route.weights.len());
            assert!(weights.values().all(|w| (0..=100).contains(w)));
            // Every arm of the route has its workload.
            for revision in weights.keys() {
                assert!(
                    plan.workloads.contains_key(&WorkloadKey {
                        revision: revision.clone(),
                        purpose: Purpose::Serving
                    }),
                    "{revision:?} has no workload"
                );
            }
        }

        // 2: nothing starts before the gates are open.
        for decision in plan
            .decisions
            .iter()
            .filter(|d| matches!(d.action.known(), Some(Action::Started | Action::Bootstrapped)))
        {
            let variant = world.spec.variants.iter().find(|v| v.name == decision.variant).unwrap();
            let stale = variant
                .calibration
                .as_ref()
                .and_then(|c| c.max_age.as_ref())
                .is_some_and(|age| age.0 == "1h");
            assert!(!stale, "{} started with a stale calibration", decision.variant);
        }

        // 3: above the first step only on fresh evidence since the last rise.
        if let Some(candidate) = &candidate {
            let now = weight(candidate);
            if let Some((_, last, served)) = self.granted.as_ref().filter(|(c, ..)| c == candidate)
                && now > *last
                && now > world.spec.rollout.steps[0].weight
            {
                assert!(
                    world.served(candidate) - served >= 200.0,
                    "{candidate:?} rose from {last} to {now} on {} requests",
                    world.served(candidate) - served
                );
                assert!(world.prometheus.is_ok(), "rose without metrics");
            }
            if self
                .granted
                .as_ref()
                .is_none_or(|(c, w, _)| c != candidate || *w != now)
            {
                self.granted = Some((candidate.clone(), now, world.served(candidate)));
            }
            // 5: no weight without an endpoint.
            assert!(
                now == 0 || ready(candidate) > 0,
                "{candidate:?} has {now}% and no endpoint"
            );
        } else {
            self.granted = None;
        }

        // 4 and 9: harm is answered in the same evaluation, paused or not; a rejected identity never rises again.
        for decision in &plan.decisions {
            let revision = RevisionRef {
                variant: decision.variant.clone(),
                revision: decision.revision.clone(),
            };
            if matches!(decision.action.known(), Some(Action::RolledBack | Action::FellBack)) {
                assert_eq!(plan.order, Order::LowerFirst);
                self.rejected.insert(revision);
            }
        }
        assert!(
            status.rollout.is_none() || status.guards.iter().all(|g| g.verdict != Verdict::Harmful),
            "harm was found and the rollout goes on"
        );
        let handing_over: BTreeSet<_> = status
            .retiring
            .iter()
            .filter(|r| r.reason == RetiringReason::Handover)
            .map(|r| r.revision_ref())
            .collect();
        for revision in &self.rejected {
            assert!(
                weight(revision) == 0 || handing_over.contains(revision),
                "the rejected {revision:?} has {}%",
                weight(revision)
            );
            assert_ne!(
                candidate.as_ref(),
                Some(revision),
                "the rejected {revision:?} is tried again"
            );
        }

        // 5: the fallback keeps its capacity while the candidate has weight.
        if let (Some(candidate), Some(stable)) = (&candidate, &status.stable)
            && weight(candidate) > 0
        {
            let replicas = plan.workloads[&WorkloadKey {
                revision: stable.clone(),
                purpose: Purpose::Serving,
            }]
                .replicas;
            let full = world
                .spec
                .variants
                .iter()
                .find(|v| v.name == stable.variant)
                .map_or(1, |v| world.spec.replicas(v).unwrap());
            assert!(
                replicas.unwrap() >= full,
                "the fallback is scaled to {replicas:?} while the candidate has weight"
            );
        }

        // No promotion without the benefit that was asked for.
        let slowdown = |variant: &str| world.behaviour.get(variant).map_or(1.0, |b| b.slowdown);
        if let (Some(rollout), Some(stable)) = (&before.rollout, &before.stable) {
            if slowdown(&rollout.candidate.variant) <= 0.95 * slowdown(&stable.variant) {
                self.faster.insert(rollout.candidate.clone());
            }
            assert!(
                world.spec.rollout.benefit.is_none()
                    || rollout.kind != RolloutKind::Climb
                    || self.faster.contains(&rollout.candidate)
                    || plan.decisions.iter().all(|d| d.action != Action::Promoting),
                "{:?} is promoted, and was never faster",
                rollout.candidate
            );
        }

        // No rise while requests do not follow the weights, or evidence is missing.
        let distrusted = status
            .conditions
            .iter()
            .any(|c| c.type_ == "EvidenceAvailable" && c.status == "False");
        if distrusted {
            for decision in &plan.decisions {
                assert!(
                    !matches!(decision.action.known(), Some(Action::Promoting | Action::Promoted))
                        && (decision.action != Action::Raised || before.rollout.as_ref().is_none_or(|r| r.weight == 0)),
                    "{:?} although evidence cannot be trusted",
                    decision.action
                );
            }
        }

        // Asking a person changes no weight, and while it is so nothing raises the candidate.
        if let (Some(then), Some(rollout)) = (&before.rollout, &status.rollout)
            && then.candidate == rollout.candidate
            && rollout.escalated_at.is_some()
        {
            assert!(
                rollout.weight == then.weight || plan.decisions.iter().any(|d| d.action == Action::Withdrawn),
                "the weight went from {} to {} while a person is asked",
                then.weight,
                rollout.weight
            );
        }

        // 6: every decision is on record.
        for decision in &plan.decisions {
            assert!(status.decisions.contains(decision));
        }
        let of_people = status.decisions.iter().filter(|d| d.is_of_people()).count();
        assert!(of_people <= 10 && status.decisions.len() - of_people <= 10);

        // 8: no data, no promotion, and no rollback before the deadline.
        if world.prometheus.is_err() {
            for decision in &plan.decisions {
                assert!(
                    !matches!(decision.action.known(), Some(Action::Promoting)),
                    "promoting without metrics"
                );
                if decision.action == Action::Undecided {
                    let first = before.rollout.as_ref().and_then(|r| r.first_weight_at.clone()).unwrap();
                    let deadline = world.spec.rollout.deadline.millis().unwrap();
                    assert!(
                        world.now.duration_since(first.0).as_millis() >= i128::from(deadline),
                        "given up before the deadline"
                    );
                }
            }
        }

        // 10: nothing counts twice.
        if let (Some(candidate), Some(errors)) = (&candidate, status.guards.iter().find(|g| g.name == "errors")) {
            assert!(
                errors.candidate.total as f64 <= world.served(candidate) + 1.0,
                "{} counted of {} served",
                errors.candidate.total,
                world.served(candidate)
            );
        }

        // 11: pinned requests reach the reference and nothing else.
        if let Some(pinned) = plan.route.as_ref().and_then(|r| r.pinned.as_ref()) {
            assert_eq!(Some(&pinned.revision), status.reference.as_ref());
        }
    }
}

fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::Pass(_) => {}
        Happening::Behave(i, behaviour) => drop(world.behaviour.insert(VARIANTS[*i].into(), behaviour.clone())),
        Happening::Prometheus(up) => {
            world.prometheus = if *up {
                Ok(())
            } else {
                Err(EvidenceProblem {
                    reason: EvidenceReason::Unreachable,
                    message: "refused".into(),
                })
            };
        }
        Happening::Refused(refused) => world.refused = refused.then(|| "Accepted=False".to_owned()),
        Happening::Pause(paused) => world.spec.paused = *paused,
        Happening::Suspend(suspend) => world.spec.suspend = *suspend,
        Happening::SetByHand(i) => {
            let weights: Vec<_> = VARIANTS
                .iter()
                .map(|v| (*v, if *v == VARIANTS[*i] { 100 } else { 0 }))
                .collect();
            world.set_by_hand(&weights);
        }
        Happening::Target(i) => world.spec.target = Some(VARIANTS[*i].into()),
        Happening::Recalibrate(i, digit) => {
            let digest = digit.to_string().repeat(64);
            world.spec.variants[*i].weights.digest = format!("sha256:{digest}");
            world.spec.variants[*i].weights.uri = "s3://models".into();
        }
        Happening::Tolerance(wide) => {
            world.spec.guards[0].proportion.as_mut().unwrap().tolerance.absolute =
                Some(if *wide { "1%" } else { "0.5%" }.into());
        }
        Happening::Benefit(wanted) => {
            world.spec.rollout.benefit = wanted.then(|| Benefit {
                guard: "latency".into(),
                at_least: "5%".into(),
            });
        }
        Happening::Undecided(then) => world.spec.rollout.on_undecided = *then,
        Happening::Deadline(minutes) => world.spec.rollout.deadline = Duration(format!("{minutes}m")),
        Happening::WarmUp(seconds) => world.spec.rollout.warm_up = Duration(format!("{seconds}s")),
        Happening::Stale(stale) => {
            world.spec.variants[1].calibration.as_mut().unwrap().max_age =
                Some(Duration::from(if *stale { "1h" } else { "72000h" }))
        }
        Happening::Attempt => world.spec.attempt += 1,
        Happening::LoseStatus => world.status = QuantizedModelStatus::default(),
        Happening::SpoilEvidence => world.status.evidence = Some("v9:spoilt".into()),
        Happening::BreakSpec(broken) => {
            world.spec.rollout.interval = Duration::from(if *broken { "1ms" } else { "5s" })
        }
        Happening::Policy(at) => world.governance = Governance::Governed(asks(&policies()[*at])),
        Happening::Act(kind, by) => {
            let act = act(world, *kind, by);
            world.people.acts.push(act);
        }
    }
    world.generation += 1;
}

/// Lets all of it happen to a world. The invariants hold in each evaluation, and so does what `also` checks.
fn goes_through(world: &mut World, history: &[Happening], also: &mut impl FnMut(&World, &Plan)) {
    let mut watcher = Watcher::default();
    for event in history {
        happen(world, event);
        if let Happening::LoseStatus = event {
            // What was known only to the status is gone with it.
            let serves = |revision: &RevisionRef| {
                let (revision, purpose) = (revision.clone(), Purpose::Serving);
                world.workloads.contains_key(&WorkloadKey { revision, purpose })
            };
            watcher.rejected.retain(serves);
        }
        let seconds = if let Happening::Pass(seconds) = event {
            *seconds
        } else {
            1
        };
        world.run_watched(seconds, &mut |world, before, plan| {
            watcher.check(world, before, plan);
            also(world, plan);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_an_invariant(history in prop::collection::vec(happening(), 50..80), pinned in any::<bool>()) {
        let mut spec = spec();
        spec.target = None;
        if pinned {
            let yaml = include_str!("../testdata/fraud-scorer.yaml");
            let model: serde_json::Value = serde_yaml_ng::from_str(yaml).unwrap();
            spec.traffic.precision_routes = serde_json::from_value(model["spec"]["traffic"]["precisionRoutes"].clone()).unwrap();
        }
        let mut world = World::new(spec);
        world.decides_twice = true;
        goes_through(&mut world, &history, &mut |_, _| ());
    }

    #[test]
    fn policies_and_people_break_no_invariant(history in prop::collection::vec(governed_happening(), 40..70)) {
        let mut spec = spec();
        spec.target = None;
        let mut world = governed(spec, &json!({}));
        goes_through(&mut world, &history, &mut nobody_rises_against);
    }

    #[test]
    fn no_candidate_is_raised_by_a_deadline_without_its_benefit_or_against_the_split(
        history in prop::collection::vec(undecided_happening(), 15..30)
    ) {
        let mut world = World::new(spec());
        world.decides_twice = true;
        world.spec.rollout.on_undecided = OnUndecided::Escalate;
        world.spec.rollout.deadline = "4m".into();
        happen(&mut world, &Happening::Benefit(true));
        goes_through(&mut world, &history, &mut |_, _| ());
    }

    #[test]
    fn deciding_twice_on_the_same_state_changes_nothing_more(seconds in 1i64..900) {
        let mut world = World::new(spec());
        world.run(seconds);
        let first = world.evaluate();
        if first.decisions.is_empty() {
            let second = world.evaluate();
            prop_assert_eq!(&first.route, &second.route);
            prop_assert_eq!(&first.workloads, &second.workloads);
            prop_assert!(second.decisions.is_empty());
        }
    }

    #[test]
    fn a_killed_controller_goes_on_from_the_stored_status_alone(kills in prop::collection::vec(1i64..400, 1..6)) {
        let ended = |kills: &[i64]| {
            let mut world = World::new(spec());
            let mut at = 0;
            for kill in kills {
                let next = at + kill;
                world.run(*kill);
                at = next;
                // All that a restart has is what the API server stores.
                let stored = serde_json::to_string(&world.status).unwrap();
                world.status = serde_json::from_str(&stored).unwrap();
            }
            world.run((1500 - at).max(1));
            (world.status.stable.clone(), world.route.weights.clone())
        };
        prop_assert_eq!(ended(&kills), ended(&[]));
    }
}

/// A RollBack that nobody took back leaves nothing on trial, and in a freeze nothing rises.
fn nobody_rises_against(world: &World, plan: &Plan) {
    if plan.scope != Scope::Apply {
        return;
    }
    let newest = |kind: ActKind| {
        let acts = world.people.acts.iter().filter(|act| act.spec.action == kind);
        acts.map(|act| act.created.0).max()
    };
    if let Some(at) = newest(ActKind::RollBack)
        && newest(ActKind::Resume).is_none_or(|resumed| resumed <= at)
    {
        assert!(
            plan.status.rollout.is_none(),
            "a candidate is on trial after a RollBack"
        );
    }
    let frozen = matches!(&world.governance, Governance::Governed(of) if !of.rules.freezes.is_empty());
    let rises = |action: Action| {
        use Action::{Bootstrapped, Promoted, Promoting, Raised, Started};
        matches!(action, Bootstrapped | Promoted | Promoting | Raised | Started)
    };
    let mut decided = plan.decisions.iter().filter_map(|decision| decision.action.known());
    assert!(!frozen || !decided.any(rises), "something rises in a freeze");
}

/// What the records of a world hold.
fn records(world: &World) -> Vec<Predicate> {
    let read = |bytes: &Vec<u8>| Statement::parse(bytes).expect("a record").predicate;
    world.chain.records.iter().map(read).collect()
}

#[test]
fn the_records_of_a_trial_hold_its_polls_without_a_gap() {
    let mut world = World::new(spec());
    world.decides_twice = true;
    world.run(1_200);
    let records = records(&world);
    let (mut evaluations, mut joints) = (0, 0);
    for pair in records.windows(2) {
        let (Some(before), Some(next)) = (&pair[0].evidence, &pair[1].evidence) else {
            continue;
        };
        evaluations += next.journal.looks.len();
        // A trial that has ended is followed by another one.
        if before.after.epoch() == next.journal.before.epoch() {
            assert_eq!(before.after, next.journal.before, "before {}", pair[1].record.sequence);
            joints += 1;
        }
    }
    assert!(
        evaluations > 60 && joints > 5,
        "{evaluations}, {joints}: {}",
        world.transcript
    );
    let decided = records.iter().map(|record| record.decisions.len()).sum::<usize>();
    assert_eq!(decided, world.status.decisions.len(), "{}", world.transcript);
}

/// A pod template with a secret in each place where people put one.
fn with_secrets(whose: &str) -> PodTemplate {
    let Value::Object(template) = json!({
        "metadata": {"annotations": {"example.com/token": format!("sentinel-{whose}-annotation")}},
        "spec": {"containers": [{
            "name": "server",
            "image": format!("registry.example/sentinel-{whose}:1"),
            "args": [format!("--token=sentinel-{whose}-argument")],
            "env": [{"name": "TOKEN", "value": format!("sentinel-{whose}-variable")}],
        }]},
    }) else {
        unreachable!()
    };
    PodTemplate(template)
}

#[test]
fn no_record_holds_a_string_of_a_pod_template() {
    let mut spec = spec();
    spec.serving.template = with_secrets("shared");
    for variant in &mut spec.variants {
        variant.template = Some(with_secrets(&variant.name));
    }
    let mut world = World::new(spec);
    world.decides_twice = true;
    world.run(900);
    let mut printed = std::mem::take(&mut world.chain.records);
    assert!(printed.len() > 5, "{}", world.transcript);

    // What is wrong with a template quotes it.
    world.decides_twice = false;
    world.spec.target = None;
    let Value::Object(unreadable) = json!({"spec": {"containers": [
        {"name": "server", "ports": [{"containerPort": "sentinel-port"}]},
    ]}}) else {
        unreachable!()
    };
    world.spec.variants[2].template = Some(PodTemplate(unreadable));
    world.generation += 1;
    world.run(60);
    let quoted = |message: &str| message.contains("sentinel-port");
    let observation = world.observe();
    assert!(
        world.status.conditions.iter().any(|c| quoted(&c.message))
            && observation.model.templates.iter().any(|of| quoted(&of.problem)),
        "{}",
        world.transcript
    );
    let plan = decide(&observation);
    let entry = Entry::of(Written {
        seen: &observation.seen(),
        heard: &hear(&observation),
        plan: &plan,
        journal: None,
        head: &Head::origin("uid"),
        uid: "uid",
        signing: Signing::Unsigned,
        documents: Documents::default(),
    });
    let look = &entry.statement.predicate.look;
    let again = resolve(&look.seen, look.heard.clone());
    assert_eq!(
        (
            again.scope,
            again.order,
            again.decisions,
            again.route,
            again.workloads,
            again.delete
        ),
        (
            plan.scope,
            plan.order,
            plan.decisions,
            plan.route,
            plan.workloads,
            plan.delete
        )
    );
    printed.push(entry.bytes);

    let unredacted = serde_json::to_string(&observation.seen()).unwrap();
    assert!(unredacted.contains("sentinel-shared-variable") && unredacted.contains("sentinel-int8-variable"));
    for record in printed {
        let record = String::from_utf8(record).unwrap();
        let found = record.find("sentinel").map(|at| &record[at.saturating_sub(200)..]);
        assert_eq!(found, None);
    }
}

#[test]
fn an_identity_and_the_names_of_its_objects_never_change() {
    let spec = spec();
    let golden: Vec<_> = spec
        .variants
        .iter()
        .map(|v| {
            let revision = identity::revision(&spec, v);
            format!(
                "{} {}",
                identity::object_name("risk", "fraud", &v.name, &revision, Purpose::Serving),
                revision
            )
        })
        .collect();
    insta::with_settings!({snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("identity", golden.join("\n"));
    });
}

#[test]
fn weights_that_are_checked_are_another_revision_and_a_signature_over_them_is_not() {
    let spec = spec();
    let plain = spec.variants[1].clone();
    let of = |change: fn(&mut guardbit::api::Weights)| {
        let mut variant = plain.clone();
        change(&mut variant.weights);
        identity::revision(&spec, &variant)
    };
    let unchanged = of(|_| {});
    let mount = |path: &str, volume: Option<&str>| guardbit::api::WeightsMount {
        path: path.to_owned(),
        volume: volume.map(str::to_owned),
    };
    assert_eq!(of(|weights| weights.signature = Some("{}".to_owned())), unchanged);
    let mut mounted = plain.clone();
    let mut known = vec![unchanged];
    for (path, volume) in [("/models", None), ("/models/int8", None), ("/models", Some("cache"))] {
        mounted.weights.mount = Some(mount(path, volume));
        let revision = identity::revision(&spec, &mounted);
        assert!(!known.contains(&revision), "{path} {volume:?}");
        known.push(revision);
    }
}
