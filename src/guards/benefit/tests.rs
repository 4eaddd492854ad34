//! The power of the test of a benefit on simulated traffic, and its sentences.

use super::*;
use crate::evidence::{Amounts, Buckets, Counts};
use crate::guards::{Latency, Proportion, Ratio};
use crate::judge::random::Random;
use crate::judge::{Tolerance, Tolerated};
use proptest::prelude::*;

const LATENCY: Kind = Kind::Latency(Latency {
    tolerance: Tolerated::Share(Tolerance {
        ratio: 1.5,
        absolute: 0.005,
    }),
    budget: None,
    at_load: None,
    per_second: 1.0,
});
const ERRORS: Kind = Kind::Proportion(Proportion {
    tolerance: Tolerance {
        ratio: 1.0,
        absolute: 0.005,
    },
});
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.2, 0.5];
/// The bound next above the p99 of an exponential latency with a mean of 12 ms.
const SLOWEST: Option<f64> = Some(0.06);

fn config(guard: &str, at_least: f64) -> BenefitConfig {
    BenefitConfig {
        guard: guard.to_owned(),
        at_least,
        false_promotion: 0.05,
    }
}

/// Latencies of an arm in one poll: exponential, with a mean of 12 ms times `slowdown`.
fn latencies_of(random: &mut Random, requests: f64, slowdown: f64) -> Buckets {
    let mut below = 0.0;
    let counts = BOUNDS
        .iter()
        .map(|b| 1.0 - (-b / (0.012 * slowdown)).exp())
        .chain([1.0]);
    Buckets {
        bounds: BOUNDS.to_vec(),
        counts: counts
            .map(|up_to: f64| random.poisson(requests * (up_to - std::mem::replace(&mut below, up_to))))
            .collect(),
        pods: 1,
    }
}

fn errors_of(random: &mut Random, requests: f64, share: f64) -> Counts {
    let x = random.poisson(requests * share);
    Counts {
        n: x + random.poisson(requests * (1.0 - share)),
        x,
    }
}

/// Share of 200 rollouts of an hour at 2 and 18 requests a second in which a benefit of 5% is ever shown.
fn shown(guard: &Kind, mut poll: impl FnMut(&mut Random) -> Observed) -> f64 {
    let config = config("guard", 0.05);
    let ever = (1..=200).filter(|seed| {
        let (mut random, mut test) = (Random::new(*seed), BenefitTest::new(guard));
        (0..240).any(|_| {
            test.observe(&config, guard, SLOWEST, &poll(&mut random));
            test.is_shown(&config, guard)
        })
    });
    ever.count() as f64 / 200.0
}

fn latency(slowdown: f64) -> f64 {
    shown(&LATENCY, |random| Observed::Histogram {
        candidate: latencies_of(random, 30.0, slowdown),
        baseline: latencies_of(random, 270.0, 1.0),
    })
}

fn errors(share: f64) -> f64 {
    shown(&ERRORS, |random| Observed::Proportion {
        candidate: errors_of(random, 30.0, share),
        baseline: errors_of(random, 270.0, 0.1),
    })
}

#[test]
fn what_is_not_better_is_hardly_ever_shown_to_be() {
    assert!(latency(1.0) <= 0.02, "as fast: {}", latency(1.0));
    // At the edge itself, 5% are allowed.
    assert!(latency(0.95) <= 0.05, "5% faster: {}", latency(0.95));
    assert!(errors(0.1) <= 0.02, "as many errors: {}", errors(0.1));
    assert!(errors(0.095) <= 0.05, "5% fewer errors: {}", errors(0.095));
}

#[test]
fn what_is_clearly_better_is_shown_within_the_hour() {
    assert!(latency(0.7) >= 0.99, "30% faster: {}", latency(0.7));
    assert!(latency(0.85) >= 0.9, "15% faster: {}", latency(0.85));
    assert!(errors(0.05) >= 0.99, "half the errors: {}", errors(0.05));
}

#[test]
fn nothing_is_said_before_the_latency_guard_has_its_edges() {
    let mut random = Random::new(1);
    let mut test = BenefitTest::new(&LATENCY);
    let observed = Observed::Histogram {
        candidate: latencies_of(&mut random, 30.0, 0.5),
        baseline: latencies_of(&mut random, 270.0, 1.0),
    };
    test.observe(&config("latency", 0.05), &LATENCY, None, &observed);
    assert_eq!(test, BenefitTest::new(&LATENCY));
    assert_eq!(
        test.message(&config("latency", 0.05), &LATENCY),
        "latency: nothing to compare yet"
    );
}

#[test]
fn a_benefit_reads_as_a_sentence_with_counts() {
    let mut test = BenefitTest::new(&LATENCY);
    let (mut random, wanted) = (Random::new(1), config("latency", 0.05));
    for _ in 0..20 {
        let observed = Observed::Histogram {
            candidate: latencies_of(&mut random, 300.0, 0.7),
            baseline: latencies_of(&mut random, 2700.0, 1.0),
        };
        test.observe(&wanted, &LATENCY, SLOWEST, &observed);
    }
    insta::assert_snapshot!(test.message(&wanted, &LATENCY), @"latency: a mean of 8.63 ms over 6,010 against 12.3 ms over 53,942, 30% lower (wanted: 5% lower), evidence 402 of 20.00");
    let (mut test, wanted) = (BenefitTest::new(&ERRORS), config("errors", 0.025));
    for _ in 0..3 {
        let observed = Observed::Proportion {
            candidate: Counts { n: 500, x: 12 },
            baseline: Counts { n: 4500, x: 90 },
        };
        test.observe(&wanted, &ERRORS, None, &observed);
    }
    insta::assert_snapshot!(test.message(&wanted, &ERRORS), @"errors: a share of 2.4% over 1,500 against 2.0% over 13,500, 20% higher (wanted: 2.5% lower), evidence 0.37 of 20.00");
    assert_eq!(ERRORS.better(&wanted), "2.5% lower in errors");
    assert_eq!(LATENCY.better(&wanted), "2.5% faster");
}

/// 100 requests of the candidate at so many joules, 1,000 of the baseline at 0.4.
fn joules(each: f64) -> Observed {
    let of = |requests: f64, each: f64| Amounts {
        numerator: requests * each,
        denominator: requests,
    };
    Observed::Ratio {
        candidate: of(100.0, each),
        baseline: of(1000.0, 0.4),
    }
}

#[test]
fn a_ratio_must_be_so_much_lower_in_each_of_the_last_polls() {
    let guard = Kind::Ratio(Ratio {
        max: 1.0,
        consecutive: 2,
        of: 3,
    });
    let (mut test, wanted) = (BenefitTest::new(&guard), config("energy", 0.25));
    // Lower by a quarter is 0.3; the one poll at 0.31 stays in the window for three polls.
    for (poll, (each, shown)) in [
        (0.29, false),
        (0.29, false),
        (0.29, true),
        (0.31, false),
        (0.1, false),
        (0.1, false),
        (0.29, true),
    ]
    .into_iter()
    .enumerate()
    {
        test.observe(&wanted, &guard, None, &joules(each));
        assert_eq!(test.is_shown(&wanted, &guard), shown, "poll {poll}");
    }
    insta::assert_snapshot!(test.message(&wanted, &guard), @"energy: 0.290 against 0.400, 28% lower (wanted: 25% lower) in 3 of the last 3 polls, and needed in all of them (plain rule)");
}

#[test]
fn a_lightly_loaded_candidate_is_not_compared() {
    let guard = Kind::Latency(Latency {
        tolerance: Tolerated::Share(Tolerance {
            ratio: 1.5,
            absolute: 0.005,
        }),
        budget: None,
        at_load: Some(0.8),
        per_second: 1.0,
    });
    let wanted = config("latency", 0.05);
    for (requests, shown) in [(1000.0, false), (3000.0, true)] {
        let (mut random, mut test) = (Random::new(2), BenefitTest::new(&guard));
        for _ in 0..40 {
            let observed = Observed::Histogram {
                candidate: latencies_of(&mut random, requests, 0.5),
                baseline: latencies_of(&mut random, 3000.0, 1.0),
            };
            test.observe(&wanted, &guard, SLOWEST, &observed);
        }
        assert_eq!(test.is_shown(&wanted, &guard), shown, "at {requests} requests");
    }
}

#[test]
fn the_stored_state_is_small_and_comes_back_whole() {
    let (mut random, mut test) = (Random::new(5), BenefitTest::new(&LATENCY));
    for _ in 0..47 {
        let observed = Observed::Histogram {
            candidate: latencies_of(&mut random, 3_000.0, 0.7),
            baseline: latencies_of(&mut random, 27_000.0, 1.0),
        };
        test.observe(&config("latency", 0.05), &LATENCY, SLOWEST, &observed);
    }
    let stored = postcard::to_stdvec(&test).unwrap();
    assert!(stored.len() <= 320, "{} bytes", stored.len());
    assert_eq!(postcard::from_bytes::<BenefitTest>(&stored).unwrap(), test);
}

proptest! {
    #[test]
    fn no_counts_make_it_panic_or_nan(
        counts in proptest::collection::vec(0u64..1_000_000_000, 26), scale in 0.0f64..1.0, at_least in 0.001f64..0.999,
    ) {
        let arm = |half: &[u64]| Buckets { bounds: BOUNDS.to_vec(), counts: half.to_vec(), pods: 1 };
        let observed = Observed::Histogram { candidate: arm(&counts[..13]), baseline: arm(&counts[13..]) };
        let (mut test, config) = (BenefitTest::new(&LATENCY), config("latency", at_least));
        for _ in 0..3 {
            test.observe(&config, &LATENCY, Some(scale), &observed);
        }
        let message = test.message(&config, &LATENCY);
        prop_assert!(!message.contains("NaN") && !message.contains("inf"), "{message}");
    }
}
