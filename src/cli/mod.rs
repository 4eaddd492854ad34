//! The command line: arguments in, library calls out.

mod backtest;
pub mod crds;
mod model;
pub mod run;
pub mod server;
pub mod simulate;

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
    /// Replay recorded metrics: what would guardbit have decided?
    Simulate(Box<simulate::SimulateArgs>),
}
