//! Deployments: template, scale and facts, each for a field manager of its own.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{EnvVar, PodTemplateSpec};
use serde_json::{Map, Value, json};

use crate::api::PodTemplate;
use crate::model::identity;
use crate::rollout::{WorkloadKey, WorkloadPlan};

use super::{
    BuildError, JOINED_LABEL, Owner, REVISION_ANNOTATION, ROLE_LABEL, labels, mark_annotations, name, owner_reference,
    provenance, selector, variant,
};

/// The Deployment of a revision that the spec describes, without its replicas.
pub fn deployment(owner: &Owner, key: &WorkloadKey) -> Result<Value, BuildError> {
    let name = name(owner, key);
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": labels(owner, key),
            "annotations": {REVISION_ANNOTATION: key.revision.revision},
            "ownerReferences": owner_reference(owner),
        },
        "spec": {
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector(owner, key)},
            // Capacity first: a changed template never takes a pod away before another is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template(owner, key)?,
        },
    }))
}

/// The scale of a Deployment, and nothing else of it.
pub fn scale(owner: &Owner, key: &WorkloadKey, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name(owner, key), "namespace": owner.namespace},
        "spec": {"replicas": replicas},
    })
}

/// What is known of a Deployment: its role, its provenance, and what recovery needs. On the object only, so that no pod
/// restarts when it changes.
pub fn facts(owner: &Owner, key: &WorkloadKey, plan: &WorkloadPlan) -> Value {
    let mut annotations = provenance::of_revision(owner, key);
    for (mark, value) in mark_annotations(&plan.marks) {
        annotations.insert(mark.to_owned(), json!(value));
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name(owner, key),
            "namespace": owner.namespace,
            "labels": {ROLE_LABEL: plan.role.to_string().to_lowercase()},
            "annotations": annotations,
        },
    })
}

/// The pod template: what all variants share, the variant's own merged over it, and what guardbit adds. Nothing in it may
/// change while the identity stays.
fn template(owner: &Owner, key: &WorkloadKey) -> Result<Value, BuildError> {
    let variant =
        variant(owner, &key.revision.variant).ok_or_else(|| BuildError::NoVariant(key.revision.variant.clone()))?;
    let mut template = read("spec.serving.template", &owner.spec.serving.template)?;
    if let Some(own) = &variant.template {
        template.merge_from(read(&format!("spec.variants[{}].template", variant.name), own)?);
    }
    let spec = template.spec.get_or_insert_default();
    let added = [
        ("GUARDBIT_VARIANT", variant.name.clone()),
        ("GUARDBIT_REVISION", identity::short(&key.revision.revision).to_owned()),
        ("GUARDBIT_WEIGHTS_URI", variant.weights.uri.clone()),
    ];
    for container in &mut spec.containers {
        let env = container.env.get_or_insert_default();
        env.retain(|e| !added.iter().any(|(name, _)| e.name == *name));
        env.extend(added.iter().map(|(name, value)| EnvVar {
            name: (*name).to_owned(),
            value: Some(value.clone()),
            value_from: None,
        }));
    }
    let metadata = template.metadata.get_or_insert_default();
    let own_labels = labels(owner, key);
    let pod_labels = metadata.labels.get_or_insert_default();
    for (label, value) in own_labels.as_object().into_iter().flatten() {
        pod_labels.insert(label.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    if owner.spec.traffic.service.is_some() {
        pod_labels.insert(JOINED_LABEL.to_owned(), "true".to_owned());
    }
    let annotations = metadata.annotations.get_or_insert_default();
    for (annotation, value) in provenance::of_identity(variant) {
        annotations.insert(annotation, value);
    }
    serde_json::to_value(template).map_err(|e| BuildError::Template {
        field: "spec.serving.template".to_owned(),
        problem: e.to_string(),
    })
}

fn read(field: &str, template: &PodTemplate) -> Result<PodTemplateSpec, BuildError> {
    // A container of an overlay names only what differs; the type wants its name, which is what merging goes by.
    let PodTemplate(map) = template;
    let value = Value::Object(Map::clone(map));
    serde_json::from_value(value).map_err(|e| BuildError::Template {
        field: field.to_owned(),
        problem: e.to_string(),
    })
}
