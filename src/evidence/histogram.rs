//! Classic histograms: increments of cumulative `le` series → events per bucket.
//!
//! Owns the bounds. Must not interpolate: a count belongs to the bucket that Prometheus reports, or to a wider one.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::Buckets;
use super::labels::{Bucket, rounded};
use super::role::Arm;
use super::sample::{Matrix, Series};

/// Upper bounds of buckets, as order-preserving bits, so that they can be keys.
type Bounds = Vec<u64>;

/// What people should know about arms that share no bound.
pub(super) const NO_COMMON_BOUND: &str =
    "the histograms have no finite bucket bound in common: expose the same buckets, with +Inf, on all pods";

/// Cumulative increments by upper bound, summed over the series of an arm.
#[derive(Clone, Debug, Default)]
pub(super) struct Cumulative(BTreeMap<u64, u64>);

/// The finite bounds that all histograms have, and whether any differ.
///
/// Cumulative counts at a common bound add up whatever other bounds there are, so only resolution is lost.
pub(super) fn common_bounds<'a>(matrices: impl IntoIterator<Item = &'a Matrix>) -> (Vec<f64>, Agreement) {
    let mut histograms: BTreeMap<u64, Bounds> = BTreeMap::new();
    let all = matrices.into_iter().flat_map(|matrix| &matrix.series);
    for series in all.filter(|series| !series.samples.is_empty()) {
        if let Some(Bucket { histogram, bound }) = series.labels.bucket() {
            histograms.entry(histogram).or_default().push(key(bound));
        }
    }
    let infinity = key(f64::INFINITY);
    let mut all = histograms.into_values().filter(|bounds| bounds.contains(&infinity));
    let ordered = |mut bounds: Bounds| {
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    };
    let Some(first) = all.next().map(ordered) else {
        return (Vec::new(), Agreement::Same);
    };
    let mut agreement = Agreement::Same;
    let common = all.map(ordered).fold(first, |mut common, bounds| {
        if common != bounds {
            agreement = Agreement::Differ;
            common.retain(|bound| bounds.binary_search(bound).is_ok());
        }
        common
    });
    (
        common
            .into_iter()
            .map(unkey)
            .filter(|bound| bound.is_finite())
            .collect(),
        agreement,
    )
}

/// The arm whose finite bounds are those of the other times 1000, if most are and fewer than half of them are `common`.
pub(super) fn is_thousandfold(arms: [&Matrix; 2], common: usize) -> Option<Arm> {
    let [candidate, baseline] = arms.map(|matrix| {
        let bounds = matrix.series.iter().filter_map(|series| series.labels.bucket());
        let finite = bounds
            .map(|bucket| bucket.bound)
            .filter(|bound| bound.is_finite() && *bound != 0.0);
        finite.map(key).collect::<BTreeSet<_>>()
    });
    let is_more = |more: &BTreeSet<u64>, less: &BTreeSet<u64>| {
        let scaled = less.iter().map(|bound| key(rounded(1000.0 * unkey(*bound))));
        let matched = scaled.filter(|bound| more.contains(bound)).count();
        2 * matched > less.len().min(more.len()) && matched > common
    };
    [
        (Arm::Candidate, is_more(&candidate, &baseline)),
        (Arm::Baseline, is_more(&baseline, &candidate)),
    ]
    .into_iter()
    .find_map(|(arm, is_more)| is_more.then_some(arm))
}

/// Whether all histograms have the same bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// All histograms have the same bounds.
    Same,
    /// Bounds differ; only common ones are used.
    Differ,
}

impl Agreement {
    /// What people should know about differing bounds, of which `common` are shared.
    pub(super) fn problem(self, common: usize) -> Option<String> {
        match self {
            Self::Same => None,
            Self::Differ => Some(format!(
                "the histograms of the arms have different buckets; only the {common} bounds they share are used"
            )),
        }
    }
}

impl Cumulative {
    /// Adds the increment of a `_bucket` series.
    pub(super) fn add(&mut self, series: &Series, by: u64) {
        if let Some(Bucket { bound, .. }) = series.labels.bucket() {
            let count = self.0.entry(key(bound)).or_default();
            *count = count.saturating_add(by);
        }
    }

    /// Events per bucket. A cumulative count below that of a lower bound is taken to be equal to it.
    pub(super) fn buckets(&self, bounds: &[f64]) -> Buckets {
        let mut below = 0;
        let counts = bounds
            .iter()
            .chain([&f64::INFINITY])
            .map(|&bound| {
                let cumulative = self.0.get(&key(bound)).copied().unwrap_or_default().max(below);
                cumulative - std::mem::replace(&mut below, cumulative)
            })
            .collect();
        Buckets {
            bounds: bounds.to_vec(),
            counts,
            pods: 0,
        }
    }
}

/// Bits of a number that have the order of the numbers (IEEE 754 totalOrder).
pub(super) fn key(bound: f64) -> u64 {
    let bits = bound.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The number that [`key`] encoded.
pub(super) fn unkey(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(pod: &str, le: &str) -> Series {
        Series {
            labels: [("pod", pod), ("le", le)].into(),
            samples: vec![(0, 0.0)],
        }
    }

    fn matrix(series: Vec<Series>) -> Matrix {
        Matrix { series }
    }

    #[test]
    fn pods_with_other_bounds_are_counted_on_those_they_share() {
        let both = matrix(
            ["0.1", "0.5", "1", "+Inf"]
                .map(|le| series("a", le))
                .into_iter()
                .chain(["0.5", "1.0", "2", "+Inf"].map(|le| series("b", le)))
                .collect(),
        );
        assert_eq!(common_bounds([&both]), (vec![0.5, 1.0], Agreement::Differ));
        let mut sum = Cumulative::default();
        for (pod, le, by) in [
            ("a", "0.1", 1),
            ("a", "0.5", 3),
            ("a", "1", 4),
            ("a", "+Inf", 4),
            ("b", "0.5", 10),
            ("b", "1.0", 10),
            ("b", "2", 15),
            ("b", "+Inf", 16),
        ] {
            sum.add(&series(pod, le), by);
        }
        assert_eq!(
            sum.buckets(&[0.5, 1.0]),
            Buckets {
                bounds: vec![0.5, 1.0],
                counts: vec![13, 1, 6],
                pods: 0,
            }
        );
    }

    #[test]
    fn a_histogram_without_an_infinite_bucket_sets_no_bounds() {
        let torn = matrix(vec![series("a", "0.1"), series("b", "1"), series("b", "+Inf")]);
        assert_eq!(common_bounds([&torn]), (vec![1.0], Agreement::Same));
    }

    #[test]
    fn a_cumulative_count_that_falls_is_clamped() {
        let mut sum = Cumulative::default();
        for (le, by) in [("1", 5), ("2", 3), ("+Inf", 7)] {
            sum.add(&series("a", le), by);
        }
        assert_eq!(sum.buckets(&[1.0, 2.0]).counts, [5, 0, 2]);
    }

    proptest! {
        #[test]
        fn keys_order_as_numbers_do(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(unkey(key(a)).to_bits(), a.to_bits());
            if a < b { prop_assert!(key(a) < key(b)); }
        }
    }
}
