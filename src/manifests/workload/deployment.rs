//! Workloads that run as Deployments.

use serde_json::json;

use crate::manifests::document::{Document, Kind};
use crate::manifests::names::{MANAGER_WORKLOAD, Owner, REVISION_ANNOTATION, labels, name, owner_reference, selector};
use crate::rollout::WorkloadKey;

use super::pods::{BuildError, pod_template};
use super::provider::WorkloadProvider;

/// Runs the pods of a revision as a Deployment.
pub(super) struct Deployment;

impl WorkloadProvider for Deployment {
    fn kind(&self) -> Kind {
        Kind::Deployment
    }

    fn template(&self, owner: &Owner, key: &WorkloadKey) -> Result<Document, BuildError> {
        let metadata = json!({
            "labels": labels(owner, key),
            "annotations": {REVISION_ANNOTATION: key.revision.revision},
            "ownerReferences": owner_reference(owner),
        });
        let spec = json!({
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector(owner, key)},
            // Capacity comes first: a changed template never takes a pod away before another is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod_template(owner, key)?,
        });
        let document = Document::new(owner, MANAGER_WORKLOAD, self.kind(), name(owner, key), metadata);
        Ok(document.with_spec(spec))
    }
}
