//! One rollout from the first install to its end, with a guardbit of its own and at most one fault on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;

use crate::calls::{Call, Kind};
use crate::history::{Observer, State};
use crate::invariants::{MODEL, violations};
use crate::metrics::{Badness, Metrics};
use crate::node::NODE;
use crate::process::Process;
use crate::proxy::{Proxy, Strike};

/// Longest time that a rollout may take to where it must come; without a fault it is there in ten seconds.
const PATIENCE: Duration = Duration::from_secs(75);

/// Nothing is written for so long when a rollout has come to rest.
const QUIET: Duration = Duration::from_millis(1_700);

/// A rollout that is run again and again.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What fails, and when.
    pub badness: Badness,
    /// Whether guardbit stands for election.
    pub election: bool,
}

/// How a run has to end.
pub enum End<'a> {
    /// When nothing is written any more; for the run without faults.
    AtRest(fn(&State) -> bool),
    /// In this state.
    In(&'a str),
}

/// What came of a run.
pub struct Outcome {
    /// The calls, each with the how-manieth of its name it is.
    pub calls: Vec<(Call, usize)>,
    /// The state in which it ended.
    pub end: String,
    /// Whether the fault happened.
    pub struck: bool,
    /// What was wrong.
    pub complaints: Vec<String>,
    /// How long it took.
    pub took: Duration,
    /// What guardbit logged.
    pub log: String,
}

/// The model: two variants, pinned requests, two steps.
fn model() -> Value {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    json!({
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": MODEL},
        "spec": {
            "model": {"name": MODEL, "version": "1"},
            "serving": {"port": 8080, "replicas": 2, "template": {"spec": {"nodeName": NODE, "containers": [{"name": "server", "image": "server:1"}]}}},
            "variants": [
                {"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://m/fp32", "digest": digest("1")}},
                {"name": "int8", "precision": "INT8", "weights": {"uri": "s3://m/int8", "digest": digest("2")},
                 "quantization": {"method": "WeightOnly", "weights": {"bits": 8, "type": "Int", "granularity": "PerTensor"}}},
            ],
            "traffic": {
                "gateway": {"parentRefs": [{"name": "inference"}]},
                "precisionRoutes": [{"name": "critical", "headers": [{"name": "x-impact", "value": "high"}], "serve": "Reference", "replicas": 1}],
            },
            "guards": [{"name": "errors", "proportion": {"bad": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total", "tolerance": {"ratio": "1", "absolute": "5%"}}}],
            "rollout": {"interval": "1s", "steps": [{"weight": 20, "hold": "1s"}, {"weight": 50, "hold": "1s"}], "holdout": 10, "keepWarm": "1s"},
        },
    })
}

/// Runs one.
pub async fn run(client: &Client, observer: &Observer, scenario: Scenario, namespace: &str, strike: Option<Strike>, end: End<'_>) -> Outcome {
    create_namespace(client, namespace).await;
    let history = observer.history(namespace);
    let prometheus = Metrics::serve(Arc::clone(&history), scenario.badness).await;
    let process = Arc::new(Process::new(
        arguments(scenario, namespace, &prometheus),
        std::env::temp_dir().join(format!("guardbit-faults-{}-{namespace}", std::process::id())),
    ));
    let (proxy, url) = Proxy::start(client.clone(), Arc::clone(&process), strike).await;
    let models: Api<QuantizedModel> = Api::namespaced(client.clone(), namespace);
    models.patch(MODEL, &PatchParams::apply("kubectl"), &Patch::Apply(model())).await.expect("the model is taken");
    process.start(&url);
    let begun = Instant::now();
    let mut complaints = Vec::new();
    let there = |state: &State| match &end {
        End::AtRest(holds) => holds(state),
        End::In(wanted) => state.tell() == *wanted,
    };
    loop {
        if begun.elapsed() > PATIENCE {
            complaints.push(format!("did not come to where it must within {PATIENCE:?}; it stands at:\n{}", history.state().tell()));
            break;
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), history.until(&there)).await;
        if process.revive() && !scenario.election {
            complaints.push("guardbit ended by itself".to_owned());
        }
        let quiet = proxy.log(|log| log.written.is_none_or(|at| at.elapsed() > QUIET));
        if quiet && there(&history.state()) {
            break;
        }
        if !quiet {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let took = begun.elapsed();
    process.end();
    let log = process.log();
    complaints.extend(log.lines().find(|line| line.contains("panicked")).map(str::to_owned));
    let (calls, struck, said) = proxy.log(|log| (std::mem::take(&mut log.calls), log.struck, std::mem::take(&mut log.complaints)));
    complaints.extend(said);
    complaints.extend(violations(namespace, &history.entries(), &BTreeMap::from([("fp32", 2), ("int8", 2)])));
    let outcome = Outcome {
        end: history.state().tell(),
        calls,
        struck,
        complaints,
        took,
        log,
    };
    observer.forget(namespace);
    leave(client, namespace).await;
    outcome
}

impl Outcome {
    /// How often guardbit wrote.
    pub fn writes(&self) -> usize {
        self.calls.iter().filter(|(call, _)| call.kind == Kind::Write).count()
    }
}

fn arguments(scenario: Scenario, namespace: &str, prometheus: &str) -> Vec<String> {
    let mut args = vec!["run", "--namespace", namespace, "--prometheus-url", prometheus, "--listen=127.0.0.1:0"];
    if scenario.election {
        args.extend(["--lease-namespace", namespace, "--lease-name=guardbit", "--identity=guardbit-0"]);
    } else {
        args.push("--no-leader-election");
    }
    args.into_iter().map(str::to_owned).collect()
}

async fn create_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
    namespaces.create(&PostParams::default(), &namespace).await.expect("the namespace is new");
    // Without it no pod is admitted, and the controllers back off.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    let found = await_condition(accounts, "default", |a: Option<&ServiceAccount>| a.is_some());
    tokio::time::timeout(PATIENCE, found).await.expect("a ServiceAccount in time").expect("the watch works");
}

/// Takes everything away, without guardbit; nobody waits for it.
async fn leave(client: &Client, namespace: &str) {
    let models: Api<QuantizedModel> = Api::namespaced(client.clone(), namespace);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let _ = models.patch(MODEL, &PatchParams::default(), &free).await;
    let _ = models.delete(MODEL, &DeleteParams::background()).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let _ = namespaces.delete(namespace, &DeleteParams::default()).await;
}
