//! Evidence as clusters have it: any scrape interval, counters that lie, arms that cannot be compared.

use std::fmt::Write as _;
use std::path::Path;

use guardbit::api::QuantizedModelSpec;
use guardbit::simulate::{Outcome, Replay, openmetrics, simulate};

use crate::random::Random;
use crate::replays::arms;

/// A file of tests/testdata/faults.
fn fault(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/testdata/faults")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn spec_of(name: &str) -> QuantizedModelSpec {
    let model: serde_json::Value = serde_yaml_ng::from_str(&fault(name)).unwrap();
    serde_json::from_value(model["spec"].clone()).unwrap()
}

fn replay_of(model: &str, text: &str) -> Replay {
    simulate(&spec_of(model), &openmetrics::read(text).unwrap(), &arms(), None).unwrap()
}

#[test]
fn every_recording_that_was_judged_wrongly_is_judged_rightly() {
    let cases = [
        ("f1-30-5-20-50.om", "errors.yaml", Outcome::RolledBack, "errors"),
        ("f1-30-5-20-0.5.om", "errors.yaml", Outcome::Promoted, ""),
        (
            "f3-renamed.om",
            "errors.yaml",
            Outcome::Undecided,
            "selects by the label code, which no series of http_requests_total of the candidate has (its labels are arm, pod, \
             status_code)",
        ),
        ("f2-slow.om", "latency.yaml", Outcome::RolledBack, "latency"),
        // Outputs drift by 0.48, on bounds that are written differently.
        ("f2-float.om", "drift.yaml", Outcome::RolledBack, "drift"),
        ("cdip-1-30.om", "errors.yaml", Outcome::Promoted, ""),
        (
            "f5-4-3-s7.om",
            "errors.yaml",
            Outcome::Undecided,
            "fall again and again",
        ),
    ];
    for (recording, model, outcome, why) in cases {
        let replay = replay_of(model, &fault(recording));
        assert_eq!(replay.outcome, outcome, "{recording}: {}", replay.why);
        assert!(replay.why.contains(why), "{recording}: {}", replay.why);
    }
}

#[test]
fn half_of_the_requests_failing_is_found_within_two_scrapes_whatever_their_offsets() {
    let replay = replay_of("errors.yaml", &fault("f1-30-5-20-50.om"));
    let trial = replay.decisions.iter().find(|step| step.weight > 0).unwrap().at_seconds;
    assert!(replay.at_seconds - trial <= 75.0, "{} after {trial}", replay.at_seconds);
    assert_eq!(replay.decisions.iter().map(|step| step.weight).max(), Some(5));
}

/// How an arm is scraped.
struct Scraped {
    /// Seconds between two scrapes of a pod.
    every: i64,
    /// Seconds by which each pod's scrapes are late.
    offsets: Vec<i64>,
    /// Share of scrapes that are missed.
    missed: f64,
}

/// An hour of Poisson traffic on pods with clocks of their own, as counters. Traffic depends on the seed alone.
fn hour(seed: u64, arms: &[(&str, f64, f64, &Scraped)]) -> String {
    let mut out = String::new();
    for (number, (arm, rps, errors, scraped)) in arms.iter().enumerate() {
        let pods = scraped.offsets.len();
        for (pod, offset) in scraped.offsets.iter().enumerate() {
            let mut traffic = Random::new(1000 * seed + 10 * number as u64 + pod as u64);
            let mut luck = Random::new(seed + 77);
            let (mut good, mut bad) = (0, 0);
            for second in 0..3_600i64 {
                if second % scraped.every == offset % scraped.every && luck.uniform() >= scraped.missed {
                    let at = crate::trace::START + second;
                    let labels = format!("arm=\"{arm}\",pod=\"{arm}-{pod}\"");
                    let _ = writeln!(out, "http_requests_total{{{labels},code=\"200\"}} {good} {at}");
                    if bad > 0 {
                        let _ = writeln!(out, "http_requests_total{{{labels},code=\"500\"}} {bad} {at}");
                    }
                }
                good += traffic.poisson(rps * (1.0 - errors) / pods as f64);
                bad += traffic.poisson(rps * errors / pods as f64);
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

/// Outcomes and the median of their times over seeds.
fn outcomes(every: i64, errors: f64, own: bool) -> (Vec<Outcome>, f64) {
    let mut ends: Vec<(f64, Outcome)> = (1..=9)
        .map(|seed| {
            let mut random = Random::new(seed * 31 + every as u64);
            let mut scraped = |pods: usize| Scraped {
                every,
                offsets: (0..pods)
                    .map(|_| {
                        if own {
                            (random.uniform() * every as f64) as i64
                        } else {
                            0
                        }
                    })
                    .collect(),
                missed: if own { 0.02 } else { 0.0 },
            };
            let (stable, candidate) = (scraped(3), scraped(1 + seed as usize % 2));
            let text = hour(
                seed,
                &[("stable", 18.0, 0.005, &stable), ("candidate", 2.0, errors, &candidate)],
            );
            let replay = replay_of("errors.yaml", &text);
            (replay.at_seconds, replay.outcome)
        })
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    (
        ends.iter().map(|(_, outcome)| *outcome).collect(),
        ends[ends.len() / 2].0,
    )
}

#[test]
fn the_verdict_and_its_time_do_not_depend_on_when_pods_are_scraped() {
    for every in [1, 7, 15, 30, 47, 60] {
        for (errors, outcome) in [
            (0.05, Outcome::RolledBack),
            (0.2, Outcome::RolledBack),
            (0.003, Outcome::Promoted),
        ] {
            let (aligned, (own, at)) = (outcomes(every, errors, false), outcomes(every, errors, true));
            assert!(
                own.iter().chain(&aligned.0).all(|end| *end == outcome),
                "{every} s, {errors}: {own:?} against {:?}",
                aligned.0
            );
            let most = 1.2 * aligned.1 + every as f64;
            assert!(at <= most, "{every} s, {errors}: {at} s against {} s", aligned.1);
        }
    }
}

/// Traffic of an hour, scraped each 15 s, whose samples `lie` changes: (arm, scrape, good, bad).
fn lying(seed: u64, errors: f64, lie: impl Fn(&str, i64, u64, u64) -> Option<(u64, u64)>) -> Replay {
    let mut out = String::new();
    for (number, (arm, rps, errors)) in [("stable", 18.0, 0.005), ("candidate", 2.0, errors)]
        .into_iter()
        .enumerate()
    {
        let mut traffic = Random::new(100 * seed + number as u64);
        let (mut good, mut bad) = (10_000, 50);
        for scrape in 0..240i64 {
            if let Some((good, bad)) = lie(arm, scrape, good, bad) {
                let at = crate::trace::START + 15 * scrape;
                let _ = writeln!(
                    out,
                    "http_requests_total{{arm=\"{arm}\",pod=\"{arm}-0\",code=\"200\"}} {good} {at}"
                );
                let _ = writeln!(
                    out,
                    "http_requests_total{{arm=\"{arm}\",pod=\"{arm}-0\",code=\"500\"}} {bad} {at}"
                );
            }
            good += traffic.poisson(15.0 * rps * (1.0 - errors));
            bad += traffic.poisson(15.0 * rps * errors);
        }
    }
    out.push_str("# EOF\n");
    replay_of("errors.yaml", &out)
}

/// What a scrape shows of the good and the bad requests.
type Dip = fn(u64, u64) -> (u64, u64);

#[test]
fn a_counter_that_falls_without_a_restart_adds_no_request() {
    for seed in 1..=5 {
        // One scrape late in the trial shows a little less, or half as much, of the errors or of all requests.
        let dips: [Dip; 4] = [
            |good, bad| (good - 1, bad),
            |good, bad| (good, bad - 1),
            |good, bad| (good / 2, bad / 2),
            |good, bad| (good, bad / 3),
        ];
        for (number, dip) in dips.into_iter().enumerate() {
            for at in [3, 10, 20] {
                let replay = lying(seed, 0.005, |arm, scrape, good, bad| match (arm, scrape) {
                    ("candidate", scrape) if scrape == at => Some(dip(good, bad)),
                    _ => Some((good, bad)),
                });
                assert_eq!(
                    replay.outcome,
                    Outcome::Promoted,
                    "dip {number} at {at}: {}",
                    replay.why
                );
            }
        }
        // A sum over pods loses one for three scrapes, or for good.
        for until in [13, i64::MAX] {
            let replay = lying(seed, 0.005, |arm, scrape, good, bad| match arm {
                "candidate" if (10..until).contains(&scrape) => Some((good - 6_000, bad - 30)),
                _ => Some((good, bad)),
            });
            assert_eq!(replay.outcome, Outcome::Promoted, "a sum without a pod: {}", replay.why);
        }
        // A process that does restart is judged by what it counts from 0 on.
        for (errors, outcome) in [(0.005, Outcome::Promoted), (0.05, Outcome::RolledBack)] {
            let mut base = None;
            let replay = {
                let base = std::cell::RefCell::new(&mut base);
                lying(seed, errors, |arm, scrape, good, bad| match arm {
                    "candidate" if scrape >= 8 => {
                        let mut base = base.borrow_mut();
                        let (g, b) = *base.get_or_insert((good, bad));
                        Some((good - g, bad - b))
                    }
                    _ => Some((good, bad)),
                })
            };
            assert_eq!(replay.outcome, outcome, "a restart: {}", replay.why);
        }
    }
}
