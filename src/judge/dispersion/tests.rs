//! φ on simulated traffic.

use super::*;

use super::super::random::Random;

/// Requests of a poll at 18 per second, and at 2.
const BASELINE: u64 = 270;
const CANDIDATE: u64 = 30;

/// φ after as many polls, averaged over 40 seeds: `arms(poll)` is the share of failures of candidate and baseline, and
/// failures come in clumps of as many.
fn phi(past: usize, polls: usize, clumps: (u64, u64), arms: impl Fn(usize) -> (f64, f64)) -> f64 {
    let seeds = 40;
    let all: f64 = (1..=seeds)
        .map(|seed| {
            let mut random = Random::new(seed);
            let mut arm = |n: u64, share: f64, clump: u64| Counts {
                n,
                x: (clump * random.poisson(n as f64 * share / clump as f64)).min(n),
            };
            let mut dispersion = Dispersion::default();
            for _ in 0..past {
                dispersion.recall(arm(BASELINE, arms(0).1, clumps.1));
            }
            for poll in 0..polls {
                let (candidate, baseline) = arms(poll);
                dispersion.observe(arm(CANDIDATE, candidate, clumps.0), arm(BASELINE, baseline, clumps.1));
            }
            dispersion.phi()
        })
        .sum();
    all / seeds as f64
}

fn between(phi: f64, low: f64, high: f64, what: &str) {
    assert!(
        (low..=high).contains(&phi),
        "{what}: φ = {phi:.2}, not in {low} to {high}"
    );
}

#[test]
fn independent_failures_cost_next_to_nothing() {
    let rest = |polls, candidate| phi(240, polls, (1, 1), |_| (candidate, 0.005));
    between(rest(0, 0.01), LEAST, 1.15, "before the first poll");
    between(rest(60, 0.01), LEAST, 1.2, "after 15 minutes");
    between(rest(60, 0.05), LEAST, 1.2, "a candidate that is worse");
}

#[test]
fn failures_in_threes_triple_the_variance() {
    between(phi(240, 0, (3, 3), |_| (0.01, 0.005)), 2.5, 3.3, "on both arms");
    let alone = phi(240, 240, (3, 1), |_| (0.03, 0.005));
    between(alone, 1.8, 3.3, "on the candidate alone");
}

#[test]
fn what_nobody_knows_of_a_baseline_is_suspected_and_forgiven() {
    let calm = |polls| phi(0, polls, (1, 1), |_| (0.01, 0.005));
    let first = 1.0 + SUSPICION;
    between(calm(0), first - 1e-9, first + 1e-9, "at first");
    between(calm(BLOCK * 4), LEAST, 1.3, "after four blocks");
    let none = phi(0, BLOCK * 4, (1, 1), |_| (0.0, 0.0));
    between(none, LEAST - 1e-9, LEAST + 1e-9, "a baseline that never fails");
}

#[test]
fn slow_change_is_no_noise() {
    let incident = |poll: usize| if (40..60).contains(&poll) { 0.2 } else { 0.005 };
    let both = phi(240, 80, (1, 1), |poll| (incident(poll), incident(poll)));
    // An incident leaves behind only the two blocks in which it begins and ends, and they count no more than others.
    between(both, LEAST, 2.2, "after an incident on both arms");
    let onset = phi(240, 80, (1, 1), |poll| (if poll < 40 { 0.005 } else { 0.05 }, 0.005));
    between(onset, LEAST, 1.25, "a candidate that turns bad");
}
