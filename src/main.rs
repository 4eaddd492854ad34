//! The `guardbit` binary: parse arguments, call the library.

use std::process::ExitCode;

use clap::Parser;
use guardbit::cli::{Cli, Command, act, compare, crds, golden, lint, plan, policy, records, run, simulate, weights};
use tikv_jemallocator::Jemalloc;

/// Gives memory back to the system when a burst of evaluations is over.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Act(verb) => act::start(&verb),
        Command::Compare(args) => compare::start(&args),
        Command::Crds(args) => crds::start(&args),
        Command::Export(args) => records::export::start(&args),
        Command::Golden(args) => golden::start(&args),
        Command::Lint(args) => lint::start(&args),
        Command::Plan(args) => plan::start(&args),
        Command::Policy(args) => policy::start(&args),
        Command::Report(args) => records::report::start(&args),
        Command::Run(args) => run::start(*args),
        Command::Simulate(args) => simulate::start(&args),
        Command::Verify(args) => records::verify::start(&args),
        Command::Weights(args) => weights::start(&args),
    }
}
