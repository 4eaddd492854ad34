//! `guardbit plan`, as people and programs call it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

#[path = "support/told.rs"]
mod told;

use told::told;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples/fraud-scorer.yaml");

/// Exit code, standard output and standard error. Few runs of each scene are enough for what is asserted here.
fn plan(args: &[&str]) -> (i32, String, String) {
    told(
        Command::new(env!("CARGO_BIN_EXE_guardbit"))
            .args(["plan", "-f", MODEL, "--runs", "12"])
            .args(args),
    )
}

fn json(rps: &str) -> Value {
    let (code, out, error) = plan(&["--rps", rps, "-o", "json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn each_step_tells_what_every_arm_gets_and_how_long_each_guard_takes() {
    let forecast = json("300");
    assert_eq!(forecast["model"], "fraud-scorer");
    let climb = &forecast["climbs"][0];
    assert_eq!(climb["candidates"], serde_json::json!(["int8"]));
    let steps = climb["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 3);
    for (step, weight) in steps.iter().zip([5.0, 25.0, 50.0]) {
        assert_eq!(step["weight"], weight);
        assert_eq!(step["rps"]["candidate"], 3.0 * weight);
        let guards = step["guards"].as_array().expect("guards");
        assert_eq!(guards.len(), 3);
        for guard in guards {
            assert!(!guard["harm"].as_array().expect("harms").is_empty(), "{guard}");
        }
    }
    assert!(
        forecast["problems"].as_array().expect("problems").is_empty(),
        "{}",
        forecast["problems"]
    );
}

#[test]
fn what_cannot_decide_in_time_is_said_in_a_sentence_with_a_remedy() {
    let (code, out, error) = plan(&["--rps", "0.5"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("the deadline is 10m"), "{out}");
    let problems = json("0.5")["problems"].clone();
    assert!(!problems.as_array().expect("problems").is_empty());
}

#[test]
fn more_traffic_is_decided_sooner() {
    let median = |rps| json(rps)["climbs"][0]["steps"][2]["guards"][1]["harm"][2]["found"]["median"].as_f64();
    let (slow, fast) = (median("20"), median("400"));
    assert!(
        fast.expect("decided") < slow.unwrap_or(f64::INFINITY),
        "{fast:?} against {slow:?}"
    );
}

#[test]
fn wrong_use_is_told_with_what_would_be_right() {
    for (args, part) in [
        (&["--rps", "0"][..], "write a number above 0"),
        (&[], "--rps"),
        (&["--rps", "1", "--error-rate", "200%"], "write a share below 1"),
        (&["--rps", "1", "--prompt-tokens", "0"], "write a number above 0"),
    ] {
        let (code, _, error) = plan(args);
        assert_ne!(code, 0);
        assert!(error.contains(part), "{args:?}: {error}");
    }
}

fn piped(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_guardbit"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("guardbit starts");
    let mut stdin = child.stdin.take().expect("standard input");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("an exit code"),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_model_may_come_from_standard_input() {
    let model = std::fs::read_to_string(MODEL).expect("a model");
    let (code, out, error) = piped(&["plan", "-f", "-", "--rps", "300", "--runs", "2"], &model);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("fraud-scorer"), "{out}");
    let (code, _, error) = piped(&["lint", "-f", "-"], &model);
    assert!(code == 0 && error.starts_with("1 model:"), "{error}");
}

/// The sample with pairs of answers; `comparer` and `rollout` hold what is written of these fields beside the usual.
fn with_pairs(comparer: &str, rollout: &str) -> String {
    let model = std::fs::read_to_string(MODEL).expect("a model");
    let digest = "3f0c5b7a".repeat(8);
    let golden = format!("golden: {{configMap: golden, digest: \"sha256:{digest}\"}}");
    let guards = format!(
        "  comparer: {{protocol: OpenAI, {golden}, {comparer}}}\n  guards:\n  - {{name: agreement, agreement: {{tolerance: {{absolute: \"5%\"}}}}}}\n"
    );
    let changed =
        model
            .replacen("  guards:\n", &guards, 1)
            .replacen("  rollout:\n", &format!("  rollout:\n    {rollout}\n"), 1);
    assert!(changed.contains(&guards) && changed.contains(rollout));
    changed
}

#[test]
fn pairs_of_answers_cost_requests_and_tokens_and_a_shadow_stage_sees_only_so_much() {
    let model = with_pairs("rate: \"20\", budget: {pairs: 50000}", "shadow: {pairs: 400}");
    let (code, out, error) = piped(
        &[
            "plan",
            "-f",
            "-",
            "--rps",
            "300",
            "--runs",
            "12",
            "--prompt-tokens",
            "500",
            "-o",
            "json",
        ],
        &model,
    );
    assert_eq!(code, 0, "{error}");
    let forecast: Value = serde_json::from_str(&out).expect("JSON");
    let pairs = &forecast["climbs"][0]["pairs"];
    let stages = pairs["stages"].as_array().expect("stages");
    let names: Vec<_> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    assert_eq!(names, ["shadow", "5%", "25%", "50%"]);
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!((number(&pairs["perSecond"]), number(&pairs["control"])), (20.0, 0.1));
    // 400 pairs of the candidate are 444 in all, and an evaluation is a second.
    let shadow = number(&stages[0]["pairs"]);
    assert!((400.0..=540.0).contains(&shadow), "{shadow}");
    // Each step is held for ten seconds.
    assert!(number(&stages[1]["pairs"]) >= 200.0, "{}", stages[1]);
    let climb = &pairs["climb"];
    let all = number(&climb["pairs"]);
    for (field, each) in [
        ("candidateRequests", 0.9),
        ("referenceRequests", 1.1),
        ("tokens", 1_002.0),
    ] {
        assert!(
            (number(&climb[field]) / (all * each) - 1.0).abs() < 1e-9,
            "{field}: {climb}"
        );
    }
    let sees = &forecast["shadow"][0];
    assert_eq!(sees["pairs"], 400);
    let shown = |of: &str, i: usize| number(&sees[of][i]["shown"]["share"]);
    assert_eq!(sees["harm"][2]["effect"], "20% differ");
    assert_eq!(shown("harm", 2), 1.0, "{sees}");
    assert_eq!(sees["health"][1]["effect"], "3.3% differ");
    assert!(shown("health", 1) < 0.5, "{sees}");
}

#[test]
fn a_budget_of_pairs_that_is_spent_before_a_verdict_is_told() {
    let model = with_pairs("rate: \"2\", budget: {pairs: 60}", "onUndecided: RollBack");
    let (code, out, error) = piped(&["plan", "-f", "-", "--rps", "300", "--runs", "12"], &model);
    assert_eq!(code, 0, "{error}");
    for told in [
        "the budget of 60 pairs is spent after 30 s, before the end of the rollout in 100%",
        "to show health of agreement",
        "the budget of pairs is spent after 30 s, and no more come",
        "raise spec.comparer.budget.pairs",
    ] {
        assert!(out.contains(told), "{told:?} is not in: {out}");
    }
    // Pairs do not depend on it.
    assert!(!out.contains("more traffic"), "{out}");
}

#[test]
fn pairs_come_no_faster_than_the_share_of_an_arm_allows() {
    let comparer = "rate: \"20\", shareOfArm: \"5%\", budget: {pairs: 50000}";
    let model = with_pairs(comparer, "onUndecided: RollBack");
    let args = ["plan", "-f", "-", "--rps", "300", "--runs", "12"];
    let (code, out, error) = piped(&args, &model);
    assert_eq!(code, 0, "{error}");
    // 5% of 15, 75 and 150 requests a second are 0.75, 3.75 and 7.5: the rate is halved five times, and then three times. It
    // stays where it is more than a quarter of what is allowed.
    let told = "20 a second (by shareOfArm 0.6 at 5%, 2.5 at 25%, 2.5 at 50%), 10% of them";
    assert!(out.contains(told), "{out}");
    let (code, out, error) = piped(&[&args[..], &["-o", "json"]].concat(), &model);
    assert_eq!(code, 0, "{error}");
    let forecast: Value = serde_json::from_str(&out).expect("JSON");
    let pairs = &forecast["climbs"][0]["pairs"];
    let rates = pairs["rates"].as_array().expect("rates").iter();
    let rates: Vec<_> = rates.filter_map(|rate| rate["perSecond"].as_f64()).collect();
    assert_eq!(rates, [0.625, 2.5, 2.5]);
    let first = &pairs["stages"][0];
    let number = |field: &str| first[field].as_f64().expect("a number");
    assert_eq!(first["stage"], "5%");
    assert!((number("pairs") / number("seconds") - 0.625).abs() < 1e-6, "{first}");
    // A step waits for fifty pairs of the candidate.
    assert!(number("seconds") > 60.0, "{first}");
}

#[test]
fn a_shadow_stage_that_does_not_end_counts_no_pairs_that_never_come() {
    let model = with_pairs("rate: \"0.5\"", "shadow: {pairs: 500}");
    let (code, out, error) = piped(&["plan", "-f", "-", "--rps", "300", "--runs", "12"], &model);
    assert_eq!(code, 0, "{error}");
    for told in [
        "the shadow stage does not end before the deadline: 270 of 500 pairs of the candidate in 10 min",
        "the shadow stage does not end before the deadline of 10m: 500 pairs of the candidate take 19 min",
    ] {
        assert!(out.contains(told), "{told:?} is not in: {out}");
    }
    assert!(!out.contains("after a promotion it lasts"), "{out}");
}

#[test]
fn what_lint_refuses_is_not_planned_and_says_the_same() {
    let model = std::fs::read_to_string(MODEL).expect("a model");
    let wrong = model.replacen("riskTier: ", "riskTier: Very", 1);
    assert_ne!(wrong, model);
    let (code, out, lint) = piped(&["lint", "-f", "-"], &wrong);
    assert_eq!(code, 1, "{lint}");
    let (code, _, error) = piped(&["plan", "-f", "-", "--rps", "300"], &wrong);
    assert_eq!((code, error), (1, format!("guardbit: {out}")));
}

#[test]
fn without_any_traffic_every_way_to_say_it_is_named() {
    let (code, _, error) = piped(&["plan", "-f", MODEL], "");
    assert_eq!(code, 2);
    assert!(error.contains("--rps") && error.contains("--prometheus"), "{error}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for args in [
        &["crds"][..],
        &["lint", "-f", MODEL],
        &["plan", "-f", MODEL, "--rps", "300", "--runs", "2"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_guardbit"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("guardbit starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !error.contains("panicked"),
            "{args:?}: {error}"
        );
    }
}
