//! `guardbit plan`: what a rollout will take, before it runs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;

use crate::api::{GROUP, plain_lines};
use crate::evidence::ArmMatcher;
use crate::evidence::promql::parse_matchers;
use crate::foresight::{Budget, Forecast, Question, Traffic, forecast, report};
use crate::lint::{self, Located, Model, Read, Schema, Severity};

use super::measure::Measure;
use super::placebo::{Extent, placebo};
use super::server::ServerArgs;
use super::streams;

/// Flags of `guardbit plan`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("traffic").args(["rps", "prometheus"]).required(true)))]
pub struct PlanArgs {
    /// File with a QuantizedModel; - for standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Requests per second of the whole route.
    #[arg(long, value_parser = positive)]
    rps: Option<f64>,
    /// Share of the baseline's requests that fail, such as 0.5%; for guards that are not measured.
    #[arg(long, default_value = "0.5%", value_parser = share)]
    error_rate: f64,
    /// Prometheus to measure the traffic of the past hour from, through the guards' own selectors.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Tries the guards on stable alone: its pods of the last hours are split into a mock candidate and a mock baseline. Exit
    /// code 1 when an identical candidate would be rolled back more often than falseRollback says.
    #[arg(long, requires = "prometheus")]
    placebo: bool,
    /// Hours of the past that a placebo is tried on.
    #[arg(long, default_value_t = 4.0, value_parser = positive, requires = "placebo")]
    hours: f64,
    /// The series that serve all traffic now, such as {namespace="risk"}; all that the selectors match when left out.
    #[arg(long, value_name = "{MATCHERS}", value_parser = matchers, requires = "prometheus")]
    arm: Option<Matchers>,
    /// Seconds between two scrapes, where that is longer than rollout.interval; measured with --prometheus.
    #[arg(long, value_parser = positive)]
    scrape_interval: Option<f64>,
    /// Tokens of a question of the golden set, on average: what pairs of answers cost a language model, and when a budget of
    /// tokens is spent.
    #[arg(long, value_name = "TOKENS", value_parser = positive)]
    prompt_tokens: Option<f64>,
    /// Seconds of computing; more of them make the Monte-Carlo error smaller.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    seconds: f64,
    /// Runs of each scene at the most.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// Matchers of one arm.
#[derive(Clone, Debug)]
pub(super) struct Matchers(pub(super) Vec<ArmMatcher>);

pub(super) fn matchers(text: &str) -> Result<Matchers, String> {
    parse_matchers(text).map(Matchers).map_err(|e| e.to_string())
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("write a number above 0".to_owned()),
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match crate::api::Fraction::from(text).value() {
        Ok(value) if value < 1.0 => Ok(value),
        _ => Err("write a share below 1, such as 0.5%".to_owned()),
    }
}

/// The JSON output: its fields are only ever added to.
#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    #[serde(flatten)]
    forecast: &'a Forecast,
}

/// Prints the forecast; fails if there is none.
pub fn start(args: &PlanArgs) -> ExitCode {
    match run(args) {
        Ok((text, code)) => {
            streams::print(&plain_lines(text.trim_end()));
            code
        }
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &PlanArgs) -> Result<(String, ExitCode), String> {
    let model = accepted(args)?;
    match &args.prometheus {
        Some(url) if args.placebo => try_placebo(args, &model, url),
        _ => Ok((foresee(args, &model)?, ExitCode::SUCCESS)),
    }
}

fn try_placebo(args: &PlanArgs, model: &Model, url: &str) -> Result<(String, ExitCode), String> {
    let arm = args.arm.as_ref().map_or(&[][..], |Matchers(m)| m);
    let extent = Extent {
        hours: args.hours,
        runs: args.runs,
        seconds: args.seconds,
    };
    let answer = placebo(&model.name, &model.spec, &args.server.client(url)?, arm, &extent)?;
    let text = match args.output {
        Output::Table => answer.table(),
        Output::Json => serde_json::to_string_pretty(&answer).map_err(|e| e.to_string())?,
    };
    let code = if answer.is_fit() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    Ok((text, code))
}

fn foresee(args: &PlanArgs, model: &Model) -> Result<String, String> {
    let spec = &model.spec;
    let (traffic, scrape) = match (&args.prometheus, args.rps) {
        (Some(url), _) => {
            let arm = args.arm.as_ref().map_or(&[][..], |Matchers(m)| m);
            let measured = Measure::take(&args.server.client(url)?, spec, arm)?;
            let traffic = Traffic::measured(spec, &measured.history, measured.seconds, args.error_rate, |_| 1.0);
            if traffic.per_second() <= 0.0 {
                return Err(format!(
                    "{url} has no events of any guard in the past hour: {}; check the selectors and --arm, or say --rps",
                    measured.told()
                ));
            }
            (traffic, args.scrape_interval.or(measured.scrape))
        }
        (None, rps) => (
            Traffic::assumed(spec, rps.unwrap_or_default(), args.error_rate),
            args.scrape_interval,
        ),
    };
    let question = Question {
        spec,
        traffic: &traffic,
        scrape: scrape.unwrap_or(0.0),
        prompt_tokens: args.prompt_tokens,
    };
    let forecast = on_all_cores(Duration::from_secs_f64(args.seconds), args.runs, |budget| {
        forecast(&question, budget)
    });
    let name = model.name.as_str();
    match args.output {
        Output::Table => Ok(report::table(name, &forecast)),
        Output::Json => {
            let document = Document {
                model: name,
                forecast: &forecast,
            };
            serde_json::to_string_pretty(&document).map_err(|e| e.to_string())
        }
    }
}

/// The first model of the file; what `lint` refuses cannot be planned either.
fn accepted(args: &PlanArgs) -> Result<Model, String> {
    let file = args.filename.display().to_string();
    let Read { findings, models, .. } = lint::read(&streams::read(&args.filename)?, &Schema::new());
    let refused = findings.into_iter().filter(|f| f.severity == Severity::Error);
    let refused: Vec<_> = refused
        .map(|finding| Located {
            file: file.clone(),
            finding,
        })
        .collect();
    if !refused.is_empty() {
        return Err(lint::text(&refused).trim_end().to_owned());
    }
    let first = models.into_iter().next();
    first.ok_or_else(|| format!("{file}: there is no QuantizedModel of {GROUP}/v1alpha1 in it"))
}

/// Works for about as long as `time` says.
pub(super) fn on_all_cores<T>(time: Duration, runs: u64, work: impl FnOnce(&Budget<'_>) -> T) -> T {
    let begun = Instant::now();
    work(&Budget {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        runs,
        used: &|| begun.elapsed().as_secs_f64() / time.as_secs_f64(),
    })
}
