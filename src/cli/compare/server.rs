//! `guardbit compare` as a server: pairs at a pace, and what they came to as metrics.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::api::plain_lines;
use crate::compare::{Allowance, Compared, Comparer, Exported, Source, serve};
use crate::telemetry::{LogFormat, log};

use super::super::server::runtime;
use super::arguments::{COULD_NOT_RUN, CompareArgs, ServerArgs, arms, golden, settings};

/// Serves until a signal comes.
pub(super) fn start(args: &CompareArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(args: &CompareArgs) -> Result<(), String> {
    let ServerArgs {
        model,
        reference_revision,
        candidate_revision,
        golden_digest: _,
        mirror,
        rate,
        budget_pairs,
        budget_tokens,
        listen,
    } = &args.server;
    let named = |name: &Option<String>| name.clone().unwrap_or_default();
    let settings = settings(args)?;
    if reference_revision == candidate_revision {
        return Err(
            "--reference-revision and --candidate-revision are the same: pairs with the candidate could not be told from those of the reference with itself"
                .to_owned(),
        );
    }
    let golden = golden(args, &settings)?;
    let of_golden = golden.iter().map(|_| Source::Golden);
    let sources: Vec<Source> = of_golden.chain(mirror.then_some(Source::Mirror)).collect();
    let compared = Compared {
        model: named(model),
        reference: named(reference_revision),
        candidate: named(candidate_revision),
    };
    let comparer = Comparer {
        arms: arms(args)?,
        settings: Arc::new(settings),
        golden,
        mirror: *mirror,
        allowance: Allowance {
            rate: *rate,
            pairs: *budget_pairs,
            tokens: *budget_tokens,
        },
        control: args.control,
        exported: Arc::new(Exported::new(compared, &sources)),
    };
    log(LogFormat::Text);
    runtime()?.block_on(async {
        let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
        tokio::select! {
            ended = serve(comparer, *listen) => match ended {
                Ok(never) => match never {},
                Err(error) => Err(format!("{listen} could not be served: {error}")),
            },
            _ = term.recv() => Ok(()),
            _ = int.recv() => Ok(()),
        }
    })
}
