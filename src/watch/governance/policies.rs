//! The policies, and the labels of namespaces by which they select models.
//!
//! Policies are read from JSON: one that this release cannot read must not take the watch of the others with it, and still
//! selects models.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::api::{PrecisionPolicy, RiskTier};
use crate::governance::{Governed, Policy, effective};

use super::super::partial::Seen;

/// A policy as a watch delivers it.
pub type SeenPolicy = Seen<PrecisionPolicy, Value, IgnoredAny>;

/// A namespace as a watch delivers it.
pub type SeenNamespace = Seen<Namespace, IgnoredAny, IgnoredAny>;

/// All tiers of models. A policy that is about none of them is about no model of a namespace.
const TIERS: [RiskTier; 3] = [RiskTier::High, RiskTier::Limited, RiskTier::Minimal];

/// The policies, and the labels of namespaces. Clones share them.
#[derive(Clone, Default)]
pub struct Policies(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: RwLock<Known>,
    /// Whether somebody was told that nothing is known yet, and has to be told when it is.
    asked_in_vain: AtomicBool,
}

#[derive(Default)]
struct Known {
    policies: Listed<Policy>,
    namespaces: Listed<BTreeMap<String, String>>,
    /// Whether the API server serves no policies.
    absent: bool,
}

/// Objects of one kind, by their names.
struct Listed<T> {
    held: BTreeMap<String, (u32, T)>,
    /// Number of the list that goes on or came last.
    list: u32,
    /// Whether a list has been complete.
    come: bool,
}

/// What is known of the policies that select a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// The API server serves no policies.
    Absent,
    /// It is not known: these have not been delivered.
    Unknown(&'static str),
    /// This is what they ask of it.
    Known(Box<Governed>),
}

/// Whose models a change concerns.
#[derive(Debug, PartialEq)]
pub enum Concerned {
    /// Those of these namespaces.
    Within(HashSet<String>),
    /// All of them.
    All,
}

impl Concerned {
    fn nobody() -> Self {
        Self::Within(HashSet::new())
    }

    /// Whether it concerns models at all.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Within(namespaces) if namespaces.is_empty())
    }

    /// Whether it concerns the models of a namespace.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::Within(namespaces) => namespaces.contains(namespace),
            Self::All => true,
        }
    }
}

impl Policies {
    /// What policies ask of a model of this tier in a namespace.
    pub fn of(&self, namespace: &str, tier: Option<RiskTier>) -> Selection {
        let known = self.0.known.read();
        let selection = known.of(namespace, tier);
        if !matches!(selection, Selection::Known(_)) {
            self.0.asked_in_vain.store(true, Ordering::Relaxed);
        }
        selection
    }

    /// Whether the policy of this name selects models of this tier in a namespace. What is not known it does not select.
    pub fn selects(&self, policy: &str, namespace: &str, tier: Option<RiskTier>) -> bool {
        let known = self.0.known.read();
        let policy = known.policies.held.get(policy).map(|(_, policy)| policy);
        let labels = known.namespaces.held.get(namespace).map(|(_, labels)| labels);
        policy
            .zip(labels)
            .is_some_and(|(policy, labels)| policy.selects(labels, tier))
    }

    /// Notes that the API server serves no policies.
    pub fn are_absent(&self) {
        self.0.known.write().absent = true;
    }

    /// Takes in an event of policies. Returns whose models it concerns: those that a policy selects, or has selected.
    pub fn take_policy(&self, event: Event<SeenPolicy>) -> Concerned {
        let known = &mut *self.0.known.write();
        let (first, listing) = (is_whole(&event) && !known.policies.come, !known.policies.come);
        let changed = known.policies.take(event, read);
        if first {
            known.absent = false;
            return self.first();
        }
        if listing {
            return Concerned::nobody();
        }
        let Known {
            policies, namespaces, ..
        } = known;
        let selects = |policy: &Policy, labels: &BTreeMap<String, String>| {
            TIERS.iter().any(|tier| policy.selects(labels, Some(*tier)))
        };
        let is_concerned = |labels: &BTreeMap<String, String>| {
            changed.iter().any(|(name, before)| {
                let now = policies.held.get(name).map(|(_, policy)| policy);
                before.iter().chain(now).any(|policy| selects(policy, labels))
            })
        };
        let namespaces = namespaces.held.iter();
        let concerned = namespaces.filter(|(_, (_, labels))| is_concerned(labels));
        Concerned::Within(concerned.map(|(name, _)| name.clone()).collect())
    }

    /// Takes in an event of namespaces. Returns whose models it concerns: those of the namespaces whose labels have changed.
    pub fn take_namespace(&self, event: Event<SeenNamespace>) -> Concerned {
        let known = &mut *self.0.known.write();
        let (first, listing) = (is_whole(&event) && !known.namespaces.come, !known.namespaces.come);
        let changed = known.namespaces.take(event, |namespace| namespace.labels().clone());
        if first {
            return self.first();
        }
        if listing || known.policies.held.is_empty() {
            return Concerned::nobody();
        }
        Concerned::Within(changed.into_iter().map(|(name, _)| name).collect())
    }

    /// Whom the first complete list concerns: whoever had asked before.
    fn first(&self) -> Concerned {
        if self.0.asked_in_vain.load(Ordering::Relaxed) {
            Concerned::All
        } else {
            Concerned::nobody()
        }
    }
}

impl Known {
    fn of(&self, namespace: &str, tier: Option<RiskTier>) -> Selection {
        if self.absent {
            return Selection::Absent;
        }
        if !self.policies.come {
            return Selection::Unknown("PrecisionPolicies");
        }
        if self.policies.held.is_empty() {
            return Selection::Known(Box::default());
        }
        match self.namespaces.held.get(namespace) {
            Some((_, labels)) => {
                let policies = self.policies.held.values().map(|(_, policy)| policy);
                Selection::Known(Box::new(effective(policies, labels, tier)))
            }
            None => Selection::Unknown("Namespaces"),
        }
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            list: 0,
            come: false,
        }
    }
}

impl<T: PartialEq> Listed<T> {
    /// Takes in an event; `read` reads an object. Returns the names of the objects that have changed, each with what it was.
    fn take<K: ResourceExt>(&mut self, event: Event<K>, read: impl Fn(&K) -> T) -> Vec<(String, Option<T>)> {
        match event {
            Event::Init => {
                self.list = self.list.wrapping_add(1);
                Vec::new()
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let (name, now) = (object.name_any(), read(&object));
                let before = self.held.insert(name.clone(), (self.list, now));
                let before = before.map(|(_, before)| before);
                let is_same = self.held.get(&name).map(|(_, now)| now) == before.as_ref();
                if is_same { Vec::new() } else { vec![(name, before)] }
            }
            Event::Delete(object) => self.remove(vec![object.name_any()]),
            Event::InitDone => {
                self.come = true;
                let gone = self.held.iter().filter(|(_, (list, _))| *list != self.list);
                let gone = gone.map(|(name, _)| name.clone()).collect();
                self.remove(gone)
            }
        }
    }

    fn remove(&mut self, names: Vec<String>) -> Vec<(String, Option<T>)> {
        let removed = |name: String| {
            let (_, before) = self.held.remove(&name)?;
            Some((name, Some(before)))
        };
        names.into_iter().filter_map(removed).collect()
    }
}

fn read(policy: &SeenPolicy) -> Policy {
    let generation = policy.metadata.generation.unwrap_or_default();
    let none = Value::Null;
    Policy::read(&policy.name_any(), generation, policy.spec.as_ref().unwrap_or(&none))
}

/// Whether an event completes a list.
fn is_whole<K>(event: &Event<K>) -> bool {
    matches!(event, Event::InitDone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str, generation: i64, spec: Value) -> SeenPolicy {
        serde_json::from_value(json!({"metadata": {"name": name, "generation": generation}, "spec": spec})).unwrap()
    }

    fn namespace(name: &str, class: &str) -> SeenNamespace {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"class": class}}})).unwrap()
    }

    fn of_class(class: &str) -> Value {
        json!({"appliesTo": {"namespaces": {"matchLabels": {"class": class}}}, "records": {}})
    }

    /// Policies after their first lists.
    fn listed(policies: &[SeenPolicy], namespaces: &[SeenNamespace]) -> Policies {
        let known = Policies::default();
        known.take_policy(Event::Init);
        known.take_namespace(Event::Init);
        for namespace in namespaces {
            assert!(known.take_namespace(Event::InitApply(namespace.clone())).is_nobody());
        }
        for policy in policies {
            assert!(known.take_policy(Event::InitApply(policy.clone())).is_nobody());
        }
        assert!(known.take_policy(Event::InitDone).is_nobody());
        assert!(known.take_namespace(Event::InitDone).is_nobody());
        known
    }

    /// The policies that select the models of a namespace.
    fn from(known: &Policies, namespace: &str) -> Vec<String> {
        match known.of(namespace, None) {
            Selection::Known(governed) => governed.from.iter().cloned().collect(),
            other => panic!("{other:?}"),
        }
    }

    fn within(names: &[&str]) -> Concerned {
        Concerned::Within(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_policy_concerns_the_namespaces_that_it_selects_or_has_selected() {
        let known = listed(
            &[policy("a", 1, of_class("x"))],
            &[namespace("one", "x"), namespace("two", "y"), namespace("three", "z")],
        );
        assert_eq!(from(&known, "one"), ["a@1"]);
        assert_eq!(from(&known, "two"), [""; 0]);
        let selected = |policy: &str, namespace: &str| known.selects(policy, namespace, None);
        assert!(selected("a", "one") && !selected("a", "two"));
        assert!(
            !selected("b", "one") && !selected("a", "four"),
            "what nobody knows selects nothing"
        );
        let moved = known.take_policy(Event::Apply(policy("a", 2, of_class("y"))));
        assert_eq!(moved, within(&["one", "two"]));
        assert_eq!(
            (from(&known, "one").len(), from(&known, "two")),
            (0, vec!["a@2".to_owned()])
        );
        let same = known.take_policy(Event::Apply(policy("a", 2, of_class("y"))));
        assert!(same.is_nobody(), "nothing has changed");
        let gone = known.take_policy(Event::Delete(policy("a", 2, of_class("y"))));
        assert_eq!(gone, within(&["two"]));
        assert_eq!(from(&known, "two"), [""; 0]);
    }

    #[test]
    fn a_label_concerns_the_models_of_its_namespace_where_there_are_policies() {
        let none = listed(&[], &[namespace("one", "x")]);
        assert!(none.take_namespace(Event::Apply(namespace("one", "y"))).is_nobody());
        let known = listed(&[policy("a", 1, of_class("x"))], &[namespace("one", "y")]);
        assert_eq!(from(&known, "one"), [""; 0]);
        assert_eq!(
            known.take_namespace(Event::Apply(namespace("one", "x"))),
            within(&["one"])
        );
        assert_eq!(from(&known, "one"), ["a@1"]);
    }

    #[test]
    fn who_asked_before_anything_was_known_is_told_when_it_is() {
        let known = Policies::default();
        assert_eq!(known.of("one", None), Selection::Unknown("PrecisionPolicies"));
        known.are_absent();
        assert_eq!(known.of("one", None), Selection::Absent);
        known.take_policy(Event::Init);
        known.take_policy(Event::InitApply(policy("a", 1, of_class("x"))));
        assert_eq!(known.of("one", None), Selection::Absent, "the list is not complete");
        assert_eq!(known.take_policy(Event::InitDone), Concerned::All);
        assert_eq!(known.of("one", None), Selection::Unknown("Namespaces"));
        known.take_namespace(Event::Init);
        known.take_namespace(Event::InitApply(namespace("one", "x")));
        assert_eq!(known.take_namespace(Event::InitDone), Concerned::All);
        assert_eq!(from(&known, "one"), ["a@1"]);
    }

    #[test]
    fn a_policy_that_a_complete_list_does_not_have_is_gone_and_one_that_cannot_be_read_stays() {
        let unknown = json!({"appliesTo": {"namespaces": {"matchLabels": {"class": "x"}}}, "quorum": 3});
        let known = listed(
            &[policy("a", 1, of_class("x")), policy("b", 1, unknown.clone())],
            &[namespace("one", "x")],
        );
        assert_eq!(from(&known, "one"), ["a@1", "b@1"]);
        known.take_policy(Event::Init);
        known.take_policy(Event::InitApply(policy("b", 1, unknown)));
        assert_eq!(from(&known, "one"), ["a@1", "b@1"], "the list is not complete");
        assert_eq!(known.take_policy(Event::InitDone), within(&["one"]));
        let Selection::Known(governed) = known.of("one", None) else {
            panic!("it is known")
        };
        assert_eq!(governed.from.iter().collect::<Vec<_>>(), ["b@1"]);
        assert!(governed.recorded && governed.unreadable.len() == 1, "{governed:?}");
    }
}
