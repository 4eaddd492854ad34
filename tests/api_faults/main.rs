//! Every call that guardbit makes to the API server, once as the point of failure.
//!
//! A rollout is run on a real API server with the real controllers and without nodes (`node.rs` plays the kubelet), and each
//! call of it again with each fault of `proxy.rs`. However it went, it ends in the same state, and no invariant is broken at
//! any event that a watch of its own sees.
//!
//! `tests/cluster/run-tests.sh` starts a control plane and sets `KUBECONFIG`. `make faults` tries everything; with
//! `GUARDBIT_FAULTS`, only calls with this in their name. A sample is a part of `make api`.

#[path = "../support/admission.rs"]
mod admission;
mod broken;
mod broken_records;
mod calls;
#[path = "../support/control_plane.rs"]
mod control_plane;
mod history;
mod invariants;
mod metrics;
mod node;
mod people;
mod process;
mod proxy;
mod records;
mod report;
#[path = "../support/process.rs"]
mod spawn;
mod world;

use std::collections::HashSet;
use std::io::Write as _;

use guardbit::api::Action;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use tokio::sync::Semaphore;

use crate::calls::Call;
use crate::history::{Observer, State};
use crate::people::{People, ROLL_BACK};
use crate::proxy::{Fault, Strike};
use crate::report::{Made, Part, Tried};
use crate::world::{Election, End, Governed, Outcome, Pods, Scenario, run};

/// Worlds at a time for each processor: they mostly wait.
const WORLDS: usize = 6;

/// Runs of each scenario without a fault. A call that all of them make is taken for one that every run makes.
const GOLDEN_RUNS: usize = 3;

/// How often a strike is tried when its call is not made: timing decides how often some calls are.
const ATTEMPTS: usize = 3;

/// The same where all runs without a fault made it. They begin together, so that they are slow and write more often than
/// later runs do: some calls that all of them made are seldom made later, and have to be waited for.
const ATTEMPTS_AT_MADE_ALWAYS: usize = 20;

const PROMOTED: Scenario = Scenario {
    name: "promoted",
    badness: |_, _| 0.01,
    election: Election::Alone,
    pods: Pods::Steady,
    governed: Governed::No,
    hold: "1s",
    at_rest: |state| decided(state, Action::Promoted),
    calls: |_| true,
    again: |_| false,
    vital: |_, _| false,
};

/// Harmful from its second step on.
const ROLLED_BACK: Scenario = Scenario {
    name: "rolled back",
    badness: |variant, weight| if variant == "int8" && weight >= 50 { 0.3 } else { 0.01 },
    at_rest: |state| decided(state, Action::RolledBack),
    // The rise after which harm is to be found, the lowering (the candidate was at 0 before its first rise as well), its record.
    vital: |call, nth| {
        let writes = |what| call.name.ends_with(what);
        match nth {
            1 => writes(": m-fp32 50 m-int8 50") || writes(", RolledBack"),
            2 => writes(": m-fp32 100 m-int8 0"),
            _ => false,
        }
    },
    ..PROMOTED
};

/// All its pods are unready for a while.
const WITHDRAWN: Scenario = Scenario {
    name: "withdrawn",
    pods: Pods::Flicker,
    hold: "5s",
    ..PROMOTED
};

/// The same as the one that is rolled back, on record; only the calls of that are tried, and what the records are written beside.
const RECORDED: Scenario = Scenario {
    name: "recorded",
    governed: Governed::Recorded,
    calls: |call| {
        matches!(
            call.resource.as_str(),
            "precisiondecisions" | "precisionpolicies" | "namespaces" | "quantizedmodels"
        )
    },
    // The record of the rise after which harm is to be found, and that of the lowering.
    vital: |call, nth| {
        let records = |what: &str| call.name.starts_with("post precisiondecisions") && call.name.ends_with(what);
        (records(": Raised int8") && nth == 2) || (records(": RolledBack int8") && nth == 1)
    },
    ..ROLLED_BACK
};

/// The same as the one that is promoted, on record and after a person has approved it; only the calls of that are tried.
const APPROVED: Scenario = Scenario {
    name: "approved",
    governed: Governed::Approved,
    at_rest: |state| decided(state, Action::Promoted) && state.authors.is_empty(),
    calls: governs,
    again: |call| {
        matches!(
            call.resource.as_str(),
            "namespaces" | "precisionpolicies" | "precisionactions"
        )
    },
    ..PROMOTED
};

/// Approved as well, and taken back by on call in its first step, which is too long for anything else to happen in it.
const TAKEN_BACK: Scenario = Scenario {
    name: "taken back",
    governed: Governed::TakenBack,
    hold: "10m",
    at_rest: |state| {
        let is_told = state.acts.get(ROLL_BACK).is_some_and(|act| act.state == "InForce");
        decided(state, Action::TakenBack) && is_told
    },
    calls: |call| governs(call) || call.resource == "httproutes",
    // The lowering, and its record.
    vital: |call, nth| {
        let lowers = call.name.ends_with(": m-fp32 100 m-int8 0") && nth == 2;
        let records = call.name.starts_with("post precisiondecisions") && call.name.ends_with(": TakenBack int8");
        lowers || (records && nth == 1)
    },
    ..PROMOTED
};

/// With leader election; only the calls of that are tried.
const ELECTED: Scenario = Scenario {
    name: "elected",
    election: Election::Stands,
    calls: |call| call.resource == "leases",
    ..PROMOTED
};

/// How much is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The calls that matter most.
    Sample,
    /// All of them.
    Whole,
}

/// A control plane with everything that guardbit watches.
async fn client() -> Client {
    let client = control_plane::client().await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    if crds
        .get_opt("httproutes.gateway.networking.k8s.io")
        .await
        .expect("asked")
        .is_none()
    {
        control_plane::install(&client, &control_plane::http_route()).await;
    }
    client
}

/// Whether a call has to do with policies, people and records: those of admission tell whether it does its part.
fn governs(call: &Call) -> bool {
    matches!(
        call.resource.as_str(),
        "namespaces"
            | "precisionpolicies"
            | "precisionactions"
            | "precisiondecisions"
            | "quantizedmodels"
            | "validatingadmissionpolicies"
            | "validatingadmissionpolicybindings"
            | "mutatingadmissionpolicies"
            | "mutatingadmissionpolicybindings"
    )
}

fn decided(state: &State, last: Action) -> bool {
    state.status.decisions.iter().any(|d| d.action == last) && state.status.rollout.is_none()
}

/// Where everything happens.
struct Stage {
    client: Client,
    people: People,
    observer: Observer,
    worlds: Semaphore,
}

impl Stage {
    async fn start() -> Self {
        let client = client().await;
        let observer = Observer::start(&client).await;
        node::start(&client).await;
        world::govern(&client).await;
        let people = People::start(&client).await;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            client,
            people,
            observer,
            worlds: Semaphore::new(WORLDS * processors),
        }
    }

    async fn run(&self, scenario: Scenario, strike: Option<Strike>, end: End<'_>) -> Outcome {
        let _world = self.worlds.acquire().await.expect("never closed");
        let namespace = format!("faults-{}-{}", scenario.name.replace(' ', "-"), unique());
        let clients = (&self.client, &self.people);
        run(clients, &self.observer, scenario, &namespace, strike, end).await
    }
}

/// Part of a name that no other run has, on this cluster.
fn unique() -> String {
    format!("{:x}", Timestamp::now().as_microsecond())
}

/// A call that is tried.
struct Target<'a> {
    call: &'a Call,
    nth: usize,
    made: Made,
    /// The state in which a run must end that is struck there.
    end: &'a str,
}

/// The calls of a scenario that are tried: those of the runs without a fault.
fn targets(scenario: Scenario, extent: Extent, golden: &[Outcome]) -> Vec<Target<'_>> {
    let makes = |run: &Outcome, name: &str, nth| run.calls.iter().any(|(call, n)| call.name == name && *n == nth);
    let part = std::env::var("GUARDBIT_FAULTS").unwrap_or_default();
    let mut known = HashSet::new();
    let mut targets = Vec::new();
    for run in golden {
        let (before_rest, at_rest) = run.rested.as_ref().expect("it came to rest");
        for (i, (call, nth)) in run.calls.iter().enumerate() {
            let wanted = match extent {
                Extent::Sample => (scenario.vital)(call, *nth),
                Extent::Whole => (scenario.calls)(call) && call.name.contains(&part),
            };
            if wanted && known.insert((&call.name, *nth)) {
                let always = !call.is_by_the_clock(*nth) && golden.iter().all(|run| makes(run, &call.name, *nth));
                targets.push(Target {
                    call,
                    nth: *nth,
                    made: if always { Made::Always } else { Made::Sometimes },
                    end: if i < *before_rest {
                        at_rest.as_str()
                    } else {
                        golden[0].end.as_str()
                    },
                });
            }
        }
    }
    targets
}

/// The runs without a fault; what is wrong if they did not end well, or not alike.
async fn golden(stage: &Stage, scenario: Scenario, extent: Extent) -> Result<Vec<Outcome>, String> {
    let end = match extent {
        Extent::Sample => End::AtRest,
        Extent::Whole => End::Over,
    };
    let runs = (0..GOLDEN_RUNS).map(|_| stage.run(scenario, None, end));
    let runs = futures::future::join_all(runs).await;
    for run in &runs {
        if !run.complaints.is_empty() {
            let what = run.complaints.join("\n");
            return Err(format!(
                "{} without a fault: {what}\n{}\n{}",
                scenario.name, run.end, run.log
            ));
        }
    }
    let states = |run: &Outcome| (run.rested.as_ref().map(|(_, state)| state.clone()), run.end.clone());
    let ends: HashSet<_> = runs.iter().map(states).collect();
    if ends.len() > 1 {
        return Err(format!("{} ends in more than one way: {ends:?}", scenario.name));
    }
    Ok(runs)
}

/// One strike, tried again when its call was not made.
async fn strike<'a>(stage: &Stage, scenario: Scenario, target: &Target<'a>, fault: Fault) -> Tried<'a> {
    let strike = Strike {
        fault,
        call: target.call.name.clone(),
        nth: target.nth,
    };
    let run = || stage.run(scenario, Some(strike.clone()), End::In(target.end));
    let attempts = match target.made {
        Made::Always => ATTEMPTS_AT_MADE_ALWAYS,
        Made::Sometimes => ATTEMPTS,
    };
    let mut outcome = run().await;
    for _ in 1..attempts {
        if outcome.struck || !outcome.complaints.is_empty() {
            break;
        }
        outcome = run().await;
    }
    Tried {
        call: target.call,
        made: target.made,
        strike,
        outcome,
    }
}

/// Runs each scenario without a fault, and then once for each fault at each call. A call that an earlier scenario makes
/// as well is tried there alone, unless it matters more here.
async fn try_all(stage: &Stage, scenarios: &[Scenario], extent: Extent) -> Vec<Part> {
    let golden = scenarios.iter().map(|scenario| golden(stage, *scenario, extent));
    let golden = futures::future::join_all(golden).await;
    let mut known = HashSet::new();
    let mut parts = Vec::new();
    for (scenario, golden) in scenarios.iter().zip(&golden) {
        let golden = golden.as_ref().unwrap_or_else(|wrong| panic!("{wrong}"));
        let mut targets = targets(*scenario, extent, golden);
        targets.retain(|target| {
            known.insert((&target.call.name, target.nth))
                || (scenario.again)(target.call)
                || (scenario.vital)(target.call, target.nth)
        });
        parts.push(async move {
            let cases = targets.iter().flat_map(|target| {
                let faults = Fault::ALL.into_iter().filter(|fault| fault.can_strike(target.call));
                faults.map(move |fault| strike(stage, *scenario, target, fault))
            });
            let tried = futures::future::join_all(cases).await;
            let calls: Vec<&Call> = targets.iter().map(|target| target.call).collect();
            Part::of(scenario.name, golden, &calls, &tried)
        });
    }
    futures::future::join_all(parts).await
}

async fn all_end_the_same(scenarios: &[Scenario], extent: Extent) {
    let stage = Stage::start().await;
    let parts = try_all(&stage, scenarios, extent).await;
    // Straight to the terminal: the figures are told by tests that pass as well.
    writeln!(std::io::stderr(), "{}", report::table(&parts)).expect("written");
    let wrong: Vec<&str> = parts.iter().flat_map(|part| &part.wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(parts.iter().all(|part| part.struck > 0), "nothing was tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_at_the_calls_that_matter_most_change_no_end() {
    all_end_the_same(&[ROLLED_BACK, RECORDED, TAKEN_BACK], Extent::Sample).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes an hour: make faults"]
async fn every_api_call_fails_once_in_every_way_and_every_rollout_ends_the_same() {
    let rollouts = [
        PROMOTED,
        ROLLED_BACK,
        RECORDED,
        APPROVED,
        TAKEN_BACK,
        WITHDRAWN,
        ELECTED,
    ];
    all_end_the_same(&rollouts, Extent::Whole).await;
}
