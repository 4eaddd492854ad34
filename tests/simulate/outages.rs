//! What happens to metrics changes when something is decided, and not what.
//!
//! The promise has three parts, from the strictest to the widest:
//! 1. While Prometheus does not answer, or only partially, nothing is decided; while its answers are empty, NaN or frozen,
//!    nothing is decided after a minute. Once it shows the samples, within an hour, the judge takes the very polls that it
//!    would have taken in time, in that order: harm is found if it would have been found, by the same guard and with the
//!    same counts. A promotion does not come earlier (but for that minute, in which what was known stands), and harm that
//!    the samples show until then counts.
//! 2. Where scrapes are lost, the increments across the gap count once, as one poll. What a server counted between its last
//!    scrape and a restart is lost with it.
//! 3. So a variant that is clearly good is promoted, and one that clearly does harm is rolled back by its guard, whatever
//!    happens to the metrics, if they come back. Weights hold meanwhile.

use guardbit::api::{Action, QuantizedModelSpec};
use guardbit::simulate::openmetrics;
use guardbit::simulate::recording::Recording;
use proptest::prelude::*;

use crate::flaky::{End, Fault, Kind, run};
use crate::replays;
use crate::trace::{Fate, Truth, fated, good, recording};

/// One step, so that no weight changes while evidence is gathered.
fn one_step(hold: &str) -> QuantizedModelSpec {
    let mut spec = steps();
    spec.rollout.steps.truncate(1);
    spec.rollout.steps[0].hold = hold.into();
    spec
}

/// Three steps of a minute.
fn steps() -> QuantizedModelSpec {
    let mut spec = replays::spec();
    spec.target = Some("int8".into());
    spec.variants.iter_mut().for_each(|v| v.calibration = None);
    spec.traffic.precision_routes.clear();
    spec
}

fn read(text: &str) -> Recording {
    openmetrics::read(text).unwrap()
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Away),
        Just(Kind::Partial),
        Just(Kind::Empty),
        Just(Kind::NotANumber),
        Just(Kind::Frozen),
    ]
}

/// Faults of up to twenty-five minutes, one after the other, from the first evaluation on.
fn faults(
    kind: impl Strategy<Value = Kind>,
    guard: impl Strategy<Value = Option<&'static str>>,
) -> impl Strategy<Value = Vec<Fault>> {
    let each = (60i64..600, prop_oneof![3 => 15i64..120, 1 => 120i64..1500], kind, guard);
    prop::collection::vec(each, 1..4).prop_map(|all| {
        // The first may begin before the first evaluation.
        let mut at = -61;
        let fault = |(after, long, kind, guard)| {
            let from = at + after;
            at = from + long;
            Fault {
                from,
                through: at,
                kind,
                guard,
            }
        };
        all.into_iter().map(fault).collect()
    })
}

/// Anything from harmless to harmful, mostly near what is tolerated.
fn truth() -> impl Strategy<Value = Truth> {
    (5.0f64..80.0, 0.004f64..0.02, 0.95f64..1.15, 0.0f64..0.12).prop_map(|(rps, errors, slowdown, drift)| Truth {
        rps,
        errors,
        slowdown,
        drift,
        ..good(rps)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_late_is_judged_as_if_it_had_come_in_time(
        seed in any::<u64>(), candidate in truth(), faults in faults(kind(), Just(None)),
    ) {
        let minutes = 110;
        let recording = read(&recording(seed, minutes, &[("stable", good(60.0)), ("candidate", candidate)], |_| false));
        let of = |spec: &QuantizedModelSpec, faults: &[Fault]| run(spec, &recording, faults, minutes * 60);
        let (whole, flaky) = (of(&one_step("1m"), &[]), of(&one_step("1m"), &faults));
        // What is found if nothing is ever promoted.
        let watched = of(&one_step("2h"), &[]);
        let blind = |at: i64| faults.iter().any(|f| f.from < at && at <= f.through);
        let seen_at = |at: i64| (at..).step_by(15).find(|at| !blind(*at)).unwrap();
        let silent = |f: &&Fault| !matches!(f.kind, Kind::Away | Kind::Partial) && f.from < flaky.at && flaky.at <= f.from + 60;
        let on_what_was_known = flaky.action == Some(Action::Promoted) && faults.iter().any(|f| silent(&f));
        prop_assert!(flaky.at >= whole.at || on_what_was_known, "{:?} before {:?}", flaky, whole);
        prop_assert!(!blind(flaky.at) || flaky.action.is_none() || on_what_was_known, "{:?} was decided blindly", flaky);
        match (whole.action, flaky.action) {
            (Some(Action::RolledBack), _) => prop_assert_eq!(&flaky, &End { at: seen_at(whole.at), ..whole }),
            // Promoted later, unless harm showed first.
            (Some(Action::Promoted), Some(Action::RolledBack)) => {
                prop_assert_eq!(&flaky, &End { at: seen_at(watched.at), ..watched });
            }
            (Some(Action::Promoted), _) => {
                prop_assert!(watched.action != Some(Action::RolledBack) || watched.at >= flaky.at, "{:?} in spite of {:?}", flaky, watched);
            }
            (_, other) => prop_assert_eq!(other, None),
        }
    }
}

/// What may happen to the scrapes of one pod: (scrape, how many are lost from there, and how it is afterwards).
type Mishap = (i64, i64, u8);

fn fate_of(mishaps: &[Vec<Mishap>], pod: usize, scrape: i64) -> Fate {
    let mut fate = Fate::default();
    for (at, lost, after) in &mishaps[pod % mishaps.len()] {
        fate.lost |= (*at..at + lost).contains(&scrape);
        // In the middle of what is lost, or at once.
        fate.restarted |= *after == 1 && scrape == at + lost / 2;
        fate.replaced |= *after == 2 && scrape == at + lost / 2;
    }
    fate
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![5 => kind(), 1 => (5i64..90).prop_map(Kind::Late)]
}

fn any_guard() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![2 => Just(None), 1 => prop::sample::select(vec![Some("errors"), Some("latency"), Some("drift")])]
}

/// A candidate about which there is no doubt, and what must become of it.
fn clear_cut() -> impl Strategy<Value = (Truth, Option<&'static str>)> {
    prop::sample::select(vec![
        (good(60.0), None),
        (
            Truth {
                errors: 0.05,
                ..good(30.0)
            },
            Some("errors"),
        ),
        (
            Truth {
                slowdown: 1.6,
                ..good(30.0)
            },
            Some("latency"),
        ),
        (
            Truth {
                drift: 0.3,
                ..good(30.0)
            },
            Some("drift"),
        ),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_gap_changes_what_becomes_of_a_clear_case(
        seed in any::<u64>(), (candidate, guard) in clear_cut(), faults in faults(any_kind(), any_guard()),
        mishaps in prop::collection::vec(prop::collection::vec((1i64..120, prop_oneof![0i64..4, 4i64..60], 0u8..3), 0..3), 4),
    ) {
        let minutes = 150;
        let fate = |arm: &str, pod: usize, scrape| fate_of(&mishaps, pod + if arm == "stable" { 0 } else { 2 }, scrape);
        let text = fated(seed, minutes, &[("stable", good(60.0)), ("candidate", candidate)], 2, &fate);
        let end = run(&steps(), &read(&text), &faults, minutes * 60);
        let expected = if guard.is_some() { Action::RolledBack } else { Action::Promoted };
        prop_assert_eq!(end.action, Some(expected), "{:?}", end);
        prop_assert_eq!(end.guard.as_deref(), guard, "{:?}", end);
        prop_assert!(guard.is_some() || end.at >= 180, "promoted before its holds were over: {:?}", end);
    }
}

/// A step that lasts long sees many requests, of a recording that follows no weights.
#[test]
fn a_guard_that_is_silent_for_most_of_a_step_delays_a_promotion_only() {
    let faults = [Fault {
        from: 40,
        through: 426,
        kind: Kind::Empty,
        guard: Some("errors"),
    }];
    let text = recording(6, 60, &[("stable", good(60.0)), ("candidate", good(60.0))], |_| false);
    let end = run(&steps(), &read(&text), &faults, 3600);
    assert_eq!(end.action, Some(Action::Promoted), "{end:?}");
}
