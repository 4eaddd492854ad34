//! The pod template of a revision, whatever runs it.

use k8s_openapi::DeepMerge;
use serde_json::Value;

use crate::api::{PodTemplate, QuantizedModelSpec, SpecProblem};
use crate::manifests::names::{Owner, labels};
use crate::manifests::provenance::of_identity;
use crate::manifests::traffic;
use crate::model::identity::Purpose;
use crate::model::template;
use crate::rollout::WorkloadKey;

use super::environment::Environment;

/// Why an object cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A pod template cannot be read.
    #[error("{0}")]
    Template(SpecProblem),
    /// The spec no longer describes the variant.
    #[error("variant {0} is not in spec.variants")]
    NoVariant(String),
}

/// The pod template: the part that all variants share, the variant's own merged over it, and what guardbit adds.
/// Nothing in it may change while the identity stays: `environment` is what a Deployment that exists has. Returns what
/// it has from now on, too.
pub(super) fn pod_template(
    owner: &Owner,
    key: &WorkloadKey,
    environment: Option<Environment>,
) -> Result<(Value, Environment), BuildError> {
    let variant = owner
        .variant(&key.revision.variant)
        .ok_or_else(|| BuildError::NoVariant(key.revision.variant.clone()))?;
    let read = |field: &str, written| template::read(field, written).map_err(BuildError::Template);
    let mut template = read(template::SHARED, &owner.spec.serving.template)?;
    if let Some(own) = &variant.template {
        template.merge_from(read(&template::own(&variant.name), own)?);
    }
    let spec = template.spec.get_or_insert_default();
    let environment = environment.unwrap_or_else(|| Environment::of(spec));
    environment.add(spec, variant, &key.revision.revision);
    let metadata = template.metadata.get_or_insert_default();
    let own_labels = labels(owner, key);
    let pod_labels = metadata.labels.get_or_insert_default();
    for (label, value) in own_labels.as_object().into_iter().flatten() {
        pod_labels.insert(label.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    // In a shadow stage no request may reach it.
    let traffic = traffic::provider(&owner.spec.traffic).filter(|_| key.purpose != Purpose::Shadow);
    let joining = traffic.map_or(&[][..], |traffic| traffic.pod_labels());
    pod_labels.extend(
        joining
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned())),
    );
    let annotations = metadata.annotations.get_or_insert_default();
    for (annotation, value) in of_identity(variant) {
        annotations.insert(annotation, value);
    }
    let template = serde_json::to_value(template)
        .map_err(|e| BuildError::Template(SpecProblem::new(template::SHARED, e.to_string())))?;
    Ok((template, environment))
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
