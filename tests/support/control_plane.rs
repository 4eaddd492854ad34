//! The API server that `KUBECONFIG` leads to, with guardbit's own CRDs.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{conditions, wait::await_condition};
use serde::Deserialize;
use serde_json::{Value, json};

use guardbit::cli::crds;

/// Longest time until a CRD may be used.
const PATIENCE: Duration = Duration::from_secs(30);

/// An administrator's client; the CRDs are there.
pub async fn client() -> Client {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "this test needs an API server: run tests/cluster/run-tests.sh, or set KUBECONFIG"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.expect("a usable KUBECONFIG");
    for crd in crds::all() {
        install(&client, &serde_json::to_value(crd).expect("JSON")).await;
    }
    client
}

/// Applies a CRD and waits until it may be used.
pub async fn install(client: &Client, crd: &Value) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd["metadata"]["name"].as_str().expect("a name");
    crds.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(crd))
        .await
        .expect("the API server takes the CRD");
    let established = await_condition(crds, name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established)
        .await
        .expect("established in time")
        .expect("the watch works");
}

/// Applies an object of any kind.
#[allow(dead_code)] // Most tests have types for what they apply.
pub async fn apply(client: &Client, object: &Value) {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (group, version) = match text("/apiVersion").split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text("/apiVersion")),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(&group, &version, &text("/kind")));
    let api: Api<DynamicObject> = match text("/metadata/namespace").as_str() {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let params = PatchParams::apply("tests").force();
    api.patch(&text("/metadata/name"), &params, &Patch::Apply(object))
        .await
        .unwrap_or_else(|error| panic!("{object}: {error}"));
}

/// The objects in a YAML stream.
#[allow(dead_code)] // As above.
pub fn objects(yaml: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}

/// Enough of the Gateway API for a control plane without gateways.
#[allow(dead_code)] // Not every test needs routes.
pub fn http_route() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}});
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "httproutes.gateway.networking.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"}},
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced", "versions": [version],
            "names": {"plural": "httproutes", "singular": "httproute", "kind": "HTTPRoute", "listKind": "HTTPRouteList"},
        },
    })
}
