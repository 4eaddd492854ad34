//! The command line: arguments in, library calls out.

pub mod act;
mod backtest;
pub mod compare;
pub mod crds;
pub mod golden;
pub mod lint;
mod measure;
mod model;
mod placebo;
pub mod plan;
pub mod policy;
pub mod records;
pub mod run;
pub mod server;
pub mod simulate;
mod streams;
pub mod weights;

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
    /// What people want of a model.
    #[command(flatten)]
    Act(act::Verb),
    /// Ask two model servers the same: do they answer alike?
    Compare(Box<compare::CompareArgs>),
    /// Print the CustomResourceDefinitions as YAML, or write them to files.
    Crds(crds::CrdsArgs),
    /// Write the records of decisions as files that anybody can verify.
    Export(records::export::ExportArgs),
    /// Make golden sets of requests, and tell their digests.
    Golden(golden::GoldenArgs),
    /// Say what is wrong with models before they are applied.
    Lint(lint::LintArgs),
    /// Look ahead: how long will a rollout take, and what will it find?
    Plan(plan::PlanArgs),
    /// Test what policies ask of models, before any of them is applied.
    Policy(policy::PolicyArgs),
    /// Tell what was decided, from the records: a change ticket of a model, or an inventory of all.
    Report(records::report::ReportArgs),
    /// Run the controller.
    Run(Box<run::RunArgs>),
    /// Replay recorded metrics: what would guardbit have decided?
    Simulate(Box<simulate::SimulateArgs>),
    /// Verify records of decisions: are they whole, and do the decisions follow from the counts?
    Verify(records::verify::VerifyArgs),
    /// Print the digest of weights, or say whether weights have a digest.
    Weights(weights::WeightsArgs),
}
