//! The models themselves. They are kept packed, because of ten thousand only a few are reconciled in any second.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::api::{QuantizedModel, QuantizedModelStatus, RetiringReason, RiskTier};
use crate::model::identity::Digests;

use super::field_hashes::hash;
use super::index::ModelName;
use super::packed::{Packed, json};
use super::unreadable::{self, SeenModel, Unreadable};

/// Annotation in which `kubectl apply` keeps a second copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Projection of a model as a watch delivered it, for the queue of reconciles.
#[derive(Clone, Debug, Deserialize)]
pub struct CachedModel {
    /// Name, namespace, UID and version.
    metadata: ObjectMeta,
    /// Hashes of everything but status and version, and of the status.
    hashes: (u64, u64),
    /// Its tier; a model that cannot be read is taken for one without.
    tier: Option<RiskTier>,
    /// What of it is under way.
    busy: Busy,
    held: Held,
}

/// What of a model is under way, where no more than so much may be at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Busy {
    /// A rollout is in progress.
    pub rollout: bool,
    /// Its traffic moves to a safer revision.
    pub moves: bool,
}

/// What the projection of a model holds beside its name.
#[derive(Clone, Debug, Deserialize)]
enum Held {
    /// The whole model.
    Readable {
        packed: Packed<(QuantizedModel, Option<QuantizedModelStatus>)>,
        /// Computed once for each version, because every reconcile needs them.
        #[serde(skip)]
        digests: Arc<Digests>,
    },
    /// What is known of a model that cannot be read.
    Unreadable(Box<Unreadable>),
}

/// A model, unpacked.
pub enum Content<'a> {
    /// The model, with digests of its spec.
    Readable(Box<QuantizedModel>, &'a Digests),
    /// Why it cannot be read.
    Unreadable(&'a Unreadable),
}

/// The models of one watch. Each is available as soon as it has come, also while a list goes on; models that a complete
/// list does not have are gone.
pub struct Models {
    writer: Writer<CachedModel>,
    store: Store<CachedModel>,
    /// Keys of the models that the current list has delivered.
    listed: HashSet<u64>,
}

/// What an event has changed.
#[derive(Debug)]
pub enum Change {
    Came(Arc<CachedModel>),
    Gone(Arc<CachedModel>),
}

/// What the last reconcile of each model has seen, or written: an event that says the same is no news. Clones share it.
#[derive(Clone, Default)]
pub struct Reconciled(Arc<Mutex<HashMap<u64, (u64, u64)>>>);

impl CachedModel {
    /// The projection of a model.
    pub fn of(seen: SeenModel) -> Self {
        Self::after(None, seen)
    }

    /// The projection of a model that was known as `before`. Digests of what has not changed since are not computed again,
    /// because they cost more than all else, and most events are writes of the status.
    fn after(before: Option<&Self>, mut seen: SeenModel) -> Self {
        let metadata = ObjectMeta {
            name: seen.metadata.name.clone(),
            namespace: seen.metadata.namespace.clone(),
            uid: seen.metadata.uid.clone(),
            resource_version: seen.metadata.resource_version.take(),
            ..ObjectMeta::default()
        };
        seen.annotations_mut().remove(LAST_APPLIED);
        let (hashes, tier, busy, held) = match unreadable::read(&seen) {
            Ok(mut model) => {
                let status = model.status.take();
                let busy = status.as_ref().map(Busy::of).unwrap_or_default();
                let status = json(&status);
                let rest = json(&model);
                let hashes = (hash(&rest), hash(&status));
                let known = before
                    .filter(|before| before.hashes.0 == hashes.0)
                    .and_then(Self::digests);
                let held = Held::Readable {
                    packed: Packed::json(&[b"[", &*rest, b",", &*status, b"]"].concat()),
                    digests: known.unwrap_or_else(|| Arc::new(Digests::of(&model.spec))),
                };
                (hashes, model.spec.model.risk_tier, busy, held)
            }
            Err(mut unreadable) => {
                unreadable.metadata.resource_version = metadata.resource_version.clone();
                let text = |part: &Option<Box<RawValue>>| hash(part.as_deref().map(RawValue::get));
                let rest = hash((json(&seen.metadata), text(&seen.spec)));
                let busy = seen.status.as_deref().map(Busy::as_far_as_known).unwrap_or_default();
                let hashes = (rest, text(&seen.status));
                (hashes, None, busy, Held::Unreadable(unreadable))
            }
        };
        Self {
            metadata,
            hashes,
            tier,
            busy,
            held,
        }
    }

    /// Unpacks the model.
    pub fn read(&self) -> Result<Content<'_>, serde_json::Error> {
        match &self.held {
            Held::Readable { packed, digests } => {
                let (mut model, status) = packed.read()?;
                model.status = status;
                model.metadata.resource_version = self.metadata.resource_version.clone();
                Ok(Content::Readable(Box::new(model), digests))
            }
            Held::Unreadable(unreadable) => Ok(Content::Unreadable(unreadable)),
        }
    }

    fn digests(&self) -> Option<Arc<Digests>> {
        match &self.held {
            Held::Readable { digests, .. } => Some(Arc::clone(digests)),
            Held::Unreadable(_) => None,
        }
    }

    /// Its tier; a model that cannot be read is taken for one without.
    pub fn tier(&self) -> Option<RiskTier> {
        self.tier
    }

    /// What of it is under way.
    pub fn busy(&self) -> Busy {
        self.busy
    }

    /// Its namespace and name.
    pub fn name(&self) -> ModelName {
        (self.namespace().unwrap_or_default().into(), self.name_any().into())
    }

    fn key(&self) -> u64 {
        hash(&self.metadata.uid)
    }
}

impl Busy {
    /// What is under way by a status.
    pub fn of(status: &QuantizedModelStatus) -> Self {
        Self {
            rollout: status.rollout.is_some(),
            moves: status.retiring.iter().any(|of| of.reason == RetiringReason::Handover),
        }
    }

    /// The same of a status that this release cannot read: whether there is a rollout can be told.
    fn as_far_as_known(status: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Rollout {
            rollout: Option<IgnoredAny>,
        }
        let read: Option<Rollout> = serde_json::from_str(status.get()).ok();
        Self {
            rollout: read.is_some_and(|status| status.rollout.is_some()),
            moves: false,
        }
    }

    /// Whether anything is.
    pub fn is_any(self) -> bool {
        self.rollout || self.moves
    }
}

/// The models of a watch, and whether all have come. Clones share them.
#[derive(Clone)]
pub struct KnownModels {
    store: Store<CachedModel>,
    come: Arc<AtomicBool>,
}

impl KnownModels {
    /// Models that have not all come yet.
    pub(super) fn of(store: Store<CachedModel>) -> Self {
        Self {
            store,
            come: Arc::default(),
        }
    }

    /// The store, for readers.
    pub fn store(&self) -> Store<CachedModel> {
        self.store.clone()
    }

    /// Notes that a list is complete.
    pub(super) fn all_come(&self) {
        self.come.store(true, Ordering::Relaxed);
    }

    /// Whether all have come.
    pub fn have_come(&self) -> bool {
        self.come.load(Ordering::Relaxed)
    }

    /// All that have come.
    pub fn all(&self) -> Vec<Arc<CachedModel>> {
        self.store.state()
    }

    /// These models, and no others.
    #[cfg(test)]
    pub fn listed(all: impl IntoIterator<Item = CachedModel>) -> Self {
        let mut writer = Writer::default();
        for model in all {
            writer.apply_watcher_event(&Event::Apply(model));
        }
        let known = Self::of(writer.as_reader());
        known.all_come();
        known
    }

    /// Uid of the model of this name, if it is there.
    pub(super) fn uid(&self, (namespace, name): &ModelName) -> Option<String> {
        self.store.get(&ObjectRef::new(name).within(namespace))?.uid()
    }
}

impl Models {
    /// A store without models.
    pub fn new() -> Self {
        let mut writer = Writer::default();
        // Reconciles need not wait for a complete list, as they would for a store that has not had its first.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        Self {
            store: writer.as_reader(),
            writer,
            listed: HashSet::new(),
        }
    }

    /// The store, for readers.
    pub fn store(&self) -> Store<CachedModel> {
        self.store.clone()
    }

    /// Takes in an event of the watch.
    pub fn take(&mut self, event: Event<SeenModel>) -> Vec<Change> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(model) => {
                let model = self.projection(model);
                self.listed.insert(model.key());
                self.put(model)
            }
            Event::Apply(model) => {
                let model = self.projection(model);
                self.put(model)
            }
            Event::Delete(model) => vec![self.remove(CachedModel::of(model).into())],
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let all = self.store.state().into_iter();
                let gone = all.filter(|model| !listed.contains(&model.key()));
                gone.map(|model| self.remove(model)).collect()
            }
        }
    }

    /// The projection of a model, beside what is stored of it.
    fn projection(&self, seen: SeenModel) -> CachedModel {
        let named = ObjectRef::new(&seen.name_any()).within(&seen.namespace().unwrap_or_default());
        CachedModel::after(self.store.get(&named).as_deref(), seen)
    }

    /// Stores a model. Another model of the same name is gone.
    fn put(&mut self, model: CachedModel) -> Vec<Change> {
        let (name, key) = (ObjectRef::from_obj(&model), model.key());
        let another = self.store.get(&name).filter(|held| held.key() != key);
        self.writer.apply_watcher_event(&Event::Apply(model));
        let gone = another.map(Change::Gone).into_iter();
        gone.chain(self.store.get(&name).map(Change::Came)).collect()
    }

    fn remove(&mut self, model: Arc<CachedModel>) -> Change {
        self.writer
            .apply_watcher_event(&Event::Delete(CachedModel::clone(&model)));
        Change::Gone(model)
    }
}

impl Reconciled {
    /// Whether the last reconcile has seen or written this very state.
    pub fn at(&self, model: &CachedModel) -> bool {
        let reconciled = self.0.lock();
        reconciled.get(&model.key()) == Some(&model.hashes)
    }

    /// Number of models that have been reconciled.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Notes that a reconcile of this state begins.
    pub fn begin(&self, model: &CachedModel) {
        let mut reconciled = self.0.lock();
        reconciled.insert(model.key(), model.hashes);
    }

    /// Notes that the reconcile is about to write this status.
    pub fn will_write(&self, uid: &str, status: &QuantizedModelStatus) {
        let mut reconciled = self.0.lock();
        if let Some((_, seen)) = reconciled.get_mut(&hash(Some(uid))) {
            *seen = hash(json(&Some(status)));
        }
    }

    /// Forgets a model, because its reconcile has failed, so that the next event is news, or because it is gone.
    pub fn forget(&self, model: &CachedModel) {
        let mut reconciled = self.0.lock();
        reconciled.remove(&model.key());
    }
}

/// Logs once when every model that was there at the start has been reconciled.
pub struct FirstReconciles {
    begun: Instant,
    /// Number of models at the start, once all have come.
    models: OnceLock<usize>,
    told: AtomicBool,
}

impl FirstReconciles {
    /// Starts the clock; the watches are about to begin.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            models: OnceLock::new(),
            told: AtomicBool::new(false),
        }
    }

    /// Notes that the first list of the models is complete, and how many have been reconciled meanwhile.
    pub fn all_come(&self, models: usize, reconciled: usize) {
        self.models.get_or_init(|| models);
        self.came(reconciled);
    }

    /// Notes how many models have been reconciled.
    pub fn came(&self, reconciled: usize) {
        let all = self.models.get().filter(|&&models| reconciled >= models);
        if let Some(models) = all.filter(|_| !self.told.swap(true, Ordering::Relaxed)) {
            tracing::info!(models, took = ?self.begun.elapsed(), "all models have been reconciled");
        }
    }
}

impl Resource for CachedModel {
    type DynamicType = ();
    type Scope = <QuantizedModel as Resource>::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        QuantizedModel::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        QuantizedModel::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        QuantizedModel::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        QuantizedModel::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests;
