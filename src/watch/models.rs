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
use serde_json::value::RawValue;

use crate::api::{QuantizedModel, QuantizedModelStatus};
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
    held: Held,
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
        let (hashes, held) = match unreadable::read(&seen) {
            Ok(mut model) => {
                let status = json(&model.status.take());
                let rest = json(&model);
                let hashes = (hash(&rest), hash(&status));
                let known = before
                    .filter(|before| before.hashes.0 == hashes.0)
                    .and_then(Self::digests);
                let held = Held::Readable {
                    packed: Packed::json(&[b"[", &*rest, b",", &*status, b"]"].concat()),
                    digests: known.unwrap_or_else(|| Arc::new(Digests::of(&model.spec))),
                };
                (hashes, held)
            }
            Err(mut unreadable) => {
                unreadable.metadata.resource_version = metadata.resource_version.clone();
                let text = |part: &Option<Box<RawValue>>| hash(part.as_deref().map(RawValue::get));
                let rest = hash((json(&seen.metadata), text(&seen.spec)));
                ((rest, text(&seen.status)), Held::Unreadable(unreadable))
            }
        };
        Self { metadata, hashes, held }
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

    /// Its namespace and name.
    pub fn name(&self) -> ModelName {
        (self.namespace().unwrap_or_default().into(), self.name_any().into())
    }

    fn key(&self) -> u64 {
        hash(&self.metadata.uid)
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
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn model() -> QuantizedModel {
        let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
        let mut model: QuantizedModel = serde_yaml_ng::from_str(sample).unwrap();
        model.metadata.uid = Some("u".into());
        model.metadata.resource_version = Some("7".into());
        model.annotations_mut().insert("team".into(), "risk".into());
        model.status = Some(QuantizedModelStatus::default());
        model
    }

    /// A model as a watch delivers it.
    fn seen(model: &impl serde::Serialize) -> SeenModel {
        serde_json::from_str(&serde_json::to_string(model).unwrap()).unwrap()
    }

    #[test]
    fn a_model_is_read_back_as_it_was_but_for_what_nobody_needs() {
        let mut whole = model();
        whole.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        whole.annotations_mut().insert(LAST_APPLIED.into(), "{}".into());
        let kept = CachedModel::of(seen(&whole));
        let Ok(Content::Readable(read, _)) = kept.read() else {
            panic!("{kept:?}")
        };
        assert_eq!(
            serde_json::to_value(read).unwrap(),
            serde_json::to_value(model()).unwrap()
        );
    }

    #[test]
    fn digests_are_computed_again_only_where_the_spec_may_have_changed() {
        let mut models = Models::new();
        let mut came = |model: &QuantizedModel| match models.take(Event::Apply(seen(model))).pop() {
            Some(Change::Came(model)) => model.digests().unwrap(),
            other => panic!("{other:?}"),
        };
        let mut model = model();
        let first = came(&model);
        model.status.get_or_insert_default().observed_generation = Some(3);
        assert!(Arc::ptr_eq(&first, &came(&model)), "a status was written");
        model.spec.paused = true;
        let edited = came(&model);
        assert_ne!(edited.spec(), first.spec());
    }

    #[test]
    fn models_are_there_as_they_come_and_gone_once_a_whole_list_is_without_them() {
        let of = |name: &str, uid: &str| {
            let mut model = model();
            (model.metadata.name, model.metadata.uid) = (Some(name.into()), Some(format!("{name}{uid}")));
            seen(&model)
        };
        let told = |changes: Vec<Change>| {
            let tell = |change| match change {
                Change::Came(model) => format!("+{}", model.uid().unwrap()),
                Change::Gone(model) => format!("-{}", model.uid().unwrap()),
            };
            changes.into_iter().map(tell).collect::<Vec<_>>()
        };
        let mut models = Models::new();
        let store = models.store();
        let there = || {
            let mut names: Vec<_> = store.state().iter().map(|model| model.name_any()).collect();
            names.sort();
            names.concat()
        };
        assert!(told(models.take(Event::Init)).is_empty());
        for (name, so_far) in [("a", "a"), ("b", "ab"), ("c", "abc")] {
            assert_eq!(
                told(models.take(Event::InitApply(of(name, "1")))),
                [format!("+{name}1")]
            );
            assert_eq!(there(), so_far, "before the list is whole");
        }
        assert!(told(models.take(Event::InitDone)).is_empty());
        assert_eq!(told(models.take(Event::Delete(of("c", "1")))), ["-c1"]);
        assert_eq!(told(models.take(Event::Apply(of("d", "1")))), ["+d1"]);
        // While the watch was away, one list breaks off and another does not.
        for whole in [false, true] {
            assert!(told(models.take(Event::Init)).is_empty());
            let again = told(models.take(Event::InitApply(of("a", "2"))));
            let first = if whole { &["+a2"][..] } else { &["-a1", "+a2"] };
            assert_eq!(again, first, "another of its name, and the old one is gone");
            assert_eq!(there(), "abd");
        }
        assert_eq!(told(models.take(Event::InitApply(of("e", "1")))), ["+e1"]);
        let mut gone = told(models.take(Event::InitDone));
        gone.sort();
        assert_eq!(gone, ["-b1", "-d1"]);
        assert_eq!(there(), "ae");
    }

    #[test]
    fn what_a_reconcile_has_seen_or_written_is_no_news_and_everything_else_is() {
        let reconciled = Reconciled::default();
        let changed = |change: fn(&mut QuantizedModel)| {
            let mut model = model();
            change(&mut model);
            CachedModel::of(seen(&model))
        };
        assert!(!reconciled.at(&changed(|_| {})), "not reconciled yet");
        reconciled.begin(&changed(|_| {}));
        assert!(reconciled.at(&changed(|m| m.metadata.resource_version = Some("8".into()))));
        for (name, change) in [
            ("spec", (|m| m.spec.paused = true) as fn(&mut QuantizedModel)),
            ("annotation", |m| m.annotations_mut().clear()),
            ("finalizer", |m| m.finalizers_mut().push("f".into())),
            ("status", |m| m.status = None),
        ] {
            assert!(!reconciled.at(&changed(change)), "{name}");
        }
        let own = QuantizedModelStatus {
            evidence: Some("e".into()),
            ..QuantizedModelStatus::default()
        };
        reconciled.will_write("u", &own);
        let written = CachedModel::of(seen(&QuantizedModel {
            status: Some(own),
            ..model()
        }));
        assert!(reconciled.at(&written), "its own writing");
        assert!(!reconciled.at(&changed(|_| {})), "somebody has put the old status back");
        reconciled.forget(&written);
        assert!(!reconciled.at(&written), "a reconcile that failed has seen nothing");
    }
}
