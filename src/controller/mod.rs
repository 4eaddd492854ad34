//! The shell: everything that awaits. Observes, asks the pure core what to do, does it, records it.
//!
//! Makes no decisions of its own. What it reads it reads from watches; what it writes it writes by server-side apply, one
//! field manager a concern; every call has a timeout.

mod apply;
mod backoff;
mod disturbance;
mod events;
mod forecast;
mod leader;
mod observe;
mod reconcile;
mod record;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::sync::Semaphore;

use crate::apiserver::CallError;
use crate::prometheus::{Asker, Servers};
use crate::telemetry::{Health, Metrics};
use crate::watch::{FirstLooks, Followed, KeptModel, Looked, Stores};

pub use leader::Election;
pub use reconcile::run;

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prometheus servers that may be asked.
    pub servers: Servers,
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
    stores: Stores,
    metrics: Arc<Metrics>,
    /// Looks that may go on at once, in all namespaces together.
    turns: Arc<Semaphore>,
    looked: Looked,
    first_looks: FirstLooks,
    memory: record::Memory,
    applied: apply::Applied,
    disturbances: disturbance::Disturbances,
    asker: Asker,
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
            asker: Asker::new(client.clone(), settings.servers.clone(), Arc::clone(&metrics)),
            client,
            settings,
            stores: Stores::default(),
            metrics,
            turns: shared.turns,
            looked: Looked::default(),
            first_looks: FirstLooks::new(),
            memory: record::Memory::default(),
            applied: apply::Applied::default(),
            disturbances: disturbance::Disturbances::default(),
            forecasts: shared.forecasts,
            events: shared.events,
        }
    }
}

impl Followed for Context {
    fn needs_look(&self, model: &KeptModel) -> bool {
        !self.looked.at(model)
    }

    fn all_come(&self, models: usize) {
        self.first_looks.all_come(models, self.looked.len());
    }

    fn gone(&self, model: &KeptModel) {
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
    /// A call to the API server did not succeed. After a conflict nothing more was applied.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An object cannot be built from the spec.
    #[error(transparent)]
    Build(#[from] crate::manifests::BuildError),
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
        matches!(self, Self::Call(error) if error.is_absence())
    }
}

/// Whether the process may take traffic decisions: told by the lease and by the watches.
pub type SharedHealth = Arc<Health>;
