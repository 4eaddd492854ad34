//! Traffic without a gateway: one Service over all arms, split by ready replicas. Services of single arms are made here
//! as well.
//!
//! Pods join the shared Service by a label, so that an arm loses its share without losing its pods.

use serde_json::{Value, json};

use crate::api::ServiceTraffic;
use crate::model::identity::{Purpose, service_name};
use crate::rollout::{Plan, WorkloadKey};

use super::provider::{Effect, TrafficProvider};
use crate::manifests::document::{Document, Kind};
use crate::manifests::names::{
    JOINED_LABEL, MANAGER_WORKLOAD, MODEL_LABEL, Owner, labels, labels_of_model, model_label, name, owner_reference,
    selector,
};
use crate::manifests::provenance::{of_revision, of_route};

impl TrafficProvider for ServiceTraffic {
    fn carrier(&self) -> Kind {
        Kind::Service
    }

    fn pod_labels(&self) -> &'static [(&'static str, &'static str)] {
        &[(JOINED_LABEL, "true")]
    }

    fn arm_service(&self, _: &Owner, _: &WorkloadKey) -> Option<Document> {
        None
    }

    fn split(&self, owner: &Owner, plan: &Plan) -> Vec<Effect> {
        let mut effects = self.lower(owner, plan);
        effects.push(Effect::Apply(shared_service(owner)));
        effects
    }

    /// The candidate's pods leave the Service at once; the Service itself stays as it is.
    fn lower(&self, _: &Owner, plan: &Plan) -> Vec<Effect> {
        let serving = plan.workloads.iter().filter(|(key, _)| key.purpose == Purpose::Serving);
        serving
            .map(|(key, workload)| Effect::Join(key.clone(), workload.joined))
            .collect()
    }
}

/// The Service of one arm.
pub(in crate::manifests) fn arm_service(owner: &Owner, key: &WorkloadKey) -> Document {
    let metadata = json!({
        "labels": labels(owner, key),
        "annotations": of_revision(owner, key),
        "ownerReferences": owner_reference(owner),
    });
    Document::new(owner, MANAGER_WORKLOAD, Kind::Service, name(owner, key), metadata)
        .with_spec(json!({"selector": selector(owner, key), "ports": ports(owner)}))
}

/// The one Service of plain Service mode.
fn shared_service(owner: &Owner) -> Document {
    let metadata = json!({
        "labels": labels_of_model(owner),
        "annotations": of_route(owner),
        "ownerReferences": owner_reference(owner),
    });
    let joined = json!({MODEL_LABEL: model_label(owner.name), JOINED_LABEL: "true"});
    let name = service_name(owner.name);
    Document::new(owner, MANAGER_WORKLOAD, Kind::Service, name, metadata)
        .with_spec(json!({"selector": joined, "ports": ports(owner)}))
}

fn ports(owner: &Owner) -> Value {
    let serving = &owner.spec.serving;
    let mut port = json!({"name": "http", "port": serving.port, "targetPort": serving.port, "protocol": "TCP"});
    if let Some(protocol) = &serving.app_protocol {
        port["appProtocol"] = json!(protocol);
    }
    json!([port])
}
