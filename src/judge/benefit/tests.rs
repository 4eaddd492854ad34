//! An e-value by exact summation, and what a request counts.

use super::*;

/// Probabilities of all ways in which `n` events fall into classes with these probabilities, with the counts.
fn outcomes(n: u64, shares: &[f64]) -> Vec<(Vec<u64>, f64)> {
    let Some((first, rest)) = shares.split_first() else {
        return if n == 0 { vec![(Vec::new(), 1.0)] } else { Vec::new() };
    };
    let mut all = Vec::new();
    for k in 0..=n {
        let choose = (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        for (mut counts, p) in outcomes(n - k, rest) {
            counts.insert(0, k);
            all.push((counts, p * choose * first.powi(k as i32)));
        }
    }
    all
}

/// E[e] by summing over all outcomes of both arms, for events that count one of `VALUES`.
fn expectation(n: (u64, u64), shares: (&[f64; 3], &[f64; 3]), ratio: f64, guess: f64, bet: f64) -> f64 {
    let values = |counts: &[u64]| VALUES.into_iter().zip(counts.iter().copied()).collect::<Values>();
    let baselines = outcomes(n.1, shares.1);
    let each = outcomes(n.0, shares.0);
    let sums = each.iter().flat_map(|(c, p_c)| {
        baselines
            .iter()
            .map(move |(b, p_b)| p_c * p_b * ln_e(&values(c), &values(b), ratio, guess, bet).exp())
    });
    sums.sum()
}

const VALUES: [f64; 3] = [0.0, 0.3, 1.0];

fn mean(shares: &[f64; 3]) -> f64 {
    VALUES.iter().zip(shares).map(|(v, s)| v * s).sum()
}

#[test]
fn the_expectation_is_at_most_one_wherever_the_candidate_is_not_so_much_better() {
    let (mut worst, mut cells): (f64, u32) = (0.0, 0);
    let baselines = [[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.05, 0.05, 0.9], [0.2, 0.8, 0.0]];
    for n in [(1, 1), (2, 5), (5, 2)] {
        for ratio in [0.95, 0.7, 0.3] {
            for baseline in &baselines {
                // A candidate on the edge: the baseline's, but for events that count nothing; and one inside the null.
                let scaled = baseline.map(|share| ratio * share);
                let on_edge = [scaled[0] + 1.0 - ratio, scaled[1], scaled[2]];
                assert!((mean(&on_edge) - ratio * mean(baseline)).abs() < 1e-12);
                for candidate in [on_edge, *baseline, [0.0, 0.0, 1.0]] {
                    for guess in [mean(baseline), 0.02, 0.5, 0.97] {
                        for bet in BETS {
                            let e = expectation(n, (&candidate, baseline), ratio, guess, bet);
                            assert!(
                                e <= 1.0 + 1e-9,
                                "E[e] = {e} at n {n:?}, {candidate:?}, {baseline:?}, ratio {ratio}, guess {guess}, bet {bet}"
                            );
                            worst = worst.max(e);
                            cells += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(cells > 1_000 && worst > 0.999, "{cells} cells, at most {worst}");
    // The same sum shows that a better candidate is found.
    let e = expectation((5, 5), (&[1.0, 0.0, 0.0], &[0.2, 0.3, 0.5]), 0.95, 0.6, 0.8);
    assert!(e > 2.0, "{e}");
}

#[test]
fn a_request_counts_with_the_middle_of_its_bucket_and_with_no_more_than_the_largest_edge() {
    let buckets = Buckets {
        bounds: vec![0.01, 0.02, 0.06, 0.1],
        counts: vec![1, 2, 3, 4, 5],
        pods: 1,
    };
    let expected = [(0.005, 1), (0.015, 2), (0.04, 3), (0.06, 4), (0.06, 5)];
    for ((value, n), (middle, count)) in latencies(&buckets, 0.06).into_iter().zip(expected) {
        assert!((value * 0.06 - middle).abs() < 1e-12 && n == count, "{value} {n}");
    }
}
