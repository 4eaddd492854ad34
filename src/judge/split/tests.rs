//! The split on simulated traffic.

use super::*;

use super::super::random::Random;

const WEIGHTS: (u32, u32) = (5, 95);

fn poll(candidate: u64, baseline: u64) -> Observed {
    let of = |n| Counts { n, x: 0 };
    Observed::Proportion {
        candidate: of(candidate),
        baseline: of(baseline),
    }
}

/// Requests of a poll that come in clumps of size `clump`, at these means.
fn clumped(random: &mut Random, clump: u64, candidate: f64, baseline: f64) -> Observed {
    let mut arm = |mean: f64| clump * random.poisson(mean / clump as f64);
    poll(arm(candidate), arm(baseline))
}

/// How many of 300 rollouts of 240 polls ever find the split broken.
fn alarms(clump: u64, candidate: f64, baseline: f64) -> usize {
    let found = |seed: &u64| {
        let (mut random, mut test) = (Random::new(*seed), SplitTest::new(WEIGHTS));
        (0..240).any(|_| {
            test.observe(&clumped(&mut random, clump, candidate, baseline));
            test.mismatch().is_some()
        })
    };
    (1..=300).filter(found).count()
}

/// Polls until the split is found broken, of 240 at most.
fn found_after(weights: (u32, u32), candidate: f64, baseline: f64) -> Option<usize> {
    let (mut random, mut test) = (Random::new(7), SplitTest::new(weights));
    (1..=240).find(|_| {
        test.observe(&clumped(&mut random, 1, candidate, baseline));
        test.mismatch().is_some()
    })
}

#[test]
fn ordinary_skews_do_not_alarm() {
    // 20 requests a second in polls of 15 s: 15 and 285 at the candidate's 5%.
    for (what, clump, candidate, baseline) in [
        ("as the weights say", 1, 15.0, 285.0),
        ("at the upper end of the band", 1, 30.0, 285.0),
        ("at the lower end of the band", 1, 7.5, 285.0),
        ("clumps of five", 5, 15.0, 285.0),
        ("clumps of twelve, off by a half", 12, 22.0, 285.0),
        // A tenth of a request a second for each of 1 and 10 pods, at 2 real requests a second.
        ("probes", 1, 1.5 + 1.5, 28.5 + 15.0),
    ] {
        // At the end of the band 1 in 1000 is promised, and expected far less.
        let alarms = alarms(clump, candidate, baseline);
        assert!(alarms <= 1, "{what}: {alarms} of 300");
    }
}

#[test]
fn what_is_broken_is_found_soon() {
    for (what, weights, candidate, baseline, most) in [
        ("nothing reaches the candidate", WEIGHTS, 0.0, 300.0, 16),
        ("a balancer that knows no weights", WEIGHTS, 150.0, 150.0, 6),
        ("the baseline is not scraped", WEIGHTS, 15.0, 0.0, 6),
        ("a third of what it should get", (25, 75), 30.0, 270.0, 40),
        ("nothing, at two requests a second", (25, 75), 0.0, 30.0, 30),
    ] {
        let found = found_after(weights, candidate, baseline);
        assert!(found.is_some_and(|polls| polls <= most), "{what}: {found:?}");
    }
}

#[test]
fn a_few_odd_polls_are_not_enough() {
    let mut test = SplitTest::new(WEIGHTS);
    for _ in 0..4 {
        test.observe(&poll(1_000_000, 0));
    }
    assert_eq!(test.mismatch(), None);
}

#[test]
fn what_was_found_is_told_with_counts_that_stand_until_the_split_is_mended() {
    let mut test = SplitTest::new((25, 75));
    while test.mismatch().is_none() {
        test.observe(&poll(8, 92));
    }
    let told = test.mismatch();
    for _ in 0..50 {
        test.observe(&poll(8, 92));
    }
    assert_eq!(test.mismatch(), told);
    insta::assert_snapshot!(told.unwrap(), @"the candidate got 96 of 1,200 requests (8.0%) where the weights of it and its baseline say 25%");
    let mended = (1..=40).find(|_| {
        test.observe(&poll(25, 75));
        test.mismatch().is_none()
    });
    assert!(mended.is_some_and(|polls| polls <= 20), "{mended:?}");
}

#[test]
fn the_stored_state_is_small_and_empty_polls_leave_it_alone() {
    let (mut random, mut test) = (Random::new(3), SplitTest::new(WEIGHTS));
    for _ in 0..47 {
        test.observe(&clumped(&mut random, 1, 1500.0, 28_500.0));
    }
    let stored = postcard::to_stdvec(&test).unwrap();
    assert!(stored.len() <= 160, "{} bytes", stored.len());
    assert_eq!(postcard::from_bytes::<SplitTest>(&stored).unwrap(), test);
    let before = test.clone();
    test.observe(&poll(0, 0));
    assert_eq!(test, before);
}
