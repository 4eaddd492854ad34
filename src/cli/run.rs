//! `guardbit run`: the controller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::controller::{Election, PolicyWatch, Settings, run};
use crate::prometheus::{AllowedUrls, Limits, Servers};
use crate::rollout::QueryScope;
use crate::telemetry::{Health, LogFormat, Metrics, log, serve};

use super::plan::{Matchers, matchers};

/// Longest time that running reconciles get to end after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// Flags of `guardbit run`; each can be set by environment as well.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Prometheus of models that name none; allowed without further ado.
    #[arg(long, env = "GUARDBIT_PROMETHEUS_URL")]
    prometheus_url: Option<String>,
    /// URL prefix that models may name in spec.prometheus.url; may be given more than once.
    #[arg(long, env = "GUARDBIT_ALLOW_PROMETHEUS_URL", value_delimiter = ',')]
    allow_prometheus_url: Vec<String>,
    /// Seconds that Prometheus gets to answer.
    #[arg(long, env = "GUARDBIT_PROMETHEUS_TIMEOUT", default_value_t = 5)]
    prometheus_timeout: u64,
    /// Leave the namespace matcher out of queries, for a Prometheus that does not keep that label.
    #[arg(long, env = "GUARDBIT_EXEMPT_NAMESPACE_MATCHER")]
    exempt_namespace_matcher: bool,
    /// Matchers that every query gets, such as {cluster="a"} where one Prometheus has the series of several clusters.
    #[arg(long, env = "GUARDBIT_QUERY_MATCHER", value_name = "{MATCHERS}", value_parser = matchers)]
    query_matcher: Option<Matchers>,
    /// The only namespaces to watch, with commas between; all of them when left out.
    #[arg(
        long,
        visible_alias = "namespace",
        env = "GUARDBIT_NAMESPACES",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    /// Models that are worked on at once.
    #[arg(long, env = "GUARDBIT_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Image of guardbit itself: of the comparers of models that have spec.comparer, and of the containers that verify weights
    /// with weights.mount.
    #[arg(long, visible_alias = "image", env = "GUARDBIT_COMPARER_IMAGE", value_name = "IMAGE")]
    comparer_image: Option<String>,
    /// Whether rises wait for policies where the API server serves none.
    #[arg(long, env = "GUARDBIT_GOVERNANCE", value_enum, default_value_t = Governance::Auto)]
    governance: Governance,
    /// With what the names of the admission policies of config/governance begin, where they were renamed.
    #[arg(
        long,
        env = "GUARDBIT_GOVERNANCE_PREFIX",
        default_value = "guardbit",
        value_name = "NAME"
    )]
    governance_prefix: String,
    /// File with the private key that signs records: ECDSA on P-256, in PEM. Without it they are not signed.
    #[arg(long, env = "GUARDBIT_SIGNING_KEY_FILE", value_name = "FILE")]
    signing_key_file: Option<PathBuf>,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, env = "GUARDBIT_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Form of the logs.
    #[arg(long, env = "GUARDBIT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Run without leader election: for a single process outside the cluster.
    #[arg(long, env = "GUARDBIT_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Namespace of the Lease.
    #[arg(long, env = "GUARDBIT_LEASE_NAMESPACE", default_value = "guardbit-system")]
    lease_namespace: String,
    /// Name of the Lease.
    #[arg(long, env = "GUARDBIT_LEASE_NAME", default_value = "guardbit")]
    lease_name: String,
    /// Name of this instance in the Lease; set it to the name of the pod, so that it outlives the container.
    #[arg(long, env = "GUARDBIT_IDENTITY", default_value = "guardbit")]
    identity: String,
}

/// Whether there must be policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Governance {
    /// Where the API server serves no policies, nothing is governed.
    Auto,
    /// Where the API server serves no policies, nothing rises.
    Required,
}

impl From<Governance> for PolicyWatch {
    fn from(governance: Governance) -> Self {
        match governance {
            Governance::Auto => Self::WhereServed,
            Governance::Required => Self::Always,
        }
    }
}

/// Runs the controller until a signal comes or the lease is lost.
pub fn start(args: RunArgs) -> ExitCode {
    log(args.log_format);
    // Installing a second time would be an error, which cannot happen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime could not be started");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve_and_run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "ended");
            ExitCode::FAILURE
        }
    }
}

async fn serve_and_run(args: RunArgs) -> Result<(), String> {
    let settings = settings(&args)?;
    let (metrics, health) = (Arc::new(Metrics::default()), Arc::new(Health::default()));
    let http = tokio::spawn(serve(args.listen, Arc::clone(&metrics), Arc::clone(&health)));
    let client = kube::Client::try_default()
        .await
        .map_err(|e| format!("no way to the API server: {e}"))?;
    let (stop, stopped) = watch::channel(false);
    let mut work = tokio::spawn(run(client, settings, metrics, health, stopped));
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let ended = tokio::select! {
        ended = &mut work => ended,
        served = http => return Err(format!("{} could not be served: {served:?}", args.listen)),
        _ = term.recv() => finish(&stop, work).await?,
        _ = int.recv() => finish(&stop, work).await?,
    };
    ended.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

type Work = tokio::task::JoinHandle<Result<(), crate::controller::Error>>;

async fn finish(
    stop: &watch::Sender<bool>,
    work: Work,
) -> Result<Result<Result<(), crate::controller::Error>, tokio::task::JoinError>, String> {
    tracing::info!("stopping");
    let _ = stop.send(true);
    tokio::time::timeout(GRACE, work)
        .await
        .map_err(|_| format!("running evaluations did not end within {GRACE:?}"))
}

fn settings(args: &RunArgs) -> Result<Settings, String> {
    let prefixes = args.allow_prometheus_url.iter().chain(&args.prometheus_url);
    let limits = Limits {
        timeout: Duration::from_secs(args.prometheus_timeout.max(1)),
        ..Limits::default()
    };
    Ok(Settings {
        servers: Servers {
            usual: args.prometheus_url.clone(),
            allowed: AllowedUrls::parse(prefixes).map_err(|e| e.to_string())?,
            limits,
        },
        scope: QueryScope {
            exempt_namespace: args.exempt_namespace_matcher,
            matchers: args
                .query_matcher
                .as_ref()
                .map_or_else(Vec::new, |Matchers(matchers)| matchers.clone()),
        },
        namespaces: args.namespaces.clone(),
        concurrency: args.concurrency,
        // A variable that is set to nothing names no image.
        image: args.comparer_image.clone().filter(|image| !image.is_empty()),
        policies: args.governance.into(),
        governance_prefix: args.governance_prefix.clone(),
        signing_key: args.signing_key_file.clone(),
        election: (!args.no_leader_election).then(|| Election {
            namespace: args.lease_namespace.clone(),
            name: args.lease_name.clone(),
            identity: args.identity.clone(),
        }),
    })
}
