//! The comparer of a model: one pod that asks two arms the same, and counts how often they answer otherwise.
//!
//! It has no rights and no token, and may talk to nobody but the two arms. It is no workload of a revision: what a gateway
//! mirrors to it is a copy, and no user gets its answer.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Value, json};

use crate::api::GoldenSet;
use crate::model::comparer::{self, Comparer};
use crate::model::identity;
use crate::rollout::{ComparedArms, WorkloadKey};

use super::document::{Document, Kind};
use super::names::{
    COMPARER_PORT, MANAGER_WORKLOAD, Owner, labels_of_comparer, name, owner_reference, selector, selector_of_comparer,
};
use super::provenance::of_model;
use super::traffic;

/// Annotation with the arms that a comparer asks, in JSON. It is read back, because another pair of arms is begun only
/// when both are ready.
const COMPARES: &str = "guardbit.dev/compares";

/// The volume with the golden set, and where it is mounted.
const VOLUME: &str = "golden";
const FOLDER: &str = "/golden";

/// Most memory. A ConfigMap holds 1 MiB at the most, and a golden set in an image 64 MiB; the answers of sixteen pairs at once take
/// 84 MiB where an arm does its worst, mirrored requests 12 MiB while they are read and wait, and connections 16 MiB.
const MEMORY: &str = "128Mi";
const MEMORY_WITH_IMAGE: &str = "256Mi";

/// The Deployment of the comparer of a model; `None` where the spec has none.
pub fn deployment(owner: &Owner, arms: &ComparedArms, image: &str) -> Option<Document> {
    let golden = owner.spec.comparer.as_ref()?.golden.as_ref();
    let comparer = comparer::of(owner.spec)?;
    let name = identity::comparer_name(owner.name);
    let labels = labels_of_comparer(owner, &name);
    let mut metadata = metadata(owner, &name);
    metadata["annotations"][COMPARES] = json!(json!(arms).to_string());
    let spec = json!({
        "replicas": 1,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": selector_of_comparer(owner, &name)},
        // Two at once would ask at twice the rate.
        "strategy": {"type": "Recreate"},
        "template": {"metadata": {"labels": labels}, "spec": pod(golden, &args(owner, arms, golden, &comparer), image)},
    });
    Some(Document::new(owner, MANAGER_WORKLOAD, Kind::Deployment, name, metadata).with_spec(spec))
}

/// The Service that the gateway mirrors requests to; `None` where the spec asks for no mirror.
pub fn service(owner: &Owner) -> Option<Document> {
    owner.spec.comparer.as_ref()?.mirror.as_ref()?;
    let name = identity::comparer_name(owner.name);
    let port = json!({"name": "http", "port": COMPARER_PORT, "targetPort": COMPARER_PORT, "protocol": "TCP"});
    let spec = json!({"selector": selector_of_comparer(owner, &name), "ports": [port]});
    let metadata = metadata(owner, &name);
    Some(Document::new(owner, MANAGER_WORKLOAD, Kind::Service, name, metadata).with_spec(spec))
}

/// The NetworkPolicy of the comparer: anybody may reach its port, for Prometheus and the gateway may be anywhere; and it
/// reaches names and the pods of the two arms.
pub fn network_policy(owner: &Owner, arms: &ComparedArms) -> Document {
    let name = identity::comparer_name(owner.name);
    // The pods of names have the second port on OpenShift.
    let names = [53, 5353].map(|port| [("UDP", port), ("TCP", port)]).concat();
    let names: Vec<Value> = names.into_iter().map(|(protocol, port)| open(protocol, port)).collect();
    let pods = arms.keys().map(|key| selector(owner, &key));
    let pods = pods.map(|labels| json!({"podSelector": {"matchLabels": labels}}));
    let spec = json!({
        "podSelector": {"matchLabels": selector_of_comparer(owner, &name)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [open("TCP", i32::from(COMPARER_PORT))]}],
        "egress": [{"ports": names}, {"ports": [open("TCP", owner.spec.serving.port)], "to": pods}],
    });
    let metadata = metadata(owner, &name);
    Document::new(owner, MANAGER_WORKLOAD, Kind::NetworkPolicy, name, metadata).with_spec(spec)
}

fn open(protocol: &str, port: i32) -> Value {
    json!({"protocol": protocol, "port": port})
}

/// Metadata of all objects of the comparer of this name.
fn metadata(owner: &Owner, name: &str) -> Value {
    json!({
        "labels": labels_of_comparer(owner, name),
        "annotations": of_model(owner),
        "ownerReferences": owner_reference(owner),
    })
}

/// The Services of the arms that a comparer asks, where traffic is split without a Service for each arm.
pub fn arm_services(owner: &Owner, arms: &ComparedArms) -> Vec<Document> {
    let traffic = traffic::provider(&owner.spec.traffic);
    let lacks = |key: &WorkloadKey| traffic.is_some_and(|traffic| traffic.arm_service(owner, key).is_none());
    let keys = arms.keys().into_iter().filter(lacks);
    keys.map(|key| traffic::arm_service(owner, &key)).collect()
}

/// The arms that a comparer asks, by the annotations of its Deployment; `None` if it is no comparer.
pub fn compared_arms(annotations: &BTreeMap<String, String>) -> Option<ComparedArms> {
    serde_json::from_str(annotations.get(COMPARES)?).ok()
}

/// The pod, as `restricted` pod security wants it.
fn pod(golden: Option<&GoldenSet>, args: &[String], image: &str) -> Value {
    let memory = if golden.is_some_and(|golden| golden.image.is_some()) {
        MEMORY_WITH_IMAGE
    } else {
        MEMORY
    };
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "comparer",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "ports": [{"name": "http-metrics", "containerPort": COMPARER_PORT}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http-metrics"}, "periodSeconds": 10},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": memory}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    });
    if let Some(golden) = golden {
        pod["volumes"] = json!([volume(golden)]);
        pod["containers"][0]["volumeMounts"] = json!([{"name": VOLUME, "mountPath": FOLDER, "readOnly": true}]);
    }
    pod
}

fn volume(golden: &GoldenSet) -> Value {
    let file = golden.file();
    match &golden.image {
        Some(image) => json!({"name": VOLUME, "image": {"reference": image, "pullPolicy": "IfNotPresent"}}),
        None => json!({
            "name": VOLUME,
            "configMap": {"name": golden.config_map, "items": [{"key": file, "path": file}]},
        }),
    }
}

/// Arguments of `guardbit compare`. Kubernetes replaces `$(NAME)` in arguments, and takes two dollar signs for one.
fn args(owner: &Owner, arms: &ComparedArms, golden: Option<&GoldenSet>, comparer: &Comparer) -> Vec<String> {
    let flag = |name: &str, value: &dyn Display| format!("--{name}={value}").replace('$', "$$");
    let [reference, candidate] = arms.keys().map(|key| {
        let (service, port) = (name(owner, &key), owner.spec.serving.port);
        format!("http://{service}.{}.svc:{port}", owner.namespace)
    });
    let Comparer {
        settings,
        rate,
        share: _,
        pairs,
        tokens,
        control,
        mirror,
    } = comparer;
    let mut args = vec![
        "compare".to_owned(),
        flag("protocol", &settings.protocol),
        flag("model", &owner.name),
        flag("reference", &reference),
        flag("candidate", &candidate),
        flag("reference-revision", &identity::short(&arms.reference.revision)),
        flag("candidate-revision", &identity::short(&arms.candidate.revision)),
    ];
    if let Some(golden) = golden {
        args.push(flag("golden", &format!("{FOLDER}/{}", golden.file())));
        args.push(flag("golden-digest", &golden.digest));
    }
    args.extend([
        flag("rate", &arms.pace(*rate)),
        flag("budget-pairs", pairs),
        flag("budget-tokens", tokens),
        flag("control", control),
    ]);
    let texts = [("path", &settings.path), ("pointer", &settings.pointer)];
    args.extend(
        texts
            .into_iter()
            .filter_map(|(name, text)| Some(flag(name, text.as_ref()?))),
    );
    let numbers = [("margin", settings.margin), ("threshold", settings.threshold)];
    args.extend(
        numbers
            .into_iter()
            .filter_map(|(name, number)| Some(flag(name, &number?))),
    );
    args.extend(mirror.map(|_| "--mirror".to_owned()));
    args
}
