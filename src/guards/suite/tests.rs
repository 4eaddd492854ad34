//! The guards of a rollout together: their stored state, their rules and their sentences.

use super::*;
use crate::evidence::{Amounts, Buckets, Counts};
use crate::guards::{Agreement, Fidelity, Latency, Proportion, Query, Ratio};
use crate::judge::{Budget, Regime, Tolerance, Tolerated};
use proptest::prelude::*;

fn config() -> SuiteConfig {
    let share = Tolerance {
        ratio: 1.0,
        absolute: 0.005,
    };
    SuiteConfig {
        guards: BTreeMap::from([
            ("errors".to_owned(), Kind::Proportion(Proportion { tolerance: share })),
            (
                "latency".to_owned(),
                Kind::Latency(Latency {
                    tolerance: Tolerated::Share(Tolerance { ratio: 1.5, ..share }),
                    budget: Some(Budget {
                        slower: 0.5,
                        within: 0.9,
                    }),
                    at_load: None,
                    per_second: 1.0,
                }),
            ),
            (
                "drift".to_owned(),
                Kind::Fidelity(Fidelity {
                    max_total_variation: 0.05,
                }),
            ),
            (
                "energy".to_owned(),
                Kind::Ratio(Ratio {
                    max: 1.0,
                    consecutive: 2,
                    of: 3,
                }),
            ),
            (
                "memory".to_owned(),
                Kind::Query(Query {
                    min: None,
                    max: Some(0.9),
                    consecutive: 2,
                    of: 3,
                }),
            ),
        ]),
        regime: Regime::Rollout {
            false_rollback: 0.05,
            false_promotion: 0.05,
        },
    }
}

fn buckets(scale: u64) -> Buckets {
    Buckets {
        bounds: (1..40).map(|i| f64::from(i) / 40.0).collect(),
        counts: (0..40).map(|i| scale * (1 + i % 7)).collect(),
        pods: scale as u32,
    }
}

/// What 100 requests of the candidate and 1,000 of the baseline cost.
fn joules(candidate: f64, baseline: f64) -> Observed {
    Observed::Ratio {
        candidate: Amounts {
            numerator: candidate,
            denominator: 100.0,
        },
        baseline: Amounts {
            numerator: baseline,
            denominator: 1000.0,
        },
    }
}

fn observe(suite: &mut Suite, config: &SuiteConfig, guard: &str, t: i64, observed: Observed) {
    let poll = Poll {
        from: (t - 1) * 15_000,
        through: t * 15_000,
        observed,
    };
    suite.observe(config, guard, &poll);
}

fn seen(polls: i64) -> Suite {
    let (config, mut suite) = (config(), Suite::default());
    for t in 1..=polls {
        let errors = Observed::Proportion {
            candidate: Counts { n: 100, x: 1 },
            baseline: Counts { n: 900, x: 4 },
        };
        let histogram = Observed::Histogram {
            candidate: buckets(1),
            baseline: buckets(9),
        };
        for (guard, observed) in [
            ("errors", errors),
            ("latency", histogram.clone()),
            ("drift", histogram),
            ("energy", joules(41.0, 410.0)),
            ("memory", Observed::Value(0.5)),
        ] {
            observe(&mut suite, &config, guard, t, observed);
        }
    }
    suite
}

#[test]
fn the_stored_state_is_small_and_comes_back_whole() {
    let suite = seen(50);
    let bytes = postcard::to_stdvec(&suite).unwrap();
    assert!(bytes.len() < 4_500, "{} bytes", bytes.len());
    assert_eq!(postcard::from_bytes::<Suite>(&bytes).unwrap(), suite);
}

#[test]
fn no_interval_counts_twice() {
    let (config, mut suite) = (config(), seen(5));
    let before = suite.clone();
    let again = Observed::Proportion {
        candidate: Counts { n: 100, x: 100 },
        baseline: Counts { n: 900, x: 4 },
    };
    observe(&mut suite, &config, "errors", 5, again);
    assert_eq!(suite, before);
}

#[test]
fn a_guard_that_changed_its_kind_starts_afresh() {
    let mut config = config();
    config.guards.insert(
        "errors".to_owned(),
        Kind::Fidelity(Fidelity {
            max_total_variation: 0.05,
        }),
    );
    let report = seen(5)
        .reports(&config)
        .into_iter()
        .find(|r| r.name == "errors")
        .unwrap();
    assert_eq!(report.verdict, Verdict::NoData);
}

#[test]
fn a_query_is_harmful_by_its_k_of_n_rule_alone() {
    let (config, mut suite) = (config(), seen(5));
    for (t, value, harmful) in [(6, 0.95, false), (7, f64::NAN, false), (8, 0.5, false), (9, 0.95, true)] {
        observe(&mut suite, &config, "memory", t, Observed::Value(value));
        assert_eq!(suite.harmful(&config).is_some(), harmful, "poll {t}");
    }
    assert_eq!(
        suite.harmful(&config).unwrap().message,
        "memory: 0.95 (wanted: at most 0.9), out of bounds in 2 of the last 3 polls (plain rule: 2 of 3); beyond its bounds"
    );
}

#[test]
fn a_ratio_is_judged_against_the_baselines_by_its_k_of_n_rule_alone() {
    let (config, mut suite) = (config(), seen(5));
    let idle = Observed::Ratio {
        candidate: Amounts {
            numerator: 90.0,
            denominator: 0.0,
        },
        baseline: Amounts {
            numerator: 410.0,
            denominator: 1000.0,
        },
    };
    for (t, observed, harmful) in [
        (6, joules(54.1, 410.0), false),
        // Polls in which nothing was done or nothing was spent do not count.
        (7, idle, false),
        (8, joules(99.0, 0.0), false),
        (9, joules(40.0, 410.0), false),
        (10, joules(54.1, 410.0), true),
    ] {
        observe(&mut suite, &config, "energy", t, observed);
        assert_eq!(suite.harmful(&config).is_some(), harmful, "poll {t}");
    }
    let report = suite.harmful(&config).unwrap();
    assert_eq!(
        report.message,
        "energy: 1.32 × the baseline's 0.410 (wanted: at most 1.0), \
         out of bounds in 2 of the last 3 polls (plain rule: 2 of 3); beyond its bound"
    );
    assert_eq!((report.evidence.as_str(), report.threshold.as_str()), ("2", "2 of 3"));
    assert_eq!(report.estimate, "0.541 vs 0.410");
}

#[test]
fn a_ratio_is_healthy_after_a_whole_window_and_without_data_nothing() {
    let (config, mut suite) = (config(), Suite::default());
    let energy = |suite: &Suite| suite.reports(&config).into_iter().find(|r| r.name == "energy").unwrap();
    assert_eq!(
        energy(&suite).message,
        "energy: no poll yet in which both arms did something; no data"
    );
    for (t, verdict) in [(1, Verdict::Undecided), (2, Verdict::Undecided), (3, Verdict::Healthy)] {
        observe(&mut suite, &config, "energy", t, joules(30.0, 410.0));
        assert_eq!(energy(&suite).verdict, verdict, "poll {t}");
    }
    assert_eq!(
        energy(&suite).message,
        "energy: 0.732 × the baseline's 0.410 (wanted: at most 1.0), \
         out of bounds in 0 of the last 3 polls (plain rule: 2 of 3); within its bound"
    );
}

fn latency(at_load: Option<f64>, per_second: f64) -> SuiteConfig {
    let guard = Kind::Latency(Latency {
        tolerance: Tolerated::Share(Tolerance {
            ratio: 1.5,
            absolute: 0.005,
        }),
        budget: Some(Budget {
            slower: 0.5,
            within: 0.9,
        }),
        at_load,
        per_second,
    });
    SuiteConfig {
        guards: BTreeMap::from([("latency".to_owned(), guard)]),
        ..config()
    }
}

/// Polls in which two pods of the baseline carry 700 requests each, and `pods` of the candidate 700 in all.
fn loaded(config: &SuiteConfig, polls: i64, pods: u32, slow: u64) -> Suite {
    let mut suite = Suite::default();
    let buckets = |pods: u32, requests: u64, slow: u64| Buckets {
        bounds: vec![0.1, 0.5],
        counts: vec![requests - requests / 10 - slow, requests / 10, slow],
        pods,
    };
    for t in 1..=polls {
        let observed = Observed::Histogram {
            candidate: buckets(pods, 700, slow),
            baseline: buckets(2, 1400, 0),
        };
        observe(&mut suite, config, "latency", t, observed);
    }
    suite
}

#[test]
fn health_of_latency_counts_only_at_load_and_harm_always() {
    let config = latency(Some(0.8), 1.0);
    let busy = loaded(&config, 40, 1, 0).reports(&config).remove(0);
    assert_eq!(busy.verdict, Verdict::Healthy);
    assert!(
        busy.message
            .contains(", 40 of 40 polls at 80% or more of the baseline's load per pod"),
        "{}",
        busy.message
    );
    let idle = loaded(&config, 40, 2, 0).reports(&config).remove(0);
    assert_eq!((idle.verdict, idle.health_progress), (Verdict::Undecided, 0.0));
    assert!(idle.message.contains(", 0 of 40 polls at 80%"), "{}", idle.message);
    // Without the number of pods nothing shows that the load was enough.
    assert_eq!(
        loaded(&config, 40, 0, 0).reports(&config)[0].verdict,
        Verdict::Undecided
    );
    assert!(loaded(&config, 40, 2, 100).harmful(&config).is_some());
    let anyway = latency(None, 1.0);
    assert_eq!(loaded(&anyway, 40, 2, 0).reports(&anyway)[0].verdict, Verdict::Healthy);
}

/// Each of two guards has half of the evidence that it would need alone.
#[test]
fn harm_that_guards_find_together_is_not_called_undecided() {
    let (mut config, mut suite) = (config(), Suite::default());
    let errors = config.guards["errors"];
    config.guards = BTreeMap::from([("errors".to_owned(), errors), ("refusals".to_owned(), errors)]);
    let poll = || Observed::Proportion {
        candidate: Counts { n: 100, x: 2 },
        baseline: Counts { n: 900, x: 4 },
    };
    let harm = (1..400).find_map(|t| {
        observe(&mut suite, &config, "errors", t, poll());
        observe(&mut suite, &config, "refusals", t, poll());
        suite.harmful(&config)
    });
    let harm = harm.expect("harm");
    assert_eq!(suite.reports(&config)[0].verdict, Verdict::Undecided);
    assert_eq!(harm.verdict, Verdict::Harmful);
    let ending = "; beyond the tolerance of 0.50% + baseline, together with the other guards at 1-in-20 risk";
    assert!(harm.message.ends_with(ending), "{}", harm.message);
}

#[test]
fn a_histogram_in_milliseconds_is_judged_in_seconds() {
    let (seconds, millis) = (latency(None, 1.0), latency(None, 1000.0));
    let polls = |config: &SuiteConfig, scale: f64| {
        let mut suite = Suite::default();
        let buckets = |slow: u64| Buckets {
            bounds: [0.005, 0.035, 0.9, 1.1].map(|bound| bound * scale).to_vec(),
            counts: vec![500, 400, 100, slow, slow],
            pods: 1,
        };
        let past = Observed::Histogram {
            candidate: Buckets::default(),
            baseline: buckets(1),
        };
        suite.recall(config, "latency", &[past]);
        for t in 1..=5 {
            let observed = Observed::Histogram {
                candidate: buckets(40),
                baseline: buckets(1),
            };
            observe(&mut suite, config, "latency", t, observed);
        }
        suite.reports(config).remove(0)
    };
    let report = polls(&millis, 1000.0);
    assert_eq!(report, polls(&seconds, 1.0));
    assert!(report.message.contains("slower than 0.9 s"), "{}", report.message);
}

#[test]
fn a_verdict_reads_as_a_sentence_with_counts() {
    let (mut config, mut suite) = (config(), Suite::default());
    config.guards.retain(|name, _| name == "errors");
    let observed = Observed::Proportion {
        candidate: Counts { n: 2310, x: 41 },
        baseline: Counts { n: 21_004, x: 105 },
    };
    observe(&mut suite, &config, "errors", 1, observed);
    assert_eq!(
        suite.harmful(&config).unwrap().message,
        "errors: 41 of 2,310 (1.8%) against 0.50% of 21,004; beyond the tolerance of 0.50% + baseline at 1-in-20 risk"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = postcard::from_bytes::<Suite>(&bytes).map(|suite| suite.reports(&config()));
    }

    #[test]
    fn arbitrary_polls_never_panic_and_all_figures_stay_finite(
        polls in proptest::collection::vec((0u64..1_000_000, 0u64..1_000_000, 0u64..1_000_000, 0u64..1_000_000), 1..20)
    ) {
        let (config, mut suite) = (config(), Suite::default());
        for (t, (a, b, c, d)) in polls.into_iter().enumerate() {
            let t = t as i64 + 1;
            let observed = Observed::Proportion { candidate: Counts { n: a.max(b), x: b }, baseline: Counts { n: c.max(d), x: d } };
            observe(&mut suite, &config, "errors", t, observed);
            let histogram = |x: u64, y: u64| Buckets { bounds: vec![0.1, 0.5], counts: vec![x, y, x ^ y], pods: 1 };
            let observed = Observed::Histogram { candidate: histogram(a, b), baseline: histogram(c, d) };
            observe(&mut suite, &config, "latency", t, observed.clone());
            observe(&mut suite, &config, "drift", t, observed);
            let amounts = |x: u64, y: u64| Amounts { numerator: x as f64, denominator: y as f64 };
            let observed = Observed::Ratio { candidate: amounts(a, b), baseline: amounts(c, d) };
            observe(&mut suite, &config, "energy", t, observed);
        }
        for report in suite.reports(&config) {
            prop_assert!(!report.ln_evidence.is_nan());
        }
    }
}

#[test]
fn a_poll_in_which_one_arm_did_nothing_is_judged_and_told_of_neither() {
    let config = config();
    let poll = |through, candidate: u64, baseline: u64| Poll {
        from: through - 1,
        through,
        observed: Observed::Proportion {
            candidate: Counts {
                n: candidate,
                x: candidate / 2,
            },
            baseline: Counts { n: baseline, x: 0 },
        },
    };
    let mut suite = Suite::default();
    suite.observe(&config, "errors", &poll(1, 1_000, 0));
    suite.observe(&config, "errors", &poll(2, 0, 1_000));
    suite.observe(&config, "errors", &poll(3, 8, 16));
    let report = suite.reports(&config).into_iter().find(|r| r.name == "errors").unwrap();
    assert!(
        report.seen.starts_with("4 of 8 (50%) against 0.0% of 16"),
        "{}",
        report.seen
    );
}

#[test]
fn a_report_names_lines_that_are_answered_otherwise_and_none_where_all_agree() {
    let tolerance = Tolerance {
        ratio: 0.0,
        absolute: 0.05,
    };
    let config = SuiteConfig {
        guards: [("agreement".to_owned(), Kind::Agreement(Agreement { tolerance }))].into(),
        ..config()
    };
    let mut suite = Suite::default();
    let differ = Observed::Proportion {
        candidate: Counts { n: 512, x: 41 },
        baseline: Counts { n: 57, x: 0 },
    };
    observe(&mut suite, &config, "agreement", 1, differ);
    let cases: [(&[u32], &str); 3] = [
        (&[], ""),
        (&[17], "; such as line 17 of the golden set"),
        (&[17, 230, 388], "; such as lines 17, 230 and 388 of the golden set"),
    ];
    for (lines, told) in cases {
        let mut report = suite.reports(&config).remove(0);
        let before = report.message.clone();
        report.show(lines);
        assert_eq!(report.message, format!("{before}{told}"));
        assert_eq!(report.examples, lines);
    }
    let mut agrees = Suite::default().reports(&config).remove(0);
    let before = agrees.clone();
    agrees.show(&[17]);
    assert_eq!(agrees, before);
}
