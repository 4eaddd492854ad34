//! What is decided on a recording.

use guardbit::api::{Action, Benefit, QuantizedModelSpec};
use guardbit::evidence::promql::parse_matchers;
use guardbit::simulate::recording::Recording;
use guardbit::simulate::{Arms, Outcome, Replay, SimulateError, openmetrics, simulate};

use crate::trace::{Truth, good, recording};

pub fn spec() -> QuantizedModelSpec {
    let text = include_str!("../testdata/fraud-scorer.yaml");
    let model: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
    let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].clone()).unwrap();
    spec.guards.truncate(3);
    spec.rollout.steps.iter_mut().for_each(|s| s.hold = "1m".into());
    spec.rollout.interval = "15s".into();
    spec
}

pub fn arms() -> Arms {
    let of = |name: &str| parse_matchers(&format!("{{arm=\"{name}\"}}")).unwrap();
    Arms {
        stable: of("stable"),
        candidate: of("candidate"),
        reference: of("reference"),
    }
}

fn read(text: &str) -> Recording {
    openmetrics::read(text).unwrap()
}

fn replay(seed: u64, minutes: i64, candidate: Truth) -> Replay {
    let text = recording(
        seed,
        minutes,
        &[("stable", good(100.0)), ("candidate", candidate)],
        |_| false,
    );
    simulate(&spec(), &read(&text), &arms(), None).unwrap()
}

fn actions(replay: &Replay) -> Vec<(Action, i32)> {
    replay.decisions.iter().map(|d| (d.action, d.weight)).collect()
}

#[test]
fn a_good_candidate_climbs_all_steps_and_is_promoted() {
    let replay = replay(1, 30, good(100.0));
    assert_eq!(replay.outcome, Outcome::Promoted, "{}", replay.why);
    assert_eq!((replay.candidate.as_str(), replay.stable.as_str()), ("int8", "fp32"));
    assert_eq!(
        actions(&replay),
        [
            (Action::Bootstrapped, 0),
            (Action::Started, 0),
            (Action::Raised, 5),
            (Action::Raised, 25),
            (Action::Raised, 50),
            (Action::Promoting, 50),
            (Action::Promoted, 0),
        ]
    );
    // Three holds of a minute are the least that it takes.
    assert!((180.0..600.0).contains(&replay.at_seconds), "{}", replay.at_seconds);
    assert_eq!(replay.guard, None);
}

#[test]
fn each_kind_of_harm_is_found_by_its_guard_and_told_with_counts() {
    let bad = [
        (
            "errors",
            Truth {
                errors: 0.05,
                ..good(20.0)
            },
            "against 0.",
        ),
        (
            "latency",
            Truth {
                slowdown: 2.0,
                ..good(20.0)
            },
            "slower than",
        ),
        (
            "drift",
            Truth {
                drift: 0.3,
                ..good(20.0)
            },
            "total variation 0.2",
        ),
    ];
    for (guard, truth, part) in bad {
        let replay = replay(2, 30, truth);
        assert_eq!(replay.outcome, Outcome::RolledBack, "{guard}: {}", replay.why);
        assert_eq!(replay.guard.as_deref(), Some(guard));
        assert!(
            replay.why.contains(part) && replay.why.contains("beyond the "),
            "{}",
            replay.why
        );
        assert!(replay.at_seconds <= 180.0, "{guard}: {} s", replay.at_seconds);
        let last = replay.frames.last().unwrap();
        let verdict = last.guards.iter().find(|g| g.name == guard).unwrap();
        assert!(verdict.candidate.n > 0 && verdict.harm_progress > 0.9, "{verdict:?}");
    }
}

#[test]
fn a_recording_that_is_too_short_decides_nothing_and_says_what_was_open() {
    let replay = replay(3, 2, good(20.0));
    assert_eq!((replay.outcome, replay.at_seconds), (Outcome::Undecided, 120.0));
    assert!(
        replay
            .why
            .starts_with("not decided by the end of the recording, after 120 s:"),
        "{}",
        replay.why
    );
}

#[test]
fn a_metrics_outage_changes_when_and_not_what() {
    for (seed, candidate, outcome) in [
        (4, good(60.0), Outcome::Promoted),
        (
            5,
            Truth {
                errors: 0.03,
                ..good(20.0)
            },
            Outcome::RolledBack,
        ),
    ] {
        let arms_of = [("stable", good(60.0)), ("candidate", candidate)];
        let whole = recording(seed, 90, &arms_of, |_| false);
        // An hour, longer than any window that is asked for, from before anything can be decided.
        let gap = recording(seed, 90, &arms_of, |scrape| (2..242).contains(&scrape));
        let of = |text: &str| simulate(&spec(), &read(text), &arms(), None).unwrap();
        let (whole, gap) = (of(&whole), of(&gap));
        assert_eq!(
            (whole.outcome, gap.outcome),
            (outcome, outcome),
            "{} / {}",
            whole.why,
            gap.why
        );
        assert!(gap.at_seconds >= 3630.0, "{}", gap.at_seconds);
        assert_eq!(whole.guard, gap.guard);
    }
}

#[test]
fn a_reference_arm_of_its_own_puts_the_target_on_trial_against_the_variant_before() {
    let drifted = Truth {
        drift: 0.04,
        ..good(100.0)
    };
    // Stable itself is at the edge of what is tolerated: against stable the candidate would look harmless.
    let candidate = Truth {
        drift: 0.3,
        ..good(20.0)
    };
    let text = recording(
        6,
        30,
        &[("stable", drifted), ("candidate", candidate), ("reference", good(20.0))],
        |_| false,
    );
    let replay = simulate(&spec(), &read(&text), &arms(), None).unwrap();
    assert_eq!((replay.candidate.as_str(), replay.stable.as_str()), ("int4", "int8"));
    assert_eq!(replay.outcome, Outcome::RolledBack);
    assert_eq!(replay.guard.as_deref(), Some("drift"));
    let asked = simulate(&spec(), &read(&text), &arms(), Some("int8")).unwrap();
    assert_eq!((asked.candidate.as_str(), asked.stable.as_str()), ("int8", "fp32"));
}

#[test]
fn gates_pauses_and_the_age_of_a_calibration_do_not_hold_a_replay() {
    let mut spec = spec();
    spec.paused = true;
    spec.suspend = true;
    spec.variants[1].calibration.as_mut().unwrap().max_age = Some("1h".into());
    let text = recording(7, 5, &[("stable", good(20.0)), ("candidate", good(20.0))], |_| false);
    let replay = simulate(&spec, &read(&text), &arms(), None).unwrap();
    assert_eq!(replay.decisions[2].action, Action::Raised);
    assert_eq!(replay.decisions[2].at_seconds, 0.0);
}

#[test]
fn a_warm_up_begins_with_the_first_sample_of_the_candidate() {
    let mut spec = spec();
    spec.rollout.warm_up = "90s".into();
    spec.rollout.steps.iter_mut().for_each(|s| s.hold = "1s".into());
    let text = recording(11, 30, &[("stable", good(100.0)), ("candidate", good(100.0))], |_| {
        false
    });
    let replay = simulate(&spec, &read(&text), &arms(), None).unwrap();
    assert_eq!(replay.outcome, Outcome::Promoted, "{}", replay.why);
    let second = replay.decisions.iter().find(|d| d.weight == 25).unwrap();
    // Samples at 90, 105, 120 and 135 s: the first is the base, the others three polls.
    assert_eq!(second.at_seconds, 135.0);
    let counted = |at: f64| {
        let frame = replay.frames.iter().find(|f| f.at_seconds == at).unwrap();
        frame.guards.iter().find(|g| g.name == "errors").unwrap().candidate.n
    };
    assert_eq!(counted(90.0), 0);
    assert!(counted(105.0) > 1000);
}

#[test]
fn a_benefit_is_asked_of_a_recording_as_well() {
    let mut spec = spec();
    spec.rollout.benefit = Some(Benefit {
        guard: "latency".into(),
        at_least: "5%".into(),
    });
    let outcome = |slowdown: f64| {
        let candidate = Truth {
            slowdown,
            ..good(100.0)
        };
        let text = recording(12, 20, &[("stable", good(100.0)), ("candidate", candidate)], |_| false);
        simulate(&spec, &read(&text), &arms(), None).unwrap().outcome
    };
    assert_eq!(outcome(0.7), Outcome::Promoted);
    assert_eq!(outcome(1.0), Outcome::Undecided);
}

#[test]
fn recorded_traffic_need_not_follow_the_weights() {
    // The candidate gets half of all requests at every step, which would be ten times its first weight.
    let text = recording(13, 30, &[("stable", good(100.0)), ("candidate", good(100.0))], |_| {
        false
    });
    for service in [false, true] {
        let mut spec = spec();
        if service {
            spec.traffic = serde_json::from_value(serde_json::json!({"service": {"allowCoarseSteps": true}})).unwrap();
        }
        spec.rollout.steps.iter_mut().for_each(|s| s.hold = "4m".into());
        let replay = simulate(&spec, &read(&text), &arms(), None).unwrap();
        assert_eq!(replay.outcome, Outcome::Promoted, "{}", replay.why);
        assert!(replay.at_seconds <= 12.0 * 60.0 + 30.0, "{}", replay.at_seconds);
    }
}

#[test]
fn a_query_guard_is_evaluated_on_the_recording() {
    let mut spec = spec();
    spec.guards = serde_json::from_value(serde_json::json!([{
        "name": "share",
        "query": {
            "promql": "sum(rate(http_requests_total{code=\"500\"}[1m])) / sum(rate(http_requests_total[1m]))",
            "max": "0.1", "consecutive": 3,
        },
    }]))
    .unwrap();
    let of = |errors: f64| {
        let candidate = Truth { errors, ..good(50.0) };
        let text = recording(8, 20, &[("stable", good(50.0)), ("candidate", candidate)], |_| false);
        simulate(&spec, &read(&text), &arms(), None).unwrap()
    };
    let bad = of(0.3);
    assert_eq!(
        (bad.outcome, bad.guard.as_deref()),
        (Outcome::RolledBack, Some("share"))
    );
    assert!(bad.why.contains("0.3") || bad.why.contains("0.2"), "{}", bad.why);
    assert_eq!(of(0.01).outcome, Outcome::Promoted);
}

#[test]
fn a_ratio_guard_compares_what_a_request_costs_on_either_arm() {
    let mut spec = spec();
    spec.guards = serde_json::from_value(serde_json::json!([{
        "name": "energy",
        "ratio": {
            "numerator": "gpu_energy_joules_total", "denominator": "http_requests_total", "max": "1.1",
            "consecutive": 3, "of": 4,
        },
    }]))
    .unwrap();
    let of = |joules: f64| {
        let candidate = Truth { joules, ..good(20.0) };
        let text = recording(10, 20, &[("stable", good(50.0)), ("candidate", candidate)], |_| false);
        simulate(&spec, &read(&text), &arms(), None).unwrap()
    };
    let wasteful = of(0.6);
    assert_eq!(
        (wasteful.outcome, wasteful.guard.as_deref()),
        (Outcome::RolledBack, Some("energy"))
    );
    assert!(
        wasteful
            .why
            .contains("1.46 × the baseline's 0.410 (wanted: at most 1.1)"),
        "{}",
        wasteful.why
    );
    assert_eq!(of(0.3).outcome, Outcome::Promoted);
}

#[test]
fn what_cannot_be_replayed_is_named_with_the_remedy() {
    let text = recording(9, 2, &[("stable", good(20.0)), ("candidate", good(20.0))], |_| false);
    let of = |change: fn(&mut QuantizedModelSpec), candidate: Option<&str>| {
        let mut spec = spec();
        change(&mut spec);
        simulate(&spec, &read(&text), &arms(), candidate)
            .unwrap_err()
            .to_string()
    };
    let reference = of(|_| (), Some("fp32"));
    assert!(
        reference.contains("fp32 cannot be the candidate: it is the reference"),
        "{reference}"
    );
    let unknown = of(|_| (), Some("int2"));
    assert!(
        unknown.contains("there is no such variant; the model has fp32, int8, int4"),
        "{unknown}"
    );
    let interval = of(|s| s.rollout.interval = "soon".into(), None);
    assert!(interval.contains("rollout.interval"), "{interval}");
    let empty = simulate(&spec(), &read("other 1 1\n"), &arms(), None).unwrap_err();
    assert_eq!(empty, SimulateError::Nothing);
}
