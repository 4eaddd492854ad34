//! How soon a candidate that turns bad gets no more traffic, on the real cluster: `make bench-rollback`.
//!
//! A candidate at 25% begins to answer half of its requests with 500, at a moment that has nothing to do with scrapes
//! and evaluations: 20 times, with a scrape and an evaluation every second. Five more times guardbit is killed in that
//! very moment. Prints a Markdown table.

#![allow(dead_code)] // The stage of the end-to-end tests does more than this needs.

#[path = "../../e2e/acts.rs"]
mod acts;
#[path = "../../e2e/guardbit.rs"]
mod guardbit;
#[path = "../../e2e/ledger.rs"]
mod ledger;
#[path = "../../e2e/prometheus.rs"]
mod prometheus;
#[path = "../../support/process.rs"]
mod spawn;
#[path = "../../e2e/stage.rs"]
mod stage;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::guardbit::api::Action;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use stage::{Stage, setting, shared_prometheus};

/// Runs in which guardbit goes on, and in which it is killed as the candidate turns bad.
const RUNS: (u64, u64) = (20, 5);

/// What happened in one run, in milliseconds since the first bad response came back.
struct Run {
    /// The scrape that showed enough, as Prometheus dates it.
    scraped: f64,
    /// guardbit began the evaluation that found harm.
    evaluated: f64,
    /// The route had no weight for the candidate, as a watch saw it.
    lowered: f64,
    /// The candidate gave its last answer.
    last: f64,
}

/// What guardbit does when the candidate turns bad.
#[derive(Clone, Copy, PartialEq)]
enum Controller {
    Runs,
    IsKilled,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut stage = setting("rollback-bench")
        .variants(&["fp32", "int8"])
        .with("/rollout/steps", json!([{"weight": 25, "hold": "1h"}]))
        .start()
        .await;
    let (mut runs, mut killed) = (Vec::new(), Vec::new());
    for number in 1..=RUNS.0 + RUNS.1 {
        let (controller, into) = if number <= RUNS.0 {
            (Controller::Runs, &mut runs)
        } else {
            (Controller::IsKilled, &mut killed)
        };
        let run = run(&mut stage, number, controller).await;
        eprintln!(
            "run {number}: lowered after {:.0} ms, last answer after {:.0} ms",
            run.lowered, run.last
        );
        into.push(run);
    }
    println!("| from the first bad response, ms | minimum | median | maximum |\n|---|---|---|---|");
    let row = |what: &str, runs: &[Run], of: fn(&Run) -> f64| {
        let mut all: Vec<f64> = runs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        println!(
            "| {what} | {:.0} | {:.0} | {:.0} |",
            all[0],
            all[all.len() / 2],
            all[all.len() - 1]
        );
    };
    row("scrape that shows enough", &runs, |r| r.scraped);
    row("evaluation that finds harm begins", &runs, |r| r.evaluated);
    row("**weight 0 in the HTTPRoute**", &runs, |r| r.lowered);
    row("last request served by the candidate", &runs, |r| r.last);
    row("guardbit's own: scrape to HTTPRoute", &runs, |r| r.lowered - r.scraped);
    row("of it, waiting for the next evaluation", &runs, |r| {
        r.evaluated - r.scraped
    });
    row("of it, asking, deciding and patching", &runs, |r| {
        r.lowered - r.evaluated
    });
    row("weight 0, guardbit killed at the first bad response", &killed, |r| {
        r.lowered
    });
    stage.load.finish().await;
    stage.delete_model().await;
    stage.leave().await;
}

async fn run(stage: &mut Stage, number: u64, controller: Controller) -> Run {
    // A new environment is a new revision: what was rejected is not tried again.
    let name = json!({"name": "RUN", "value": number.to_string()});
    let mut variants = stage.spec().await["variants"].clone();
    variants[1]["template"] = json!({"spec": {"containers": [{"name": "server", "env": [name]}]}});
    stage.patch(json!({"variants": variants})).await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.answered("int8", 300).await;
    // Any phase between two scrapes is as likely as any other.
    tokio::time::sleep(Duration::from_millis(number * 137 % 1000)).await;
    let bad = stage.load.counts().injected;
    if controller == Controller::IsKilled {
        stage.guardbit.kill_and_restart();
    }
    let (told, first) = tokio::join!(
        stage.faults("int8", json!({"errorRate": 0.5})),
        awaited(|| stage.load.counts().injected > bad)
    );
    assert!(told > 0, "no pod of the candidate was told to fail");
    let lowered = awaited(|| !stage.ledger.weights().contains_key("int8")).await;
    let answers = || stage.load.counts().by_variant.get("int8").copied();
    let (mut count, mut last) = (answers(), unix_ms());
    while unix_ms() - last < 2_000.0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if answers() != count {
            (count, last) = (answers(), unix_ms());
        }
    }
    stage.decided(Action::RolledBack, "int8").await;
    let evaluated = last_evaluation_that_rolled_back(&stage.guardbit.log());
    let scraped = newest_sample(&stage.namespace, evaluated).await;
    Run {
        scraped: scraped - first,
        evaluated: evaluated - first,
        lowered: lowered - first,
        last: last - first,
    }
}

fn unix_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_secs_f64() * 1000.0
}

/// When it became so.
async fn awaited(holds: impl Fn() -> bool) -> f64 {
    let begun = unix_ms();
    while !holds() {
        assert!(unix_ms() - begun < 120_000.0, "not within two minutes");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    unix_ms()
}

/// When the evaluation began that rolled back last (Unix ms): the log says when it ended, and how long it took.
fn last_evaluation_that_rolled_back(log: &str) -> f64 {
    let line = log
        .lines()
        .rfind(|line| line.contains("action=\"RolledBack\""))
        .expect("it is in the log");
    let at = line.split_whitespace().next().expect("a time");
    let at: Timestamp = at.parse().expect("a time");
    let after = line.split_once("after_ms=").expect("how long it took").1;
    let after: f64 = after
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .expect("milliseconds");
    at.as_millisecond() as f64 - after
}

/// Time of the newest sample of the candidate's requests before `until` (both Unix ms).
async fn newest_sample(namespace: &str, until: f64) -> f64 {
    let query = format!("http_requests_total{{namespace=\"{namespace}\",pod=~\"fraud-scorer-int8-.*\"}}[30s]");
    let parameters = [("query", query.as_str()), ("time", &(until / 1000.0).to_string())];
    let series = prometheus::series(&shared_prometheus(), &parameters).await;
    let samples = series.iter().flat_map(|s| s["values"].as_array().expect("samples"));
    let times = samples.map(|sample| sample[0].as_f64().expect("a time") * 1000.0);
    times.fold(f64::NEG_INFINITY, f64::max)
}
