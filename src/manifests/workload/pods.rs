//! The pod template of a revision, whatever runs it.

use serde_json::Value;

use crate::api::SpecProblem;
use crate::manifests::names::{Owner, labels};
use crate::manifests::provenance::of_identity;
use crate::manifests::traffic;
use crate::model::identity::Purpose;
use crate::model::template;
use crate::rollout::WorkloadKey;

use super::additions::Additions;
use super::environment::Environment;
use super::error::BuildError;
use super::weights;

/// The pod template: the part that all variants share, the variant's own merged over it, and what guardbit adds.
/// Nothing in it may change while the identity stays: `live` is what a Deployment that exists has. `image` is that of guardbit
/// itself. Returns what was added, too.
pub(super) fn pod_template(
    owner: &Owner,
    key: &WorkloadKey,
    live: Option<&Additions>,
    image: Option<&str>,
) -> Result<(Value, Additions), BuildError> {
    let variant = owner
        .variant(&key.revision.variant)
        .ok_or_else(|| BuildError::NoVariant(key.revision.variant.clone()))?;
    let mut template = template::merged(owner.spec, variant).map_err(BuildError::Template)?;
    let spec = template.spec.get_or_insert_default();
    let image = live.and_then(|live| live.verifier.as_deref()).or(image);
    let verifier = weights::add(spec, template::model_container(owner.spec), variant, image)?;
    let environment = live.map_or_else(|| Environment::of(spec), |live| live.environment);
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
    let additions = Additions {
        environment,
        verifier,
        weights: variant.weights.proof(),
    };
    Ok((template, additions))
}
