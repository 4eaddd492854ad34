//! The comparer of a model: one pod that asks two arms the same, and counts how often they answer otherwise.
//!
//! It has no rights and no token. It is no workload of a revision, and gets no requests of users.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Value, json};

use crate::api::GoldenSet;
use crate::model::comparer::{self, Comparer};
use crate::model::identity;
use crate::rollout::{ComparedArms, WorkloadKey};

use super::document::{Document, Kind};
use super::names::{MANAGER_WORKLOAD, Owner, labels_of_comparer, name, owner_reference, selector_of_comparer};
use super::provenance::of_model;
use super::traffic;

/// Annotation with the arms that a comparer asks, in JSON. It is read back, because another pair of arms is begun only
/// when both are ready.
const COMPARES: &str = "guardbit.dev/compares";

/// The volume with the golden set, and where it is mounted.
const VOLUME: &str = "golden";
const FOLDER: &str = "/golden";

/// Most memory. A ConfigMap holds 1 MiB at the most, and a golden set in an image 64 MiB.
const MEMORY_WITH_CONFIG_MAP: &str = "64Mi";
const MEMORY_WITH_IMAGE: &str = "256Mi";

/// The Deployment of the comparer of a model; `None` where the spec has none.
pub fn deployment(owner: &Owner, arms: &ComparedArms, image: &str) -> Option<Document> {
    let golden = &owner.spec.comparer.as_ref()?.golden;
    let comparer = comparer::of(owner.spec)?;
    let name = identity::comparer_name(owner.name);
    let labels = labels_of_comparer(owner, &name);
    let mut annotations = of_model(owner);
    annotations.insert(COMPARES.to_owned(), json!(json!(arms).to_string()));
    let metadata = json!({
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": owner_reference(owner),
    });
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
fn pod(golden: &GoldenSet, args: &[String], image: &str) -> Value {
    let memory = if golden.image.is_some() {
        MEMORY_WITH_IMAGE
    } else {
        MEMORY_WITH_CONFIG_MAP
    };
    json!({
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
            "ports": [{"name": "http-metrics", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http-metrics"}, "periodSeconds": 10},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": memory}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER, "readOnly": true}],
        }],
        "volumes": [volume(golden)],
    })
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
fn args(owner: &Owner, arms: &ComparedArms, golden: &GoldenSet, comparer: &Comparer) -> Vec<String> {
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
    } = comparer;
    let mut args = vec![
        "compare".to_owned(),
        flag("protocol", &settings.protocol),
        flag("model", &owner.name),
        flag("reference", &reference),
        flag("candidate", &candidate),
        flag("reference-revision", &identity::short(&arms.reference.revision)),
        flag("candidate-revision", &identity::short(&arms.candidate.revision)),
        flag("golden", &format!("{FOLDER}/{}", golden.file())),
        flag("golden-digest", &golden.digest),
        flag("rate", &arms.pace(*rate)),
        flag("budget-pairs", pairs),
        flag("budget-tokens", tokens),
        flag("control", control),
    ];
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
    args
}
