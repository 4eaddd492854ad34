//! What the API server refuses, and what is somebody else's: on a real API server with its controllers, and no nodes.
//!
//! Needs `KUBECONFIG`; `tests/cluster/run-tests.sh` starts a control plane and sets it.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Service, ServiceAccount};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;

#[path = "support/control_plane.rs"]
mod control_plane;
#[path = "api_faults/node.rs"]
mod node;
#[path = "support/process.rs"]
mod spawn;

/// Longest time that anything awaited here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Name of every model.
const MODEL: &str = "chat";

/// A namespace with a guardbit of its own.
struct Corner {
    client: Client,
    namespace: String,
    guardbit: Child,
    log: PathBuf,
}

impl Drop for Corner {
    fn drop(&mut self) {
        let _ = self.guardbit.kill();
        let _ = self.guardbit.wait();
    }
}

impl Corner {
    async fn start(client: &Client, test: &str) -> Self {
        let namespace = format!("refusals-{test}");
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let params = PatchParams::apply("refusals").force();
        namespaces
            .patch(&namespace, &params, &Patch::Apply(made))
            .await
            .expect("a namespace");
        // Without it no pod is admitted, and the controllers back off.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        let account = await_condition(accounts, "default", |a: Option<&ServiceAccount>| a.is_some());
        tokio::time::timeout(PATIENCE, account)
            .await
            .expect("a ServiceAccount in time")
            .expect("the watch works");
        let log = std::env::temp_dir().join(format!("guardbit-refusals-{}-{test}", std::process::id()));
        let kubeconfig = PathBuf::from(std::env::var("KUBECONFIG").expect("KUBECONFIG"));
        let args = [
            "run",
            "--namespaces",
            &namespace,
            "--prometheus-url",
            "http://127.0.0.1:9",
            "--listen=127.0.0.1:0",
            "--no-leader-election",
        ];
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        Self {
            guardbit: spawn::spawn(Path::new(env!("CARGO_BIN_EXE_guardbit")), &args, &kubeconfig, &log),
            client: client.clone(),
            namespace,
            log,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn routes(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    async fn apply_model(&self, traffic: Value) {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let model = json!({
            "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": MODEL},
            "spec": {
                "model": {"name": MODEL, "version": "1"},
                "serving": {"port": 8080, "replicas": 2, "template": {"spec": {"nodeName": node::NODE, "containers": [{"name": "server", "image": "server:1"}]}}},
                "variants": [
                    {"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://m/fp32", "digest": digest("1")}},
                    {"name": "int8", "precision": "INT8", "weights": {"uri": "s3://m/int8", "digest": digest("2")},
                     "quantization": {"method": "WeightOnly", "weights": {"bits": 8, "type": "Int", "granularity": "PerTensor"}}},
                ],
                "traffic": traffic,
                "guards": [{"name": "errors", "proportion": {"bad": "e_total", "total": "t_total"}}],
                "rollout": {"interval": "1s"},
            },
        });
        let params = PatchParams::apply("kubectl").force();
        self.api::<QuantizedModel>()
            .patch(MODEL, &params, &Patch::Apply(model))
            .await
            .expect("the model is taken");
    }

    /// Waits until the model is as it should be.
    async fn until(&self, what: &str, is: impl Fn(&QuantizedModel) -> bool + Send) -> QuantizedModel {
        let models = self.api::<QuantizedModel>();
        let condition = |model: Option<&QuantizedModel>| model.is_some_and(&is);
        let found = tokio::time::timeout(PATIENCE, await_condition(models.clone(), MODEL, condition)).await;
        match found {
            Ok(found) => found.expect("the watch works").expect("it is there"),
            Err(_) => {
                let model = models.get(MODEL).await.expect("it is there");
                let status = serde_json::to_string_pretty(&model.status).unwrap_or_default();
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("never {what}; status: {status}\nlog: {log}")
            }
        }
    }
}

impl Corner {
    /// Waits for an event.
    async fn until_told(&self, reason: &str, part: &str) {
        let is = |event: &Event| {
            event.reason.as_deref() == Some(reason) && event.message.as_deref().is_some_and(|m| m.contains(part))
        };
        let told = async {
            let all = watcher(self.api::<Event>(), watcher::Config::default()).default_backoff();
            let mut seen = std::pin::pin!(all.touched_objects());
            while let Some(event) = seen.next().await {
                if event.is_ok_and(|event| is(&event)) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, told).await;
        assert!(found.is_ok(), "no event {reason} with {part:?}");
    }
}

fn condition(model: &QuantizedModel, kind: &str) -> (String, String) {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    let mut found = conditions.filter(|c| c.type_ == kind);
    found
        .next()
        .map(|c| (c.status.clone(), c.message.clone()))
        .unwrap_or_default()
}

/// A control plane with a kubelet.
async fn client() -> Client {
    let client = control_plane::client().await;
    control_plane::install(&client, &control_plane::http_route()).await;
    node::start(&client).await;
    client
}

/// One after the other: they share the kubelet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_and_foreign_objects() {
    let client = client().await;
    an_object_of_somebody_else_is_left_alone_and_can_be_handed_over(&client).await;
    a_service_of_somebody_else_outlives_the_model(&client).await;
    what_is_refused_holds_up_nothing_else(&client).await;
}

async fn an_object_of_somebody_else_is_left_alone_and_can_be_handed_over(client: &Client) {
    let corner = Corner::start(client, "route").await;
    let theirs = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": MODEL},
        "spec": {"parentRefs": [{"name": "theirs"}], "rules": [{"backendRefs": [{"name": "theirs", "port": 80}]}]},
    });
    let params = PatchParams::apply("another-team");
    let route = corner
        .routes()
        .patch(MODEL, &params, &Patch::Apply(theirs))
        .await
        .expect("made");
    let before = route.data["spec"].clone();
    corner
        .apply_model(json!({"gateway": {"parentRefs": [{"name": "inference"}]}}))
        .await;
    let model = corner
        .until("named as somebody else's", |model| {
            condition(model, "Applied").0 == "False"
        })
        .await;
    let (_, message) = condition(&model, "Applied");
    assert!(
        message.contains("HTTPRoute chat exists and is not of this model") && message.contains("guardbit.dev/adopt"),
        "{message}"
    );
    corner
        .until("said not to serve", |model| condition(model, "Available").0 == "False")
        .await;
    let now = corner.routes().get(MODEL).await.expect("it is there");
    assert_eq!(now.data["spec"], before, "it is as it was");
    assert!(now.labels().is_empty() && now.owner_references().is_empty());
    let handed_over = json!({"metadata": {"annotations": {"guardbit.dev/adopt": "true"}}});
    corner
        .routes()
        .patch(MODEL, &PatchParams::default(), &Patch::Merge(handed_over))
        .await
        .expect("annotated");
    corner
        .until("applied", |model| {
            condition(model, "Applied").0 == "True" && condition(model, "Available").0 == "True"
        })
        .await;
    let now = corner.routes().get(MODEL).await.expect("it is there");
    assert_eq!(now.data["spec"]["parentRefs"][0]["name"], "inference");
}

async fn a_service_of_somebody_else_outlives_the_model(client: &Client) {
    let corner = Corner::start(client, "service").await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": MODEL},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    });
    let services = corner.api::<Service>();
    let params = PatchParams::apply("another-team");
    services
        .patch(MODEL, &params, &Patch::Apply(theirs))
        .await
        .expect("made");
    let traffic = json!({"service": {"allowCoarseSteps": true}});
    corner.apply_model(traffic).await;
    let model = corner
        .until("said not to serve", |model| {
            condition(model, "Applied").0 == "False" && condition(model, "Available").0 == "False"
        })
        .await;
    assert!(condition(&model, "Available").1.contains("Service chat"));
    let models = corner.api::<QuantizedModel>();
    models
        .delete(MODEL, &DeleteParams::background())
        .await
        .expect("deleted");
    let gone = await_condition(models, MODEL, |model: Option<&QuantizedModel>| model.is_none());
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("it goes in time")
        .expect("the watch works");
    let theirs = services.get(MODEL).await.expect("it is still there");
    let selector = theirs.spec.and_then(|spec| spec.selector).expect("a selector");
    assert_eq!(selector.get("app").map(String::as_str), Some("theirs"));
}

async fn what_is_refused_holds_up_nothing_else(client: &Client) {
    let corner = Corner::start(client, "policy").await;
    let deny = |object: Value| async {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "admissionregistration.k8s.io",
            "v1",
            object["kind"].as_str().expect("a kind"),
        ));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let params = PatchParams::apply("refusals").force();
        api.patch("no-int8", &params, &Patch::Apply(object))
            .await
            .expect("a policy");
        api
    };
    let policies = deny(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-int8"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "!object.metadata.name.contains('-int8-')", "message": "int8 needs a ticket"}],
        },
    }))
    .await;
    let bindings = deny(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-int8"},
        "spec": {
            "policyName": "no-int8", "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": corner.namespace}}},
        },
    }))
    .await;
    corner
        .apply_model(json!({"gateway": {"parentRefs": [{"name": "inference"}]}}))
        .await;
    let refused = |model: &QuantizedModel| condition(model, "Applied").1.contains("int8 needs a ticket");
    let model = corner.until("refused in the server's words", refused).await;
    assert_eq!(condition(&model, "Available").0, "True", "stable serves");
    // Repairs of other arms go on meanwhile.
    let deployments = corner.api::<Deployment>();
    let of_stable = ListParams::default().labels("guardbit.dev/variant=fp32,guardbit.dev/purpose=serving");
    let stable = deployments
        .list(&of_stable)
        .await
        .expect("listed")
        .items
        .remove(0)
        .name_any();
    let to_nothing = json!({"spec": {"replicas": 0}});
    deployments
        .patch(&stable, &PatchParams::default(), &Patch::Merge(to_nothing))
        .await
        .expect("scaled");
    let restored = await_condition(deployments.clone(), &stable, |d: Option<&Deployment>| {
        d.and_then(|d| d.spec.as_ref()?.replicas) == Some(2)
    });
    tokio::time::timeout(PATIENCE, restored)
        .await
        .expect("it is put right in time")
        .expect("the watch works");
    corner.until_told("Refused", "int8 needs a ticket").await;
    let repaired = format!("Deployment {stable} was changed by somebody else");
    corner.until_told("Repaired", &repaired).await;
    let log = std::fs::read_to_string(&corner.log).unwrap_or_default();
    let warned = log
        .lines()
        .find(|line| line.contains("int8 needs a ticket"))
        .expect("a line of the log");
    assert!(
        !warned.contains("Status {") && !warned.contains("Some("),
        "a sentence, and no dump: {warned}"
    );
    bindings
        .delete("no-int8", &DeleteParams::default())
        .await
        .expect("deleted");
    policies
        .delete("no-int8", &DeleteParams::default())
        .await
        .expect("deleted");
    corner
        .until("applied", |model| condition(model, "Applied").0 == "True")
        .await;
    let of_candidate = ListParams::default().labels("guardbit.dev/variant=int8");
    assert_eq!(deployments.list(&of_candidate).await.expect("listed").items.len(), 1);
}
