//! Pairs of answers in a replay.

use guardbit::api::{Action, QuantizedModelSpec};
use guardbit::guards::{asks, resolve};
use guardbit::simulate::recording::Recording;
use guardbit::simulate::{Outcome, Replay, SimulateError, openmetrics, simulate, with_pairs};

use crate::replays::{arms, spec};
use crate::trace::{good, recording};

/// The model with an agreement guard at 5%, and with two more fields.
fn with_agreement(comparer: serde_json::Value, shadow: Option<i32>) -> QuantizedModelSpec {
    let mut written = serde_json::to_value(spec()).unwrap();
    let guards = written["guards"].as_array_mut().unwrap();
    guards.push(serde_json::json!({"name": "agreement", "agreement": {}}));
    written["comparer"] = comparer;
    let mut spec: QuantizedModelSpec = serde_json::from_value(written).unwrap();
    spec.rollout.shadow = shadow.map(|pairs| guardbit::api::Shadow { pairs });
    spec
}

fn recorded() -> Recording {
    let text = recording(1, 60, &[("stable", good(100.0)), ("candidate", good(100.0))], |_| false);
    openmetrics::read(&text).unwrap()
}

fn replay(spec: &QuantizedModelSpec, differs: f64) -> Replay {
    let drawn = with_pairs(spec, &recorded(), &arms(), None, differs).unwrap();
    simulate(spec, &drawn, &arms(), None).unwrap()
}

fn comparer(rate: &str) -> serde_json::Value {
    let golden = serde_json::json!({"configMap": "golden", "digest": ""});
    serde_json::json!({"protocol": "OpenAI", "golden": golden, "rate": rate, "budget": {"pairs": 100_000}})
}

#[test]
fn a_candidate_that_answers_otherwise_is_rolled_back_for_it() {
    let spec = with_agreement(serde_json::Value::Null, None);
    let drifts = replay(&spec, 0.2);
    assert_eq!(drifts.outcome, Outcome::RolledBack, "{}", drifts.why);
    assert_eq!(drifts.guard.as_deref(), Some("agreement"));
    assert!(drifts.why.contains("answers differ"), "{}", drifts.why);
    let good = replay(&spec, 0.01);
    assert_eq!(good.outcome, Outcome::Promoted, "{}", good.why);
}

#[test]
fn without_pairs_nothing_is_raised_and_the_recorded_ones_are_found_by_their_revision() {
    let spec = with_agreement(serde_json::Value::Null, None);
    let without = simulate(&spec, &recorded(), &arms(), None).unwrap();
    assert_eq!(without.outcome, Outcome::Undecided);
    assert!(without.decisions.iter().all(|step| step.weight <= 5));
    // What was drawn names revisions and no arm, as the comparer does.
    let drawn = with_pairs(&spec, &recorded(), &arms(), None, 0.02).unwrap();
    let guard = spec
        .guards
        .iter()
        .find(|guard| resolve(guard).unwrap().kind.counts_pairs());
    let names: Vec<String> = asks(guard.unwrap()).into_iter().map(|asked| asked.text).collect();
    let named = |name: Option<&str>| names.iter().any(|known| Some(known.as_str()) == name);
    let pairs: Vec<_> = drawn
        .series()
        .iter()
        .filter(|s| named(s.labels.get("__name__")))
        .collect();
    assert_eq!(pairs.len(), 4, "two arms, pairs and those that differ");
    assert!(pairs.iter().all(|series| series.labels.get("arm").is_none()));
}

#[test]
fn a_shadow_stage_and_the_rate_of_the_comparer_decide_when_the_first_weight_comes() {
    let first_weight = |rate: &str| {
        let replay = replay(&with_agreement(comparer(rate), Some(300)), 0.02);
        let raised = replay.decisions.iter().find(|step| step.action == Action::Raised);
        let started = replay.decisions.iter().find(|step| step.action == Action::Started);
        raised.expect("raised").at_seconds - started.expect("started").at_seconds
    };
    // 300 pairs of the candidate at 0.9 and at 3.6 a second, and the polls around them.
    let (slow, quick) = (first_weight("1"), first_weight("4"));
    assert!((300.0..=400.0).contains(&slow), "{slow}");
    assert!((60.0..=130.0).contains(&quick), "{quick}");
    // What differs that often has no first weight.
    let drifts = replay(&with_agreement(comparer("4"), Some(300)), 0.3);
    assert_eq!(drifts.outcome, Outcome::RolledBack, "{}", drifts.why);
    assert!(drifts.decisions.iter().all(|step| step.weight == 0));
}

#[test]
fn no_pairs_are_drawn_where_none_are_judged_or_some_were_recorded() {
    let without = with_pairs(&spec(), &recorded(), &arms(), None, 0.1).unwrap_err();
    assert!(matches!(without, SimulateError::Pairs(_)), "{without}");
    let spec = with_agreement(serde_json::Value::Null, None);
    let drawn = with_pairs(&spec, &recorded(), &arms(), None, 0.1).unwrap();
    let again = with_pairs(&spec, &drawn, &arms(), None, 0.1).unwrap_err();
    assert!(again.to_string().contains("leave --differs out"), "{again}");
}
