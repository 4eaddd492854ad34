//! `guardbit simulate`: replays recorded metrics through the judge and the rollout core, without a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use crate::api::{QuantizedModelSpec, plain_lines};
use crate::evidence::ArmMatcher;
use crate::evidence::promql::parse_matchers;
use crate::simulate::recording::Recording;
use crate::simulate::{Arms, openmetrics, report, simulate, with_pairs};

use super::backtest::{Stretch, fetch, moment};
use super::model;
use super::plan::share;
use super::server::{ServerArgs, runtime};
use super::streams;

/// Flags of `guardbit simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// File with a QuantizedModel; - for standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Recorded metrics: OpenMetrics text with timestamps, or a directory of *.om files.
    #[arg(long, required_unless_present = "prometheus", conflicts_with_all = ["prometheus", "start", "end"])]
    metrics: Option<PathBuf>,
    /// URL of a Prometheus to fetch the metrics from, instead.
    #[arg(long, value_name = "URL", requires = "start")]
    prometheus: Option<String>,
    /// Beginning of what is fetched: RFC 3339, Unix seconds, or a while ago such as -2h.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true, requires = "prometheus")]
    start: Option<Timestamp>,
    /// End of what is fetched; now when left out.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true, requires = "prometheus", default_value = "now")]
    end: Timestamp,
    #[command(flatten)]
    server: ServerArgs,
    /// How the series of an arm are told: NAME={MATCHERS}, where NAME is stable, candidate or reference. Default:
    /// NAME={arm="NAME"}.
    #[arg(long, value_name = "NAME={MATCHERS}", value_parser = arm)]
    arm: Vec<(ArmName, Vec<ArmMatcher>)>,
    /// Variant on trial: default the first above the reference, or the target if there are series of a reference arm.
    #[arg(long)]
    candidate: Option<String>,
    /// Share of the candidate's answers that differ from the reference's, such as 9.5%: pairs of answers are drawn at the rate
    /// of spec.comparer, for a recording that has none.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    differs: Option<f64>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A timeline for people.
    Table,
    /// One JSON object per trace and line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArmName {
    Stable,
    Candidate,
    Reference,
}

fn arm(text: &str) -> Result<(ArmName, Vec<ArmMatcher>), String> {
    let (name, matchers) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}`: write NAME={{MATCHERS}}, such as candidate={{version=\"int8\"}}"))?;
    let name = match name {
        "stable" => ArmName::Stable,
        "candidate" => ArmName::Candidate,
        "reference" => ArmName::Reference,
        other => return Err(format!("`{other}` is no arm: use stable, candidate or reference")),
    };
    Ok((name, parse_matchers(matchers).map_err(|e| e.to_string())?))
}

/// Replays all traces; fails if one could not be read or replayed.
pub fn start(args: &SimulateArgs) -> ExitCode {
    match run(args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::FAILURE
        }
    }
}

/// How many traces failed.
fn run(args: &SimulateArgs) -> Result<usize, String> {
    let spec = model::read(&args.filename)?;
    let arms = arms(args)?;
    let metrics = match (&args.metrics, &args.prometheus) {
        (Some(metrics), _) => metrics,
        (None, Some(url)) => return backtest(url, &spec, &arms, args),
        (None, None) => return Err("name recorded metrics with --metrics, or a server with --prometheus".to_owned()),
    };
    let traces = traces(metrics)?;
    let (next, workers) = (
        AtomicUsize::new(0),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let (done, results) = mpsc::channel();
    let mut failed = 0;
    std::thread::scope(|scope| {
        for _ in 0..workers.min(traces.len()) {
            let (done, next, traces, spec, arms) = (done.clone(), &next, &traces, &spec, &arms);
            scope.spawn(move || {
                while let Some((at, path)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    traces.get(at).map(|path| (at, path))
                } {
                    // The receiver lives as long as this scope.
                    let _ = done.send((at, trace(path, spec, arms, args)));
                }
            });
        }
        drop(done);
        // In the order of their names, however long each takes.
        let (mut waiting, mut at) = (std::collections::BTreeMap::new(), 0);
        for (index, result) in results {
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&at) {
                match result {
                    Ok(text) => streams::print(&plain_lines(&text)),
                    Err(text) => {
                        failed += 1;
                        tell(&text, args.output);
                    }
                }
                at += 1;
            }
        }
    });
    Ok(failed)
}

/// Replays what a server has stored.
fn backtest(url: &str, spec: &QuantizedModelSpec, arms: &Arms, args: &SimulateArgs) -> Result<usize, String> {
    let start = args.start.ok_or("say with --start from when on")?;
    let stretch = Stretch {
        from: start.as_millisecond(),
        through: args.end.as_millisecond(),
    };
    if stretch.from >= stretch.through {
        return Err(format!("--start {start} is not before --end {}", args.end));
    }
    let client = args.server.client(url)?;
    let recording = runtime()?.block_on(fetch(&client, spec, arms, stretch))?;
    match replay(url, url, &recording, spec, arms, args) {
        Ok(text) => {
            streams::print(&plain_lines(&text));
            Ok(0)
        }
        Err(text) => {
            tell(&text, args.output);
            Ok(1)
        }
    }
}

/// Says what could not be replayed.
fn tell(text: &str, output: Output) {
    match output {
        Output::Json => streams::print(text),
        Output::Table => eprintln!("guardbit: {}", plain_lines(text)),
    }
}

fn trace(path: &Path, spec: &QuantizedModelSpec, arms: &Arms, args: &SimulateArgs) -> Result<String, String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let origin = path.display().to_string();
    let recording = std::fs::read(path)
        .map_err(|e| e.to_string())
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()))
        .and_then(|text| openmetrics::read(&text).map_err(|e| e.to_string()))
        .map_err(|error| failure(&name, &origin, &error, args.output))?;
    replay(&name, &origin, &recording, spec, arms, args)
}

/// Replays a recording and prints the result, under a name; errors also say where it is from.
fn replay(
    name: &str,
    origin: &str,
    recording: &Recording,
    spec: &QuantizedModelSpec,
    arms: &Arms,
    args: &SimulateArgs,
) -> Result<String, String> {
    let candidate = args.candidate.as_deref();
    let replayed = match args.differs {
        Some(differs) => with_pairs(spec, recording, arms, candidate, differs)
            .and_then(|recording| simulate(spec, &recording, arms, candidate)),
        None => simulate(spec, recording, arms, candidate),
    };
    match (replayed, args.output) {
        (Ok(replay), Output::Json) => Ok(report::json(name, &replay)),
        (Ok(replay), Output::Table) => Ok(report::table(name, &replay)),
        (Err(error), output) => Err(failure(name, origin, &error.to_string(), output)),
    }
}

fn failure(name: &str, origin: &str, error: &str, output: Output) -> String {
    match output {
        Output::Json => report::json_error(name, error),
        Output::Table => format!("{origin}: {error}"),
    }
}

/// The files to replay: one, or all `*.om` of a directory by name.
fn traces(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|ext| ext == "om"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: no *.om files in it", path.display()));
    }
    Ok(files)
}

fn arms(args: &SimulateArgs) -> Result<Arms, String> {
    let of = |name: ArmName, default: &str| {
        let given = args.arm.iter().rev().find(|(given, _)| *given == name);
        match given {
            Some((_, matchers)) => Ok(matchers.clone()),
            None => parse_matchers(default).map_err(|e| e.to_string()),
        }
    };
    Ok(Arms {
        stable: of(ArmName::Stable, r#"{arm="stable"}"#)?,
        candidate: of(ArmName::Candidate, r#"{arm="candidate"}"#)?,
        reference: of(ArmName::Reference, r#"{arm="reference"}"#)?,
    })
}
