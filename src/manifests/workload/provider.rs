//! The interface of a provider of workloads.

use serde_json::{Value, json};

use crate::manifests::document::{Document, Kind};
use crate::manifests::names::{MANAGER_FACTS, MANAGER_SCALE, Owner, ROLE_LABEL, name};
use crate::manifests::provenance::of_revision;
use crate::manifests::recovery::mark_annotations;
use crate::rollout::{WorkloadKey, WorkloadPlan};

use super::additions::Additions;
use super::error::BuildError;

/// Runs the pods of a revision. Template, scale and facts have a field manager each, so that an autoscaler may own the
/// scale.
pub trait WorkloadProvider {
    /// Kind of its objects.
    fn kind(&self) -> Kind;

    /// The object of a revision that the spec describes, without its replicas. `live` is what one that exists has of guardbit,
    /// and `image` that of guardbit itself.
    fn template(
        &self,
        owner: &Owner,
        key: &WorkloadKey,
        live: Option<&Additions>,
        image: Option<&str>,
    ) -> Result<Document, BuildError>;

    /// The scale of an object, and no other field of it.
    fn scale(&self, owner: &Owner, key: &WorkloadKey, replicas: i32) -> Document {
        Document::new(owner, MANAGER_SCALE, self.kind(), name(owner, key), json!({}))
            .with_spec(json!({"replicas": replicas}))
    }

    /// What is known of an object: its role, its provenance and its recovery annotations. They are on the object only,
    /// so that no pod restarts when they change.
    fn facts(&self, owner: &Owner, key: &WorkloadKey, plan: &WorkloadPlan) -> Document {
        let mut annotations = of_revision(owner, key);
        for (mark, value) in mark_annotations(&plan.marks) {
            annotations.insert(mark.to_owned(), Value::String(value));
        }
        let metadata = json!({
            "labels": {ROLE_LABEL: plan.role.to_string().to_lowercase()},
            "annotations": annotations,
        });
        Document::new(owner, MANAGER_FACTS, self.kind(), name(owner, key), metadata)
    }
}
