//! Makes recordings: Poisson traffic on the arms, counters that follow it, scraped every 15 s.

use std::fmt::Write as _;

use crate::random::Random;

/// Between two scrapes, seconds.
pub const SCRAPE: i64 = 15;
/// First sample, Unix seconds.
pub const START: i64 = 1_780_000_000;

/// How an arm behaves.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    pub rps: f64,
    /// Share of requests that fail.
    pub errors: f64,
    /// Factor on latencies.
    pub slowdown: f64,
    /// Mass of outputs that moves from the lower to the upper half.
    pub drift: f64,
    /// Energy of a request.
    pub joules: f64,
}

/// An arm that behaves well.
pub fn good(rps: f64) -> Truth {
    Truth {
        rps,
        errors: 0.005,
        slowdown: 1.0,
        drift: 0.0,
        joules: 0.41,
    }
}

/// What becomes of one scrape of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Its samples never reach Prometheus.
    pub lost: bool,
    /// The container was restarted since the scrape before: its counters began at 0 again.
    pub restarted: bool,
    /// The pod was replaced since the scrape before: it has another name, and its counters began at 0.
    pub replaced: bool,
}

const LATENCIES: [f64; 12] = [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.2, 0.5];

/// Text of a recording of so many minutes. `missing` tells at which scrapes (counted from 0) there is none.
pub fn recording(seed: u64, minutes: i64, arms: &[(&str, Truth)], missing: impl Fn(i64) -> bool) -> String {
    let fate = |_: &str, _, scrape| Fate {
        lost: missing(scrape),
        ..Fate::default()
    };
    fated(seed, minutes, arms, 0, &fate)
}

/// The same with so many pods to an arm, whose scrapes (arm, pod, number of the scrape) have a fate. No pods: one nameless
/// server. The traffic of a seed is the same whatever becomes of its scrapes.
pub fn fated(
    seed: u64,
    minutes: i64,
    arms: &[(&str, Truth)],
    pods: usize,
    fate: &dyn Fn(&str, usize, i64) -> Fate,
) -> String {
    let mut random = Random::new(seed);
    let mut out = String::new();
    for (arm, truth) in arms {
        for pod in 0..pods.max(1) {
            server(&mut out, &mut random, arm, truth, (pod, pods), minutes, &|scrape| {
                fate(arm, pod, scrape)
            });
        }
    }
    out.push_str("# EOF\n");
    out
}

fn server(
    out: &mut String,
    random: &mut Random,
    arm: &str,
    truth: &Truth,
    (pod, pods): (usize, usize),
    minutes: i64,
    fate: &dyn Fn(i64) -> Fate,
) {
    let mut good = 0;
    let mut bad = 0;
    let mut latency = vec![0; LATENCIES.len() + 1];
    let mut score = [0; 20];
    let mut name = 0;
    let requests = truth.rps * SCRAPE as f64 / pods.max(1) as f64;
    for scrape in 0..=minutes * 60 / SCRAPE {
        let fate = fate(scrape);
        if fate.restarted || fate.replaced {
            (good, bad) = (0, 0);
            latency.fill(0);
            score.fill(0);
            name += u32::from(fate.replaced);
        }
        if scrape > 0 {
            good += random.poisson(requests * (1.0 - truth.errors));
            bad += random.poisson(requests * truth.errors);
            let mut below = 0.0;
            for (i, count) in latency.iter_mut().enumerate() {
                let up_to = LATENCIES
                    .get(i)
                    .map_or(1.0, |bound| 1.0 - (-bound / (0.012 * truth.slowdown)).exp());
                *count += random.poisson(requests * (up_to - below));
                below = up_to;
            }
            for (i, count) in score.iter_mut().enumerate() {
                let moved = if i < 10 { -truth.drift } else { truth.drift };
                *count += random.poisson(requests * (0.05 + moved / 10.0));
            }
        }
        if fate.lost {
            continue;
        }
        let at = START + scrape * SCRAPE;
        let labels = match pods {
            0 => format!("arm=\"{arm}\""),
            _ => format!("arm=\"{arm}\",pod=\"{arm}-{pod}-{name}\""),
        };
        // Another exporter, which is scraped half as often.
        if scrape % 2 == 0 {
            let joules = (good + bad) as f64 * truth.joules;
            let _ = writeln!(out, "gpu_energy_joules_total{{{labels},job=\"gpu\"}} {joules} {at}.000");
        }
        let _ = writeln!(out, "http_requests_total{{{labels},code=\"200\"}} {good} {at}.000");
        if bad > 0 {
            let _ = writeln!(out, "http_requests_total{{{labels},code=\"500\"}} {bad} {at}.000");
        }
        let le = |i: usize| LATENCIES.get(i).map_or("+Inf".to_owned(), f64::to_string);
        buckets(out, "http_request_duration_seconds", &labels, &latency, le, at);
        let le = |i: usize| {
            if i < 19 {
                format!("{}", (i + 1) as f64 / 20.0)
            } else {
                "+Inf".to_owned()
            }
        };
        buckets(out, "model_score", &labels, &score, le, at);
    }
}

fn buckets(out: &mut String, name: &str, labels: &str, counts: &[u64], le: impl Fn(usize) -> String, at: i64) {
    let mut below = 0;
    for (i, count) in counts.iter().enumerate() {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {below} {at}.000", le(i));
    }
}
