//! What every reconcile needs: settings, clients, stores, and what is remembered of a model between two reconciles.

use std::path::PathBuf;
use std::sync::Arc;

use kube::{Client, ResourceExt};
use tokio::sync::Semaphore;

use crate::prometheus::{Asker, Servers};
use crate::rollout::QueryScope;
use crate::telemetry::Metrics;
use crate::watch::{CachedModel, FirstReconciles, Followed, PolicyWatch, Reconciled, Stores};

use super::apply::{Applied, Disturbances, Refusals};
use super::events::Events;
use super::forecast::Forecasts;
use super::governance::{Admission, Signatures, Slots};
use super::leader::Election;
use super::ledger::{KeyFile, Ledger};
use super::record::Memory;

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prometheus servers that may be asked.
    pub servers: Servers,
    /// What is put on every query.
    pub scope: QueryScope,
    /// The only namespaces that are watched; all of them if this is empty.
    pub namespaces: Vec<String>,
    /// Number of models that are reconciled at once.
    pub concurrency: u16,
    /// Image of guardbit itself, for comparers and for what verifies weights; without it neither can be run.
    pub image: Option<String>,
    /// Whether there must be policies and actions.
    pub policies: PolicyWatch,
    /// With what the names of the policies of admission begin.
    pub governance_prefix: String,
    /// File with the key that signs records; without it they are not signed.
    pub signing_key: Option<PathBuf>,
    /// Leader election; `None` for a single process.
    pub election: Option<Election>,
}

/// What every reconcile needs.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) stores: Stores,
    pub(super) metrics: Arc<Metrics>,
    /// Permits for reconciles, shared by all namespaces.
    pub(super) turns: Arc<Semaphore>,
    pub(super) reconciled: Reconciled,
    pub(super) first_reconciles: FirstReconciles,
    pub(super) memory: Memory,
    pub(super) ledger: Ledger,
    pub(super) signatures: Signatures,
    pub(super) applied: Applied,
    pub(super) disturbances: Disturbances,
    pub(super) refusals: Refusals,
    pub(super) asker: Asker,
    /// The forecasts; like the events, they are shared by all namespaces.
    pub(super) forecasts: Arc<Forecasts>,
    /// What is known of admission; shared as well.
    pub(super) admission: Arc<Admission>,
    /// The places for rollouts; shared as well, for policies are the cluster's.
    pub(super) slots: Arc<Slots>,
    pub(super) events: Events,
}

/// What the reconciles of all namespaces share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) turns: Arc<Semaphore>,
    pub(super) forecasts: Arc<Forecasts>,
    pub(super) admission: Arc<Admission>,
    pub(super) slots: Arc<Slots>,
    pub(super) events: Events,
    /// The key that signs records.
    pub(super) key: Arc<KeyFile>,
}

impl Settings {
    /// The namespace of each watch; `None` for one watch of all namespaces.
    pub(super) fn scopes(&self) -> Vec<Option<&str>> {
        match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
        }
    }
}

impl Context {
    pub(super) fn new(client: Client, settings: Settings, metrics: Arc<Metrics>, shared: Shared) -> Self {
        Self {
            asker: Asker::new(client.clone(), settings.servers.clone(), Arc::clone(&metrics)),
            client,
            settings,
            stores: Stores::default(),
            metrics,
            turns: shared.turns,
            reconciled: Reconciled::default(),
            first_reconciles: FirstReconciles::new(),
            memory: Memory::default(),
            ledger: Ledger::new(shared.key),
            signatures: Signatures::default(),
            applied: Applied::default(),
            disturbances: Disturbances::default(),
            refusals: Refusals::default(),
            forecasts: shared.forecasts,
            admission: shared.admission,
            slots: shared.slots,
            events: shared.events,
        }
    }
}

impl Followed for Context {
    fn needs_reconcile(&self, model: &CachedModel) -> bool {
        !self.reconciled.at(model)
    }

    fn all_come(&self, models: usize) {
        self.first_reconciles.all_come(models, self.reconciled.len());
    }

    fn gone(&self, model: &CachedModel) {
        let ((namespace, name), uid) = (model.name(), model.uid().unwrap_or_default());
        self.reconciled.forget(model);
        self.memory.forget(&uid);
        self.ledger.forget(&uid);
        self.signatures.forget(&uid);
        self.slots.forget(&uid);
        self.forecasts.forget(&uid);
        self.applied.forget(&uid);
        self.disturbances.end(&uid);
        self.refusals.forget(&uid);
        self.metrics.forget(&namespace, &name);
    }
}
