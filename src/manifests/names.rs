//! Names of objects, labels, annotations and field managers, and which object belongs to which workload.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{GROUP, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, Variant};
use crate::model::identity::{self, Digests, Purpose};
use crate::rollout::WorkloadKey;

/// Field manager of Deployments' templates and of Services.
pub const MANAGER_WORKLOAD: &str = "guardbit-workload";
/// Field manager of `spec.replicas`.
pub const MANAGER_SCALE: &str = "guardbit-scale";
/// Field manager of roles and provenance on Deployments and on the model.
pub const MANAGER_FACTS: &str = "guardbit-facts";
/// Field manager of the route.
pub const MANAGER_ROUTE: &str = "guardbit-route";
/// Field managers of the objects that are made for a model.
pub const MANAGERS_OF_OBJECTS: [&str; 4] = [MANAGER_WORKLOAD, MANAGER_SCALE, MANAGER_FACTS, MANAGER_ROUTE];
/// Field manager of status and finalizer.
pub const MANAGER_STATUS: &str = "guardbit";

/// Label of all that belongs to a model; its value is the model's name, cut at 63 characters.
pub const MODEL_LABEL: &str = "guardbit.dev/model";
/// Label with the name of the variant.
pub const VARIANT_LABEL: &str = "guardbit.dev/variant";
/// Label with the short revision. Pods that are pinned or in a shadow stage have a value of their own, because they are
/// another population.
pub const REVISION_LABEL: &str = "guardbit.dev/revision";
/// Label with the purpose of a Deployment.
pub const PURPOSE_LABEL: &str = "guardbit.dev/purpose";
/// Label with the role of a Deployment. It is never on pods, because they would restart when it changes.
pub const ROLE_LABEL: &str = "guardbit.dev/role";
/// Label of pods that belong to the Service of plain Service mode.
pub const JOINED_LABEL: &str = "guardbit.dev/in-service";

/// Annotation with the whole revision.
pub const REVISION_ANNOTATION: &str = "guardbit.dev/revision";

/// Port of the comparer: of its metrics, and of the requests that are mirrored to it.
pub(super) const COMPARER_PORT: u16 = 8080;

/// Label with what an object is for, as Kubernetes recommends it.
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// The model that owns the objects.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its namespace, and that of all objects.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// The spec.
    pub spec: &'a QuantizedModelSpec,
    /// Digests of the spec, which every object bears.
    pub digests: &'a Digests,
    /// The next status.
    pub status: &'a QuantizedModelStatus,
}

impl<'a> Owner<'a> {
    /// What the spec says about a variant; `None` if it no longer describes it.
    pub(super) fn variant(&self, name: &str) -> Option<&'a Variant> {
        self.spec.variants.iter().find(|v| v.name == name)
    }
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
        Purpose::Pinned | Purpose::Shadow => format!("{short}-{}", key.purpose.as_str()),
    }
}

/// The workload that a Deployment belongs to, by its labels and annotations; `None` if guardbit did not make it.
pub fn key_of(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<WorkloadKey> {
    let purpose = match labels.get(PURPOSE_LABEL)?.as_str() {
        "serving" => Purpose::Serving,
        "pinned" => Purpose::Pinned,
        "shadow" => Purpose::Shadow,
        _ => return None,
    };
    let revision = RevisionRef {
        variant: labels.get(VARIANT_LABEL)?.clone(),
        revision: annotations.get(REVISION_ANNOTATION)?.clone(),
    };
    Some(WorkloadKey { revision, purpose })
}

/// Labels by which the pods of a workload are found.
pub(super) fn selector(owner: &Owner, key: &WorkloadKey) -> Value {
    json!({
        MODEL_LABEL: model_label(owner.name),
        REVISION_LABEL: revision_label(key),
        PURPOSE_LABEL: key.purpose.as_str(),
    })
}

/// Labels of everything that belongs to a workload.
pub(super) fn labels(owner: &Owner, key: &WorkloadKey) -> Value {
    let mut labels = selector(owner, key);
    labels["app.kubernetes.io/name"] = json!(model_label(owner.name));
    labels["app.kubernetes.io/managed-by"] = json!("guardbit");
    labels[COMPONENT_LABEL] = json!("model-server");
    labels[VARIANT_LABEL] = json!(key.revision.variant);
    labels
}

/// Labels of what belongs to the model as a whole.
pub(super) fn labels_of_model(owner: &Owner) -> Value {
    json!({MODEL_LABEL: model_label(owner.name), "app.kubernetes.io/managed-by": "guardbit"})
}

/// Labels by which the pod of the comparer of this name is found. None of them is that of a revision: it is no workload.
pub(super) fn selector_of_comparer(owner: &Owner, name: &str) -> Value {
    json!({
        MODEL_LABEL: model_label(owner.name),
        COMPONENT_LABEL: "comparer",
        "app.kubernetes.io/instance": name,
    })
}

/// Labels of the comparer of this name, and of its pod.
pub(super) fn labels_of_comparer(owner: &Owner, name: &str) -> Value {
    let mut labels = selector_of_comparer(owner, name);
    labels["app.kubernetes.io/name"] = json!(model_label(owner.name));
    labels["app.kubernetes.io/managed-by"] = json!("guardbit");
    labels
}

/// Owner reference by which an object is deleted with its model.
pub(super) fn owner_reference(owner: &Owner) -> Value {
    json!([{
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "QuantizedModel",
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}
