//! The models themselves: kept packed, for of ten thousand a few are looked at in any second.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Deserialize;

use crate::api::{QuantizedModel, QuantizedModelStatus};
use crate::build::Digests;

use super::index::ModelName;
use super::leaves::hash;
use super::packed::{Packed, json};

/// Annotation in which `kubectl apply` keeps the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A model as a watch gave it, for the queue of looks.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct KeptModel {
    /// Name, namespace, UID and version.
    metadata: ObjectMeta,
    /// Hashes of everything but status and version, and of the status.
    hashes: (u64, u64),
    packed: Packed<(QuantizedModel, Option<QuantizedModelStatus>)>,
    /// Taken once a version, for every look needs them.
    #[serde(skip)]
    digests: Arc<Digests>,
}

/// What the last look at a model has seen, or written: an event that says the same is no news. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Looked(Arc<Mutex<HashMap<u64, (u64, u64)>>>);

impl KeptModel {
    /// What is kept of a model.
    pub(super) fn of(mut model: QuantizedModel) -> Self {
        let metadata = ObjectMeta {
            name: model.metadata.name.clone(),
            namespace: model.metadata.namespace.clone(),
            uid: model.metadata.uid.clone(),
            resource_version: model.metadata.resource_version.take(),
            ..ObjectMeta::default()
        };
        model.metadata.managed_fields = None;
        model.annotations_mut().remove(LAST_APPLIED);
        let status = json(&model.status.take());
        let rest = json(&model);
        Self {
            metadata,
            hashes: (hash(&rest), hash(&status)),
            packed: Packed::json(&[b"[", &*rest, b",", &*status, b"]"].concat()),
            digests: Arc::new(Digests::of(&model.spec)),
        }
    }

    /// The model, read again.
    pub(super) fn read(&self) -> Result<QuantizedModel, serde_json::Error> {
        let (mut model, status) = self.packed.read()?;
        model.status = status;
        model.metadata.resource_version = self.metadata.resource_version.clone();
        Ok(model)
    }

    /// Digests of its spec.
    pub(super) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Its namespace and name.
    pub(super) fn name(&self) -> ModelName {
        (self.namespace().unwrap_or_default().into(), self.name_any().into())
    }

    fn key(&self) -> u64 {
        hash(&self.metadata.uid)
    }
}

impl Looked {
    /// Whether the last look has been at this very state.
    pub(super) fn at(&self, model: &KeptModel) -> bool {
        let looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.get(&model.key()) == Some(&model.hashes)
    }

    /// How many models have been looked at.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A look at this state begins.
    pub(super) fn begin(&self, model: &KeptModel) {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.insert(model.key(), model.hashes);
    }

    /// The look is about to write this status.
    pub(super) fn will_write(&self, uid: &str, status: &QuantizedModelStatus) {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, seen)) = looked.get_mut(&hash(Some(uid))) {
            *seen = hash(json(&Some(status)));
        }
    }

    /// The look has failed: whatever comes next is news. Or the model is gone.
    pub(super) fn forget(&self, model: &KeptModel) {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.remove(&model.key());
    }
}

/// Time between two looks at the metrics.
pub(super) fn interval(model: &QuantizedModel) -> Duration {
    Duration::from_millis(model.spec.rollout.interval.millis().unwrap_or_default().unsigned_abs())
}

impl Resource for KeptModel {
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

    #[test]
    fn a_model_is_read_back_as_it_was_but_for_what_nobody_needs() {
        let mut seen = model();
        seen.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        seen.annotations_mut().insert(LAST_APPLIED.into(), "{}".into());
        let read = KeptModel::of(seen).read().unwrap();
        assert_eq!(
            serde_json::to_value(read).unwrap(),
            serde_json::to_value(model()).unwrap()
        );
    }

    #[test]
    fn what_a_look_has_seen_or_written_is_no_news_and_everything_else_is() {
        let looked = Looked::default();
        let changed = |change: fn(&mut QuantizedModel)| {
            let mut model = model();
            change(&mut model);
            KeptModel::of(model)
        };
        assert!(!looked.at(&changed(|_| {})), "not looked at yet");
        looked.begin(&changed(|_| {}));
        assert!(looked.at(&changed(|m| m.metadata.resource_version = Some("8".into()))));
        for (name, change) in [
            ("spec", (|m| m.spec.paused = true) as fn(&mut QuantizedModel)),
            ("annotation", |m| m.annotations_mut().clear()),
            ("finalizer", |m| m.finalizers_mut().push("f".into())),
            ("status", |m| m.status = None),
        ] {
            assert!(!looked.at(&changed(change)), "{name}");
        }
        let own = QuantizedModelStatus {
            evidence: Some("e".into()),
            ..QuantizedModelStatus::default()
        };
        looked.will_write("u", &own);
        let written = KeptModel::of(QuantizedModel {
            status: Some(own),
            ..model()
        });
        assert!(looked.at(&written), "its own writing");
        assert!(!looked.at(&changed(|_| {})), "somebody has put the old status back");
        looked.forget(&written);
        assert!(!looked.at(&written), "a look that failed has seen nothing");
    }
}
