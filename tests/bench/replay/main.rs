//! `make bench-replay`: how fast `guardbit simulate` is, reading and replaying measured apart.
//!
//! An hour of 15-second scrapes of a little more than 400 series, in which nothing is decided: the whole hour is judged.

use std::hint::black_box;
use std::time::{Duration, Instant};

use guardbit::api::QuantizedModelSpec;
use guardbit::evidence::promql::parse_matchers;
use guardbit::simulate::{Arms, Outcome, openmetrics, simulate};

#[path = "../../support/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../../simulate/trace.rs"]
mod trace;

use trace::{Fate, fated, good};

/// Runs of each measurement; the median counts.
const RUNS: usize = 15;

fn spec() -> QuantizedModelSpec {
    let text = include_str!("../../testdata/fraud-scorer.yaml");
    let model: serde_json::Value = serde_yaml_ng::from_str(text).expect("YAML");
    let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].clone()).expect("a spec");
    spec.guards.truncate(3);
    spec.rollout.interval = "15s".into();
    spec.rollout.steps[0].hold = "2h".into();
    spec
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn main() {
    let text = fated(
        1,
        60,
        &[("stable", good(60.0)), ("candidate", good(60.0))],
        6,
        &|_, _, _| Fate::default(),
    );
    let recording = openmetrics::read(&text).expect("a recording");
    let series = recording.series().len();
    let samples: usize = recording.series().iter().map(|s| s.samples.len()).sum();
    let of = |name: &str| parse_matchers(&format!("{{arm=\"{name}\"}}")).expect("matchers");
    let arms = Arms {
        stable: of("stable"),
        candidate: of("candidate"),
        reference: of("reference"),
    };
    let spec = spec();
    let reading = median(|| drop(black_box(openmetrics::read(black_box(&text)))));
    let replaying = median(|| {
        let replay = simulate(&spec, &recording, &arms, None).expect("a replay");
        assert_eq!(replay.outcome, Outcome::Undecided, "{}", replay.why);
    });
    println!("{series} series, {samples} samples, {:.1} MB", text.len() as f64 / 1e6);
    println!(
        "reading    {:7.1} ms  {:.0} MB/s  {:.0} ns a sample",
        reading.as_secs_f64() * 1e3,
        text.len() as f64 / 1e6 / reading.as_secs_f64(),
        reading.as_secs_f64() * 1e9 / samples as f64
    );
    println!("replaying  {:7.1} ms", replaying.as_secs_f64() * 1e3);
}
