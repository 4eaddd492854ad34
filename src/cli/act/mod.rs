//! `guardbit approve`, `reject`, `pause`, `resume`, `rollback`, `retry` and `break-glass`: what people want of a model.
//!
//! Each creates a `PrecisionAction` and changes nothing else. Before that the API server tries it without a trace, what it
//! would mean is shown, and the person is asked. Standard output has the object; sentences are on standard error.

mod arguments;
mod cluster;
mod follow;
mod wish;

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::api::{ActKind, PrecisionAction, plain_lines};
use crate::governance::people::acts::Act;
use crate::governance::people::meaning::{Known, meaning};

use super::server::runtime;
use super::streams;
use arguments::Output;
pub use arguments::Verb;
use cluster::{Cluster, Model};
use follow::follow;
use wish::Wish;

/// The exit code of a command that could not be understood, or may not act without a question.
const USAGE: u8 = 2;

/// Why nothing was done, or not all.
enum Stop {
    /// The command is not one that can be carried out.
    Usage(String),
    /// The API server or the person refused, or the action has no effect.
    Refused(String),
}

/// Carries out what somebody wants. The exit code is 0 where it was done, 1 where it was refused, and 2 where the command
/// is wrong.
pub fn start(verb: &Verb) -> ExitCode {
    let (code, error) = match run(verb) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Usage(error)) => (ExitCode::from(USAGE), error),
        Err(Stop::Refused(error)) => (ExitCode::FAILURE, error),
    };
    eprintln!("guardbit: {}", plain_lines(&error));
    code
}

fn run(verb: &Verb) -> Result<(), Stop> {
    let wish = verb.wish().map_err(Stop::Usage)?;
    if wish.asks() && !std::io::stdin().is_terminal() {
        return Err(Stop::Usage(
            "standard input is no terminal, so nobody can be asked: --dry-run shows what it would mean, and --yes acts \
             without a question"
                .to_owned(),
        ));
    }
    // Installing a second time would be an error, which cannot happen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = runtime().and_then(|runtime| runtime.block_on(carry_out(&wish)));
    done.map_err(Stop::Refused)
}

async fn carry_out(wish: &Wish<'_>) -> Result<(), String> {
    let common = wish.common;
    let cluster = Cluster::connect(common.namespace.as_deref()).await?;
    let model = cluster.model(&common.model).await?;
    let me = cluster.whoami().await?;
    let spec = wish.spec(&model, &me)?;
    let tried = cluster.create(wish.kind, &model, &spec, true).await?;
    let told = explain(&cluster, &model, &tried).await?;
    if common.output.is_none() || wish.asks() {
        eprintln!("{}", plain_lines(&told));
        for note in wish.notes(&me) {
            eprintln!("{}", plain_lines(&note));
        }
    }
    if common.dry_run {
        return print(&tried, common.output, "would be created");
    }
    if wish.asks() {
        ask()?;
    }
    if let Some(digest) = &spec.change_digest {
        // Whoever was asked has taken time to answer.
        wish.still_meant(digest, &model, &cluster.model(&common.model).await?)?;
    }
    let created = cluster.create(wish.kind, &model, &spec, false).await?;
    let Some(longest) = common.wait else {
        return print(&created, common.output, "created");
    };
    if common.output.is_none() {
        print(&created, None, "created")?;
    }
    let tells = common.output.is_none();
    let name = created.metadata.name.clone().unwrap_or_default();
    let followed = follow(cluster.actions(), &name, longest, |said| {
        if tells {
            eprintln!("{}", plain_lines(said));
        }
    })
    .await;
    if common.output.is_some() {
        print(followed.newest.as_ref().unwrap_or(&created), common.output, "created")?;
    }
    followed.end
}

/// What an action would mean. Whoever lowers a weight must be able to do so also where that cannot be told.
async fn explain(cluster: &Cluster, model: &Model, tried: &PrecisionAction) -> Result<String, String> {
    let (spec, status) = match &model.read {
        Ok(read) => read,
        Err(why) => return Ok(format!("What it would mean cannot be shown: {why}.")),
    };
    let act = Act::of(tried).ok_or("the API server answered without the uid and the time of the action")?;
    let earlier = match act.spec.action {
        ActKind::Resume => cluster.acts(&model.uid).await?,
        _ => Vec::new(),
    };
    let known = Known {
        namespace: cluster.namespace(),
        name: &model.name,
        uid: &model.uid,
        spec,
        status,
        earlier: &earlier,
    };
    meaning(&known, &act).map(|meaning| meaning.to_string())
}

/// Asks whether it is to be done.
fn ask() -> Result<(), String> {
    eprint!("Do it? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| format!("the answer cannot be read: {e}"))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err("nothing was done".to_owned()),
    }
}

/// Prints an action: the object where a form is asked for, else its name and what became of it.
fn print(action: &PrecisionAction, output: Option<Output>, became: &str) -> Result<(), String> {
    let mut shown = action.clone();
    shown.metadata.managed_fields = None;
    let text = match output {
        None => {
            let name = action.metadata.name.as_deref().unwrap_or_default();
            format!("precisionaction.guardbit.dev/{name} {became}")
        }
        Some(Output::Json) => serde_json::to_string_pretty(&shown).map_err(|e| e.to_string())?,
        Some(Output::Yaml) => serde_yaml_ng::to_string(&shown).map_err(|e| e.to_string())?,
    };
    streams::write(text.trim_end())
}
