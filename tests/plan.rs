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
