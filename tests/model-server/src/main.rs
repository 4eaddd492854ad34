//! `model-server make | serve | load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use model_server::{artifact, load, server};

#[derive(Parser)]
#[command(
    version,
    about = "A small fraud scorer in three precisions, and a bounded load generator"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train, quantize and measure; write the weights files.
    Make {
        /// Directory to write to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Serve one variant.
    Serve(server::ServeArgs),
    /// Send bounded traffic and count what comes back.
    Load(load::LoadArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Make { out } => artifact::make(&out)
            .map_err(|e| format!("{}: {e}", out.display()))
            .map(|cards| {
                for card in cards {
                    println!("{}", serde_json::to_string(&card).unwrap_or_default());
                }
            }),
        Command::Serve(args) => server::serve(args).await,
        Command::Load(args) => load::command(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("model-server: {error}");
            ExitCode::FAILURE
        }
    }
}
