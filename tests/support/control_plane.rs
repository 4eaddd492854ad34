//! The API server that `KUBECONFIG` leads to, with guardbit's own CRD.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;

/// Longest time until a CRD may be used.
const PATIENCE: Duration = Duration::from_secs(30);

/// An administrator's client; the CRD is there.
pub async fn client() -> Client {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "this test needs an API server: run tests/cluster/run-tests.sh, or set KUBECONFIG"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.expect("a usable KUBECONFIG");
    install(&client, &serde_json::to_value(QuantizedModel::crd()).expect("JSON")).await;
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
