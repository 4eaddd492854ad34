//! Objects of one kind by model, kept up to date from the events of a watch: a reconcile of a model costs what the
//! model has, however many models there are.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::watcher::Event;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::manifests::MODEL_LABEL;

use super::projections::{Projection, owner_of};

/// Namespace and name of a model.
pub type ModelName = (Arc<str>, Arc<str>);

/// The objects of one kind. Clones share them.
pub struct Index<T>(Arc<RwLock<Objects<T>>>);

struct Objects<T> {
    namespaces: HashMap<Arc<str>, Namespace<T>>,
    /// Number of the list that goes on or came last. Objects that an older list had and this one does not have are
    /// gone.
    list: u32,
    /// Whether a list has been complete.
    come: bool,
}

struct Namespace<T> {
    objects: HashMap<Arc<str>, Held<T>>,
    /// Names of objects, by the value of the model label.
    by_model: HashMap<Arc<str>, Vec<Arc<str>>>,
}

struct Held<T> {
    label: Arc<str>,
    owner: Arc<str>,
    list: u32,
    kept: Arc<T>,
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Objects {
            namespaces: HashMap::new(),
            list: 0,
            come: false,
        })))
    }
}

impl<T> Default for Namespace<T> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            by_model: HashMap::new(),
        }
    }
}

impl<T: Projection> Index<T> {
    /// Takes in an event; `read` makes the projection of an object. Returns the models for which something has changed
    /// that a reconcile would see.
    pub fn take(&self, event: Event<T::Of>, read: impl Fn(&T::Of) -> T) -> Vec<ModelName> {
        let mut objects = self.write();
        match event {
            Event::Init => {
                objects.list = objects.list.wrapping_add(1);
                Vec::new()
            }
            Event::Apply(object) | Event::InitApply(object) => objects.put(&object, read),
            Event::Delete(object) => objects.remove(&object),
            Event::InitDone => {
                objects.come = true;
                objects.sweep()
            }
        }
    }

    /// Whether the first list is complete. Until then an object that is not seen may well exist, so nothing may be
    /// decided.
    pub fn has_come(&self) -> bool {
        self.read().come
    }

    /// The objects of one model, by the value of its label; in the order of their names.
    pub fn of_model(&self, namespace: &str, label: &str) -> Vec<(Arc<str>, Arc<T>)> {
        let objects = self.read();
        let Some(within) = objects.namespaces.get(namespace) else {
            return Vec::new();
        };
        let names = within.by_model.get(label).into_iter().flatten();
        let mut found: Vec<_> = names
            .filter_map(|name| Some((Arc::clone(name), Arc::clone(&within.objects.get(name)?.kept))))
            .collect();
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// One object, by its name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let objects = self.read();
        let held = objects.namespaces.get(namespace)?.objects.get(name)?;
        Some(Arc::clone(&held.kept))
    }

    /// Whether a model has an object of this name.
    pub fn has(&self, namespace: &str, label: &str, name: &str) -> bool {
        let objects = self.read();
        let held = objects.namespaces.get(namespace).and_then(|n| n.objects.get(name));
        held.is_some_and(|held| *held.label == *label)
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<T>> {
        self.0.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<T>> {
        self.0.write()
    }
}

impl<T: Projection> Objects<T> {
    fn put(&mut self, object: &T::Of, read: impl Fn(&T::Of) -> T) -> Vec<ModelName> {
        let Some((namespace, name, label, owner)) = place(object) else {
            return Vec::new();
        };
        let (list, listing) = (self.list, !self.come);
        let namespace = match self.namespaces.get_key_value(namespace.as_str()) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(namespace),
        };
        let within = self.namespaces.entry(Arc::clone(&namespace)).or_default();
        let kept = read(object);
        let mut woken = Vec::new();
        if let Some(held) = within.objects.get_mut(name.as_str()) {
            let moved = held.label != label || held.owner != owner;
            held.list = list;
            if !moved && *held.kept == kept {
                return woken;
            }
            if !moved {
                held.kept = Arc::new(kept);
                return vec![(namespace, owner)];
            }
            woken.push((
                Arc::clone(&namespace),
                within.drop(&name).unwrap_or_else(|| Arc::clone(&owner)),
            ));
        }
        within.add(
            name.into(),
            Held {
                label,
                owner: Arc::clone(&owner),
                list,
                kept: Arc::new(kept),
            },
        );
        woken.push((namespace, owner));
        // A model that is reconciled before the first list is complete is reconciled again, so a long list wakes no
        // model.
        if listing { Vec::new() } else { woken }
    }

    fn remove(&mut self, object: &T::Of) -> Vec<ModelName> {
        let Some((namespace, name, ..)) = place(object) else {
            return Vec::new();
        };
        let Some(within) = self.namespaces.get_mut(namespace.as_str()) else {
            return Vec::new();
        };
        let owner = within.drop(&name);
        if within.objects.is_empty() {
            self.namespaces.remove(namespace.as_str());
        }
        owner.map(|owner| (namespace.into(), owner)).into_iter().collect()
    }

    /// Removes the objects that the completed list did not have.
    fn sweep(&mut self) -> Vec<ModelName> {
        let (list, mut woken) = (self.list, Vec::new());
        for (namespace, within) in &mut self.namespaces {
            let gone = within.objects.iter().filter(|(_, held)| held.list != list);
            let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
            woken.extend(
                gone.iter()
                    .filter_map(|name| Some((Arc::clone(namespace), within.drop(name)?))),
            );
        }
        self.namespaces.retain(|_, within| !within.objects.is_empty());
        woken
    }
}

impl<T> Namespace<T> {
    fn add(&mut self, name: Arc<str>, held: Held<T>) {
        let names = self.by_model.entry(Arc::clone(&held.label)).or_default();
        names.push(Arc::clone(&name));
        self.objects.insert(name, held);
    }

    /// Removes an object; returns its owner.
    fn drop(&mut self, name: &str) -> Option<Arc<str>> {
        let held = self.objects.remove(name)?;
        if let Some(names) = self.by_model.get_mut(&held.label) {
            names.retain(|other| **other != *name);
            if names.is_empty() {
                self.by_model.remove(&held.label);
            }
        }
        Some(held.owner)
    }
}

/// Namespace and name of an object, the model label's value, and the model's name. `None` if it belongs to no model.
fn place<K: ResourceExt>(object: &K) -> Option<(String, String, Arc<str>, Arc<str>)> {
    let label: Arc<str> = object.labels().get(MODEL_LABEL)?.as_str().into();
    let owner = owner_of(object).filter(|owner| *owner != label);
    let owner = owner.unwrap_or_else(|| Arc::clone(&label));
    Some((object.namespace()?, object.name_any(), label, owner))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Pod;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Color(String);

    impl Projection for Color {
        type Of = Pod;
    }

    impl Color {
        fn of(pod: &Pod) -> Self {
            Self(pod.annotations().get("color").cloned().unwrap_or_default())
        }
    }

    fn take(index: &Index<Color>, event: Event<Pod>) -> Vec<ModelName> {
        index.take(event, Color::of)
    }

    fn pod(namespace: &str, name: &str, model: &str, color: &str) -> Pod {
        let pod = json!({"metadata": {
            "namespace": namespace, "name": name, "labels": {MODEL_LABEL: model}, "annotations": {"color": color},
        }});
        serde_json::from_value(pod).unwrap()
    }

    fn names(woken: Vec<ModelName>) -> Vec<String> {
        woken
            .into_iter()
            .map(|(namespace, name)| format!("{namespace}/{name}"))
            .collect()
    }

    fn listed(pods: impl IntoIterator<Item = Pod>) -> Index<Color> {
        let index = Index::default();
        take(&index, Event::Init);
        for pod in pods {
            assert!(
                take(&index, Event::InitApply(pod)).is_empty(),
                "the first list wakes nobody"
            );
        }
        assert!(!index.has_come());
        assert!(take(&index, Event::InitDone).is_empty());
        index
    }

    fn of(index: &Index<Color>, namespace: &str, model: &str) -> Vec<String> {
        let found = index.of_model(namespace, model).into_iter();
        found.map(|(name, color)| format!("{name} {}", color.0)).collect()
    }

    #[test]
    fn a_model_is_woken_by_what_a_reconcile_would_see_and_by_nothing_else() {
        let index = listed([
            pod("x", "a", "m", "red"),
            pod("x", "b", "m", "red"),
            pod("y", "a", "m", "red"),
        ]);
        assert!(index.has_come());
        assert_eq!(of(&index, "x", "m"), ["a red", "b red"]);
        assert!(take(&index, Event::Apply(pod("x", "a", "m", "red"))).is_empty());
        assert_eq!(names(take(&index, Event::Apply(pod("x", "a", "m", "blue")))), ["x/m"]);
        assert_eq!(names(take(&index, Event::Delete(pod("x", "b", "m", "red")))), ["x/m"]);
        assert!(take(&index, Event::Delete(pod("x", "b", "m", "red"))).is_empty());
        assert_eq!(of(&index, "x", "m"), ["a blue"]);
        assert_eq!(of(&index, "y", "m"), ["a red"]);
    }

    #[test]
    fn an_object_that_changes_hands_wakes_both_models() {
        let index = listed([pod("x", "a", "old", "red")]);
        assert_eq!(
            names(take(&index, Event::Apply(pod("x", "a", "new", "red")))),
            ["x/old", "x/new"]
        );
        assert!(of(&index, "x", "old").is_empty());
        assert_eq!(of(&index, "x", "new"), ["a red"]);
        let mut of_owner = pod("x", "b", "label-that-was-cut", "red");
        let owner =
            json!([{"apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "name": "whole", "uid": "u"}]);
        of_owner.metadata.owner_references = serde_json::from_value(owner).unwrap();
        assert_eq!(names(take(&index, Event::Apply(of_owner))), ["x/whole"]);
        assert_eq!(of(&index, "x", "label-that-was-cut"), ["b red"]);
    }

    #[test]
    fn a_list_that_comes_again_wakes_models_of_what_has_changed_and_of_what_is_gone() {
        let index = listed([
            pod("x", "same", "a", "red"),
            pod("x", "other", "b", "red"),
            pod("x", "gone", "c", "red"),
        ]);
        take(&index, Event::Init);
        let mut woken = Vec::new();
        for pod in [pod("x", "same", "a", "red"), pod("x", "other", "b", "blue")] {
            woken.extend(take(&index, Event::InitApply(pod)));
        }
        // Until the list is complete, no object is known to be gone.
        assert_eq!(of(&index, "x", "c"), ["gone red"]);
        woken.extend(take(&index, Event::InitDone));
        assert_eq!(names(woken), ["x/b", "x/c"]);
        assert!(of(&index, "x", "c").is_empty());
        assert!(index.get("x", "gone").is_none());
    }

    #[test]
    fn a_list_that_breaks_off_loses_nothing() {
        let index = listed([pod("x", "a", "m", "red"), pod("x", "b", "m", "red")]);
        take(&index, Event::Init);
        take(&index, Event::InitApply(pod("x", "a", "m", "red")));
        take(&index, Event::Init);
        take(&index, Event::InitApply(pod("x", "b", "m", "red")));
        assert_eq!(of(&index, "x", "m"), ["a red", "b red"]);
        assert_eq!(names(take(&index, Event::InitDone)), ["x/m"]);
        assert_eq!(of(&index, "x", "m"), ["b red"]);
    }

    proptest! {
        /// Compares the index with a plain map of all objects, over watches that break off and begin again.
        #[test]
        fn the_index_holds_what_a_scan_of_all_objects_finds(
            steps in prop::collection::vec((0..4u8, "[xy]", "[a-d]", "[mno]", "[rb]"), 1..60)
        ) {
            let index: Index<Color> = listed([]);
            let mut all: BTreeMap<(String, String), Pod> = BTreeMap::new();
            for (step, namespace, name, model, color) in steps {
                let object = pod(&namespace, &name, &model, &color);
                match step {
                    0 | 1 => {
                        all.insert((namespace, name), object.clone());
                        take(&index, Event::Apply(object));
                    }
                    2 => {
                        all.remove(&(namespace, name));
                        take(&index, Event::Delete(object));
                    }
                    _ => {
                        // While the watch was away one object went and one came.
                        all.remove(&(namespace.clone(), name.clone()));
                        all.insert((namespace, format!("{name}2")), pod("x", &format!("{name}2"), &model, &color));
                        all.retain(|(namespace, _), pod| pod.namespace().as_ref() == Some(namespace));
                        take(&index, Event::Init);
                        for pod in all.values() {
                            take(&index, Event::InitApply(pod.clone()));
                        }
                        take(&index, Event::InitDone);
                    }
                }
                for namespace in ["x", "y"] {
                    for model in ["m", "n", "o"] {
                        let scan: Vec<String> = all
                            .values()
                            .filter(|pod| pod.namespace().as_deref() == Some(namespace) && pod.labels()[MODEL_LABEL] == model)
                            .map(|pod| format!("{} {}", pod.name_any(), Color::of(pod).0))
                            .collect();
                        prop_assert_eq!(of(&index, namespace, model), scan);
                    }
                }
            }
        }
    }
}
