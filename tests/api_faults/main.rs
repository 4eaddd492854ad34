//! Every call that guardbit makes to the API server, once as the point of failure.
//!
//! A rollout is run on a real API server with the real controllers and without nodes (`node.rs` plays the kubelet), and each
//! call of it again with each fault of `proxy.rs`. However it went, it ends in the same state, and no invariant is broken at
//! any event that a watch of its own sees.
//!
//! `tests/cluster/run-tests.sh` starts a control plane and sets `KUBECONFIG`. `GUARDBIT_FAULTS` says how much is tried:
//! `sample` (all faults at all writes of decisions, and a seeded sample of the rest), `all`, or part of the name of a call.

mod calls;
mod history;
mod invariants;
mod metrics;
mod node;
mod process;
mod proxy;
mod world;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::time::{Duration, Instant};

use futures::StreamExt;
use guardbit::api::{Action, QuantizedModel};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, CustomResourceExt};
use serde_json::json;

use crate::calls::{Call, Kind};
use crate::history::{Observer, State};
use crate::proxy::{Fault, Strike};
use crate::world::{Election, End, Outcome, Pods, Scenario, run};

/// Worlds at a time: they mostly wait.
const WORLDS: usize = 16;

/// Decides what the sample holds.
const SEED: u64 = 20_261_101;

const PROMOTED: Scenario = Scenario {
    name: "promoted",
    badness: |_, _| 0.01,
    election: Election::Alone,
    pods: Pods::Steady,
    at_rest: |state| decided(state, Action::Promoted),
};

/// Harmful from its second step on.
const ROLLED_BACK: Scenario = Scenario {
    name: "rolled-back",
    badness: |variant, weight| if variant == "int8" && weight >= 50 { 0.3 } else { 0.01 },
    at_rest: |state| decided(state, Action::RolledBack),
    ..PROMOTED
};

const WITHDRAWN: Scenario = Scenario {
    name: "withdrawn",
    pods: Pods::Flicker,
    ..PROMOTED
};

const ELECTED: Scenario = Scenario {
    name: "elected",
    election: Election::Stands,
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

/// The run without faults: what is called, and where it ends.
async fn golden(client: &Client, observer: &Observer, scenario: Scenario) -> Outcome {
    let namespace = format!("faults-{}-{}", scenario.name, unique());
    let outcome = run(client, observer, scenario, &namespace, None, End::AtRest).await;
    assert!(
        outcome.complaints.is_empty(),
        "without a fault: {:#?}\n{}\n{}",
        outcome.complaints,
        outcome.end,
        outcome.log
    );
    outcome
}

/// Part of a name that no other run has, on this cluster.
fn unique() -> String {
    format!("{:x}", Timestamp::now().as_microsecond())
}

/// How much is tried.
fn wanted() -> String {
    std::env::var("GUARDBIT_FAULTS").unwrap_or_else(|_| "sample".to_owned())
}

/// Whether a strike is tried: all of them, or those at the first write of each decision and of each weight with one in
/// twenty of the rest, or those at calls with this in their name.
fn is_wanted(strike: &Strike, call: &Call) -> bool {
    match wanted().as_str() {
        "all" => true,
        "sample" => {
            let vital = call.kind == Kind::Write && (call.resource == "httproutes" || call.name.contains("/status"));
            let mut hasher = DefaultHasher::new();
            (SEED, &strike.call, strike.nth, strike.fault).hash(&mut hasher);
            (vital && strike.nth == 1) || hasher.finish() % 20 == 0
        }
        part => call.name.contains(part),
    }
}

/// All that can go wrong with these calls, as far as it is tried; each with the state in which it must end.
fn cases(golden: &Outcome, choose: fn(&Call) -> bool) -> Vec<Case<'_>> {
    let (calls_before_rest, rest) = golden.rested.as_ref().expect("it came to rest");
    let mut cases = Vec::new();
    for (i, (call, nth)) in golden.calls.iter().enumerate().filter(|(_, (call, _))| choose(call)) {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.can_strike(call)) {
            let strike = Strike {
                fault,
                call: call.name.clone(),
                nth: *nth,
            };
            if is_wanted(&strike, call) {
                let end = if i < *calls_before_rest { rest } else { &golden.end };
                cases.push(Case { strike, end });
            }
        }
    }
    cases
}

/// Makes all runs of a scenario and reports them.
async fn try_all(client: &Client, observer: &Observer, scenario: Scenario, golden: &Outcome, cases: Vec<Case<'_>>) {
    let begun = Instant::now();
    let (tried, writes) = (cases.len(), golden.writes());
    let outcomes: Vec<(Strike, Outcome)> = futures::stream::iter(cases)
        .map(|case| async move {
            let namespace = format!("faults-{}-{}", scenario.name, unique());
            let outcome = run(
                client,
                observer,
                scenario,
                &namespace,
                Some(case.strike.clone()),
                End::In(case.end),
            )
            .await;
            (case.strike, outcome)
        })
        .buffer_unordered(WORLDS)
        .collect()
        .await;
    let (mut by_fault, mut complaints, mut missed) = (BTreeMap::<Fault, usize>::new(), Vec::new(), Vec::new());
    let mut slowest = Duration::ZERO;
    let mut lowered = BTreeMap::<Fault, i64>::new();
    for (strike, outcome) in &outcomes {
        let what = format!("{:?} at call {} of: {}", strike.fault, strike.nth, strike.call);
        if outcome.struck {
            *by_fault.entry(strike.fault).or_default() += 1;
        } else {
            missed.push(what.clone());
        }
        slowest = slowest.max(outcome.took);
        if let Some(after) = outcome.lowered_after.filter(|_| outcome.struck) {
            let longest = lowered.entry(strike.fault).or_default();
            *longest = after.max(*longest);
        }
        let mut wrong = outcome.complaints.clone();
        if outcome.writes() > 2 * writes + 20 {
            wrong.push(format!("{} writes instead of {writes}", outcome.writes()));
        }
        if !wrong.is_empty() {
            let log: Vec<&str> = outcome.log.lines().collect();
            let tail = log[log.len().saturating_sub(25)..].join("\n");
            if std::env::var_os("LISTCALLS").is_some() {
                eprintln!("=== {what} {:?}\n{}\n{}", outcome.took, wrong.join("\n"), outcome.log);
            }
            complaints.push(format!("=== {what}\n{}\n--- log\n{tail}", wrong.join("\n")));
        }
    }
    let mut out = std::io::stderr();
    let calls = golden.calls.len();
    writeln!(
        out,
        "{}: {tried} runs of a rollout of {calls} calls ({writes} writes), struck {by_fault:?}; {} never came to their call; {} ended wrongly; slowest {slowest:.1?}; all in {:.0?}",
        scenario.name,
        missed.len(),
        complaints.len(),
        begun.elapsed(),
    )
    .expect("written");
    if !lowered.is_empty() {
        let without = golden.lowered_after.unwrap_or_default();
        writeln!(
            out,
            "  harmful candidate lowered after {without} ms without a fault, at most with one: {lowered:?} ms"
        )
        .expect("written");
    }
    for miss in &missed {
        writeln!(out, "  not reached: {miss}").expect("written");
    }
    assert!(
        complaints.is_empty(),
        "{}\nwithout a fault it ends so:\n{}",
        complaints.join("\n"),
        golden.end
    );
    // Timing decides how often some calls are made; nearly all are made in every run.
    assert!(
        missed.len() * 10 <= tried,
        "{} of {tried} faults never struck",
        missed.len()
    );
}

async fn scenario(scenario: Scenario, choose: fn(&Call) -> bool) {
    let client = client().await;
    let observer = Observer::start(&client).await;
    node::start(&client).await;
    let golden = golden(&client, &observer, scenario).await;
    if std::env::var_os("LISTCALLS").is_some() {
        for (c, n) in &golden.calls {
            eprintln!("{n} {}", c.name);
        }
        eprintln!("{:?}\n{}\n{}", golden.rested, golden.end, golden.log);
    }
    try_all(&client, &observer, scenario, &golden, cases(&golden, choose)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_call_of_a_promotion_fails_once_and_the_end_is_the_same() {
    scenario(PROMOTED, |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_call_of_a_rollback_fails_once_and_the_end_is_the_same() {
    scenario(ROLLED_BACK, |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_call_of_a_withdrawal_fails_once_and_the_end_is_the_same() {
    scenario(WITHDRAWN, |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_call_of_an_election_fails_once_and_the_end_is_the_same() {
    scenario(ELECTED, |call| call.resource == "leases").await;
}
