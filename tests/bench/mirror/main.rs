//! What a mirror costs users, and what the comparer needs, on the real cluster: `make bench-mirror`.
//!
//! Users ask 200 times a second over the Open Inference Protocol, and the comparer asks 50 pairs a second. The gateway mirrors
//! nothing and 5% of the requests by turns, so that both see the same neighbours. Prints two Markdown tables.

#![allow(dead_code)] // The stage of the end-to-end tests does more than this needs.

#[path = "../../e2e/acts.rs"]
mod acts;
#[path = "../../e2e/guardbit.rs"]
mod guardbit;
#[path = "../../e2e/ledger.rs"]
mod ledger;
#[path = "../../e2e/pairs.rs"]
mod pairs;
#[path = "../../e2e/prometheus.rs"]
mod prometheus;
#[path = "../../support/process.rs"]
mod spawn;
#[path = "../../e2e/stage.rs"]
mod stage;
#[path = "../../e2e/users.rs"]
mod users;

use std::time::{Duration, Instant};

use ::guardbit::api::Phase;
use kube::ResourceExt;
use serde_json::json;

use acts::until;
use pairs::{begin, compared, comparer_process};
use stage::Stage;
use users::{Users, asked};

/// How often each of the two has its turn.
const TURNS: u32 = 6;

/// How long a turn takes.
const TURN: Duration = Duration::from_secs(30);

/// Questions of users, a second.
const RATE: u32 = 200;

/// Percent of the requests that are mirrored.
const PERCENT: u64 = 5;

/// What was measured of one of the two.
#[derive(Default)]
struct Measured {
    /// How long users waited in each turn, in milliseconds and in ascending order.
    turns: Vec<Vec<f64>>,
    /// Pairs that were compared, and the seconds that this took.
    pairs: u64,
    seconds: f64,
    /// The most memory that the process of the comparer held at the end of a turn, and ever, in KiB.
    resident: u64,
    peak: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let setting = asked(compared("mirror-bench", 200))
        .with("/rollout/steps", json!([{"weight": 25, "hold": "1h"}]))
        .with("/rollout/deadline", json!("4h"));
    let stage = begin(setting).await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.patch(json!({"paused": true})).await;
    stage.until("paused", |s| s.phase == Some(Phase::Paused.into())).await;
    // What is measured is the only load.
    stage.load.finish().await;
    let (mut without, mut with) = (Measured::default(), Measured::default());
    for turn in 1..=TURNS {
        if turn > 1 {
            mirror(&stage, None).await;
        }
        without.measure(&stage).await;
        mirror(&stage, Some(PERCENT)).await;
        with.measure(&stage).await;
        eprintln!("turn {turn} of {TURNS} is over");
    }
    let rows = [("nothing".to_owned(), &without), (format!("{PERCENT}%"), &with)];
    println!("| mirrored | requests | p50, ms | p99, ms | p50 of single turns, ms | p99 of single turns, ms |");
    println!("|---|---|---|---|---|---|");
    for (mirrored, measured) in &rows {
        let mut all = measured.turns.concat();
        all.sort_by(f64::total_cmp);
        println!(
            "| {mirrored} | {} | {:.1} | {:.1} | {} | {} |",
            all.len(),
            percentile(&all, 0.5),
            percentile(&all, 0.99),
            measured.range(0.5),
            measured.range(0.99)
        );
    }
    println!("\n| mirrored | pairs a second | memory of the comparer, MiB | its peak, MiB |\n|---|---|---|---|");
    for (mirrored, measured) in &rows {
        println!(
            "| {mirrored} | {:.1} | {:.1} | {:.1} |",
            measured.pairs as f64 / measured.seconds,
            measured.resident as f64 / 1024.0,
            measured.peak as f64 / 1024.0
        );
    }
    stage.delete_model().await;
    stage.leave().await;
}

/// Has the gateway mirror so many percent, and waits until pairs come of what is asked then.
async fn mirror(stage: &Stage, percent: Option<u64>) {
    let before = stage.comparer().await.expect("a comparer").uid();
    let mirror = percent.map(|percent| json!({"percent": percent}));
    stage.patch(json!({"comparer": {"mirror": mirror}})).await;
    // A change of what is asked is another comparer.
    until("there is another comparer", || async {
        stage.comparer().await.is_some_and(|pod| pod.uid() != before)
    })
    .await;
    until("the route is as planned", || async {
        stage.mirrors().await.last() == Some(&percent)
    })
    .await;
    stage.gateway_follows().await;
    let users = Users::begin(stage, RATE);
    let source = if percent.is_some() { "mirror" } else { "golden" };
    stage.compares(source, 100).await;
    users.finish().await;
}

impl Measured {
    /// One turn.
    async fn measure(&mut self, stage: &Stage) {
        let pairs = async || stage.scraped("guardbit_pairs_total", "source=~\".+\"", None).await.all;
        let (before, begun) = (pairs().await, Instant::now());
        let users = Users::begin(stage, RATE);
        tokio::time::sleep(TURN).await;
        let took = users.finish().await;
        self.pairs += pairs().await - before;
        self.seconds += begun.elapsed().as_secs_f64();
        let process = comparer_process(&stage.namespace);
        self.resident = self.resident.max(memory(process, "VmRSS:"));
        self.peak = self.peak.max(memory(process, "VmHWM:"));
        let mut took: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
        took.sort_by(f64::total_cmp);
        self.turns.push(took);
    }

    /// The least and the largest percentile of single turns.
    fn range(&self, share: f64) -> String {
        let of_turns = || self.turns.iter().map(move |turn| percentile(turn, share));
        let (least, largest) = (of_turns().fold(f64::MAX, f64::min), of_turns().fold(0.0, f64::max));
        format!("{least:.1} to {largest:.1}")
    }
}

/// The number that a share of these, which are in ascending order, does not exceed.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// What the kernel tells of the memory of a process, in KiB.
fn memory(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let mut told = status.lines().filter_map(|line| line.strip_prefix(what));
    let kib = told
        .next()
        .and_then(|told| told.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_else(|| panic!("no {what} in {status}"))
}
