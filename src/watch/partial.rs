//! Objects as watches deliver them, parsed only as far as they are used: of the thousands that a start brings, most of
//! the text is pod specs that no decision needs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// An object of kind `K`, with its spec as an `S` and its status as a `T`.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "S: Deserialize<'de>, T: Deserialize<'de>")]
pub struct Seen<K, S, T> {
    #[serde(deserialize_with = "used")]
    pub metadata: ObjectMeta,
    pub spec: Option<S>,
    pub status: Option<T>,
    #[serde(skip)]
    of: PhantomData<K>,
}

/// What is used of metadata. Not used are above all managed fields, which are half of the text of most objects.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsedMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

fn used<'de, D: Deserializer<'de>>(text: D) -> Result<ObjectMeta, D::Error> {
    let used = UsedMetadata::deserialize(text)?;
    Ok(ObjectMeta {
        name: used.name,
        namespace: used.namespace,
        uid: used.uid,
        resource_version: used.resource_version,
        generation: used.generation,
        creation_timestamp: used.creation_timestamp,
        deletion_timestamp: used.deletion_timestamp,
        labels: used.labels,
        annotations: used.annotations,
        finalizers: used.finalizers,
        owner_references: used.owner_references,
        ..ObjectMeta::default()
    })
}

impl<K: Resource, S, T> Resource for Seen<K, S, T> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde::de::IgnoredAny;
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_read_but_for_what_nobody_uses() {
        let owner = json!({"apiVersion": "v1", "kind": "K", "name": "o", "uid": "w", "controller": true});
        let used = json!({
            "name": "n", "namespace": "s", "uid": "u", "resourceVersion": "7", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": "2026-01-02T00:00:00Z", "labels": {"l": "1"}, "annotations": {"a": "2"}, "finalizers": ["f"],
            "ownerReferences": [owner],
        });
        let mut metadata = used.clone();
        metadata["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
        metadata["generateName"] = json!("n-");
        let seen: Seen<Pod, IgnoredAny, IgnoredAny> = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(serde_json::to_value(&seen.metadata).unwrap(), used);
    }
}
