//! Every call that guardbit makes to the API server, once as the point of failure.
//!
//! A rollout is run on a real API server with the real controllers and without nodes (`node.rs` plays the kubelet), and each
//! call of it again with each fault of `proxy.rs`. However it went, it ends in the same state, and no invariant is broken at
//! any event that a watch of its own sees.
//!
//! `tests/cluster/run-tests.sh` starts a control plane and sets `KUBECONFIG`. `GUARDBIT_FAULTS` says how much is tried:
//! `sample` (all faults at the writes of decisions and of weights, and a seeded sample of the rest), `all`, or part of the name of a call.

mod calls;
mod history;
mod invariants;
mod metrics;
mod node;
mod process;
mod proxy;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::time::{Duration, Instant};

use guardbit::api::{Action, QuantizedModel};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, CustomResourceExt};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::calls::{Call, Kind};
use crate::history::{Observer, State};
use crate::proxy::{Fault, Strike};
use crate::world::{Election, End, Outcome, Pods, Scenario, run};

/// Worlds at a time for each processor: they mostly wait.
const WORLDS: usize = 6;

/// Decides what the sample holds.
const SEED: u64 = 20_261_101;

const PROMOTED: Scenario = Scenario {
    name: "promoted",
    badness: |_, _| 0.01,
    election: Election::Alone,
    pods: Pods::Steady,
    hold: "1s",
    at_rest: |state| decided(state, Action::Promoted),
    calls: |_| true,
    vital: |call, nth| {
        nth == 1 && (call.resource == "httproutes" && call.kind == Kind::Write || call.name.contains("/status"))
    },
};

/// The route when all traffic is taken from the candidate.
const LOWERED: &str = ": m-fp32 100 m-int8 0";

/// Harmful from its second step on.
const ROLLED_BACK: Scenario = Scenario {
    name: "rolled-back",
    badness: |variant, weight| if variant == "int8" && weight >= 50 { 0.3 } else { 0.01 },
    at_rest: |state| decided(state, Action::RolledBack),
    vital: |call, _| call.name.ends_with(", RolledBack") || call.name.ends_with(LOWERED),
    ..PROMOTED
};

const WITHDRAWN: Scenario = Scenario {
    name: "withdrawn",
    pods: Pods::Flicker,
    hold: "5s",
    vital: |call, _| call.name.ends_with(", Withdrawn") || call.name.ends_with(LOWERED),
    ..PROMOTED
};

const ELECTED: Scenario = Scenario {
    name: "elected",
    election: Election::Stands,
    calls: |call| call.resource == "leases",
    vital: |_, nth| nth == 1,
    ..PROMOTED
};

/// One run to make: a strike, and the state in which it must end.
struct Case<'a> {
    strike: Strike,
    end: &'a str,
}

async fn client() -> Client {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "this test needs an API server: run tests/cluster/run-tests.sh, or set KUBECONFIG"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.expect("a usable KUBECONFIG");
    install(&client, &serde_json::to_value(QuantizedModel::crd()).expect("JSON")).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    if crds
        .get_opt("httproutes.gateway.networking.k8s.io")
        .await
        .expect("asked")
        .is_none()
    {
        install(&client, &http_route()).await;
    }
    client
}

async fn install(client: &Client, crd: &serde_json::Value) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd["metadata"]["name"].as_str().expect("a name");
    crds.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(crd))
        .await
        .expect("the API server takes the CRD");
    let established = await_condition(crds, name, conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(30), established)
        .await
        .expect("established in time")
        .expect("the watch works");
}

/// Enough of the Gateway API for a control plane without gateways.
fn http_route() -> serde_json::Value {
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

fn decided(state: &State, last: Action) -> bool {
    state.status.decisions.iter().any(|d| d.action == last) && state.status.rollout.is_none()
}

/// Where everything happens.
struct Stage {
    client: Client,
    observer: Observer,
    worlds: Semaphore,
}

impl Stage {
    async fn start() -> Self {
        let client = client().await;
        let observer = Observer::start(&client).await;
        node::start(&client).await;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            client,
            observer,
            worlds: Semaphore::new(WORLDS * processors),
        }
    }

    async fn run(&self, scenario: Scenario, strike: Option<Strike>, end: End<'_>) -> Outcome {
        let _world = self.worlds.acquire().await.expect("never closed");
        let namespace = format!("faults-{}-{}", scenario.name, unique());
        run(&self.client, &self.observer, scenario, &namespace, strike, end).await
    }
}

/// Part of a name that no other run has, on this cluster.
fn unique() -> String {
    format!("{:x}", Timestamp::now().as_microsecond())
}

/// How much is tried.
fn wanted() -> String {
    std::env::var("GUARDBIT_FAULTS").unwrap_or_else(|_| "sample".to_owned())
}

/// Whether a strike is tried: all of them, or those at the calls that matter most in a scenario with one in forty of the rest,
/// or those at calls with this in their name.
fn is_wanted(scenario: Scenario, strike: &Strike, call: &Call) -> bool {
    match wanted().as_str() {
        "all" => true,
        "sample" => {
            let mut hasher = DefaultHasher::new();
            (SEED, &strike.call, strike.nth, strike.fault).hash(&mut hasher);
            (scenario.vital)(call, strike.nth) || hasher.finish() % 40 == 0
        }
        part => call.name.contains(part),
    }
}

/// All that can go wrong with these calls, as far as it is tried; each with the state in which it must end.
fn cases(scenario: Scenario, golden: &Outcome) -> Vec<Case<'_>> {
    let (calls_before_rest, rest) = golden.rested.as_ref().expect("it came to rest");
    let mut cases = Vec::new();
    for (i, (call, nth)) in golden
        .calls
        .iter()
        .enumerate()
        .filter(|(_, (call, _))| (scenario.calls)(call))
    {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.can_strike(call)) {
            let strike = Strike {
                fault,
                call: call.name.clone(),
                nth: *nth,
            };
            if is_wanted(scenario, &strike, call) {
                let end = if i < *calls_before_rest { rest } else { &golden.end };
                cases.push(Case { strike, end });
            }
        }
    }
    cases
}

/// What came of a scenario.
struct Report {
    /// For people.
    text: String,
    /// What went wrong.
    wrong: Vec<String>,
}

/// Runs a scenario without a fault, and then once for each fault at each call.
async fn try_all(stage: &Stage, scenario: Scenario) -> Report {
    let golden = stage.run(scenario, None, End::AtRest).await;
    if !golden.complaints.is_empty() {
        return Report {
            text: format!("{}: failed without a fault", scenario.name),
            wrong: vec![format!(
                "{}\n{}\n{}",
                golden.complaints.join("\n"),
                golden.end,
                golden.log
            )],
        };
    }
    let begun = Instant::now();
    let runs = cases(scenario, &golden).into_iter().map(|case| async {
        let outcome = stage.run(scenario, Some(case.strike.clone()), End::In(case.end)).await;
        (case.strike, outcome)
    });
    let outcomes = futures::future::join_all(runs).await;
    report(scenario, &golden, &outcomes, begun.elapsed())
}

fn report(scenario: Scenario, golden: &Outcome, outcomes: &[(Strike, Outcome)], took: Duration) -> Report {
    let mut struck = BTreeMap::<Fault, usize>::new();
    let mut lowered = BTreeMap::<Fault, i64>::new();
    let (mut missed, mut wrong) = (Vec::new(), Vec::new());
    for (strike, outcome) in outcomes {
        let what = format!("{:?} at call {} of: {}", strike.fault, strike.nth, strike.call);
        if outcome.struck {
            *struck.entry(strike.fault).or_default() += 1;
            let longest = lowered.entry(strike.fault).or_default();
            *longest = outcome.lowered_after.unwrap_or_default().max(*longest);
        } else {
            missed.push(what.clone());
        }
        let mut complaints = outcome.complaints.clone();
        if outcome.writes() > 2 * golden.writes() + 20 {
            complaints.push(format!("{} writes instead of {}", outcome.writes(), golden.writes()));
        }
        if !complaints.is_empty() {
            let log: Vec<&str> = outcome.log.lines().collect();
            let tail = log[log.len().saturating_sub(25)..].join("\n");
            wrong.push(format!(
                "=== {}: {what}\n{}\n--- log\n{tail}",
                scenario.name,
                complaints.join("\n")
            ));
        }
    }
    // Timing decides how often some calls are made; nearly all are made in every run.
    if missed.len() * 10 > outcomes.len() {
        wrong.push(format!(
            "{}: {} of {} faults never struck: {missed:#?}",
            scenario.name,
            missed.len(),
            outcomes.len()
        ));
    }
    let calls = golden.calls.iter().filter(|(call, _)| (scenario.calls)(call)).count();
    let slowest = outcomes
        .iter()
        .map(|(_, outcome)| outcome.took)
        .max()
        .unwrap_or_default();
    let mut text = format!(
        "{}: {} of {calls} calls x {} faults tried, {} struck {struck:?}, {} ended wrongly; slowest {slowest:.0?}, all in {took:.0?}",
        scenario.name,
        outcomes.len(),
        Fault::ALL.len(),
        outcomes.len() - missed.len(),
        wrong.len(),
    );
    if let Some(without) = golden.lowered_after {
        write!(text, "\n  the harmful candidate was lowered {without} ms after its last rise; with a fault at most, in ms: {lowered:?}").expect("a text");
    }
    Report { text, wrong }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_call_fails_once_and_every_rollout_ends_the_same() {
    let stage = Stage::start().await;
    let scenarios = [PROMOTED, ROLLED_BACK, WITHDRAWN, ELECTED];
    let reports = scenarios.map(|scenario| try_all(&stage, scenario));
    let mut wrong = Vec::new();
    for report in futures::future::join_all(reports).await {
        // Straight to the terminal: the figures are told by tests that pass as well.
        writeln!(std::io::stderr(), "{}", report.text).expect("written");
        wrong.extend(report.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
