//! Services: one an arm behind a gateway, or one over all joined arms.

use serde_json::{Value, json};

use crate::rollout::WorkloadKey;

use super::{JOINED_LABEL, MODEL_LABEL, Owner, labels, model_label, name, owner_reference, provenance, selector};

/// The Service of one arm.
pub fn service(owner: &Owner, key: &WorkloadKey) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name(owner, key),
            "namespace": owner.namespace,
            "labels": labels(owner, key),
            "annotations": provenance::of_revision(owner, key),
            "ownerReferences": owner_reference(owner),
        },
        "spec": {"selector": selector(owner, key), "ports": ports(owner)},
    })
}

/// The one Service of plain Service mode. It carries the model's name.
pub fn shared_service(owner: &Owner) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": owner.name,
            "namespace": owner.namespace,
            "labels": {MODEL_LABEL: model_label(owner.name), "app.kubernetes.io/managed-by": "guardbit"},
            "annotations": provenance::of_route(owner),
            "ownerReferences": owner_reference(owner),
        },
        "spec": {"selector": {MODEL_LABEL: model_label(owner.name), JOINED_LABEL: "true"}, "ports": ports(owner)},
    })
}

/// Label selector of the pods that belong to one workload, for taking them out of the shared Service.
pub fn joined_pods_selector(owner: &Owner, key: &WorkloadKey) -> String {
    let pairs = selector(owner, key);
    let pairs: Vec<_> = pairs
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}

fn ports(owner: &Owner) -> Value {
    json!([{"name": "http", "port": owner.spec.serving.port, "targetPort": owner.spec.serving.port, "protocol": "TCP"}])
}
