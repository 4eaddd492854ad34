//! A namespace with people in it, a PrecisionPolicy that selects its models, and a guardbit that runs as the user that it is.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use guardbit::api::{Action, PrecisionAction, PrecisionDecision, QuantizedModel, QuantizedModelStatus};
use k8s_openapi::api::core::v1::{Event, ServiceAccount};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::admission::{GUARDBIT, let_guardbit_read};
use crate::command::Shell;
use crate::control_plane::apply;
use crate::stage::{ALICE, MODEL, PATIENCE, Stage, act, until};
use crate::{node, spawn};

/// A stage with a policy and a guardbit.
pub struct Ruled {
    pub stage: Stage,
    policy: String,
    guardbit: Child,
    log: PathBuf,
    _kubeconfig: Shell,
}

impl Drop for Ruled {
    fn drop(&mut self) {
        let _ = self.guardbit.kill();
        let _ = self.guardbit.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

impl Ruled {
    /// Starts a guardbit on a stage whose policies of admission are a set of their own. `rules` are those of the PrecisionPolicy.
    pub async fn start(stage: Stage, set: &str, rules: Value) -> Self {
        let accounts: Api<ServiceAccount> = Api::namespaced(stage.admin.clone(), &stage.namespace);
        // Without it no pod is admitted, and the controllers back off.
        until("a ServiceAccount", async || {
            accounts.get_opt("default").await.expect("asked").is_some()
        })
        .await;
        let policy = format!("{}-rules", stage.namespace);
        let of_stage = json!({"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}});
        let mut spec = json!({"appliesTo": of_stage, "records": {}});
        for (rule, asked) in rules.as_object().into_iter().flatten() {
            spec[rule] = asked.clone();
        }
        let object = json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionPolicy", "metadata": {"name": policy}, "spec": spec});
        apply(&stage.admin, &object).await;
        let_guardbit_read(&stage.admin, set).await;
        let log = std::env::temp_dir().join(format!("guardbit-ruled-{}-{}", std::process::id(), stage.namespace));
        let kubeconfig = Shell::of(&stage, GUARDBIT, &[]);
        let args = [
            "run",
            "--namespaces",
            &stage.namespace,
            "--prometheus-url",
            "http://127.0.0.1:9",
            "--listen=127.0.0.1:0",
            "--no-leader-election",
            "--governance-prefix",
            set,
            "--signing-key-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pem"),
        ];
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let program = Path::new(env!("CARGO_BIN_EXE_guardbit"));
        Self {
            guardbit: spawn::spawn(program, &args, kubeconfig.path(), &log),
            _kubeconfig: kubeconfig,
            stage,
            policy,
            log,
        }
    }

    /// Alice applies a model of two variants, as git would.
    pub async fn apply_model(&self, name: &str) {
        self.apply_model_with(name, &json!({})).await;
    }

    /// The same, with more fields of `rollout`.
    pub async fn apply_model_with(&self, name: &str, more: &Value) {
        let mut rollout = json!({"interval": "1s"});
        for (field, value) in more.as_object().into_iter().flatten() {
            rollout[field] = value.clone();
        }
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let model = json!({
            "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": name},
            "spec": {
                "model": {"name": name, "version": "1"},
                "serving": {"port": 8080, "replicas": 2, "template": {"spec": {"nodeName": node::NODE, "containers": [{"name": "server", "image": "server:1"}]}}},
                "variants": [
                    {"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://m/fp32", "digest": digest("1")}},
                    {"name": "int8", "precision": "INT8", "weights": {"uri": "s3://m/int8", "digest": digest("2")},
                     "quantization": {"method": "WeightOnly", "weights": {"bits": 8, "type": "Int", "granularity": "PerTensor"}}},
                ],
                "target": "int8",
                "traffic": {"gateway": {"parentRefs": [{"name": "inference"}]}},
                "guards": [{"name": "errors", "proportion": {"bad": "e_total", "total": "t_total"}}],
                "rollout": rollout,
            },
        });
        let alice = self.stage.models(&self.stage.user(ALICE, &[]).await);
        let params = PatchParams::apply("git").force();
        alice
            .patch(name, &params, &Patch::Apply(model))
            .await
            .expect("the model is taken");
    }

    fn models(&self) -> Api<QuantizedModel> {
        Api::namespaced(self.stage.admin.clone(), &self.stage.namespace)
    }

    pub fn acts(&self) -> Api<PrecisionAction> {
        Api::namespaced(self.stage.admin.clone(), &self.stage.namespace)
    }

    pub async fn model(&self, name: &str) -> QuantizedModel {
        self.models().get(name).await.expect("it is there")
    }

    /// Waits until a model is as it should be.
    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&QuantizedModel) -> bool) -> QuantizedModel {
        let waiting = async {
            loop {
                let model = self.model(name).await;
                if is(&model) {
                    return model;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(model) => model,
            Err(_) => {
                let status = serde_json::to_string_pretty(&self.model(name).await.status).unwrap_or_default();
                panic!("never {what}; status: {status}\nlog: {}", self.log())
            }
        }
    }

    /// Waits until the state of an act is told; its message.
    pub async fn until_told(&self, act: &str, state: &str) -> String {
        let told = async || {
            let status = self.acts().get(act).await.expect("it is there").status;
            status.filter(|status| status.state.to_string() == state)
        };
        until(&format!("{act} is {state}; log: {}", self.log()), async || {
            told().await.is_some()
        })
        .await;
        told().await.expect("it is told").message
    }

    /// Waits for an event.
    pub async fn until_event(&self, reason: &str) {
        let events: Api<Event> = Api::namespaced(self.stage.admin.clone(), &self.stage.namespace);
        let told = async || {
            let all = events.list(&ListParams::default()).await.expect("listed");
            all.items.iter().any(|event| event.reason.as_deref() == Some(reason))
        };
        until(&format!("an event {reason}"), told).await;
    }

    /// Somebody acts on the model, with more fields.
    pub async fn act(&self, user: &str, action: &str, name: &str, more: Value) -> kube::Result<DynamicObject> {
        let mut act = act(name, action, user);
        let model = self.model(MODEL).await;
        act.data["spec"]["modelRef"]["uid"] = json!(model.metadata.uid);
        for (field, value) in more.as_object().into_iter().flatten() {
            act.data["spec"][field] = value.clone();
        }
        let acts = self.stage.actions(&self.stage.user(user, &[]).await);
        acts.create(&PostParams::default(), &act).await
    }

    /// Somebody approves the change that waits.
    pub async fn approve(&self, user: &str, name: &str) {
        let digest = status(&self.model(MODEL).await)
            .awaiting
            .expect("it waits")
            .change_digest;
        self.act(user, "Approve", name, json!({"changeDigest": digest}))
            .await
            .expect("taken");
    }

    /// Share of int8 on the route of a model.
    pub async fn weight(&self, name: &str) -> i64 {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
        let routes: Api<DynamicObject> = Api::namespaced_with(self.stage.admin.clone(), &self.stage.namespace, &kind);
        let route = routes.get_opt(name).await.expect("asked");
        let rules = route.map_or(Value::Null, |route| route.data["spec"]["rules"].clone());
        let backends = rules
            .as_array()
            .and_then(|rules| rules.last())
            .cloned()
            .unwrap_or_default();
        let backends = backends["backendRefs"].as_array().cloned().unwrap_or_default();
        let of_int8 = |backend: &&Value| backend["name"].as_str().is_some_and(|name| name.contains("-int8-"));
        backends
            .iter()
            .filter(of_int8)
            .map(|backend| backend["weight"].as_i64().unwrap_or(1))
            .sum()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The records of the model, oldest first.
    pub async fn records(&self) -> Vec<PrecisionDecision> {
        let records: Api<PrecisionDecision> = Api::namespaced(self.stage.admin.clone(), &self.stage.namespace);
        let mut there = records.list(&ListParams::default()).await.expect("listed").items;
        there.sort_by_key(|record| record.spec.sequence);
        there
    }

    /// Deletes the PrecisionPolicy, which is the cluster's.
    pub async fn take_policy_away(&self) {
        let policy = ("guardbit.dev", "PrecisionPolicy");
        self.stage.delete(policy, &self.policy).await;
    }

    /// Leaves nothing behind that is the cluster's.
    pub async fn end(self) {
        self.take_policy_away().await;
    }
}

impl Stage {
    /// Deletes an object of the cluster, if it is there.
    pub async fn delete(&self, (group, kind): (&str, &str), name: &str) {
        let version = if group == "guardbit.dev" { "v1alpha1" } else { "v1" };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let objects: Api<DynamicObject> = Api::all_with(self.admin.clone(), &resource);
        objects.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
}

/// The status of a model.
pub fn status(model: &QuantizedModel) -> QuantizedModelStatus {
    model.status.clone().unwrap_or_default()
}

/// How often something was decided.
pub fn decided(model: &QuantizedModel, action: Action) -> usize {
    let decisions = model.status.iter().flat_map(|status| &status.decisions);
    decisions.filter(|decision| decision.action == action).count()
}

/// Status, reason and message of a condition, in one line.
pub fn condition(model: &QuantizedModel, kind: &str) -> String {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    let mut found = conditions.filter(|condition| condition.type_ == kind);
    found
        .next()
        .map_or_else(String::new, |c| format!("{} {}: {}", c.status, c.reason, c.message))
}
