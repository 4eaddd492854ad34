//! A namespace with a guardbit of its own, on the API server that `KUBECONFIG` leads to.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Namespace, ServiceAccount};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;

use crate::{node, spawn};

/// Longest time that anything awaited here may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Name of every model.
pub const MODEL: &str = "chat";

/// A namespace with a guardbit of its own.
pub struct Corner {
    pub client: Client,
    pub namespace: String,
    guardbit: Child,
    pub log: PathBuf,
}

/// Another guardbit in the namespace of a corner.
pub struct Another(Child);

impl Drop for Another {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        let _ = self.guardbit.kill();
        let _ = self.guardbit.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

impl Corner {
    pub async fn start(client: &Client, test: &str) -> Self {
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
        Self {
            guardbit: guardbit(&namespace, &log),
            client: client.clone(),
            namespace,
            log,
        }
    }

    /// Another guardbit here, which does not know of the first one.
    pub fn another(&self) -> Another {
        Another(guardbit(&self.namespace, &self.log))
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn routes(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// Applies the model; `serving` is merged into `spec.serving`.
    pub async fn apply_model(&self, traffic: Value, serving: Value) {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let mut model = json!({
            "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": MODEL},
            "spec": {
                "model": {"name": MODEL, "version": "1"},
                "serving": {"port": 8080, "template": {"spec": {"nodeName": node::NODE, "containers": [{"name": "server", "image": "server:1"}]}}},
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
        for (field, value) in serving.as_object().into_iter().flatten() {
            model["spec"]["serving"][field] = value.clone();
        }
        let params = PatchParams::apply("kubectl").force();
        self.api::<QuantizedModel>()
            .patch(MODEL, &params, &Patch::Apply(model))
            .await
            .expect("the model is taken");
    }

    /// Waits until the model is as it should be.
    pub async fn until(&self, what: &str, is: impl Fn(&QuantizedModel) -> bool + Send) -> QuantizedModel {
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

/// A guardbit of this namespace.
fn guardbit(namespace: &str, log: &Path) -> Child {
    let kubeconfig = PathBuf::from(std::env::var("KUBECONFIG").expect("KUBECONFIG"));
    let args = [
        "run",
        "--namespaces",
        namespace,
        "--prometheus-url",
        "http://127.0.0.1:9",
        "--listen=127.0.0.1:0",
        "--no-leader-election",
    ];
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    spawn::spawn(Path::new(env!("CARGO_BIN_EXE_guardbit")), &args, &kubeconfig, log)
}

impl Corner {
    /// Waits for an event.
    pub async fn until_told(&self, reason: &str, part: &str) {
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

/// Status and message of a condition.
pub fn condition(model: &QuantizedModel, kind: &str) -> (String, String) {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    let mut found = conditions.filter(|c| c.type_ == kind);
    found
        .next()
        .map(|c| (c.status.clone(), c.message.clone()))
        .unwrap_or_default()
}

/// Traffic through a gateway that nobody runs.
pub fn gateway() -> Value {
    json!({"gateway": {"parentRefs": [{"name": "inference"}]}})
}
