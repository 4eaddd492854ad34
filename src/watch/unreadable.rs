//! Models that this release cannot read, because a newer release or another writer wrote what it does not know.
//!
//! A watch ends when one object of it cannot be read, and all other models would go unwatched with it. So a watch of
//! models reads metadata only; the rest is read here, where a failure concerns only the object that it is of.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::RELEASE;
use crate::api::{DeletionPolicy, Gateway, QuantizedModel, QuantizedModelStatus};
use crate::rollout::Reason;

use super::partial::Seen;

/// A model as a watch delivers it, parsed no further than its metadata.
pub type SeenModel = Seen<QuantizedModel, Box<RawValue>, Box<RawValue>>;

/// Projection of a model that cannot be read.
#[derive(Clone, Debug, Deserialize)]
pub struct Unreadable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its conditions; empty if these cannot be read either.
    pub conditions: Vec<Condition>,
    /// Reason of its conditions and of the event.
    pub reason: Reason,
    /// Which field cannot be read, and what would be right.
    pub message: String,
    /// What its deletion needs; `None` if this cannot be read either.
    deletion: Option<Deletion>,
}

/// The fields of a spec that its deletion needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    #[serde(default)]
    deletion_policy: DeletionPolicy,
    #[serde(default)]
    traffic: DeletedTraffic,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct DeletedTraffic {
    gateway: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// Reads the spec and the status of a model.
pub fn read(seen: &SeenModel) -> Result<QuantizedModel, Box<Unreadable>> {
    let Seen { spec, status, .. } = seen;
    let (spec, status) = (spec.as_deref().map_or("null", RawValue::get), status.as_deref());
    let unreadable = |reason, mut message: String| {
        let deletion = serde_json::from_str(spec).ok();
        if deletion.is_none() && seen.metadata.deletion_timestamp.is_some() {
            message.push_str("; its deletion waits for that, because nobody knows what is to stay");
        }
        let conditions = status.and_then(|status| serde_json::from_str::<Conditions>(status.get()).ok());
        Box::new(Unreadable {
            metadata: seen.metadata.clone(),
            conditions: conditions.unwrap_or_default().conditions,
            reason,
            message,
            deletion,
        })
    };
    let read_status = |status: &RawValue| part::<QuantizedModelStatus>("status", status.get());
    Ok(QuantizedModel {
        metadata: seen.metadata.clone(),
        spec: part("spec", spec).map_err(|message| unreadable(Reason::InvalidSpec, message))?,
        status: status
            .map(read_status)
            .transpose()
            .map_err(|message| unreadable(Reason::UnknownStatus, message))?,
    })
}

/// Reads a part of a model, or says which of its fields cannot be read.
fn part<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|_| {
        // The first pass keeps no paths, so the text is read once more to find the field.
        let again = serde_json::from_str::<Value>(text).map(serde_path_to_error::deserialize::<_, T>);
        let (path, problem) = match again {
            Ok(Err(error)) => (error.path().to_string(), error.into_inner().to_string()),
            Ok(Ok(_)) => (String::new(), "cannot be read".to_owned()),
            Err(error) => (String::new(), error.to_string()),
        };
        let path = match path.as_str() {
            "" | "." => field.to_owned(),
            path => format!("{field}.{path}"),
        };
        format!("{path}: {problem}; this guardbit ({RELEASE}) knows no more: upgrade it, or write what it knows")
    })
}

impl Unreadable {
    /// A model that is being deleted, as far as its deletion needs it. `None` if it is not known what the deletion is
    /// to do.
    pub fn to_delete(&self) -> Option<QuantizedModel> {
        self.metadata.deletion_timestamp.as_ref()?;
        let Deletion {
            deletion_policy,
            traffic,
        } = self.deletion.as_ref()?;
        let spec = json!({
            "deletionPolicy": deletion_policy,
            "traffic": {"gateway": traffic.gateway.map(|_| Gateway::default())},
            "model": {"name": ""},
            "serving": {"port": 1, "template": {}},
            "variants": [],
        });
        Some(QuantizedModel {
            metadata: self.metadata.clone(),
            spec: serde_json::from_value(spec).ok()?,
            status: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_cannot_be_read_says_where_and_can_still_be_deleted() {
        let unreadable = |change: fn(&mut Value)| {
            let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
            let mut whole: Value = serde_yaml_ng::from_str(sample).unwrap();
            whole["metadata"]["uid"] = json!("u");
            whole["metadata"]["deletionTimestamp"] = json!("2026-11-10T00:00:00Z");
            let condition = json!({"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-11-10T00:00:00Z"});
            whole["status"] = json!({"conditions": [condition]});
            change(&mut whole);
            let seen: SeenModel = serde_json::from_str(&whole.to_string()).unwrap();
            read(&seen).expect_err("what nobody can read")
        };
        for (change, reason, message, is_deletable) in [
            (
                (|m| m["spec"]["model"]["riskTier"] = json!("Extreme")) as fn(&mut Value),
                Reason::InvalidSpec,
                "spec.model.riskTier: unknown variant `Extreme`, expected one of `High`, `Limited`, `Minimal`; ",
                true,
            ),
            (
                |m| m["spec"]["guards"][1] = json!({"name": "same", "fairness": {"tolerance": {}}}),
                Reason::InvalidSpec,
                "spec.guards[1].fairness: unknown field `fairness`, expected one of `name`, `proportion`, `latency`, `fidelity`, ",
                true,
            ),
            (
                |m| m["spec"]["traffic"] = json!({"inferencePool": {}}),
                Reason::InvalidSpec,
                "spec.traffic.inferencePool: unknown field `inferencePool`, expected one of `gateway`, `service`, `precisionRoutes`; ",
                true,
            ),
            (
                |m| m["spec"]["variants"][0]["deployment"] = json!({"name": "own"}),
                Reason::InvalidSpec,
                "spec.variants[0].deployment: unknown field `deployment`, expected one of `name`, `precision`, ",
                true,
            ),
            (
                |m| m["spec"]["deletionPolicy"] = json!("Archive"),
                Reason::InvalidSpec,
                "spec.deletionPolicy: unknown variant `Archive`, expected `Delete` or `Orphan`; ",
                false,
            ),
            (
                |m| drop(m.as_object_mut().unwrap().remove("spec")),
                Reason::InvalidSpec,
                "spec: invalid type: null, expected struct QuantizedModelSpec; ",
                false,
            ),
            (
                |m| m["status"]["stable"] = json!("fp32"),
                Reason::UnknownStatus,
                "status.stable: invalid type: string \"fp32\", expected struct RevisionRef; ",
                true,
            ),
        ] {
            let found = unreadable(change);
            assert_eq!(found.reason, reason, "{}", found.message);
            assert!(found.message.starts_with(message), "{}", found.message);
            assert_eq!(found.conditions.len(), 1, "{message}");
            assert_eq!(found.to_delete().is_some(), is_deletable, "{message}");
            assert_eq!(found.message.contains("its deletion waits"), !is_deletable, "{message}");
        }
        let orphan = unreadable(|m| {
            m["spec"]["model"]["riskTier"] = json!("Extreme");
            m["spec"]["deletionPolicy"] = json!("Orphan");
        });
        let orphan = orphan.to_delete().unwrap();
        assert_eq!(orphan.spec.deletion_policy, DeletionPolicy::Orphan);
        assert_eq!(orphan.metadata.uid.as_deref(), Some("u"));
        assert!(orphan.spec.traffic.gateway.is_some());
        let none = unreadable(|m| {
            m["spec"]["model"]["riskTier"] = json!("Extreme");
            m["status"]["conditions"][0]["status"] = json!(1);
        });
        assert_eq!(none.conditions, [], "they cannot be read either");
    }
}
