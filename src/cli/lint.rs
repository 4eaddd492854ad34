//! `guardbit lint`: what is wrong with models before they are applied.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use crate::api::plain_lines;
use crate::evidence::ArmMatcher;
use crate::foresight::{Question, Traffic, problems};
use crate::lint::{self, Located, Model, Schema, Severity, Surroundings};

use super::measure::Measure;
use super::plan::{Matchers, matchers, on_all_cores, positive, share};
use super::policy::source::{Governing, Labels, labels};
use super::server::ServerArgs;
use super::streams;

/// Flags of `guardbit lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Files with models, or directories: all *.yaml, *.yml and *.json below them are read; - for standard input.
    #[arg(short, long, required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Files with PrecisionPolicies, or directories: what they ask of the models that they are about. Namespaces in them say
    /// which labels the namespaces of models have. May be given more than once.
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Labels of the namespaces of models of which no Namespace is among the files of policies; "" for none.
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = labels, requires = "policy")]
    namespace_labels: Option<Labels>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// What else makes the exit code 1.
    #[arg(long, value_enum)]
    deny: Option<Deny>,
    /// Requests per second of the whole route: whether rollouts decide in time is found by playing them.
    #[arg(long, value_parser = positive, conflicts_with = "prometheus")]
    rps: Option<f64>,
    /// Share of the baseline's requests that fail, such as 0.5%; for guards that are not measured.
    #[arg(long, default_value = "0.5%", value_parser = share)]
    error_rate: f64,
    /// Prometheus to look for the guards' series in, and to measure the traffic of the past hour from.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// The series that serve all traffic now, such as {namespace="risk"}; all that the selectors match when left out.
    #[arg(long, value_name = "{MATCHERS}", value_parser = matchers, requires = "prometheus")]
    arm: Option<Matchers>,
    /// Seconds of computing for each model, where its traffic is known.
    #[arg(long, default_value_t = 3.0, value_parser = positive)]
    seconds: f64,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A finding a line, as compilers write it.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code review.
    Sarif,
}

/// What else counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Deny {
    /// Warnings.
    Warnings,
}

/// Runs of a climb at the most.
const RUNS: u64 = 100;

/// The exit code of what could not be run, as opposed to what was found.
const COULD_NOT_RUN: u8 = 2;

/// What is printed.
struct Told {
    text: String,
    /// For a person who sees the text.
    total: Option<String>,
    worst: Option<Severity>,
}

/// Prints the findings; fails if one of them is an error.
pub fn start(args: &LintArgs) -> ExitCode {
    match run(args) {
        Ok(Told { text, total, worst }) => {
            if !text.is_empty() {
                streams::print(text.trim_end());
            }
            if let Some(total) = total {
                eprintln!("{total}");
            }
            let least = if args.deny == Some(Deny::Warnings) {
                Severity::Warning
            } else {
                Severity::Error
            };
            if worst.is_some_and(|worst| worst >= least) {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(args: &LintArgs) -> Result<Told, String> {
    let schema = Schema::new();
    let governing = Governing::of(&args.policy, args.namespace_labels.clone())?;
    let mut findings = Vec::new();
    let (mut models, mut readable, mut selected) = (0, 0, BTreeSet::new());
    for path in streams::files(&args.filename)? {
        let bytes = streams::read(&path)?;
        let file = streams::named(&path);
        let read = lint::read(&bytes, &schema);
        models += read.seen;
        readable += read.models.len();
        let mut found = read.findings;
        for model in &read.models {
            selected.extend(governing.selecting(model));
            found.extend(lint::check(model, &surroundings(args, &governing, model)?));
        }
        found.sort_by_key(|f| (f.line, f.column));
        findings.extend(found.into_iter().map(|finding| Located {
            file: file.clone(),
            finding,
        }));
    }
    if models == 0 && findings.is_empty() {
        let where_: Vec<_> = args.filename.iter().map(|p| p.display().to_string()).collect();
        return Err(format!(
            "there is no QuantizedModel of {}/v1alpha1 in {}",
            crate::api::GROUP,
            where_.join(", ")
        ));
    }
    let mut all = governing.findings();
    // What could not be read may be what a policy is about.
    if readable == models {
        all.extend(governing.select_nothing(&selected));
    }
    all.extend(findings);
    let findings = all;
    let worst = findings.iter().map(|f| f.finding.severity).max();
    let (text, total) = match args.output {
        Output::Text => (lint::text(&findings), Some(total(&findings, models))),
        Output::Json => (lint::json(&findings).map_err(|e| e.to_string())?, None),
        Output::Sarif => (lint::sarif(&findings).map_err(|e| e.to_string())?, None),
    };
    Ok(Told { text, total, worst })
}

fn total(findings: &[Located], models: usize) -> String {
    let count = |severity, one: &str| {
        let n = findings.iter().filter(|f| f.finding.severity == severity).count();
        format!("{n} {one}{}", if n == 1 { "" } else { "s" })
    };
    format!(
        "{models} model{}: {}, {}, {}",
        if models == 1 { "" } else { "s" },
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
        count(Severity::Note, "note")
    )
}

/// What is known beside the file: the time, and as much of metrics and traffic as was asked for.
fn surroundings(args: &LintArgs, governing: &Governing, model: &Model) -> Result<Surroundings, String> {
    let mut known = Surroundings {
        now: Timestamp::now(),
        policies: governing.policies().cloned().collect(),
        namespace: governing.labels(model),
        ..Surroundings::default()
    };
    // A server cannot be asked for a selector that is no PromQL, so nothing is measured.
    let found = lint::check(model, &known);
    if found.iter().any(|f| f.rule.id == "promql") {
        return Ok(known);
    }
    let (traffic, scrape) = match (&args.prometheus, args.rps) {
        (Some(url), _) => {
            let arm: &[ArmMatcher] = args.arm.as_ref().map_or(&[], |Matchers(m)| m);
            let measured = Measure::take(&args.server.client(url)?, &model.spec, arm)
                .map_err(|e| format!("{}: {e}", model.name))?;
            let traffic = Traffic::measured(
                &model.spec,
                &measured.history,
                measured.seconds,
                args.error_rate,
                |_| 1.0,
            );
            let scrape = measured.scrape;
            known.seen = Some(measured.seen());
            ((traffic.per_second() > 0.0).then_some(traffic), scrape)
        }
        (None, Some(rps)) => (Some(Traffic::assumed(&model.spec, rps, args.error_rate)), None),
        (None, None) => (None, None),
    };
    if let Some(traffic) = &traffic {
        let question = Question {
            spec: &model.spec,
            traffic,
            scrape: scrape.unwrap_or(0.0),
            prompt_tokens: None,
        };
        let time = Duration::from_secs_f64(args.seconds);
        known.foreseen = on_all_cores(time, RUNS, |budget| problems(&question, budget));
    }
    known.traffic = traffic;
    Ok(known)
}
