//! README and `config/` agree with the code: every flag, metric, event reason, condition and provenance key is named.

use clap::{CommandFactory, Parser};
use guardbit::api::Action;
use guardbit::cli::Cli;
use guardbit::telemetry::Metrics;
use serde_json::json;
use std::time::Duration;

const README: &str = include_str!("../README.md");

fn assert_named(what: &str, names: impl IntoIterator<Item = String>) {
    let names: Vec<_> = names.into_iter().collect();
    assert!(names.len() > 2, "no {what} found: has their source moved?");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !README.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "README.md does not name these {what}: {missing:?}");
}

#[test]
fn flags() {
    let cli = Cli::command();
    let run = cli.find_subcommand("run").expect("guardbit run");
    let flags = run
        .get_arguments()
        .filter_map(|a| a.get_long())
        .filter(|f| *f != "help");
    assert_named("flags", flags.map(|f| format!("--{f}")));
}

/// Every command of the program is named, with the program before it or among others.
#[test]
fn commands() {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(|command| command.get_name());
    let is_named = |name: &&str| {
        README.contains(&format!("`guardbit {name}`"))
            || README.contains(&format!("`guardbit {name} "))
            || README.contains(&format!("`{name}`"))
    };
    let missing: Vec<&str> = names.filter(|name| !is_named(name)).collect();
    assert!(
        missing.is_empty(),
        "README.md does not name these commands: {missing:?}"
    );
}

/// The Deployment in `config/` starts guardbit with flags and variables that it takes.
#[test]
fn the_deployment_in_config_is_one_that_starts() {
    let deployment: serde_json::Value =
        serde_yaml_ng::from_str(include_str!("../config/manager/deployment.yaml")).expect("YAML");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"]
        .as_array()
        .expect("args")
        .iter()
        .map(|a| a.as_str().expect("text"));
    Cli::try_parse_from(std::iter::once("guardbit").chain(args)).expect("guardbit takes them");
    let cli = Cli::command();
    let run = cli.find_subcommand("run").expect("guardbit run");
    let known: Vec<_> = run.get_arguments().filter_map(|a| a.get_env()?.to_str()).collect();
    for variable in container["env"].as_array().expect("env") {
        let name = variable["name"].as_str().expect("a name");
        assert!(known.contains(&name), "{name} is none of {known:?}");
    }
}

#[test]
fn metrics() {
    let guard = json!({"name": "errors", "verdict": "Healthy", "evidence": "1", "threshold": "20", "health": "1", "healthThreshold": "20",
        "candidate": {"total": 1, "bad": 0}, "baseline": {"total": 1, "bad": 0}, "estimate": "", "message": ""});
    let metrics = Metrics::default();
    metrics.reconciled("ok");
    metrics.decided("risk", "fraud-scorer", Action::Promoted, Duration::ZERO);
    metrics.status(
        "risk",
        "fraud-scorer",
        &serde_json::from_value(json!({"guards": [guard]})).expect("a status"),
        &[],
    );
    let text = metrics.text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| {
        let (name, kind) = line.split_once(' ')?;
        Some(if kind == "counter" {
            format!("{name}_total")
        } else {
            name.to_owned()
        })
    });
    assert_named("metrics", names);
}

/// Names of the members of an enum without data.
fn members(source: &str, name: &str) -> Vec<String> {
    let body = source
        .split(&format!("pub enum {name} {{"))
        .nth(1)
        .and_then(|s| s.split("\n}").next())
        .expect("the enum");
    let lines = body.lines().map(str::trim).filter(|l| !l.starts_with("//"));
    lines.filter_map(|l| l.strip_suffix(',').map(str::to_owned)).collect()
}

#[test]
fn event_reasons() {
    let source = include_str!("../src/rollout/plan.rs");
    assert_named("event reasons", members(source, "Reason"));
}

#[test]
fn conditions_and_reasons_of_missing_evidence() {
    let source = include_str!("../src/rollout/reason.rs");
    assert_named("reasons", members(source, "EvidenceReason"));
    assert_named(
        "conditions",
        ["EvidenceAvailable", "FallbackCapacity", "IdentityMismatch"].map(str::to_owned),
    );
}

/// docs/approvals.md tells of every flag of the commands for people, of every gate, and of every state of an action.
#[test]
fn the_page_for_approvers() {
    const PAGE: &str = include_str!("../docs/approvals.md");
    let is_named = |name: &str| PAGE.contains(&format!("`{name}`"));
    let cli = Cli::command();
    for verb in [
        "approve",
        "reject",
        "pause",
        "resume",
        "rollback",
        "retry",
        "break-glass",
    ] {
        let command = cli.find_subcommand(verb).expect(verb);
        assert!(PAGE.contains(verb), "{verb}");
        for flag in command.get_arguments().filter_map(|a| a.get_long()) {
            assert!(flag == "help" || is_named(&format!("--{flag}")), "{verb} --{flag}");
        }
    }
    let source = include_str!("../src/api/governance/action.rs");
    let gates = members(source, "Waive").into_iter().map(|gate| gate.to_lowercase());
    for name in members(source, "ActState").into_iter().chain(gates) {
        assert!(is_named(&name), "{name}");
    }
}

/// docs/records.md tells of everything that is checked.
#[test]
fn the_page_for_auditors() {
    const PAGE: &str = include_str!("../docs/records.md");
    for check in members(include_str!("../src/ledger/verify/finding.rs"), "Check") {
        assert!(PAGE.contains(&format!("`{check}`")), "{check}");
    }
}

#[test]
fn provenance_keys() {
    let objects = include_str!("snapshots/objects__objects_of_the_sample.snap");
    let keys = objects.lines().filter_map(|l| {
        l.trim()
            .strip_prefix("guardbit.dev/")?
            .split_once(':')
            .map(|(k, _)| k.to_owned())
    });
    let recovery = include_str!("../src/manifests/recovery.rs").lines();
    let recovery = recovery.filter_map(|l| Some(l.strip_prefix("const ")?.split_once("\"guardbit.dev/")?.1));
    let keys = keys.chain(recovery.map(|key| key.trim_end_matches("\";").to_owned()));
    let mut keys: Vec<_> = keys.filter(|k| !["purpose", "role"].contains(&k.as_str())).collect();
    keys.sort();
    keys.dedup();
    assert_named("keys", keys.iter().map(|k| format!("guardbit.dev/{k}")));
}
