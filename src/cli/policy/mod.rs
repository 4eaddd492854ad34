//! `guardbit policy`: what policies ask of models, before any of them is applied.

mod cases;
mod outlook;
mod output;
pub(super) mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::api::plain_lines;
use crate::lint::{self, Model, Schema};

use super::backtest::moment;
use super::streams;
use outlook::Outlook;
use output::{Output, Told, json};
use source::{Governing, Labels, labels, located, refuse};

/// Flags of `guardbit policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say for each step of a rollout what policies ask for, and whether it may be made at a time.
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Files with PrecisionPolicies, QuantizedModels and Namespaces, or directories: all *.yaml, *.yml and *.json below them are
    /// read; - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// File with cases, each with what it expects of a model (docs/governance.md). May be given more than once.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "namespace_labels"])]
    cases: Vec<PathBuf>,
    /// The time: RFC 3339, Unix seconds, now, or a while ago such as -2h.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true, default_value = "now")]
    at: Timestamp,
    /// Labels of the namespaces of models of which no Namespace is among the files; "" for none.
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = labels)]
    namespace_labels: Option<Labels>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// The exit code of what could not be tested.
const COULD_NOT_RUN: u8 = 2;

/// Prints what is asked for. The exit code is 0 where nothing is refused, or all cases are as expected, 1 elsewhere, and 2 where it
/// could not be found out.
pub fn start(args: &PolicyArgs) -> ExitCode {
    let PolicyCommand::Test(args) = &args.command;
    let told = run(args).and_then(|told| {
        streams::write(&plain_lines(told.text.trim_end()))?;
        Ok(told.is_good)
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// What is in the files.
struct Files {
    governing: Governing,
    models: Vec<(String, Model)>,
}

/// The JSON output: its fields are only ever added to.
#[derive(Serialize)]
struct Document<'a> {
    at: Timestamp,
    models: &'a [Outlook],
}

fn run(args: &TestArgs) -> Result<Told, String> {
    let Files { governing, models } = read(args)?;
    if !args.cases.is_empty() {
        if let Some((file, _)) = models.first() {
            return Err(format!(
                "{file} holds a model, and with --cases the cases name their models: name files of policies alone"
            ));
        }
        return cases::run(&args.cases, &governing, args.output);
    }
    if models.is_empty() {
        let names: Vec<_> = governing.policies().map(|policy| policy.name.as_str()).collect();
        return Ok(Told {
            text: format!("{} can be read; name files of models too", names.join(", ")),
            is_good: true,
        });
    }
    let outlooks = models.iter().map(|(file, model)| {
        let labels = governing.labels(model);
        Outlook::of(file, model, &governing, labels.as_ref(), args.at)
    });
    let outlooks = outlooks.collect::<Result<Vec<_>, _>>()?;
    let text = match args.output {
        Output::Table => outlooks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Output::Json => json(&Document {
            at: args.at,
            models: &outlooks,
        })?,
    };
    Ok(Told {
        text,
        is_good: !outlooks.iter().any(Outlook::is_refused),
    })
}

/// Reads the files, in which lint finds no error.
fn read(args: &TestArgs) -> Result<Files, String> {
    let (of_models, of_policies) = (Schema::new(), Schema::of_policies());
    let (mut governing, mut models, mut refused) = (Governing::default(), Vec::new(), Vec::new());
    for path in streams::files(&args.files)? {
        let bytes = streams::read(&path)?;
        let file = streams::named(&path);
        governing.take(&path, &bytes, &of_policies);
        let read = lint::read(&bytes, &of_models);
        refused.extend(located(&file, read.findings));
        models.extend(read.models.into_iter().map(|model| (file.clone(), model)));
    }
    // What is no YAML is found by both readers.
    for found in governing.findings() {
        if !refused.contains(&found) {
            refused.push(found);
        }
    }
    refuse(refused)?;
    Ok(Files {
        governing: governing.complete(&args.files, args.namespace_labels.clone())?,
        models,
    })
}
