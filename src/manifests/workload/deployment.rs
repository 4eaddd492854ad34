//! Workloads that run as Deployments.

use serde_json::json;

use crate::manifests::document::{Document, Kind};
use crate::manifests::names::{MANAGER_WORKLOAD, Owner, REVISION_ANNOTATION, labels, name, owner_reference, selector};
use crate::rollout::WorkloadKey;

use super::additions::Additions;
use super::error::BuildError;
use super::pods::pod_template;
use super::provider::WorkloadProvider;

/// Runs the pods of a revision as a Deployment.
pub(super) struct Deployment;

impl WorkloadProvider for Deployment {
    fn kind(&self) -> Kind {
        Kind::Deployment
    }

    fn template(
        &self,
        owner: &Owner,
        key: &WorkloadKey,
        live: Option<&Additions>,
        image: Option<&str>,
    ) -> Result<Document, BuildError> {
        let (template, additions) = pod_template(owner, key, live, image)?;
        let mut annotations = json!({REVISION_ANNOTATION: key.revision.revision});
        for (annotation, value) in additions.annotations() {
            annotations[annotation] = json!(value);
        }
        let metadata = json!({
            "labels": labels(owner, key),
            "annotations": annotations,
            "ownerReferences": owner_reference(owner),
        });
        let spec = json!({
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector(owner, key)},
            // Capacity comes first: a changed template never takes a pod away before another is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template,
        });
        let document = Document::new(owner, MANAGER_WORKLOAD, self.kind(), name(owner, key), metadata);
        Ok(document.with_spec(spec))
    }
}
