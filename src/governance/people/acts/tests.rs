//! Which acts are in force, in tables and for random acts.

use kube::CustomResourceExt;
use proptest::prelude::*;

use super::*;
use crate::api::{ActEffect, ActState, Actor, ModelRef};

pub(in crate::governance) const UID: &str = "6f0c";
pub(in crate::governance) const DIGEST: &str = "sha256:aa";
pub(in crate::governance) const OTHER_DIGEST: &str = "sha256:bb";

const KINDS: [ActKind; 7] = [
    ActKind::Approve,
    ActKind::Reject,
    ActKind::Pause,
    ActKind::Resume,
    ActKind::RollBack,
    ActKind::Retry,
    ActKind::BreakGlass,
];

pub(in crate::governance) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_000_000 + second).unwrap()
}

/// An act that was created at a second, with what its kind needs.
pub(in crate::governance) fn act(kind: ActKind, by: &str, second: i64) -> Act {
    let name = format!("{kind}-{by}-{second}").to_lowercase();
    let needs_change = matches!(kind, ActKind::Approve | ActKind::Reject);
    let breaks = kind == ActKind::BreakGlass;
    Act {
        uid: format!("uid-of-{name}"),
        name,
        created: Time(at(second)),
        spec: PrecisionActionSpec {
            model_ref: ModelRef {
                name: "fraud-scorer".to_owned(),
                uid: UID.to_owned(),
            },
            action: kind,
            change_digest: needs_change.then(|| DIGEST.to_owned()),
            to: None,
            variant: (kind == ActKind::Retry).then(|| "int4".to_owned()),
            incident: breaks.then(|| "INC-7".to_owned()),
            waives: if breaks { vec![Waive::Approvals] } else { Vec::new() },
            actor: Actor {
                username: by.to_owned(),
                uid: None,
                groups: Vec::new(),
            },
            reason: "a test of governance".to_owned(),
            valid_for: "30m".into(),
        },
    }
}

fn roll_back(to: &str, second: i64) -> Act {
    let mut act = act(ActKind::RollBack, to, second);
    act.spec.to = Some(to.to_owned());
    act
}

/// Facts of a model with fp32 and int8 proven, and int4 asked for.
pub(in crate::governance) fn facts(second: i64) -> Facts<'static> {
    Facts {
        now: at(second),
        uid: UID,
        assurance: Assurance::Pinned,
        rungs: [("fp32", true), ("int8", true), ("int4", false)]
            .map(|(variant, proven)| Rung { variant, proven })
            .into(),
        fallback: "int8",
        change: Some(AskedChange {
            digest: DIGEST,
            variant: "int4",
        }),
        effects: &[],
    }
}

fn state(result: &InForce<'_>, act: &Act) -> ActState {
    let found = result.standings.iter().find(|of| of.act.uid == act.uid);
    found.expect("every act has a state").state
}

fn message(result: &InForce<'_>, act: &Act) -> String {
    let found = result.standings.iter().find(|of| of.act.uid == act.uid);
    found.expect("every act has a state").message.clone()
}

fn rung(result: &InForce<'_>) -> Option<usize> {
    result.cap.map(|cap| cap.rung)
}

#[test]
fn a_resume_lifts_what_is_older_and_nothing_of_its_own_second() {
    for (pause, resume, lifts) in [(0, 1, true), (1, 1, false), (2, 1, false)] {
        let acts = [
            act(ActKind::Pause, "ann", pause),
            act(ActKind::RollBack, "ann", pause),
            act(ActKind::Resume, "bob", resume),
        ];
        let result = in_force(&acts, &facts(10));
        assert_eq!(result.paused.is_none(), lifts, "{pause} {resume}");
        assert_eq!(result.cap.is_none(), lifts, "{pause} {resume}");
        let (lowering, resuming) = if lifts {
            (ActState::Lifted, ActState::Used)
        } else {
            (ActState::InForce, ActState::InForce)
        };
        assert_eq!(state(&result, &acts[0]), lowering);
        assert_eq!(state(&result, &acts[1]), lowering);
        assert_eq!(state(&result, &acts[2]), resuming);
        assert_eq!(result.resumed, Some(&acts[2]));
    }
}

#[test]
fn what_a_resume_lifted_stays_lifted_when_the_resume_is_gone() {
    let mut pause = act(ActKind::Pause, "ann", 0);
    pause.spec.valid_for = "168h".into();
    let acts = [pause, act(ActKind::Resume, "bob", 60)];
    let lifted = in_force(&acts, &facts(61));
    assert_eq!(lifted.effects.len(), 1);
    let later = Facts {
        effects: &lifted.effects,
        ..facts(7_200)
    };
    assert_eq!(in_force(&acts, &later).paused, None);
    let left = in_force(&acts[..1], &later);
    assert_eq!((left.paused, state(&left, &acts[0])), (None, ActState::Lifted));
    assert_eq!(left.effects, lifted.effects);
    // A later pause is another act.
    let again = [acts[0].clone(), act(ActKind::Pause, "ann", 7_100)];
    assert_eq!(in_force(&again, &later).paused, Some(&again[1]));
    // Nothing is kept of an act that has lapsed.
    let after = Facts {
        effects: &lifted.effects,
        ..facts(169 * 3_600)
    };
    assert!(in_force(&acts, &after).effects.is_empty());
}

#[test]
fn a_roll_back_caps_at_a_proven_variant() {
    let none_proven = ["fp32", "int8", "int4"].map(|variant| Rung { variant, proven: false });
    for (to, fallback, rungs, expected) in [
        (Some("fp32"), "int8", facts(0).rungs, 0),
        (Some("int8"), "fp32", facts(0).rungs, 1),
        (Some("int4"), "fp32", facts(0).rungs, 1),
        (Some("gone"), "int8", facts(0).rungs, 1),
        (Some("gone"), "gone", facts(0).rungs, 0),
        (None, "int8", facts(0).rungs, 1),
        (None, "fp32", facts(0).rungs, 0),
        (Some("int8"), "int8", none_proven.into(), 0),
        (Some("int8"), "int8", Vec::new(), 0),
    ] {
        let mut act = act(ActKind::RollBack, "ann", 0);
        act.spec.to = to.map(str::to_owned);
        let facts = Facts {
            fallback,
            rungs,
            ..facts(1)
        };
        let acts = [act];
        let result = in_force(&acts, &facts);
        assert_eq!(rung(&result), Some(expected), "{to:?} {fallback}");
    }
    let acts = [roll_back("int4", 0)];
    let result = in_force(&acts, &facts(1));
    let said = message(&result, &acts[0]);
    assert!(
        said.starts_with("int4 is not proven, so nothing riskier than int8 gets traffic until "),
        "{said}"
    );
}

#[test]
fn a_roll_back_to_the_fallback_stays_where_it_first_sent_traffic() {
    let acts = [act(ActKind::RollBack, "ann", 0)];
    let first = in_force(&acts, &facts(1));
    assert_eq!(rung(&first), Some(1));
    // With the traffic on int8 the fallback is fp32.
    let later = Facts {
        fallback: "fp32",
        effects: &first.effects,
        ..facts(2)
    };
    let second = in_force(&acts, &later);
    assert_eq!(rung(&second), Some(1));
    assert_eq!(second.effects, first.effects);
}

#[test]
fn of_several_caps_the_lowest_holds_and_of_several_pauses_the_longest() {
    let mut long = act(ActKind::Pause, "bob", 1);
    long.spec.valid_for = "2h".into();
    let acts = [
        roll_back("int8", 3),
        roll_back("fp32", 1),
        roll_back("int8", 2),
        act(ActKind::Pause, "ann", 2),
        long,
    ];
    let result = in_force(&acts, &facts(5));
    assert_eq!(rung(&result), Some(0));
    assert_eq!(result.paused, Some(&acts[4]));
}

#[test]
fn a_retry_forgets_what_is_older_than_itself() {
    let acts = [act(ActKind::Retry, "ann", 10)];
    let result = in_force(&acts, &facts(20));
    for (variant, found, forgotten) in [
        ("int4", 9, true),
        ("int4", 10, false),
        ("int4", 11, false),
        ("int8", 9, false),
    ] {
        assert_eq!(result.forgets(variant, at(found)), forgotten, "{variant} {found}");
    }
}

#[test]
fn claimed_actors_lower_and_open_nothing() {
    for kind in KINDS {
        let acts = [act(kind, "ann", 0)];
        let claimed = Facts {
            assurance: Assurance::Claimed,
            ..facts(1)
        };
        let lowers = matches!(kind, ActKind::Pause | ActKind::RollBack | ActKind::Reject);
        let (with, without) = (in_force(&acts, &facts(1)), in_force(&acts, &claimed));
        assert_eq!(state(&with, &acts[0]), ActState::InForce, "{kind}");
        let expected = if lowers { ActState::InForce } else { ActState::Inert };
        assert_eq!(state(&without, &acts[0]), expected, "{kind}");
        let open = without.approvals.len() + without.retries.len() + without.breakglass.len();
        assert_eq!((open, without.resumed), (0, None), "{kind}");
    }
    // A claimed Resume lifts nothing, and a claimed Approve takes no rejection back.
    let acts = [
        act(ActKind::Pause, "ann", 0),
        act(ActKind::Reject, "ann", 0),
        act(ActKind::Resume, "ann", 1),
        act(ActKind::Approve, "ann", 1),
        act(ActKind::Retry, "ann", 1),
    ];
    let claimed = Facts {
        assurance: Assurance::Claimed,
        ..facts(2)
    };
    let result = in_force(&acts, &claimed);
    assert_eq!((result.paused, result.rejected), (Some(&acts[0]), vec![&acts[1]]));
}

#[test]
fn an_act_is_in_force_for_its_time_and_its_model_only() {
    let with = |edit: fn(&mut Act)| {
        let mut act = act(ActKind::Pause, "ann", 0);
        edit(&mut act);
        act
    };
    for (acts, second, expected) in [
        (with(|_| {}), 1_799, ActState::InForce),
        (with(|_| {}), 1_800, ActState::Lapsed),
        // The clock of guardbit may be behind that of the API server.
        (with(|_| {}), -5, ActState::InForce),
        (
            with(|act| act.spec.valid_for = "9000h".into()),
            168 * 3_600 - 1,
            ActState::InForce,
        ),
        (
            with(|act| act.spec.valid_for = "9000h".into()),
            168 * 3_600,
            ActState::Lapsed,
        ),
        (with(|act| act.spec.valid_for = "soon".into()), 1, ActState::Inert),
        (
            with(|act| act.spec.model_ref.uid = "7a1d".to_owned()),
            1,
            ActState::Inert,
        ),
        (with(|act| act.spec.action = ActKind::Approve), 1, ActState::Inert),
        (with(|act| act.spec.action = ActKind::Reject), 1, ActState::Inert),
        (with(|act| act.spec.action = ActKind::Retry), 1, ActState::Inert),
        (with(|act| act.spec.action = ActKind::BreakGlass), 1, ActState::Inert),
    ]
    .map(|(act, second, expected)| ([act], second, expected))
    {
        let result = in_force(&acts, &facts(second));
        assert_eq!(state(&result, &acts[0]), expected, "{:?} at {second}", acts[0].spec);
        assert_eq!(result.paused.is_some(), expected == ActState::InForce);
    }
    let mut unknown = act(ActKind::Retry, "ann", 0);
    unknown.spec.variant = Some("gone".to_owned());
    let acts = [unknown];
    let result = in_force(&acts, &facts(1));
    assert_eq!(state(&result, &acts[0]), ActState::Inert);
    assert_eq!(message(&result, &acts[0]), "spec.variants has no \"gone\"");
}

#[test]
fn an_act_about_a_change_that_is_not_asked_for_waits() {
    let mut other = act(ActKind::Approve, "ann", 0);
    other.spec.change_digest = Some(OTHER_DIGEST.to_owned());
    let mut refused = act(ActKind::Reject, "bob", 0);
    refused.spec.change_digest = Some(OTHER_DIGEST.to_owned());
    let acts = [other, refused];
    let result = in_force(&acts, &facts(1));
    assert_eq!((result.approvals.len(), result.rejected.len()), (0, 0));
    assert_eq!(state(&result, &acts[0]), ActState::Waiting);
    assert_eq!(state(&result, &acts[1]), ActState::Waiting);
    let none = Facts {
        change: None,
        ..facts(1)
    };
    assert_eq!(state(&in_force(&acts, &none), &acts[0]), ActState::Waiting);
    let asked = Facts {
        change: Some(AskedChange {
            digest: OTHER_DIGEST,
            variant: "int4",
        }),
        ..facts(1)
    };
    let result = in_force(&acts, &asked);
    assert_eq!((result.approvals.len(), result.rejected.len()), (1, 1));
}

#[test]
fn a_rejection_is_taken_back_by_its_author_and_by_a_retry() {
    let retry_of = |variant: &str| {
        let mut act = act(ActKind::Retry, "cid", 5);
        act.spec.variant = Some(variant.to_owned());
        act
    };
    for (later, stands) in [
        (act(ActKind::Approve, "bob", 5), false),
        (act(ActKind::Approve, "ann", 5), true),
        (act(ActKind::Approve, "bob", 1), true),
        (act(ActKind::Resume, "bob", 5), true),
        (retry_of("int4"), false),
        (retry_of("int8"), true),
    ] {
        let acts = [act(ActKind::Reject, "bob", 1), later];
        let result = in_force(&acts, &facts(9));
        assert_eq!(!result.rejected.is_empty(), stands, "{:?}", acts[1].spec);
    }
}

#[test]
fn an_approval_is_taken_back_for_good_by_the_rejection_of_the_same_person() {
    for (approved, rejected, stands) in [(1, 5, false), (5, 5, false), (5, 1, true)] {
        let acts = [
            act(ActKind::Approve, "bob", approved),
            act(ActKind::Reject, "bob", rejected),
            act(ActKind::Approve, "ann", 0),
        ];
        let result = in_force(&acts, &facts(9));
        let by: Vec<&str> = result.approvals.iter().map(|act| act.by()).collect();
        assert_eq!(by.contains(&"bob"), stands, "{approved} {rejected}");
        assert!(by.contains(&"ann"));
    }
    let mut approval = act(ActKind::Approve, "bob", 1);
    approval.spec.valid_for = "100h".into();
    let acts = [approval, act(ActKind::Reject, "bob", 5)];
    let kept = in_force(&acts, &facts(9)).effects;
    let lapsed = Facts {
        effects: &kept,
        ..facts(3_600)
    };
    let result = in_force(&acts, &lapsed);
    assert_eq!(state(&result, &acts[1]), ActState::Lapsed);
    assert_eq!(
        (result.approvals.len(), state(&result, &acts[0])),
        (0, ActState::Lifted)
    );
}

#[test]
fn of_too_many_acts_those_that_lower_most_are_kept() {
    let mut acts: Vec<Act> = (0..150).map(|second| act(ActKind::Approve, "ann", second)).collect();
    acts.extend((0..99).map(|second| roll_back("int8", second)));
    let mut short = roll_back("fp32", 0);
    short.spec.valid_for = "5m".into();
    acts.push(short);
    let result = in_force(&acts, &facts(200));
    assert_eq!(
        (rung(&result), result.excess, result.approvals.len()),
        (Some(0), 150, 0)
    );
    assert_eq!(result.standings.len(), acts.len());
    let inert = result.standings.iter().filter(|of| of.state == ActState::Inert).count();
    assert_eq!(inert, 150);
    acts.extend((0..20).map(|second| roll_back("int8", 100 + second)));
    let result = in_force(&acts, &facts(200));
    assert_eq!((rung(&result), result.excess), (Some(0), 170));
}

#[test]
fn an_open_gate_is_named() {
    let acts = [act(ActKind::BreakGlass, "ann", 0)];
    let result = in_force(&acts, &facts(1));
    assert_eq!(result.waives(Waive::Approvals), Some(&acts[0]));
    assert_eq!(result.waives(Waive::Freezes), None);
    let said = message(&result, &acts[0]);
    assert!(
        said.starts_with("the gates Approvals are open for INC-7 until "),
        "{said}"
    );
}

#[test]
fn the_schema_and_the_core_have_the_same_limits() {
    let crd = serde_json::to_string(&PrecisionAction::crd()).unwrap();
    for kind in KINDS {
        let hours = longest(kind).as_hours();
        assert!(crd.contains(&format!("'{kind}': duration('{hours}h')")), "{kind}");
    }
}

#[test]
fn only_what_the_api_server_stored_is_an_act() {
    let written = act(ActKind::Pause, "ann", 0);
    let mut object = PrecisionAction::new(&written.name, written.spec.clone());
    assert_eq!(Act::of(&object), None);
    object.metadata.uid = Some(written.uid.clone());
    object.metadata.creation_timestamp = Some(written.created.clone());
    assert_eq!(Act::of(&object), Some(written));
}

/// A random act of one of three people, in one of a few seconds.
fn random(kinds: &'static [ActKind]) -> impl Strategy<Value = Act> {
    let person = prop::sample::select(vec!["ann", "bob", "cid"]);
    let to = prop::option::of(prop::sample::select(vec!["fp32", "int8", "int4", "gone"]));
    let length = prop::sample::select(vec!["1m", "30m", "4h"]);
    let all = (prop::sample::select(kinds), person, 0..8_i64, to, length, any::<bool>());
    all.prop_map(|(kind, by, second, to, length, of_change)| {
        let mut act = act(kind, by, second);
        act.spec.valid_for = length.into();
        match kind {
            ActKind::RollBack => act.spec.to = to.map(str::to_owned),
            ActKind::Retry if !of_change => act.spec.variant = Some("int8".to_owned()),
            ActKind::Approve | ActKind::Reject if !of_change => act.spec.change_digest = Some(OTHER_DIGEST.to_owned()),
            _ => {}
        }
        act
    })
}

/// Acts with names and uids that no two of them share.
fn numbered(mut acts: Vec<Act>, from: usize) -> Vec<Act> {
    for (number, act) in acts.iter_mut().enumerate() {
        act.name = format!("{}-{}", act.name, from + number);
        act.uid = format!("uid-of-{}", act.name);
    }
    acts
}

/// Random acts of all kinds.
pub(in crate::governance) fn random_acts() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(random(&KINDS), 0..12).prop_map(|acts| numbered(acts, 0))
}

/// Random acts that only lower, to be added to others.
pub(in crate::governance) fn random_lowering() -> impl Strategy<Value = Vec<Act>> {
    let lowering = random(&[ActKind::Pause, ActKind::RollBack, ActKind::Reject]);
    prop::collection::vec(lowering, 1..4).prop_map(|acts| numbered(acts, 100))
}

/// Uids of acts, in order.
fn uids(acts: &[&Act]) -> Vec<String> {
    let mut uids: Vec<String> = acts.iter().map(|act| act.uid.clone()).collect();
    uids.sort();
    uids.dedup();
    uids
}

/// Whether one result lets nothing happen that another would not.
fn permits_no_more(one: &InForce<'_>, other: &InForce<'_>) -> bool {
    let within = |one: &[&Act], other: &[&Act]| uids(one).iter().all(|uid| uids(other).contains(uid));
    let height = |result: &InForce<'_>| rung(result).unwrap_or(usize::MAX);
    (one.paused.is_some() || other.paused.is_none())
        && height(one) <= height(other)
        && (!one.rejected.is_empty() || other.rejected.is_empty())
        && within(&one.approvals, &other.approvals)
        && within(&one.retries, &other.retries)
        && within(&one.breakglass, &other.breakglass)
}

proptest! {
    #[test]
    fn the_order_in_which_acts_come_has_no_part(
        (acts, shuffled) in random_acts().prop_flat_map(|acts| (Just(acts.clone()), Just(acts).prop_shuffle())),
        second in 0..120_i64,
    ) {
        prop_assert_eq!(in_force(&acts, &facts(second)), in_force(&shuffled, &facts(second)));
    }

    #[test]
    fn an_act_that_comes_twice_is_one_act(acts in random_acts(), second in 0..120_i64) {
        let twice: Vec<Act> = acts.iter().chain(&acts).cloned().collect();
        let (once, twice) = (in_force(&acts, &facts(second)), in_force(&twice, &facts(second)));
        prop_assert!(permits_no_more(&once, &twice) && permits_no_more(&twice, &once));
        prop_assert_eq!(once.effects, twice.effects);
    }

    #[test]
    fn an_act_that_lowers_never_permits_more(
        acts in random_acts(),
        added in random_lowering(),
        second in 0..120_i64,
    ) {
        let all: Vec<Act> = acts.iter().chain(&added).cloned().collect();
        let (before, after) = (in_force(&acts, &facts(second)), in_force(&all, &facts(second)));
        prop_assert!(permits_no_more(&after, &before), "{:?}\n{:?}", before, after);
    }

    #[test]
    fn what_was_lifted_needs_its_cause_no_longer(acts in random_acts(), second in 8..120_i64) {
        let first = in_force(&acts, &facts(second));
        let kept = Facts { effects: &first.effects, ..facts(second) };
        // The same look again, with what the status keeps of it.
        let again = in_force(&acts, &kept);
        prop_assert!(permits_no_more(&first, &again) && permits_no_more(&again, &first));
        prop_assert_eq!(&again.effects, &first.effects);
        // And once everything that took others back is gone.
        let is_lifter = |act: &&Act| matches!(act.spec.action, ActKind::Resume | ActKind::Retry);
        let left: Vec<Act> = acts.iter().filter(|act| !is_lifter(act)).cloned().collect();
        let later = in_force(&left, &kept);
        prop_assert_eq!(later.paused.is_some(), first.paused.is_some());
        prop_assert_eq!(rung(&later), rung(&first));
        prop_assert_eq!(later.rejected.is_empty(), first.rejected.is_empty());
    }

    #[test]
    fn every_act_has_one_state_and_only_known_effects_are_kept(acts in random_acts(), second in 0..120_i64) {
        let result = in_force(&acts, &facts(second));
        prop_assert_eq!(result.standings.len(), acts.len());
        let is_known = |effect: &ActEffect| acts.iter().any(|act| act.uid == effect.uid);
        prop_assert!(result.effects.iter().all(is_known));
        let lapsed = |act: &Act| act.ends().unwrap() <= at(second);
        prop_assert!(acts.iter().all(|act| (state(&result, act) == ActState::Lapsed) == lapsed(act)));
        prop_assert!(result.cap.is_none_or(|cap| cap.act.created.0 + SignedDuration::from_hours(720) >= at(second)));
    }
}
