//! What the containers of a revision know of it: variables of their environment.
//!
//! Kubernetes resolves `$(GUARDBIT_WEIGHTS_URI)` in a user's variable only after that variable, so they come first; and init
//! containers, which fetch weights, need them as well. Earlier versions put them last and gave init containers none. A
//! Deployment that one of them made keeps that, because a changed template would restart its pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};

use crate::api::Variant;
use crate::model::identity;

/// Annotation of Deployments that have the variables first.
const ANNOTATION: &str = "guardbit.dev/environment";

/// What begins a reference to one of the variables in the value of another.
const REFERENCE: &str = "$(GUARDBIT_";

/// Where the variables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Last, and not in init containers: as earlier versions had it, and wherever it makes no difference, so that those
    /// versions find their own template after a downgrade.
    Last,
    /// First, and in init containers too.
    First,
}

impl Environment {
    /// Where they are in a Deployment with these annotations.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        if annotations.contains_key(ANNOTATION) {
            Self::First
        } else {
            Self::Last
        }
    }

    /// The annotation that says so, and its value.
    pub(super) fn annotation(self) -> Option<(&'static str, &'static str)> {
        (self == Self::First).then_some((ANNOTATION, "first"))
    }

    /// Where they are to be in a new Deployment with these pods.
    pub(super) fn of(pod: &PodSpec) -> Self {
        let refers = |container: &Container| {
            let values = container.env.iter().flatten().filter_map(|e| e.value.as_deref());
            values.into_iter().any(|value| value.contains(REFERENCE))
        };
        let inits = pod.init_containers.as_ref().is_some_and(|inits| !inits.is_empty());
        if inits || pod.containers.iter().any(refers) {
            Self::First
        } else {
            Self::Last
        }
    }

    /// Puts the variables of a revision into its containers. What a user wrote under their names is left out.
    pub(super) fn add(self, pod: &mut PodSpec, variant: &Variant, revision: &str) {
        let added = [
            ("GUARDBIT_VARIANT", variant.name.as_str()),
            ("GUARDBIT_REVISION", identity::short(revision)),
            ("GUARDBIT_WEIGHTS_URI", variant.weights.uri.as_str()),
        ];
        let inits = pod.init_containers.iter_mut().flatten().filter(|_| self == Self::First);
        for container in pod.containers.iter_mut().chain(inits) {
            let env = container.env.get_or_insert_default();
            env.retain(|e| !added.iter().any(|(name, _)| e.name == *name));
            let at = match self {
                Self::Last => env.len(),
                Self::First => 0,
            };
            let added = added.map(|(name, value)| EnvVar {
                name: name.to_owned(),
                value: Some(value.to_owned()),
                value_from: None,
            });
            env.splice(at..at, added);
        }
    }
}
