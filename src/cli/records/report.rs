//! `guardbit report`: the records of a model as a change ticket, or an inventory of all models.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use crate::api::plain_lines;
use crate::ledger::Statement;
use crate::ledger::verify::{self, Item, Trust, Verified};
use crate::report::{Document, Report, html, inventory, markdown, ticket};

use super::super::backtest::moment;
use super::super::streams;
use super::source::{Wanted, item, of_cluster, of_paths, statement};
use super::verify::keys;

/// Flags of `guardbit report`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").args(["model", "from", "all"]).required(true).multiple(true)))]
pub struct ReportArgs {
    /// Name of the model. It may be left out with --from, if the directory holds the records of one model.
    #[arg(value_name = "MODEL", conflicts_with = "all")]
    model: Option<String>,
    /// Namespace of the model: that of the kubeconfig when left out. With --all or --from it is all namespaces then.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Directory with exported records, which are read instead of those of a cluster.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Leaves out what had ended before this time: RFC 3339, Unix seconds, or a while ago such as -720h.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    since: Option<Timestamp>,
    /// File with public keys that may have signed (PEM); without any, signatures are not checked. May be given more than once.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// An inventory of all models: which version serves which share, how old calibrations are, and what is open.
    #[arg(long, conflicts_with = "since")]
    all: bool,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Md)]
    output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Markdown.
    Md,
    /// One HTML file with charts.
    Html,
}

/// The statements of each model, by namespace and name.
type Chains = BTreeMap<(String, String), Vec<Statement>>;

/// Prints the report; fails if there is none.
pub fn start(args: &ReportArgs) -> ExitCode {
    match run(args) {
        Ok(document) => {
            let text = match args.output {
                Output::Md => markdown(&document),
                Output::Html => html(&document),
            };
            streams::print(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ReportArgs) -> Result<Document, String> {
    let items = items(args)?;
    let trust = Trust {
        keys: keys(&args.key)?,
        // A report tells what it finds, and refuses nothing.
        allow_unsigned: true,
        ..Trust::default()
    };
    let verified = verify::verify(&items, &trust);
    let reports = chains(args, &items).into_iter().map(|(model, statements)| {
        let sentence = sentence(&verified, &model);
        Report::of(&statements).verified(sentence)
    });
    let mut reports: Vec<Report> = reports.collect();
    if args.all {
        return Ok(inventory(&reports, Timestamp::now()));
    }
    let (report, others) = (reports.pop(), reports.len());
    if others > 0 {
        return Err(
            "there are records of several models: name one, and its namespace with -n, or ask for --all".to_owned(),
        );
    }
    let report = report.ok_or("there are no records of this model that can be read")?;
    Ok(ticket(&match args.since {
        Some(time) => report.since(time),
        None => report,
    }))
}

fn items(args: &ReportArgs) -> Result<Vec<Item>, String> {
    let namespace = args.namespace.as_deref();
    match (&args.from, &args.model) {
        (Some(directory), _) => of_paths(std::slice::from_ref(directory)),
        (None, Some(name)) => objects(&Wanted::Model { namespace, name }),
        (None, None) => objects(&Wanted::All { namespace }),
    }
}

fn objects(wanted: &Wanted<'_>) -> Result<Vec<Item>, String> {
    Ok(of_cluster(wanted)?.into_iter().map(item).collect())
}

/// The records that were asked for, by their models. One that cannot be read is told and left out; the report shows the gap.
fn chains(args: &ReportArgs, items: &[Item]) -> Chains {
    let mut chains = Chains::new();
    for item in items {
        match statement(item) {
            Ok(statement) => {
                let model = &statement.predicate.record.model;
                let asked = |asked: Option<&String>, is: &String| asked.is_none_or(|asked| asked == is);
                if asked(args.model.as_ref(), &model.name) && asked(args.namespace.as_ref(), &model.namespace) {
                    let model = (model.namespace.clone(), model.name.clone());
                    chains.entry(model).or_default().push(statement);
                }
            }
            Err(error) => eprintln!("guardbit: {}", plain_lines(&error)),
        }
    }
    chains
}

/// What the verification found of a model, with what could not be opened at all: that may be all records of the model.
fn sentence(verified: &Verified, (namespace, name): &(String, String)) -> Option<String> {
    let of = |chain: &&verify::Report| chain.namespace == *namespace && chain.name == *name;
    let chain = verified.chains.iter().find(of).map(ToString::to_string);
    let apart = verified.apart.first().map(|first| {
        let count = verified.apart.len();
        format!("{count} records could not be opened, first {first}")
    });
    let told: Vec<_> = chain.into_iter().chain(apart).collect();
    (!told.is_empty()).then(|| told.join("; "))
}
