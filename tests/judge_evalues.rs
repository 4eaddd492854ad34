//! The e-values are e-values: their expectation is at most 1 under the whole null, by exact summation.

use guardbit::evidence::Counts;
use guardbit::judge::{Tally, Tolerance, ln_e};
use proptest::prelude::*;

/// Logarithms of the binomial probabilities of 0..=n successes.
fn binomial(n: u64, p: f64) -> Vec<f64> {
    let mut ln_choose = 0.0;
    (0..=n)
        .map(|x| {
            if x > 0 {
                ln_choose += ((n - x + 1) as f64 / x as f64).ln();
            }
            let part = |k: u64, q: f64| if k == 0 { 0.0 } else { k as f64 * q.ln() };
            (ln_choose + part(x, p) + part(n - x, 1.0 - p)).exp()
        })
        .collect()
}

/// E[e] by summing over all outcomes.
fn expectation(n_c: u64, n_b: u64, p_c: f64, p_b: f64, tolerance: Tolerance, q_c: f64, q_b: f64) -> f64 {
    let (c, b) = (binomial(n_c, p_c), binomial(n_b, p_b));
    let mut sum = 0.0;
    for x_c in 0..=n_c {
        for x_b in 0..=n_b {
            let ln = ln_e(
                Counts { n: n_c, x: x_c },
                Counts { n: n_b, x: x_b },
                tolerance,
                q_c,
                q_b,
            );
            sum += c[x_c as usize] * b[x_b as usize] * ln.exp();
        }
    }
    sum
}

#[test]
fn the_expectation_is_at_most_one_on_the_edge_and_inside_the_null() {
    let mut worst: f64 = 0.0;
    let mut cells = 0;
    for (n_c, n_b) in [(1, 1), (3, 20), (12, 12), (20, 4)] {
        for (ratio, absolute) in [
            (1.0, 0.005),
            (1.0, 0.05),
            (1.5, 0.005),
            (0.5, 0.1),
            (2.0, 0.0),
            (0.0, 0.05),
        ] {
            let tolerance = Tolerance { ratio, absolute };
            for q_b in [0.001, 0.02, 0.3, 0.6, 0.97] {
                let edge = if ratio == 0.0 { absolute } else { tolerance.edge(q_b) };
                // A baseline beyond the end of the edge tolerates everything: there is only health to show.
                let beyond = edge >= 1.0;
                for factor in [0.2, 0.7, 1.4, 5.0].into_iter().filter(|f| !beyond || *f < 1.0) {
                    let edge = edge.min(0.999);
                    let odds = factor * edge / (1.0 - edge);
                    let q_c = odds / (1.0 + odds);
                    for p_b in [0.0, 0.001, 0.05, 0.3, 0.8, 0.94] {
                        let limit = tolerance.edge(p_b);
                        // Harm's null lies at and below the edge, health's at and above.
                        for inside in [0.0, 0.3, 1.0] {
                            let p_c = if factor > 1.0 {
                                limit * (1.0 - inside)
                            } else {
                                limit + inside * (1.0 - limit)
                            };
                            if !(0.0..=1.0).contains(&p_c) || !(0.0..=1.0).contains(&limit) {
                                continue;
                            }
                            let e = expectation(n_c, n_b, p_c, p_b, tolerance, q_c, q_b);
                            assert!(
                                e <= 1.0 + 1e-9,
                                "E[e] = {e} at n {n_c}/{n_b}, {tolerance:?}, q {q_c}/{q_b}, p {p_c}/{p_b}"
                            );
                            worst = worst.max(e);
                            cells += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(cells > 3_000, "{cells} cells are too few");
    assert!(worst > 0.999, "the bound is never reached: {worst}");
}

/// A bucket of the baseline whose requests count in part: its two bounds are seen, the latency between them is not.
#[test]
fn requests_that_count_in_part_keep_the_expectation_at_most_one() {
    let (n_c, n_b, mut worst) = (6, 9, 0f64);
    for (above, within, part) in [(0.1, 0.4, 0.3), (0.02, 0.9, 0.7), (0.3, 0.3, 0.5), (0.2, 0.5, 1.0)] {
        let p_b = above + part * within;
        for tolerance in [0.005, 0.05].map(|absolute| Tolerance { ratio: 1.0, absolute }) {
            let limit = tolerance.edge(p_b);
            for (q_b, q_c, p_c) in [(p_b, 0.97, limit), (0.5, 0.9, limit), (p_b, 0.4 * limit, limit)] {
                let candidates = binomial(n_c, p_c);
                let mut sum = 0.0;
                // Of n_b requests some lie above both bounds, and of the others some lie between them.
                for (x_above, chance) in (0..).zip(binomial(n_b, above)) {
                    for (x_within, of_others) in (0..).zip(binomial(n_b - x_above, within / (1.0 - above))) {
                        let baseline = Tally {
                            n: n_b,
                            x: x_above as f64 + part * x_within as f64,
                        };
                        for (x_c, of_candidate) in (0..).zip(&candidates) {
                            let ln = ln_e(Counts { n: n_c, x: x_c }, baseline, tolerance, q_c, q_b);
                            sum += chance * of_others * of_candidate * ln.exp();
                        }
                    }
                }
                assert!(
                    sum <= 1.0 + 1e-9,
                    "E[e] = {sum} at {above}, {within}, {part}, {tolerance:?}, q {q_c}/{q_b}"
                );
                worst = worst.max(sum);
            }
        }
    }
    assert!(worst > 0.9, "it is far from its bound: {worst}");
}

#[test]
fn a_test_without_its_denominator_at_the_edge_would_be_found_out() {
    // The same sum with the null at the baseline's share instead of at the edge: the tolerance forgotten.
    let forgotten = Tolerance {
        ratio: 1.0,
        absolute: 0.0,
    };
    let e = expectation(20, 20, 0.10, 0.05, forgotten, 0.2, 0.05);
    assert!(e > 1.5, "{e}");
}

/// Values worked out apart from this code: p* by bisection in 50-digit decimal arithmetic, see the formula in `margin.rs`.
#[test]
fn values_agree_with_a_table_worked_out_by_hand() {
    for (c, b, ratio, absolute, q_c, q_b, expected) in TABLE {
        let got = ln_e(
            Counts { n: c.0, x: c.1 },
            Counts { n: b.0, x: b.1 },
            Tolerance { ratio, absolute },
            q_c,
            q_b,
        );
        assert!(
            (got - expected).abs() < 1e-9 * expected.abs().max(1.0),
            "{c:?} {b:?}: {got} instead of {expected}"
        );
    }
}

type Row = ((u64, u64), (u64, u64), f64, f64, f64, f64, f64);
const TABLE: [Row; 8] = [
    ((30, 1), (270, 2), 1.0, 0.005, 0.02, 0.005, 0.29996803334010),
    ((30, 4), (270, 1), 1.0, 0.005, 0.05, 0.006, 4.57823560230626),
    ((300, 0), (2700, 14), 1.0, 0.005, 0.005, 0.005, 1.47850230859342),
    ((150, 12), (1350, 60), 1.5, 0.005, 0.12, 0.05, -0.48130266480200),
    ((100, 9), (100, 1), 0.0, 0.05, 0.1, 0.01, 1.31820748944441),
    ((1000, 300), (1000, 290), 1.0, 0.05, 0.28, 0.3, 0.79347197235927),
    ((50, 2), (50, 2), 2.0, 0.0, 0.2, 0.04, -1.09695115941421),
    ((20000, 30), (180000, 900), 1.0, 0.005, 0.0051, 0.005, 75.26342723110587),
];

/// With 97% of the outputs in a set no candidate can exceed a tolerance of 5%, and the test of health must say so: silence
/// there once left a candidate undecided for ever.
#[test]
fn health_shows_where_the_edge_has_ended() {
    let tolerance = Tolerance {
        ratio: 1.0,
        absolute: 0.05,
    };
    let (c, b) = (Counts { n: 200, x: 193 }, Counts { n: 200, x: 194 });
    for q_b in [0.9499, 0.95, 0.9501, 0.97] {
        let ln = ln_e(c, b, tolerance, q_b, q_b);
        assert!(ln > 1.0, "{ln} at {q_b}");
    }
}

#[test]
fn where_nothing_can_be_said_the_e_value_is_one() {
    let tolerance = Tolerance {
        ratio: 1.0,
        absolute: 0.005,
    };
    let some = Counts { n: 100, x: 3 };
    assert_eq!(
        ln_e(some, Counts::default(), tolerance, 0.02, 0.005),
        0.0,
        "no baseline"
    );
    assert_eq!(
        ln_e(Counts::default(), some, tolerance, 0.02, 0.005),
        0.0,
        "no candidate"
    );
    assert_ne!(
        ln_e(
            some,
            Counts::default(),
            Tolerance {
                ratio: 0.0,
                absolute: 0.01
            },
            0.02,
            0.005
        ),
        0.0,
        "a fixed bound needs no baseline"
    );
}

proptest! {
    #[test]
    fn no_counts_and_no_guesses_make_it_panic_or_nan(
        n_c in 0u64..2_000_000_000, n_b in 0u64..2_000_000_000, f_c in 0.0f64..=1.0, f_b in 0.0f64..=1.0,
        ratio in 0.0f64..100.0, absolute in 0.0f64..1.0, q_c in -0.1f64..1.1, q_b in -0.1f64..1.1,
    ) {
        let counts = |n: u64, f: f64| Counts { n, x: (n as f64 * f) as u64 };
        let ln = ln_e(counts(n_c, f_c), counts(n_b, f_b), Tolerance { ratio, absolute }, q_c, q_b);
        prop_assert!(!ln.is_nan() && ln < f64::INFINITY);
    }
}

#[test]
fn harm_that_no_baseline_would_tolerate_is_not_passed_over() {
    let tolerance = Tolerance {
        ratio: 0.5,
        absolute: 0.1,
    };
    // At most 60% is tolerated, of a baseline that fails always; the guess is 90%.
    let ln = |x_c| ln_e(Counts { n: 30, x: x_c }, Counts { n: 270, x: 81 }, tolerance, 0.9, 0.3);
    assert!(ln(27) > 20.0 && ln(3) < -20.0, "{} {}", ln(27), ln(3));
}
