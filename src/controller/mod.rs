//! The shell: everything that awaits. Observes, asks the pure core what to do, does it, records it.
//!
//! Makes no decisions of its own. What it reads it reads from watches; what it writes it writes by server-side apply, one
//! field manager a concern; every call has a timeout.

mod apply;
mod backoff;
mod batch;
mod connection;
mod disturbance;
mod events;
mod forecast;
mod index;
mod kept;
mod leader;
mod leaves;
mod lists;
mod models;
mod observe;
mod packed;
pub mod prometheus;
mod query;
mod reconcile;
mod record;
mod seen;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::sync::Semaphore;

use crate::telemetry::{Health, Metrics};
use prometheus::{AllowedUrls, Limits};

pub use leader::Election;
pub use reconcile::run;

/// Longest time of one call to the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Server of models that name none.
    pub prometheus_url: Option<String>,
    /// Servers that may be asked.
    pub allowed: AllowedUrls,
    /// Limits of one question.
    pub limits: Limits,
    /// Leaves the namespace matcher out of queries, for servers that do not keep the label.
    pub exempt_namespace: bool,
    /// The only namespaces that are watched; all of them when there is none.
    pub namespaces: Vec<String>,
    /// Models that are worked on at once.
    pub concurrency: u16,
    /// Leader election; `None` for a single process.
    pub election: Option<Election>,
}

/// What every reconcile needs.
struct Context {
    client: Client,
    settings: Settings,
    stores: stores::Stores,
    metrics: Arc<Metrics>,
    /// Looks that may go on at once, in all namespaces together.
    turns: Arc<Semaphore>,
    looked: models::Looked,
    first_looks: models::FirstLooks,
    memory: record::Memory,
    applied: apply::Applied,
    disturbances: disturbance::Disturbances,
    asker: query::Asker,
    /// Shared by all namespaces, as are the events.
    forecasts: Arc<forecast::Forecasts>,
    events: events::Events,
}

/// What the looks of all namespaces share.
#[derive(Clone)]
struct Shared {
    turns: Arc<Semaphore>,
    forecasts: Arc<forecast::Forecasts>,
    events: events::Events,
}

impl Settings {
    /// What the watches are limited to: a namespace each, or nothing.
    fn scopes(&self) -> Vec<Option<&str>> {
        match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
        }
    }
}

impl Context {
    fn new(client: Client, settings: Settings, metrics: Arc<Metrics>, shared: Shared) -> Self {
        Self {
            asker: query::Asker::new(client.clone(), settings.clone(), Arc::clone(&metrics)),
            client,
            settings,
            stores: stores::Stores::default(),
            metrics,
            turns: shared.turns,
            looked: models::Looked::default(),
            first_looks: models::FirstLooks::new(),
            memory: record::Memory::default(),
            applied: apply::Applied::default(),
            disturbances: disturbance::Disturbances::default(),
            forecasts: shared.forecasts,
            events: shared.events,
        }
    }

    /// Forgets a model that is gone.
    fn forget(&self, model: &models::KeptModel) {
        let ((namespace, name), uid) = (model.name(), model.uid().unwrap_or_default());
        self.looked.forget(model);
        self.memory.forget(&uid);
        self.forecasts.forget(&uid);
        self.applied.forget(&uid);
        self.disturbances.end(&uid);
        self.metrics.forget(&namespace, &name);
    }
}

/// Why a reconcile did not end well. It is tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// A call took too long.
    #[error("{0}: no answer from the API server within {CALL_TIMEOUT:?}")]
    Timeout(String),
    /// An object cannot be built from the spec.
    #[error(transparent)]
    Build(#[from] crate::build::BuildError),
    /// Somebody else wrote the object since it was read; nothing was applied.
    #[error("{0} was written by somebody else since it was read; looking again")]
    Conflict(String),
    /// A model cannot be read back.
    #[error("the model cannot be read: {0}; this is a fault of guardbit, please report it")]
    Unreadable(#[from] serde_json::Error),
    /// The gateway is taking in that a variant lost its endpoints; nothing more was applied.
    #[error("a variant with weight has lost its endpoints: the gateway has another {0:?} to take that in")]
    Disturbed(Duration),
    /// A watch has not delivered its first list yet.
    #[error("the watch of {0} has not delivered yet")]
    NotYet(&'static str),
    /// Leadership was lost.
    #[error("the lease was lost to another instance")]
    LeaseLost,
}

impl Error {
    /// Whether the API server was away, or as good as: the next try may well succeed, whatever came before.
    fn is_absence(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => status.code >= 500,
                source => matches!(source, kube::Error::Service(_) | kube::Error::HyperError(_)),
            },
            _ => false,
        }
    }
}

/// Runs one call to the API server under its timeout.
async fn call<T>(what: impl Into<String>, future: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    let what = what.into();
    match tokio::time::timeout(CALL_TIMEOUT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Error::Conflict(what)),
        Ok(Err(source)) => Err(Error::Api {
            what,
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Timeout(what)),
    }
}

/// The same, where an object that is not there is no error.
async fn call_opt<T>(
    what: impl Into<String>,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, Error> {
    match call(what, future).await {
        Ok(value) => Ok(Some(value)),
        Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the process may take traffic decisions: told by the lease and by the watches.
pub type SharedHealth = Arc<Health>;
