use proptest::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};

use super::*;

/// Prometheus' default bounds, in seconds.
const DEFAULT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Share of latencies above a value.
type Above = Box<dyn Fn(f64) -> f64>;

fn log_normal(median: f64, sigma: f64) -> Above {
    Box::new(move |x| Normal::standard().cdf((median / x).ln() / sigma))
}

/// How many of `n` requests are at or below each bound.
fn up_to(bounds: &[f64], above: &Above, n: u64) -> Vec<(f64, u64)> {
    let below = |bound: &f64| ((1.0 - above(*bound)) * n as f64).round() as u64;
    bounds.iter().map(|bound| (*bound, below(bound))).collect()
}

/// The factor on all latencies at which the share above `edge` is that which is tolerated there.
fn effective(above: &Above, edge: f64, tolerated: f64) -> f64 {
    let (mut low, mut high) = (0.5, 50.0);
    for _ in 0..60 {
        let middle: f64 = 0.5 * (low + high);
        if above(edge / middle) < tolerated {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// The edge above the median, and the slowdown by `1.25` that is really tolerated there.
fn at_the_median(bounds: &[f64], above: &Above, n: u64) -> f64 {
    let up_to = up_to(bounds, above, n);
    let (edge, _) = *up_to.iter().find(|(_, below)| 2 * below >= n).expect("a bound");
    let (_, share) = Threshold::read(edge / 1.25, &up_to, n).expect("a bound above");
    effective(above, edge, share + 0.005)
}

#[test]
fn a_bound_is_read_exactly() {
    let above = log_normal(0.02, 0.5);
    let up_to = up_to(&[0.02, 0.025, 0.05], &above, 10_000);
    let (threshold, share) = Threshold::read(0.025 / 1.25, &up_to, 10_000).unwrap();
    assert_eq!((threshold, share), (Threshold::at_bound(0.02), 0.5));
}

#[test]
fn above_all_bounds_nothing_is_read() {
    assert_eq!(Threshold::read(3.0, &[(1.0, 5), (2.0, 9)], 10), None);
}

#[test]
fn a_bucket_that_does_not_say_where_its_requests_lie_is_taken_whole() {
    // All between 5 and 10 ms: a pod that is a tenth slower may lie wholly above, and is no harm.
    let (threshold, share) = Threshold::read(0.008, &[(0.005, 2), (0.01, 9_900)], 10_000).unwrap();
    assert_eq!((threshold.part, share), (1.0, 0.9998));
    // No bound below: all requests may be slow.
    let (threshold, share) = Threshold::read(0.004, &[(0.005, 9_000)], 10_000).unwrap();
    assert_eq!((threshold.lower, threshold.part, share), (0.0, 1.0, 1.0));
}

#[test]
fn what_is_read_of_log_normal_latencies_is_near_the_slowdown_that_was_asked_for() {
    for sigma in [0.25, 0.5, 0.9] {
        for median in [0.008, 0.012, 0.03, 0.045, 0.2, 0.7] {
            let factor = at_the_median(&DEFAULT, &log_normal(median, sigma), 36_000);
            assert!((1.2..=1.66).contains(&factor), "{median} s, {sigma}: {factor}");
        }
    }
}

proptest! {
    #[test]
    fn no_candidate_that_is_an_eighth_slower_is_beyond_it(
        median in 0.0055f64..3.0, sigma in 0.08f64..1.0, n in 500u64..1_000_000,
    ) {
        let factor = at_the_median(&DEFAULT, &log_normal(median, sigma), n);
        prop_assert!(factor >= 1.125, "{factor}");
    }

    #[test]
    fn what_counts_lies_between_the_shares_of_its_bounds(
        counts in prop::collection::vec(0u64..10_000, 2..12), at in 0.001f64..2_000.0,
    ) {
        let mut below = 0;
        let up_to: Vec<_> = counts.iter().zip(0..).map(|(n, i)| { below += n; (f64::from(1 << i) * 0.5, below) }).collect();
        let n = below + 7;
        if let Some((Threshold { lower, upper, part, .. }, share)) = Threshold::read(at, &up_to, n) {
            let above = |bound: f64| up_to.iter().find(|(b, _)| *b == bound).map_or(1.0, |(_, below)| 1.0 - *below as f64 / n as f64);
            prop_assert!(lower <= at * 1.001 && at <= upper * 1.001);
            prop_assert!((0.0..=1.0).contains(&part));
            prop_assert!(share <= above(lower) + 1e-12 && share >= above(upper) - 1e-12);
        }
    }
}
