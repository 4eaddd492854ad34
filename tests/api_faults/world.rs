//! One rollout from the first install to its end, with a guardbit of its own and at most one fault on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use guardbit::api::{Action, QuantizedModel};

use crate::calls::{Call, Kind};
use crate::history::{History, Observer, State};
use crate::invariants::{MODEL, lowered_after, violations};
use crate::metrics::{Badness, Metrics};
use crate::node::NODE;
use crate::people::{self, LAPSED, People};
use crate::process::Process;
use crate::proxy::{Proxy, Strike};
use crate::{admission, control_plane, records};

/// Longest time that a rollout may take to where it must come; without a fault it is there in ten seconds. Whether admission does
/// its part is asked again after a minute.
const PATIENCE: Duration = Duration::from_secs(180);

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
    pub election: Election,
    /// What the candidate's pods do.
    pub pods: Pods,
    /// What a policy asks, and what people do.
    pub governed: Governed,
    /// How long the first step is held.
    pub hold: &'static str,
    /// When it is through, for now.
    pub at_rest: fn(&State) -> bool,
    /// Which calls of it are tried.
    pub calls: fn(&Call) -> bool,
    /// Which of them are tried although an earlier rollout makes them as well: more depends on them here.
    pub again: fn(&Call) -> bool,
    /// Which matter most, with the how-manieth of its name each is: they are tried in a sample as well.
    pub vital: fn(&Call, usize) -> bool,
}

/// Whether guardbit stands for election.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// It does.
    Stands,
    /// It is alone.
    Alone,
}

/// What the candidate's pods do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// They stay ready.
    Steady,
    /// They are unready at the first step, until traffic has been taken from them.
    Flicker,
}

/// What a policy asks, and what people do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Governed {
    /// No policy selects the model.
    No,
    /// It asks for records.
    Recorded,
    /// It asks for records, and for approval of the first traffic, which somebody gives. Admission does its part.
    Approved,
    /// The same, and on call takes the candidate back at its first step.
    TakenBack,
}

impl Governed {
    /// Whether it asks for records.
    fn is_recorded(self) -> bool {
        self != Self::No
    }

    /// Whether people have a part.
    fn has_people(self) -> bool {
        matches!(self, Self::Approved | Self::TakenBack)
    }

    /// Labels of the namespace, by which policies select it.
    fn labels(self) -> Value {
        match self {
            Self::No => json!({}),
            Self::Recorded => json!({SELECTED: "recorded"}),
            Self::Approved | Self::TakenBack => json!({SELECTED: "approved", (admission::SET): people::SET}),
        }
    }
}

/// How a run has to end.
#[derive(Clone, Copy)]
pub enum End<'a> {
    /// When it is at rest for the first time; without a fault.
    AtRest,
    /// When nothing is retiring any more; without a fault.
    Over,
    /// In this state.
    In(&'a str),
}

/// What came of a run.
pub struct Outcome {
    /// The calls, each with the how-manieth of its name it is.
    pub calls: Vec<(Call, usize)>,
    /// How many of them came before it was at rest for the first time, and the state then.
    pub rested: Option<(usize, String)>,
    /// The state in which it ended.
    pub end: String,
    /// How long a candidate that ended at 0 had its last weight, in milliseconds.
    pub lowered_after: Option<i64>,
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
pub fn model(hold: &str) -> Value {
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
            "rollout": {"interval": "1s", "warmUp": "0s", "steps": [{"weight": 20, "hold": hold}, {"weight": 50, "hold": "1s"}], "holdout": 10, "keepWarm": "1s"},
        },
    })
}

/// Runs one.
pub async fn run(
    (client, people): (&Client, &People),
    observer: &Observer,
    scenario: Scenario,
    namespace: &str,
    strike: Option<Strike>,
    end: End<'_>,
) -> Outcome {
    create_namespace(client, namespace, scenario.governed).await;
    let history = observer.history(namespace);
    // Admission tells users apart, and nobody else does.
    let has_people = scenario.governed.has_people();
    let (author, guardbit) = if has_people {
        people.acted_long_ago(namespace).await;
        (&people.author, &people.guardbit)
    } else {
        (client, client)
    };
    let is_swept = people::is_swept(strike.as_ref());
    let (metrics, prometheus, measuring) = Metrics::serve(Arc::clone(&history), scenario.badness).await;
    let process = Arc::new(Process::new(
        arguments(scenario, namespace, &prometheus),
        std::env::temp_dir().join(format!("guardbit-faults-{}-{namespace}", std::process::id())),
    ));
    let (proxy, url, serving) = Proxy::start(guardbit.clone(), Arc::clone(&process), metrics, strike).await;
    let models: Api<QuantizedModel> = Api::namespaced(author.clone(), namespace);
    models
        .patch(
            MODEL,
            &PatchParams::apply("kubectl"),
            &Patch::Apply(model(scenario.hold)),
        )
        .await
        .expect("the model is taken");
    process.start(&url);
    let flicker = (scenario.pods == Pods::Flicker)
        .then(|| tokio::spawn(flicker(client.clone(), namespace.to_owned(), Arc::clone(&history))));
    let acting = has_people.then(|| {
        let takes_back = scenario.governed == Governed::TakenBack;
        let act = people
            .clone()
            .act(namespace.to_owned(), Arc::clone(&history), takes_back);
        tokio::spawn(act)
    });
    let begun = Instant::now();
    let mut complaints = Vec::new();
    let mut rested = None;
    loop {
        if begun.elapsed() > PATIENCE {
            complaints.push(format!(
                "did not come to where it must within {PATIENCE:?}; it stands at:\n{}",
                history.state().tell()
            ));
            break;
        }
        let first = rested.is_none();
        let there = |state: &State| match end {
            End::In(wanted) => state.tell() == wanted,
            End::Over if !first => state.status.retiring.is_empty(),
            End::AtRest | End::Over => (scenario.at_rest)(state),
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), history.until(&there)).await;
        if process.revive() && scenario.election == Election::Alone {
            complaints.push("guardbit ended by itself".to_owned());
        }
        let quiet = proxy.log(|log| log.written.is_none_or(|at| at.elapsed() > QUIET));
        if quiet && there(&history.state()) {
            if first {
                rested = Some((proxy.log(|log| log.calls.len()), history.state().tell()));
            }
            if !first || !matches!(end, End::Over) {
                break;
            }
        } else if !quiet {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let took = begun.elapsed();
    for task in flicker.into_iter().chain(acting) {
        task.abort();
    }
    process.end();
    serving.abort();
    measuring.abort();
    let log = process.log();
    complaints.extend(log.lines().find(|line| line.contains("panicked")).map(str::to_owned));
    let (calls, struck, said) = proxy.log(|log| {
        (
            std::mem::take(&mut log.calls),
            log.struck,
            std::mem::take(&mut log.complaints),
        )
    });
    complaints.extend(said);
    complaints.extend(violations(
        namespace,
        &history.entries(),
        &BTreeMap::from([("fp32", 2), ("int8", 2)]),
    ));
    if scenario.governed.is_recorded() {
        complaints.extend(records::disorder(&history.entries()));
        complaints.extend(records::breaks(namespace, &history.entries()));
    }
    if has_people {
        complaints.extend(people::violations(&history.entries()));
        if is_swept && history.state().acts.contains_key(LAPSED) {
            complaints.push("the action that lapsed two days ago is still there".to_owned());
        }
    }
    let outcome = Outcome {
        rested,
        end: history.state().tell(),
        lowered_after: lowered_after(&history.entries()),
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
    let mut args = vec![
        "run",
        "--namespace",
        namespace,
        "--prometheus-url",
        prometheus,
        "--listen=127.0.0.1:0",
    ];
    if scenario.election == Election::Stands {
        args.extend([
            "--lease-namespace",
            namespace,
            "--lease-name=guardbit",
            "--identity=guardbit-0",
        ]);
    } else {
        args.push("--no-leader-election");
    }
    if scenario.governed.has_people() {
        args.extend(["--governance-prefix", people::SET]);
    }
    args.into_iter().map(str::to_owned).collect()
}

/// Takes readiness from the candidate's pods at the first step, and gives it back when no traffic goes there.
async fn flicker(client: Client, namespace: String, history: Arc<History>) {
    history.until(|state| state.route.of_candidate() == 20).await;
    make_ready(&client, &namespace, "False").await;
    history
        .until(|state| state.status.decisions.iter().any(|d| d.action == Action::Withdrawn))
        .await;
    make_ready(&client, &namespace, "True").await;
}

async fn make_ready(client: &Client, namespace: &str, status: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_candidate = ListParams::default().labels("guardbit.dev/variant=int8");
    for pod in pods.list(&of_candidate).await.expect("listed") {
        let mut conditions = pod.status.clone().and_then(|s| s.conditions).unwrap_or_default();
        conditions
            .iter_mut()
            .filter(|c| c.type_ == "Ready")
            .for_each(|c| c.status = status.to_owned());
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .expect("a kubelet may");
    }
}

/// Label of the namespaces that a policy selects.
const SELECTED: &str = "guardbit-faults";

/// The policies: one asks for records, and one also for an approval.
pub async fn govern(client: &Client) {
    let approvals = json!([{"before": "FirstTraffic", "count": 1}]);
    for (name, approvals) in [("recorded", json!([])), ("approved", approvals)] {
        let selects = json!({"namespaces": {"matchLabels": {SELECTED: name}}});
        let policy = json!({
            "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionPolicy", "metadata": {"name": format!("faults-{name}")},
            "spec": {"mode": "Enforce", "appliesTo": selects, "approvals": approvals, "records": {"keep": "4416h"}},
        });
        control_plane::apply(client, &policy).await;
    }
}

async fn create_namespace(client: &Client, name: &str, governed: Governed) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"name": name, "labels": governed.labels()}});
    let namespace = serde_json::from_value(namespace).expect("a namespace");
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("the namespace is new");
    // Without it no pod is admitted, and the controllers back off.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    let found = await_condition(accounts, "default", |a: Option<&ServiceAccount>| a.is_some());
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("a ServiceAccount in time")
        .expect("the watch works");
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
