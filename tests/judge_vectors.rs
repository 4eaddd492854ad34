//! The e-values against what other people's code says of the same data: published figures of the cited papers' own packages,
//! and SciPy. Sources, versions and the script are in tests/testdata/vectors.

use guardbit::evidence::Counts;
use guardbit::judge::{Tolerance, ln_e};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors<R> {
    rows: Vec<R>,
}

fn close(got: f64, expected: f64, what: &str) {
    assert!(
        (got - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{what}: {got} instead of {expected}"
    );
}

#[derive(Deserialize)]
struct Turner {
    restriction: String,
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    x_a: u64,
    x_b: u64,
    q_a: f64,
    q_b: f64,
    e: f64,
}

/// With ratio 1 and no absolute tolerance the null is that of equal shares, and its nearest point the pooled guess: the e-value
/// is that of Turner, Ly & Grünwald, as their package safestats computes it. B is the candidate here.
#[test]
fn without_a_tolerance_it_is_the_test_of_equal_shares_of_turner_ly_and_gruenwald() {
    let vectors: Vectors<Turner> = serde_json::from_str(include_str!("testdata/vectors/turner.json")).unwrap();
    let equal = Tolerance {
        ratio: 1.0,
        absolute: 0.0,
    };
    for row in vectors.rows {
        let mut ln = 0.0;
        for (i, block) in row.blocks.iter().enumerate() {
            let (b, a) = (Counts { n: 1, x: block.x_b }, Counts { n: 1, x: block.x_a });
            ln += ln_e(b, a, equal, block.q_b, block.q_a);
            close(ln.exp(), block.e, &format!("{} after block {}", row.restriction, i + 1));
        }
    }
}

#[derive(Deserialize)]
struct Lindon {
    share: f64,
    concentration: u64,
    x: u64,
    n: u64,
    e: f64,
}

/// Against a fixed bound the e-value is a binomial likelihood ratio; mixed over a beta prior of guesses it is that of Lindon &
/// Malek, as savvi computes it in closed form.
#[test]
fn mixed_over_guesses_it_is_the_multinomial_test_of_lindon_and_malek() {
    const POINTS: u64 = 20_000;
    let ln_factorial = |n: u64| (1..=n).map(|i| (i as f64).ln()).sum::<f64>();
    let vectors: Vectors<Lindon> = serde_json::from_str(include_str!("testdata/vectors/lindon.json")).unwrap();
    assert!(vectors.rows.len() > 10);
    for Lindon {
        share,
        concentration,
        x,
        n,
        e,
    } in vectors.rows
    {
        let bound = Tolerance {
            ratio: 0.0,
            absolute: share,
        };
        let a = (concentration as f64 * share).round() as u64;
        let b = concentration - a;
        let ln_beta = ln_factorial(a - 1) + ln_factorial(b - 1) - ln_factorial(a + b - 1);
        let mixed: f64 = (0..POINTS)
            .map(|i| {
                let q = (i as f64 + 0.5) / POINTS as f64;
                let prior = (a - 1) as f64 * q.ln() + (b - 1) as f64 * (1.0 - q).ln() - ln_beta;
                (ln_e(Counts { n, x }, Counts::default(), bound, q, 0.5) + prior).exp() / POINTS as f64
            })
            .sum();
        close(mixed.ln(), e.ln(), &format!("{x} of {n} against {share}"));
    }
}

#[derive(Deserialize)]
struct TwoSamples {
    n_c: u64,
    x_c: u64,
    n_b: u64,
    x_b: u64,
    ratio: f64,
    absolute: f64,
    q_c: f64,
    q_b: f64,
    ln_e: f64,
}

#[test]
fn with_a_tolerance_it_is_the_likelihood_ratio_at_the_point_of_the_null_that_scipy_finds() {
    let vectors: Vectors<TwoSamples> = serde_json::from_str(include_str!("testdata/vectors/two_samples.json")).unwrap();
    assert!(vectors.rows.len() > 80);
    for row in vectors.rows {
        let tolerance = Tolerance {
            ratio: row.ratio,
            absolute: row.absolute,
        };
        let (c, b) = (Counts { n: row.n_c, x: row.x_c }, Counts { n: row.n_b, x: row.x_b });
        let got = ln_e(c, b, tolerance, row.q_c, row.q_b);
        close(
            got,
            row.ln_e,
            &format!("{c:?} {b:?} {tolerance:?} {} {}", row.q_c, row.q_b),
        );
    }
}
