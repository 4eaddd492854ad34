//! The command line: arguments in, library calls out.

pub mod crds;
pub mod run;

use clap::{Parser, Subcommand};

/// Governed rollouts of quantized models on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "guardbit", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Run the controller.
    Run(Box<run::RunArgs>),
}
