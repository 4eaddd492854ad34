//! What guardbit reports of itself: metrics, health, logs. Labels are names of models and guards, never pods, revisions
//! or URLs, so that the number of series stays bounded.

mod http;
mod metrics;
mod models;

pub use http::{Health, serve};
pub use metrics::Metrics;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `RUST_LOG` filters.
pub fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_runtime=error,kube_client=error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        // The fields of a line stand beside its time, so that `guardbit verify --anchors` reads it as it is.
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
