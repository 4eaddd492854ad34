//! `guardbit compare`: do two arms answer the same questions alike?

mod arguments;
mod dry_run;
mod report;
mod server;

pub use arguments::CompareArgs;

use std::process::ExitCode;

/// Compares a number of pairs and ends, or goes on and serves what was counted.
pub fn start(args: &CompareArgs) -> ExitCode {
    if args.dry_run {
        dry_run::start(args)
    } else {
        server::start(args)
    }
}
