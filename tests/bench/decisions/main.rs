//! How often, and how soon, guardbit and the documented rules of others decide, on the same traffic: `make bench-decisions`.
//!
//! guardbit is run whole: recorded series, deltas, judge and rollout core, as `guardbit simulate` does. Prints a Markdown
//! table and the goals, and fails if one is missed: seeds are fixed, so nothing in it depends on the machine. Takes the number of
//! rollouts a row as its argument, and a part of a row's name to run only those.

mod goals;
mod peers;
#[path = "../../support/random.rs"]
mod random;
mod rows;
mod traffic;

use std::sync::atomic::{AtomicU64, Ordering};

use guardbit::api::QuantizedModelSpec;
use guardbit::evidence::promql::parse_matchers;
use guardbit::simulate::{Arms, Outcome, simulate};

use rows::{Guards, Row};
use traffic::{SCRAPE, draw};

/// What was measured on real servers, which stands beside the table.
const ON_REAL_SERVERS: &str = include_str!("../../real/figures.md");

/// What stands above the table.
const INTRODUCTION: &str = "# How often a canary judge is wrong, and how soon it decides

`make bench-decisions` writes this page. Each row is a truth; each rollout is an hour of Poisson traffic drawn from it, scraped every
15 s: 18 requests per second on stable and 2 on the candidate, 0.5% errors, unless the row says otherwise. guardbit runs whole, from
raw samples to the decision, with its defaults: errors may be worse by 0.5 percentage points, latencies longer by a quarter, and
outputs differ by 5% total variation, at risks of 5%; without its warm-up, which one row has. Its baseline has an hour of past, as it has in a cluster, unless the row says
otherwise. Exponential latencies are in 14 buckets, log-normal ones in Prometheus' default buckets, and beside them stands the effective tolerance: the
smallest factor on all latencies at which these buckets show more than is tolerated. In rows about scrapes each arm is one pod that is scraped at a moment of its own, so that the two never show the same seconds. In rows about answers two
pairs a second are compared (120 a minute), and one in ten asks the reference twice. The rules of the
others are small re-implementations of what they document, on perfect counts (no scrape lag, no errors of
`rate()`, which is why rows about scrapes have none of them), with limits that suit these rates; their sources are named in
[tests/bench/decisions/peers.rs](../tests/bench/decisions/peers.rs).

A cell tells the share of rollouts in percent ± its Monte-Carlo standard error, and the median of the minutes that those took (from
the onset, where harm begins late). Where the truth is no harm, a rollback is a false one. The four rules promote whatever they have not
found bad by their end, so only guardbit has a column for promotions; it has one step here, held for a minute.
";

/// A decider's end of one rollout: minutes, and whether it was a rollback.
#[derive(Clone, Copy, Debug)]
enum End {
    RolledBack(f64),
    Promoted(f64),
    Undecided,
}

fn spec(row: &Row) -> QuantizedModelSpec {
    let digest = |n: u8| format!("sha256:{}", hex::encode([n; 32]));
    let mut spec = serde_json::json!({
        "model": {"name": "scorer", "version": "1", "riskTier": "Limited"},
        "serving": {"port": 8080, "template": {"spec": {"containers": [{"name": "server", "image": "server:1"}]}}},
        "variants": [
            {"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://models/fp32", "digest": digest(1)}},
            {"name": "int8", "precision": "INT8", "weights": {"uri": "s3://models/int8", "digest": digest(2)},
             "quantization": {"method": "WeightOnly", "algorithm": "RTN", "weights": {"bits": 8, "type": "Int", "granularity": "PerChannel"}}},
            {"name": "int4", "precision": "INT4", "weights": {"uri": "s3://models/int4", "digest": digest(3)},
             "quantization": {"method": "WeightOnly", "algorithm": "RTN", "weights": {"bits": 4, "type": "Int", "granularity": "PerChannel"}}},
        ],
        "traffic": {"service": {}},
        "prometheus": {"url": "http://prometheus:9090", "armMatchers": "Pod"},
        "guards": [
            {"name": "errors", "proportion": {"bad": "http_requests_total{code=\"500\"}", "total": "http_requests_total"}},
            {"name": "latency", "latency": {"histogram": "latency_seconds"}},
            {"name": "drift", "fidelity": {"histogram": "score", "maxTotalVariation": "0.05"}},
            {"name": "agreement", "agreement": {"tolerance": {"absolute": row.tolerated}}},
        ],
        "rollout": {"steps": [{"weight": 10, "hold": row.hold}], "interval": "15s", "warmUp": row.warm_up},
    });
    let kept = match row.guards {
        Guards::Errors => 0..1,
        Guards::Latency => 1..2,
        Guards::Fidelity => 2..3,
        Guards::Suite => 0..3,
        Guards::Agreement => 3..4,
    };
    let all = spec["guards"].as_array().expect("guards")[kept].to_vec();
    spec["guards"] = all.into();
    serde_json::from_value(spec).expect("a model")
}

fn guardbit(spec: &QuantizedModelSpec, arms: &Arms, traffic: &traffic::Traffic) -> End {
    let replay = simulate(spec, &traffic.recording(), arms, None).expect("a replay");
    let minutes = (replay.at_seconds - traffic.before()) / 60.0;
    match replay.outcome {
        Outcome::RolledBack => End::RolledBack(minutes),
        Outcome::Promoted => End::Promoted(minutes),
        Outcome::Undecided => End::Undecided,
    }
}

/// Ends by decider, guardbit first.
fn run(row: &Row, rollouts: u64) -> Vec<Vec<End>> {
    let of = |name: &str| parse_matchers(&format!("{{arm=\"{name}\"}}")).expect("matchers");
    let arms = Arms {
        stable: of("stable"),
        candidate: of("candidate"),
        reference: of("reference"),
    };
    let spec = spec(row);
    let next = AtomicU64::new(1);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |seed: u64| -> Vec<End> {
        let traffic = draw(seed, row);
        let peers = peers::RULES.map(|(_, rule)| {
            let found = if row.scraped_every.is_some() {
                None
            } else {
                rule(&traffic)
            };
            found.map_or(End::Undecided, |scrape| End::RolledBack(scrape as f64 * SCRAPE / 60.0))
        });
        std::iter::once(guardbit(&spec, &arms, &traffic)).chain(peers).collect()
    };
    let ends: Vec<Vec<End>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut ends = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed > rollouts {
                            return ends;
                        }
                        ends.push(one(seed));
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("a rollout")).collect()
    });
    (0..=peers::RULES.len())
        .map(|i| ends.iter().map(|e| e[i]).collect())
        .collect()
}

/// Share in percent with its standard error, and the median of the minutes.
fn cell(ends: &[End], minutes: impl Fn(&End) -> Option<f64>) -> String {
    let mut at: Vec<f64> = ends.iter().filter_map(minutes).collect();
    at.sort_by(f64::total_cmp);
    let share = at.len() as f64 / ends.len() as f64;
    let error = 100.0 * (share * (1.0 - share) / ends.len() as f64).sqrt();
    let share = if error == 0.0 {
        format!("{:.0}", 100.0 * share)
    } else {
        format!("{:.1} ± {error:.1}", 100.0 * share)
    };
    match at.get(at.len() / 2) {
        Some(median) => format!("{share}, {median:.1} min"),
        None => share,
    }
}

fn main() -> std::process::ExitCode {
    // `cargo bench` adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let rollouts = arguments
        .next()
        .map_or(500, |n| n.parse().expect("the number of rollouts a row"));
    let only = arguments.next().unwrap_or_default();
    println!(
        "{INTRODUCTION}\nRollouts a row: {rollouts}, and 8 times as many at the edge and where a median is held against a goal.\n"
    );
    println!(
        "| guards | truth | guardbit: rolled back | guardbit: promoted | {} |",
        peers::RULES.map(|(name, _)| name).join(" | ")
    );
    println!("|---|---|---|---|{}", "---|".repeat(peers::RULES.len()));
    let mut goals = Vec::new();
    for row in rows::rows().iter().filter(|row| row.truth.contains(&only)) {
        let ends = run(row, row.rollouts(rollouts));
        goals.extend(row.goals.iter().map(|goal| goals::check(row, *goal, &ends[0])));
        let onset = row.onset.unwrap_or(0.0);
        let back = |end: &End| match end {
            End::RolledBack(at) if *at >= onset => Some(at - onset),
            _ => None,
        };
        let early = |ends: &[End]| {
            let n = ends
                .iter()
                .filter(|e| matches!(e, End::RolledBack(at) if *at < onset))
                .count();
            match n {
                0 => String::new(),
                n => format!(" ({:.1}% before it began)", 100.0 * n as f64 / ends.len() as f64),
            }
        };
        let promoted = |end: &End| match end {
            End::Promoted(at) => Some(*at),
            _ => None,
        };
        // The rules of the peers are applied to errors; of latency and drift their users would have to write others.
        let peers = ends[1..].iter().map(|e| match row.guards {
            _ if row.scraped_every.is_some() => "-".to_owned(),
            Guards::Errors | Guards::Suite => cell(e, back) + &early(e),
            Guards::Latency | Guards::Fidelity | Guards::Agreement => "-".to_owned(),
        });
        println!(
            "| {} | {} | **{}**{} | {} | {} |",
            format!("{:?}", row.guards).to_lowercase(),
            row.truth,
            cell(&ends[0], back),
            early(&ends[0]),
            cell(&ends[0], promoted),
            peers.collect::<Vec<_>>().join(" | ")
        );
    }
    println!("\n## Goals\n\n| goal | reached | |\n|---|---|---|");
    for goal in &goals {
        println!("{goal}");
    }
    print!("\n{ON_REAL_SERVERS}");
    let missed = goals.iter().filter(|goal| !goal.met).count();
    if missed > 0 {
        eprintln!("{missed} of {} goals missed", goals.len());
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
