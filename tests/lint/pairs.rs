//! Rules on pairs of answers.

use std::collections::BTreeMap;

use guardbit::api::QuantizedModelSpec;
use guardbit::foresight::Traffic;
use guardbit::lint::{Matched, Seen, Surroundings};

use super::{found, surroundings, with};

/// A digest as real files have it.
const DIGEST: &str = "sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";

/// The clean model of int8 with an agreement guard, and `more` in its spec.
fn with_guard(tolerance: &str, more: &str) -> String {
    let guard = format!("  - {{name: agreement, agreement: {{tolerance: {{absolute: \"{tolerance}\"}}}}}}\n");
    with("  rollout:\n", &format!("{guard}{more}  rollout:\n"))
}

/// The same with a comparer; `written` holds what is written of it beside the usual.
fn with_comparer(tolerance: &str, written: &str) -> String {
    let golden = format!("golden: {{configMap: golden, digest: \"{DIGEST}\"}}");
    let comparer = format!("  comparer: {{{golden}, {written}}}\n");
    with_guard(tolerance, &comparer)
}

/// The traffic of a model with so many requests a second.
fn assumed(text: &str, rps: f64) -> Traffic {
    let file: serde_json::Value = serde_yaml_ng::from_str(text).expect("YAML");
    let spec: QuantizedModelSpec = serde_json::from_value(file["spec"].clone()).expect("a spec");
    Traffic::assumed(&spec, rps, 0.005)
}

/// Rules and severities of all findings, and their messages.
fn told(text: &str, known: &Surroundings) -> Vec<(String, String)> {
    let all = found(text.as_bytes(), known);
    let rule = |f: &guardbit::lint::Finding| format!(" {} {}", f.severity.as_str(), f.rule.id);
    all.iter().map(|f| (rule(f), f.message.clone())).collect()
}

fn rules(text: &str, known: &Surroundings) -> Vec<String> {
    told(text, known).into_iter().map(|(rule, _)| rule).collect()
}

/// What the wide histogram of the clean model is called where users are told apart.
fn of_users(text: &str) -> String {
    text.replace(
        "histogram: http_request_duration_seconds",
        "histogram: 'http_request_duration_seconds{handler=\"score\"}'",
    )
}

#[test]
fn pairs_that_nobody_asks_or_nobody_judges_are_told_of() {
    let text = with_guard("5%", "");
    assert_eq!(rules(&text, &surroundings()), [" note pairs-not-asked"]);
    // Somebody runs a comparer by hand, and Prometheus has its series.
    let with_series = |series: usize| {
        let labels = ["guardbit_model", "guardbit_revision"].map(str::to_owned).into();
        let matched = Matched {
            series,
            labels,
            ..Matched::default()
        };
        let fields = BTreeMap::from([("agreement".to_owned(), matched)]);
        let guards = BTreeMap::from([("agreement".to_owned(), fields)]);
        Surroundings {
            seen: Some(Seen { guards, scrape: None }),
            ..surroundings()
        }
    };
    assert_eq!(rules(&text, &with_series(2)), [""; 0]);
    let without = rules(&text, &with_series(0));
    assert!(
        without.iter().any(|rule| rule == " note pairs-not-asked"),
        "{without:?}"
    );

    let golden = format!("golden: {{configMap: golden, digest: \"{DIGEST}\", path: /v2/models/m/infer}}");
    let comparer = format!("protocol: OpenInference, {golden}");
    let text = with("  rollout:\n", &format!("  comparer: {{{comparer}}}\n  rollout:\n"));
    assert_eq!(rules(&text, &surroundings()), [" warning pairs-not-judged"]);
}

#[test]
fn a_ladder_that_nobody_compares_is_pointed_to_pairs_first() {
    let text = with("  - name: drift\n    fidelity:\n      histogram: model_score\n", "");
    let all = told(&text, &surroundings());
    let (_, message) = &all[0];
    let (agreement, fidelity) = (message.find("agreement guard"), message.find("fidelity guard"));
    assert!(agreement.is_some() && agreement < fidelity, "{message}");
}

#[test]
fn a_placeholder_in_the_place_of_a_digest_is_told_of() {
    let text = of_users(&with_comparer("5%", "protocol: OpenAI"));
    assert_eq!(rules(&text, &surroundings()), [""; 0]);
    for digits in [
        "0".repeat(64),
        "0123456789abcdef".repeat(4),
        // That of docs/compare.md.
        "3f0c5b7a9d3e4f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8".to_owned(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
    ] {
        let placeholder = text.replace(DIGEST, &format!("sha256:{digits}"));
        let found = rules(&placeholder, &surroundings());
        assert_eq!(found, [" warning golden-digest"], "{digits}");
    }
}

#[test]
fn a_budget_that_does_not_last_until_the_last_step_is_told_of() {
    // The first step takes five minutes: 600 pairs at two a second. The last needs 50 of the candidate, which are 56 in all.
    for (pairs, shadow, expected) in [
        (656, "", &[][..]),
        (655, "", &[" warning pairs-budget"]),
        (1_100, "shadow: {pairs: 500}", &[" warning pairs-budget"]),
        (1_300, "shadow: {pairs: 500}", &[]),
    ] {
        let budget = format!("protocol: OpenAI, budget: {{pairs: {pairs}}}");
        let text = of_users(&with_comparer("5%", &budget));
        let text = text.replace("    holdout: 5\n", &format!("    holdout: 5\n    {shadow}\n"));
        assert_eq!(rules(&text, &surroundings()), expected, "{pairs} {shadow}");
    }
    let text = of_users(&with_comparer("5%", "protocol: OpenAI, budget: {pairs: 60}"));
    let (_, message) = &told(&text, &surroundings())[0];
    for part in [
        "before the 50% step can end",
        "takes 600 at this rate",
        "write pairs: 656 or more",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_share_of_an_arm_makes_a_budget_last_longer() {
    let budgets = |pairs: u32| {
        let written = format!("protocol: OpenAI, shareOfArm: \"5%\", budget: {{pairs: {pairs}}}");
        of_users(&with_comparer("5%", &written))
    };
    let of_rule = |pairs: u32, rps: Option<f64>| {
        let text = budgets(pairs);
        let known = Surroundings {
            traffic: rps.map(|rps| assumed(&text, rps)),
            ..surroundings()
        };
        let all = told(&text, &known);
        let mut found = all.into_iter().filter(|(rule, _)| rule == " warning pairs-budget");
        found.next().map(|(_, message)| message)
    };
    // How much a share is depends on the traffic.
    assert_eq!(of_rule(60, None), None);
    // At 5% a quarter of a pair a second may be asked, and at 50% two: that begins a new budget.
    assert_eq!(of_rule(60, Some(120.0)), None);
    let message = of_rule(50, Some(120.0)).expect("no step has its 56 pairs");
    assert!(message.contains("write pairs: 56 or more"), "{message}");
    // Here the share allows the whole rate from the first step on.
    let message = of_rule(60, Some(10_000.0)).expect("told");
    assert!(message.contains("write pairs: 656 or more"), "{message}");
}

#[test]
fn a_shadow_stage_that_cannot_end_before_the_deadline_is_told_of() {
    let rule = " warning pairs-shadow";
    // 400 pairs of the candidate at 0.01 a second, one in ten of which asks the reference twice, take 12.3 hours.
    for (deadline, expected) in [("12h", true), ("13h", false)] {
        let text = of_users(&with_comparer("5%", "protocol: OpenAI, rate: \"0.01\""));
        let shadow = format!("    shadow: {{pairs: 400}}\n    deadline: {deadline}\n");
        let text = text.replace("    deadline: 4h\n", &shadow);
        let all = told(&text, &surroundings());
        let found = all.iter().find(|(of, _)| of == rule).map(|(_, message)| message);
        assert_eq!(found.is_some(), expected, "{deadline}: {all:?}");
        let parts = [
            "does not end before the deadline of 12h",
            "400 pairs of the candidate take 12 h",
        ];
        if let Some(message) = found {
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}

#[test]
fn questions_that_a_latency_guard_counts_are_told_of() {
    let text = with_comparer("5%", "protocol: OpenAI");
    let note = [" note questions-among-requests"];
    assert_eq!(rules(&text, &surroundings()), note);
    assert_eq!(rules(&of_users(&text), &surroundings()), [""; 0]);
    let shadow = text.replace("    holdout: 5\n", "    holdout: 5\n    shadow: {pairs: 500}\n");
    // The comparer goes on asking during the steps.
    let of_shadow = told(&shadow, &surroundings());
    assert!(
        of_shadow
            .iter()
            .any(|(rule, message)| rule == note[0] && !message.contains("shadow")),
        "{of_shadow:?}"
    );

    // 5% of 100 requests a second are five, and a twentieth of them is less than 1.8 questions.
    let with_traffic = |rps: f64| Surroundings {
        traffic: Some(assumed(&shadow, rps)),
        ..surroundings()
    };
    let of_rule = |rps: f64| {
        let all = told(&shadow, &with_traffic(rps));
        all.into_iter()
            .find(|(rule, _)| *rule == note[0])
            .map(|(_, message)| message)
    };
    let message = of_rule(100.0).expect("told");
    assert!(
        message.contains("1.8 questions a second, and users 5 at 5%"),
        "{message}"
    );
    assert!(message.contains("or rate: \"0.27\" or less"), "{message}");
    assert_eq!(of_rule(1_000.0), None);
}

#[test]
fn a_tolerance_far_from_what_the_bits_do_is_told_of() {
    let note = " note tolerance-of-precision";
    for (tolerance, protocol, expected) in [
        ("5%", "OpenAI", None),
        ("1%", "OpenAI", Some("a good one would be rolled back")),
        ("30%", "OpenAI", Some("much worse than usual would pass")),
        ("1%", "Embeddings", None),
    ] {
        let text = of_users(&with_comparer(tolerance, &format!("protocol: {protocol}")));
        let all = told(&text, &surroundings());
        let found = all.iter().find(|(rule, _)| rule == note).map(|(_, message)| message);
        assert_eq!(found.is_some(), expected.is_some(), "{tolerance} {protocol}: {all:?}");
        if let (Some(message), Some(part)) = (found, expected) {
            assert!(
                message.contains(part) && message.contains("int8 has 8 bits"),
                "{message}"
            );
        }
    }
}
