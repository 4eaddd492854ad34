//! `guardbit crds`: the CustomResourceDefinitions, generated from `src/api`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, ResourceExt};

use crate::api::{PrecisionAction, PrecisionDecision, PrecisionPolicy, QuantizedModel};

use super::streams;

/// First lines of every generated file.
const HEADER: &str = "# Generated from src/api by `guardbit crds`. Do not edit.\n";

/// Arguments of `guardbit crds`.
#[derive(Debug, Args)]
pub struct CrdsArgs {
    /// Write one file for each definition into this directory, instead of printing them.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The CustomResourceDefinitions of all kinds. A kind that is new has its line here, and nowhere else.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        QuantizedModel::crd(),
        PrecisionAction::crd(),
        PrecisionDecision::crd(),
        PrecisionPolicy::crd(),
    ]
}

/// Name and text of one file for each definition.
pub fn files() -> Result<Vec<(String, String)>, serde_yaml_ng::Error> {
    all().iter().map(file).collect()
}

fn file(crd: &CustomResourceDefinition) -> Result<(String, String), serde_yaml_ng::Error> {
    let text = serde_yaml_ng::to_string(crd)?;
    Ok((format!("{}.yaml", crd.name_any()), format!("{HEADER}{text}")))
}

/// Prints the definitions, or writes them to files.
pub fn start(args: &CrdsArgs) -> ExitCode {
    match put(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guardbit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn put(args: &CrdsArgs) -> Result<(), String> {
    let files = files().map_err(|error| format!("the definitions cannot be written as YAML: {error}"))?;
    match &args.dir {
        Some(dir) => files.iter().try_for_each(|(name, text)| write(&dir.join(name), text)),
        None => {
            let texts: Vec<_> = files.iter().map(|(_, text)| text.as_str()).collect();
            streams::write(texts.join("---\n").trim_end())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
