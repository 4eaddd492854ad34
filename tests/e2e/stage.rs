//! A corner of the cluster for one test: a namespace, a guardbit, a model, a load, and a ledger of what happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use model_server::load::{Counts, Load, LoadArgs};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;

use guardbit::api::{Action, Decision, QuantizedModel, QuantizedModelStatus};

use crate::guardbit::Guardbit;
use crate::ledger::{Ledger, Weights};
use crate::prometheus::counted_by_backends;

/// Name of the model: that of the sample.
pub const MODEL: &str = "fraud-scorer";

/// Longest time that anything awaited here may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// Requests a second.
const RPS: f64 = 220.0;

/// Stages with a load at a time: they share two processors with the cluster. Those whose load has ended only wait for their pods
/// to drain.
static LOADED: Semaphore = Semaphore::const_new(4);

/// What the environment says of the cluster.
fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/cluster/run-tests.sh full"))
}

/// URL of the Prometheus that all tests share.
pub fn shared_prometheus() -> String {
    environment("GUARDBIT_PROMETHEUS_URL")
}

/// URL of the gateway that all tests share.
pub fn gateway() -> String {
    environment("GUARDBIT_GATEWAY_URL")
}

/// The host that users name, for the model in a namespace.
fn host_of(namespace: &str) -> String {
    format!("{}.example", namespace.trim_start_matches("e2e-"))
}

/// One test's corner of the cluster.
pub struct Stage {
    /// Its namespace.
    pub namespace: String,
    /// The guardbit that looks after it.
    pub guardbit: Guardbit,
    /// What happened.
    pub ledger: Ledger,
    /// The load.
    pub load: Load,
    /// Requests that backends may have counted before it began.
    by_hand: u64,
    begun: Instant,
    /// With the rights of an administrator.
    pub client: Client,
    model: watch::Receiver<Option<QuantizedModel>>,
    tasks: Vec<JoinHandle<()>>,
    /// Its place among the stages with a load.
    place: Mutex<Option<SemaphorePermit<'static>>>,
}

/// What a test sets before it starts.
pub struct Setting {
    namespace: String,
    spec: Value,
    prometheus: String,
    flags: Vec<String>,
    program: Option<PathBuf>,
    labels: Value,
    author: Option<Client>,
}

/// The sample, with short holds, in a namespace of its own.
pub fn setting(test: &str) -> Setting {
    let sample = include_str!("../../config/samples/fraud-scorer.yaml");
    let mut spec = serde_yaml_ng::from_str::<Value>(sample).expect("YAML")["spec"].take();
    let namespace = format!("e2e-{test}");
    spec["traffic"]["gateway"]["hostnames"] = json!([format!("{test}.example")]);
    for step in spec["rollout"]["steps"].as_array_mut().expect("steps") {
        step["hold"] = json!("4s");
    }
    spec["rollout"]["keepWarm"] = json!("8s");
    let server = &mut spec["serving"]["template"]["spec"]["containers"][0];
    server["args"]
        .as_array_mut()
        .expect("args")
        .push(json!("--enable-faults"));
    if let Ok(image) = std::env::var("GUARDBIT_TEST_IMAGE") {
        server["image"] = json!(image);
    }
    // Many tests share two processors: what noise does to one arm for a second must not look like a slow model. A test of
    // latency says what it tolerates.
    spec["guards"][1]["latency"]["tolerance"] = json!({"ratio": "1.5", "absolute": "60%"});
    spec["guards"][1]["latency"]["budget"]["within"] = json!("250ms");
    Setting {
        namespace,
        spec,
        prometheus: shared_prometheus(),
        flags: Vec::new(),
        program: None,
        labels: json!({"pod-security.kubernetes.io/enforce": "restricted"}),
        author: None,
    }
}

impl Setting {
    /// What was set so far.
    pub fn spec(&mut self) -> &mut Value {
        &mut self.spec
    }

    /// Changes the spec at a JSON pointer; the last element may be new.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self
            .spec
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("no {parent} in the sample"));
        match (parent, key.parse::<usize>()) {
            (Value::Array(items), Ok(i)) => items[i] = value,
            (parent, _) => parent[key] = value,
        }
        self
    }

    /// Only these variants, by their place in the sample.
    pub fn variants(mut self, wanted: &[&str]) -> Self {
        let variants = self.spec["variants"].as_array_mut().expect("variants");
        variants.retain(|v| wanted.contains(&v["name"].as_str().expect("a name")));
        self
    }

    /// Only these guards, by their names.
    pub fn guards(mut self, wanted: &[&str]) -> Self {
        let guards = self.spec["guards"].as_array_mut().expect("guards");
        guards.retain(|g| wanted.contains(&g["name"].as_str().expect("a name")));
        self
    }

    /// Environment of the server of one variant.
    pub fn env(self, variant: usize, name: &str, value: &str) -> Self {
        let template = json!({"spec": {"containers": [{"name": "server", "env": [{"name": name, "value": value}]}]}});
        self.with(&format!("/variants/{variant}/template"), template)
    }

    /// Another Prometheus for guardbit.
    pub fn prometheus(mut self, url: &str) -> Self {
        self.prometheus = url.to_owned();
        self
    }

    /// More flags for guardbit.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Another version of guardbit to begin with than the one built from here.
    pub fn begun_by(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// One more label of the namespace, and who applies the model, instead of an administrator.
    pub fn applied_by(mut self, author: Client, label: (&str, &str)) -> Self {
        self.labels[label.0] = json!(label.1);
        self.author = Some(author);
        self
    }

    /// Namespace of the test.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Starts everything when there is a place for another load; returns when requests are answered and the load runs.
    pub async fn start(self) -> Stage {
        let place = LOADED.acquire().await.expect("never closed");
        let begun = Instant::now();
        let client = client().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": self.namespace, "labels": self.labels}}))
                .expect("a namespace");
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("the namespace is new");
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let program = self.program.as_deref();
        let guardbit = Guardbit::start(&client, &self.namespace, &self.prometheus, &flags, program).await;
        let models: Api<QuantizedModel> = Api::namespaced(client.clone(), &self.namespace);
        let ledger = Ledger::default();
        let in_service = self.spec["traffic"].get("service").is_some();
        let (model, mut tasks) = follow_model(models.clone(), in_service.then(|| ledger.clone()));
        if !in_service {
            tasks.push(follow_route(&client, &self.namespace, ledger.clone()));
        }
        let document = json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": MODEL}, "spec": self.spec});
        let author = self.author.unwrap_or_else(|| client.clone());
        Api::<QuantizedModel>::namespaced(author, &self.namespace)
            .patch(MODEL, &PatchParams::apply("kubectl"), &Patch::Apply(document))
            .await
            .expect("the API server takes the model");
        let url = if in_service {
            format!("http://{}", address_of_service(&client, &self.namespace).await)
        } else {
            gateway()
        };
        let host = host_of(&self.namespace);
        let load = load_args(&url, &host, in_service);
        let nothing = LoadArgs {
            seconds: 0,
            ..load.clone()
        };
        let mut stage = Stage {
            namespace: self.namespace,
            guardbit,
            ledger,
            load: Load::start(&nothing).expect("a load"),
            by_hand: 0,
            begun,
            client,
            model,
            tasks,
            place: Mutex::new(Some(place)),
        };
        // Until the gateway knows the route, and the first pods are ready, nobody has been promised an answer.
        stage.by_hand = stage.await_answers(&url, &host).await;
        stage.load = Load::start(&load).expect("a load");
        let (ledger, load) = (stage.ledger.clone(), stage.load.clone());
        stage.tasks.push(tokio::spawn(ledger.follow(load)));
        stage
    }
}

/// Whether a backend may have counted a request: it answered, or the connection broke afterwards.
fn may_be_counted(answer: &reqwest::Result<reqwest::Response>) -> bool {
    match answer {
        Ok(answer) => answer.headers().contains_key("x-variant"),
        Err(broken) => !broken.is_connect(),
    }
}

/// Answers by variant, with those to pinned requests.
fn answers(counts: &Counts) -> BTreeMap<String, u64> {
    let mut answers = counts.by_variant.clone();
    for (variant, n) in &counts.pinned_by_variant {
        *answers.entry(variant.clone()).or_default() += n;
    }
    answers
}

fn load_args(url: &str, host: &str, in_service: bool) -> LoadArgs {
    LoadArgs {
        url: url.to_owned(),
        host: host.to_owned(),
        rps: RPS,
        seconds: 1_200,
        connections: 16,
        // kube-proxy picks a pod for each connection.
        requests_per_connection: u64::from(in_service),
        pin_every: if in_service { 0 } else { 10 },
        pin_header: "x-decision-impact:high".to_owned(),
        live: false,
    }
}

/// Tests share a process, and the provider of its cryptography.
fn cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for plain HTTP.
pub fn http() -> reqwest::Client {
    cryptography();
    reqwest::Client::new()
}

/// The client of an administrator.
pub async fn client() -> Client {
    environment("KUBECONFIG");
    cryptography();
    Client::try_default().await.expect("a usable KUBECONFIG")
}

fn only(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

fn follow_model(
    models: Api<QuantizedModel>,
    ledger: Option<Ledger>,
) -> (watch::Receiver<Option<QuantizedModel>>, Vec<JoinHandle<()>>) {
    let (sender, receiver) = watch::channel(None);
    let task = tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(models, only(MODEL)).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(model) | watcher::Event::InitApply(model)) => {
                    if let (Some(ledger), Some(status)) = (&ledger, &model.status) {
                        let arms = status.arms.iter().filter(|a| a.weight > 0);
                        ledger.weights_are(arms.map(|a| (a.variant.clone(), i64::from(a.weight))).collect());
                    }
                    sender.send_replace(Some(model));
                }
                Ok(watcher::Event::Delete(_)) => drop(sender.send_replace(None)),
                _ => {}
            }
        }
    });
    (receiver, vec![task])
}

/// HTTPRoutes of a namespace.
pub fn routes(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
    Api::namespaced_with(client.clone(), namespace, &kind)
}

fn follow_route(client: &Client, namespace: &str, ledger: Ledger) -> JoinHandle<()> {
    let routes = routes(client, namespace);
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(routes, only(MODEL)).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(route) | watcher::Event::InitApply(route)) => {
                    ledger.weights_are(weights(&route))
                }
                Ok(watcher::Event::Delete(_)) => ledger.weights_are(Weights::new()),
                _ => {}
            }
        }
    })
}

/// Weights of the rule for everyone, by variant.
pub fn weights(route: &DynamicObject) -> Weights {
    let mut weights = Weights::new();
    let rule = route.data["spec"]["rules"].as_array().and_then(|rules| rules.last());
    for backend in rule.and_then(|r| r["backendRefs"].as_array()).into_iter().flatten() {
        let variant = backend["name"]
            .as_str()
            .and_then(|n| n.strip_prefix(MODEL))
            .and_then(|n| n[1..].split('-').next());
        let weight = backend["weight"].as_i64().expect("a weight");
        *weights
            .entry(variant.expect("a backend of the model").to_owned())
            .or_default() += weight;
    }
    weights.retain(|_, w| *w > 0);
    weights
}

async fn address_of_service(client: &Client, namespace: &str) -> String {
    let services: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(client.clone(), namespace);
    let found = kube::runtime::wait::await_condition(
        services.clone(),
        MODEL,
        |s: Option<&k8s_openapi::api::core::v1::Service>| s.is_some(),
    );
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("a Service in time")
        .expect("watch works");
    let spec = services.get(MODEL).await.expect("it is there").spec.expect("a spec");
    format!("{}:8080", spec.cluster_ip.expect("an address"))
}

impl Stage {
    /// Asks by hand until twenty pairs of requests in a row are answered well, and returns how many a backend may have counted.
    async fn await_answers(&self, url: &str, host: &str) -> u64 {
        let client = http();
        let once = |impact: &'static str| {
            let request = client.get(format!("{url}/v1/score?id=1")).header("host", host);
            request.header("x-decision-impact", impact).send()
        };
        let mut by_hand = 0;
        let all = async {
            let mut in_a_row = 0;
            while in_a_row < 20 {
                let mut both = true;
                for impact in ["low", "high"] {
                    let answer = once(impact).await;
                    by_hand += u64::from(may_be_counted(&answer));
                    both &= answer.is_ok_and(|r| r.status().is_success());
                }
                in_a_row = if both { in_a_row + 1 } else { 0 };
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, all).await;
        assert!(answered.is_ok(), "{url} does not answer for {host}\n{}", self.story());
        by_hand
    }

    /// The host that users name.
    pub fn host(&self) -> String {
        host_of(&self.namespace)
    }

    /// The API of models in this namespace.
    pub fn models(&self) -> Api<QuantizedModel> {
        self.api()
    }

    /// The objects of a kind that there are, by name.
    pub async fn names<K>(&self) -> Vec<String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let list = self.api::<K>().list(&ListParams::default()).await.expect("listed");
        list.items.iter().map(ResourceExt::name_any).collect()
    }

    /// The API of routes in this namespace.
    pub fn routes(&self) -> Api<DynamicObject> {
        routes(&self.client, &self.namespace)
    }

    /// The newest status that was seen.
    pub fn status(&self) -> QuantizedModelStatus {
        self.model
            .borrow()
            .as_ref()
            .and_then(|m| m.status.clone())
            .unwrap_or_default()
    }

    /// Waits until the model is as told.
    pub async fn until(&self, what: &str, holds: impl Fn(&QuantizedModelStatus) -> bool) -> QuantizedModelStatus {
        let mut model = self.model.clone();
        let found = model.wait_for(|m| m.as_ref().and_then(|m| m.status.as_ref()).is_some_and(&holds));
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found
                .expect("the watch goes on")
                .clone()
                .and_then(|m| m.status)
                .expect("a status"),
            Err(_) => panic!("not within {PATIENCE:?}: {what}\n{}", self.story()),
        }
    }

    /// Waits until something was decided about a variant.
    pub async fn decided(&self, action: Action, variant: &str) -> Decision {
        let of = |s: &QuantizedModelStatus| {
            s.decisions
                .iter()
                .rev()
                .find(|d| d.action == action && d.variant == variant)
                .cloned()
        };
        let status = self.until(&format!("{action:?} {variant}"), |s| of(s).is_some()).await;
        of(&status).expect("just seen")
    }

    /// Waits until the weights are these, as the route says.
    pub async fn weights(&self, wanted: &[(&str, i64)]) {
        let wanted: Weights = wanted.iter().map(|(v, w)| ((*v).to_owned(), *w)).collect();
        let all = async {
            while self.ledger.weights() != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            panic!("not within {PATIENCE:?}: weights {wanted:?}\n{}", self.story());
        }
    }

    /// Waits until int8 is promoted and has its share; it had these weights, one after the other.
    pub async fn climbed(&self, weights: &[i64]) -> Decision {
        let promoted = self.decided(Action::Promoted, "int8").await;
        self.weights(&[("fp32", 10), ("int8", 90)]).await;
        assert_eq!(self.ledger.weights_of("int8"), weights, "{}", self.ledger.story());
        promoted
    }

    /// Waits until a guard has int8 rolled back to fp32, with all traffic.
    pub async fn rolled_back(&self, guard: &str) -> Decision {
        let decision = self.decided(Action::RolledBack, "int8").await;
        assert!(decision.why.starts_with(&format!("{guard}: ")), "{}", decision.why);
        self.weights(&[("fp32", 100)]).await;
        decision
    }

    /// Waits until a variant has answered this many more requests.
    pub async fn answered(&self, variant: &str, more: u64) {
        let count = || self.load.counts().by_variant.get(variant).copied().unwrap_or(0);
        let begun = count();
        let all = async {
            while count() < begun + more {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            panic!("{variant} does not answer {more} more requests\n{}", self.story());
        }
    }

    /// Changes the model as `kubectl patch --type=merge` would.
    pub async fn patch(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.models()
            .patch(MODEL, &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }

    /// The spec as it is.
    pub async fn spec(&self) -> Value {
        serde_json::to_value(self.models().get(MODEL).await.expect("it is there").spec).expect("JSON")
    }

    /// Creates a Secret with one key.
    pub async fn create_secret(&self, name: &str, key: &str, value: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = json!({"metadata": {"name": name}, "stringData": {key: value}});
        let secret = serde_json::from_value(secret).expect("a Secret");
        secrets.create(&PostParams::default(), &secret).await.expect("created");
    }

    /// Lets guardbit read the Secrets of this namespace, as the README says.
    pub async fn bind_secret_reader(&self) {
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.namespace);
        let binding = json!({
            "metadata": {"name": "guardbit"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "guardbit-secret-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "guardbit", "namespace": crate::guardbit::SYSTEM}],
        });
        let binding = serde_json::from_value(binding).expect("a RoleBinding");
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .expect("created");
    }

    /// Ends the load; nothing failed, and the backends counted what came back.
    pub async fn assert_nothing_was_lost(&self) {
        self.ledger.end();
        let counts = self.load.finish().await;
        self.place.lock().unwrap().take();
        assert_eq!(counts.failed, 0, "{:?}\n{}", counts.failures, self.story());
        assert!(counts.sent > 0 && counts.sent == counts.ok + counts.injected);
        let answered = answers(&counts);
        // The last scrape may be to come.
        let mut counted = BTreeMap::new();
        for _ in 0..100 {
            counted = counted_by_backends(&shared_prometheus(), &self.namespace, MODEL, self.begun.elapsed()).await;
            // Pods of pinned requests run full precision.
            if let Some(pinned) = counted.remove("pinned") {
                *counted.entry("fp32".to_owned()).or_default() += pinned;
            }
            if answered.iter().all(|(v, n)| counted.get(v).is_some_and(|c| c >= n)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(counted.keys().collect::<Vec<_>>(), answered.keys().collect::<Vec<_>>());
        for (variant, n) in &answered {
            let c = counted[variant];
            assert!(
                c >= *n && c - n <= self.by_hand,
                "{variant}: backends counted {c}, clients {n}, and at most {} by hand before that",
                self.by_hand
            );
        }
    }

    /// The whole end of a test: nothing lost, traffic followed the weights, and the model goes as it came.
    pub async fn finish(self, stretches: usize) {
        self.assert_nothing_was_lost().await;
        self.ledger.assert_traffic_followed_weights(stretches);
        self.delete_model().await;
        self.leave().await;
    }

    /// Deletes the model and waits until it is gone.
    pub async fn delete_model(&self) {
        self.models()
            .delete(MODEL, &DeleteParams::default())
            .await
            .expect("deleted");
        let mut model = self.model.clone();
        if tokio::time::timeout(PATIENCE, model.wait_for(Option::is_none))
            .await
            .is_err()
        {
            panic!("the model does not go\n{}", self.story());
        }
    }

    /// Removes the namespace.
    pub async fn leave(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .expect("deleted");
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// What is known, for messages.
    pub fn story(&self) -> String {
        let mut status = self.status();
        status.evidence = None;
        let status = serde_yaml_ng::to_string(&status).unwrap_or_default();
        format!(
            "--- weights\n{}--- load\n{:?}\n--- status\n{status}--- log\n{}",
            self.ledger.story(),
            self.load.counts(),
            self.guardbit.log_tail()
        )
    }
}
