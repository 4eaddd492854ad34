//! Workloads that run as Deployments.

use serde_json::json;

use crate::manifests::document::{Document, Kind};
use crate::manifests::names::{MANAGER_WORKLOAD, Owner, REVISION_ANNOTATION, labels, name, owner_reference, selector};
use crate::rollout::WorkloadKey;

use super::environment::Environment;
use super::pods::{BuildError, pod_template};
use super::provider::WorkloadProvider;

/// Runs the pods of a revision as a Deployment.
pub(super) struct Deployment;

impl WorkloadProvider for Deployment {
    fn kind(&self) -> Kind {
        Kind::Deployment
    }

    fn template(&self, owner: &Owner, key: &WorkloadKey, live: Option<Environment>) -> Result<Document, BuildError> {
        let (template, environment) = pod_template(owner, key, live)?;
        let mut annotations = json!({REVISION_ANNOTATION: key.revision.revision});
        if let Some((annotation, value)) = environment.annotation() {
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
