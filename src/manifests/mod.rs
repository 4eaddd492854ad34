//! Plan → Kubernetes objects, as server-side apply documents. Pure.
//!
//! Owns the shape and the names of what guardbit writes; must not know what is in the cluster. There is one field manager
//! a concern: the template, the scale, the facts about it, the route.

mod deployment;
mod provenance;
mod route;
mod service;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{GROUP, QuantizedModelSpec, QuantizedModelStatus, Variant};
use crate::model::identity::{self, Digests, Purpose};
use crate::rollout::{Marks, WorkloadKey};

pub use deployment::{deployment, facts, scale};
pub use provenance::{decision, model_annotations};
pub use route::route;
pub use service::{joined_pods_selector, service, shared_service};

/// Field manager of Deployments' templates and of Services.
pub const MANAGER_WORKLOAD: &str = "guardbit-workload";
/// Field manager of `spec.replicas`.
pub const MANAGER_SCALE: &str = "guardbit-scale";
/// Field manager of roles and provenance on Deployments and on the model.
pub const MANAGER_FACTS: &str = "guardbit-facts";
/// Field manager of the HTTPRoute.
pub const MANAGER_ROUTE: &str = "guardbit-route";
/// Field manager of status and finalizer.
pub const MANAGER_STATUS: &str = "guardbit";

/// Label of all that belongs to a model; its value is the model's name, cut at 63 characters.
pub const MODEL_LABEL: &str = "guardbit.dev/model";
/// Label with the name of the variant.
pub const VARIANT_LABEL: &str = "guardbit.dev/variant";
/// Label with the short revision; pinned pods have one of their own, for they are another population.
pub const REVISION_LABEL: &str = "guardbit.dev/revision";
/// Label with what a Deployment is for.
pub const PURPOSE_LABEL: &str = "guardbit.dev/purpose";
/// Label of the part a Deployment plays; never on pods, or they would restart.
pub const ROLE_LABEL: &str = "guardbit.dev/role";
/// Label of pods that belong to the Service of plain Service mode.
pub const JOINED_LABEL: &str = "guardbit.dev/in-service";

/// Annotation with the whole revision.
pub const REVISION_ANNOTATION: &str = "guardbit.dev/revision";
const STABLE_MARK: &str = "guardbit.dev/stable";
const PROVEN_MARK: &str = "guardbit.dev/proven";
const REFERENCE_MARK: &str = "guardbit.dev/reference";
const REJECTED_MARK: &str = "guardbit.dev/rejected";

/// The model that owns the objects.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its namespace, and that of all objects.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// What is wanted.
    pub spec: &'a QuantizedModelSpec,
    /// Digests of it, which every object bears.
    pub digests: &'a Digests,
    /// The next status.
    pub status: &'a QuantizedModelStatus,
}

/// Why an object cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A pod template is none.
    #[error("{field} is no pod template: {problem}; write it as in a Deployment")]
    Template {
        /// Path in the spec.
        field: String,
        /// What the reader says.
        problem: String,
    },
    /// The spec does not describe the variant any more.
    #[error("variant {0} is not in spec.variants")]
    NoVariant(String),
}

/// Name of the Deployment and the Service of a workload.
pub fn name(owner: &Owner, key: &WorkloadKey) -> String {
    identity::object_name(
        owner.namespace,
        owner.name,
        &key.revision.variant,
        &key.revision.revision,
        key.purpose,
    )
}

/// Value of the model label, which may not be longer than 63 characters.
pub fn model_label(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Value of the revision label.
pub fn revision_label(key: &WorkloadKey) -> String {
    let short = identity::short(&key.revision.revision);
    match key.purpose {
        Purpose::Serving => short.to_owned(),
        Purpose::Pinned => format!("{short}-pinned"),
    }
}

fn selector(owner: &Owner, key: &WorkloadKey) -> Value {
    json!({
        MODEL_LABEL: model_label(owner.name),
        REVISION_LABEL: revision_label(key),
        PURPOSE_LABEL: key.purpose.as_str(),
    })
}

fn labels(owner: &Owner, key: &WorkloadKey) -> Value {
    let mut labels = selector(owner, key);
    labels["app.kubernetes.io/name"] = json!(model_label(owner.name));
    labels["app.kubernetes.io/managed-by"] = json!("guardbit");
    labels["app.kubernetes.io/component"] = json!("model-server");
    labels[VARIANT_LABEL] = json!(key.revision.variant);
    labels
}

fn owner_reference(owner: &Owner) -> Value {
    json!([{
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "QuantizedModel",
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

fn variant<'a>(owner: &Owner<'a>, name: &str) -> Option<&'a Variant> {
    owner.spec.variants.iter().find(|v| v.name == name)
}

fn mark_annotations(marks: &Marks) -> BTreeMap<&'static str, String> {
    let Marks {
        stable,
        proven,
        reference,
        rejected,
    } = marks;
    let mut out = BTreeMap::new();
    for (key, set) in [
        (STABLE_MARK, stable),
        (PROVEN_MARK, proven),
        (REFERENCE_MARK, reference),
    ] {
        if *set {
            out.insert(key, "true".to_owned());
        }
    }
    if let Some((guard, reason)) = rejected {
        // A guard's sentence begins with its name.
        let named = reason.starts_with(&format!("{guard}: "));
        let text = if named {
            reason.clone()
        } else {
            format!("{guard}: {reason}")
        };
        out.insert(REJECTED_MARK, provenance::cut(&text));
    }
    out
}

/// What guardbit wrote on a Deployment of what it knew; the inverse of how marks are written.
pub fn marks(annotations: &BTreeMap<String, String>) -> Marks {
    let set = |key: &str| annotations.get(key).is_some_and(|v| v == "true");
    Marks {
        stable: set(STABLE_MARK),
        proven: set(PROVEN_MARK),
        reference: set(REFERENCE_MARK),
        rejected: annotations.get(REJECTED_MARK).map(|text| {
            let guard = text.split_once(": ").map_or("", |(guard, _)| guard);
            (guard.to_owned(), text.clone())
        }),
    }
}

/// Which workload a Deployment is, by its labels and annotations; `None` for one that guardbit did not make.
pub fn key_of(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<WorkloadKey> {
    let purpose = match labels.get(PURPOSE_LABEL)?.as_str() {
        "serving" => Purpose::Serving,
        "pinned" => Purpose::Pinned,
        _ => return None,
    };
    let revision = crate::api::RevisionRef {
        variant: labels.get(VARIANT_LABEL)?.clone(),
        revision: annotations.get(REVISION_ANNOTATION)?.clone(),
    };
    Some(WorkloadKey { revision, purpose })
}
