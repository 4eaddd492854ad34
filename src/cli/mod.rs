//! The command line: arguments in, library calls out.

pub mod crds;
mod measure;
mod model;
pub mod plan;
pub mod run;
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
    /// Look ahead: how long will a rollout take, and what will it find?
    Plan(plan::PlanArgs),
    /// Run the controller.
    Run(Box<run::RunArgs>),
    /// Replay recorded metrics: what would guardbit have decided?
    Simulate(simulate::SimulateArgs),
}
