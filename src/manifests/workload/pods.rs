//! The pod template of a revision, whatever runs it.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{EnvVar, PodTemplateSpec};
use serde_json::{Map, Value};

use crate::api::{PodTemplate, QuantizedModelSpec};
use crate::manifests::names::{Owner, labels};
use crate::manifests::provenance::of_identity;
use crate::manifests::traffic;
use crate::model::identity;
use crate::rollout::WorkloadKey;

/// Why an object cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A pod template cannot be read.
    #[error("{field} is no pod template: {problem}; write it as in a Deployment")]
    Template {
        /// Path in the spec.
        field: String,
        /// Message of the parser.
        problem: String,
    },
    /// The spec no longer describes the variant.
    #[error("variant {0} is not in spec.variants")]
    NoVariant(String),
}

/// The pod template: the part that all variants share, the variant's own merged over it, and what guardbit adds.
/// Nothing in it may change while the identity stays.
pub(super) fn pod_template(owner: &Owner, key: &WorkloadKey) -> Result<Value, BuildError> {
    let variant = owner
        .variant(&key.revision.variant)
        .ok_or_else(|| BuildError::NoVariant(key.revision.variant.clone()))?;
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
    let joining = traffic::provider(&owner.spec.traffic).map_or(&[][..], |traffic| traffic.pod_labels());
    pod_labels.extend(
        joining
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned())),
    );
    let annotations = metadata.annotations.get_or_insert_default();
    for (annotation, value) in of_identity(variant) {
        annotations.insert(annotation, value);
    }
    serde_json::to_value(template).map_err(|e| BuildError::Template {
        field: "spec.serving.template".to_owned(),
        problem: e.to_string(),
    })
}

/// Name of the container that serves the model, by the template that all variants share: the one with the model's port, or
/// else the first one.
pub fn model_container(spec: &QuantizedModelSpec) -> Option<&str> {
    let PodTemplate(template) = &spec.serving.template;
    let containers = template.get("spec")?.get("containers")?.as_array()?;
    let serves = |container: &&Value| {
        let ports = container["ports"].as_array();
        ports.is_some_and(|ports| ports.iter().any(|port| port["containerPort"] == spec.serving.port))
    };
    let serving = containers.iter().find(serves).or(containers.first())?;
    serving["name"].as_str()
}

fn read(field: &str, template: &PodTemplate) -> Result<PodTemplateSpec, BuildError> {
    // A container of an overlay names only what differs; the type requires its name, which is the key of the merge.
    let PodTemplate(map) = template;
    let value = Value::Object(Map::clone(map));
    serde_json::from_value(value).map_err(|e| BuildError::Template {
        field: field.to_owned(),
        problem: e.to_string(),
    })
}
