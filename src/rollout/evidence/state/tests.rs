//! The bytes of the stored state, part by part: fixed polls must give them as long as the version stays.
//!
//! If `the_layout_of_every_part_is_that_of_its_version` fails, the layout has changed, and a state that another
//! guardbit wrote would be misread. Give `VERSION` the next number, then write the bytes of the new version with
//!
//!     INSTA_UPDATE=always cargo test --lib evidence::state
//!
//! and remove the snapshot of the version before.

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::evidence::{
    Amounts, ArmSamples, BucketForm, Buckets, Counts, GuardSamples, Matrix, NativeMatrix, Observed, Poll, Role, Series,
};
use crate::guards::{Agreement, Fidelity, Kind, Latency, Proportion, Query, Ratio, SuiteConfig};
use crate::judge::{BenefitConfig, Budget, Regime, Tolerance, Tolerated};

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A guard of each kind, by name.
fn guards() -> BTreeMap<String, Kind> {
    let tolerance = Tolerance {
        ratio: 1.5,
        absolute: 0.005,
    };
    let budget = Budget {
        slower: 0.05,
        within: 0.06,
    };
    let guards = [
        ("errors", Kind::Proportion(Proportion { tolerance })),
        (
            "latency",
            Kind::Latency(Latency {
                tolerance: Tolerated::Slowdown {
                    factor: 1.25,
                    absolute: 0.005,
                },
                budget: Some(budget),
                at_load: Some(0.1),
                per_second: 1.0,
            }),
        ),
        (
            "drift",
            Kind::Fidelity(Fidelity {
                max_total_variation: 0.05,
            }),
        ),
        (
            "energy",
            Kind::Ratio(Ratio {
                max: 1.0,
                consecutive: 2,
                of: 3,
            }),
        ),
        (
            "memory",
            Kind::Query(Query {
                min: None,
                max: Some(0.95),
                consecutive: 1,
                of: 1,
            }),
        ),
        (
            "agreement",
            Kind::Agreement(Agreement {
                tolerance: Tolerance {
                    ratio: 0.0,
                    absolute: 0.05,
                },
            }),
        ),
    ];
    guards.map(|(name, guard)| (name.to_owned(), guard)).into()
}

/// What a guard sees in its nth poll.
fn observed(guard: &str, n: u64) -> Observed {
    let buckets = |scale: u64| Buckets {
        bounds: vec![0.01, 0.02, 0.05, 0.1],
        counts: vec![60 * scale, 30 * scale + n, 8 * scale, scale, n % 2],
        pods: 2,
    };
    let amounts = |spent: f64, on: f64| Amounts {
        numerator: spent + n as f64,
        denominator: on,
    };
    match guard {
        "agreement" => Observed::Proportion {
            candidate: Counts { n: 25, x: n % 2 },
            baseline: Counts { n: 2 + n % 2, x: 0 },
        },
        "errors" => Observed::Proportion {
            candidate: Counts { n: 100 + n, x: n % 3 },
            baseline: Counts {
                n: 900 + n,
                x: 2 + n % 2,
            },
        },
        "energy" => Observed::Ratio {
            candidate: amounts(40.0, 100.0),
            baseline: amounts(410.0, 1000.0),
        },
        "memory" => Observed::Value(0.5 + n as f64 / 100.0),
        _ => Observed::Histogram {
            candidate: buckets(1),
            baseline: buckets(9),
        },
    }
}

fn polls(guard: &str) -> impl Iterator<Item = Poll> {
    let poll = |n: u64| Poll {
        from: 1_000 * n as i64,
        through: 1_000 * (n as i64 + 1),
        observed: observed(guard, n),
    };
    (0..12).map(poll).collect::<Vec<_>>().into_iter()
}

/// The test of one guard, with its past and a step behind it.
fn suite(guard: &str) -> Suite {
    let config = SuiteConfig {
        guards: guards().into_iter().filter(|(name, _)| name == guard).collect(),
        regime: Regime::Rollout {
            false_rollback: 0.05,
            false_promotion: 0.05,
        },
    };
    let mut suite = Suite::default();
    let past: Vec<_> = (0..20).map(|n| observed(guard, n)).collect();
    suite.recall(&config, guard, &past);
    suite.counts_in(guard, BucketForm::Native);
    suite.remark(guard, Some("odd".to_owned()));
    for (n, poll) in polls(guard).enumerate() {
        if n == 6 {
            suite.mark_step();
        }
        suite.observe(&config, guard, &poll);
    }
    suite
}

fn benefit(guard: &str) -> BenefitTest {
    let wanted = BenefitConfig {
        guard: guard.to_owned(),
        at_least: 0.05,
        false_promotion: 0.05,
    };
    let config = &guards()[guard];
    let mut test = BenefitTest::new(config);
    test.recall(config, Some(0.1), &[observed(guard, 0)]);
    for poll in polls(guard) {
        test.observe(&wanted, config, Some(0.1), &poll.observed);
    }
    test
}

fn split() -> SplitTest {
    let mut test = SplitTest::new((10, 90));
    for poll in polls("errors") {
        test.observe(&poll.observed);
    }
    test
}

fn matrix(pod: &str, each: f64) -> Matrix {
    let labels = [("pod".to_owned(), pod.to_owned()), ("le".to_owned(), "+Inf".to_owned())];
    let series = Series {
        labels: BTreeMap::from(labels).into(),
        samples: (0..4).map(|n| (5_000 * n, each * n as f64)).collect(),
    };
    Matrix { series: vec![series] }
}

fn native(pod: &str) -> NativeMatrix {
    let sample = |n: i64| {
        let count = (10 * n).to_string();
        json!([5 * n, {"count": count, "sum": "0", "buckets": [[0, "0.5", "1", count]]}])
    };
    let series = json!({"metric": {"__name__": "h", "pod": pod}, "histograms": [sample(0), sample(1), sample(2)]});
    let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": [series]}});
    NativeMatrix::parse(answer.to_string().as_bytes()).unwrap()
}

/// A cursor that has counted these samples of both arms.
fn cursor(arm: impl Fn(&str) -> ArmSamples) -> Cursor {
    let samples = GuardSamples {
        candidate: arm("candidate"),
        baseline: arm("baseline"),
    };
    let mut cursor = Cursor::new(0);
    cursor.advance(&samples, 15_000, 5_000, &BTreeMap::new());
    cursor
}

fn cursors() -> BTreeMap<String, Cursor> {
    let proportion = |pod: &str| ArmSamples::of([(Role::Total, matrix(pod, 100.0)), (Role::Bad, matrix(pod, 1.0))]);
    // The denominator of the baseline is missing, so the counts of the rest wait for it.
    let ratio = |pod: &str| {
        let denominator = if pod == "baseline" {
            Matrix::default()
        } else {
            matrix(pod, 10.0)
        };
        ArmSamples::of([(Role::Numerator, matrix(pod, 4.1)), (Role::Denominator, denominator)])
    };
    // The counter of the baseline fell, for whatever reason.
    let falls = |pod: &str| {
        let mut total = matrix(pod, 100.0);
        if let (Some(sample), "baseline") = (total.series[0].samples.get_mut(2), pod) {
            sample.1 = 60.0;
        }
        ArmSamples::of([(Role::Total, total), (Role::Bad, matrix(pod, 1.0))])
    };
    [
        ("falls", cursor(falls)),
        (
            "classic",
            cursor(|pod| ArmSamples::of([(Role::Buckets, matrix(pod, 100.0))])),
        ),
        ("native", cursor(|pod| native(pod).into())),
        ("proportion", cursor(proportion)),
        ("ratio", cursor(ratio)),
    ]
    .map(|(name, cursor)| (name.to_owned(), cursor))
    .into()
}

fn running() -> Running {
    Running {
        epoch: "epoch".to_owned(),
        since: 1_800_000_000_000,
        suite: suite("errors"),
        cursors: cursors(),
        benefit: Some(benefit("errors")),
        split: Some(split()),
    }
}

#[test]
fn the_layout_of_every_part_is_that_of_its_version() {
    let mut parts: Vec<(String, String)> = Vec::new();
    let mut part = |name: &str, bytes: Result<Vec<u8>, postcard::Error>| {
        parts.push((name.to_owned(), hex::encode(bytes.unwrap())));
    };
    for guard in guards().keys() {
        part(&format!("suite of {guard}"), postcard::to_stdvec(&suite(guard)));
    }
    for (name, cursor) in &cursors() {
        part(&format!("cursor of {name}"), postcard::to_stdvec(cursor));
    }
    for guard in ["errors", "latency", "energy"] {
        part(&format!("benefit of {guard}"), postcard::to_stdvec(&benefit(guard)));
    }
    part("split", postcard::to_stdvec(&split()));
    part("running", postcard::to_stdvec(&running()));
    let lines = parts.iter().map(|(name, hex)| format!("{name}: {hex}"));
    let text = lines.collect::<Vec<_>>().join("\n");
    insta::with_settings!({snapshot_path => "../../../../tests/snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(format!("state_{}", VERSION.trim_end_matches(':')), text);
    });
}

#[test]
fn a_state_comes_back_as_it_was_stored_and_as_it_was_printed() {
    let running = running();
    let read = Running::read(Some(&running.write()), "epoch", time(1));
    assert_eq!(read, (running.clone(), None));
    let printed = serde_json::to_string(&running).unwrap();
    assert_eq!(serde_json::from_str::<Running>(&printed).unwrap(), running);
}

#[test]
fn a_state_of_another_epoch_is_left_aside() {
    let read = Running::read(Some(&running().write()), "another", time(1));
    assert_eq!(read, (Running::fresh("another", time(1)), None));
}

#[test]
fn a_state_that_is_not_of_this_layout_is_refused() {
    let stored = running().write();
    let trailing = {
        let mut bytes = postcard::to_stdvec(&running()).unwrap();
        bytes.push(0);
        format!("{VERSION}{}", STANDARD_NO_PAD.encode(bytes))
    };
    let (_, shorter) = stored.split_at(VERSION.len());
    let cut = format!("{VERSION}{}", &shorter[..shorter.len() / 2]);
    for (stored, why) in [
        (
            stored.replacen(VERSION, "v2:", 1),
            "another version of guardbit wrote it",
        ),
        (trailing, "bytes follow its end"),
        (cut, ""),
        (String::new(), "another version of guardbit wrote it"),
        (format!("{VERSION}?"), ""),
    ] {
        let (running, refused) = Running::read(Some(&stored), "epoch", time(1));
        assert_eq!(running, Running::fresh("epoch", time(1)));
        let said = refused.unwrap().to_string();
        assert!(why.is_empty() || said == why, "{stored}: {said}");
    }
}
