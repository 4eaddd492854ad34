//! What the judge says about pairs: the very test of the agreement guard, on a list of outcomes.

use statrs::distribution::{Beta, ContinuousCDF};

use crate::api::Verdict;
use crate::evidence::Counts;
use crate::judge::{PairTest, Regime, Tolerance};

/// Pairs of one poll: what the operator finds at each evaluation, at about two pairs a second.
const POLL: usize = 25;

/// Probabilities of the two wrong verdicts; both in `(0, 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Risks {
    /// That a candidate within the tolerance is ever found harmful.
    pub false_rollback: f64,
    /// That one beyond it is found healthy.
    pub false_promotion: f64,
}

impl Default for Risks {
    /// 5% each.
    fn default() -> Self {
        Self {
            false_rollback: 0.05,
            false_promotion: 0.05,
        }
    }
}

/// The verdict at one tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Share of disagreements that is tolerated; in `(0, 1)`.
    pub tolerance: f64,
    /// Harmful where harm was shown after any poll, as a rollout would have ended there; else what the last poll shows.
    pub verdict: Verdict,
    /// Pairs after which it was found, and held from then on; `None` where it is undecided.
    pub after: Option<usize>,
}

/// Judges pairs, in the order in which they were drawn; `true` is agreement. `tolerance` is in `(0, 1)`.
pub fn judge(agreements: &[bool], tolerance: f64, risks: Risks) -> Finding {
    let regime = Regime::Rollout {
        false_rollback: risks.false_rollback,
        false_promotion: risks.false_promotion,
    };
    // A fixed bound needs no baseline.
    let bound = Tolerance {
        ratio: 0.0,
        absolute: tolerance,
    };
    let (mut test, mut seen, mut healthy_after) = (PairTest::default(), 0, None);
    for poll in agreements.chunks(POLL) {
        seen += poll.len();
        let counts = Counts {
            n: poll.len() as u64,
            x: poll.iter().filter(|agrees| !**agrees).count() as u64,
        };
        test.observe(regime, bound, counts, Counts::default());
        if test.ln_harm(regime) >= regime.threshold().ln() {
            return Finding {
                tolerance,
                verdict: Verdict::Harmful,
                after: Some(seen),
            };
        }
        let is_healthy = test.ln_health() >= -risks.false_promotion.ln();
        healthy_after = is_healthy.then(|| healthy_after.unwrap_or(seen));
    }
    let verdict = match healthy_after {
        Some(_) => Verdict::Healthy,
        None if agreements.is_empty() => Verdict::NoData,
        None => Verdict::Undecided,
    };
    Finding {
        tolerance,
        verdict,
        after: healthy_after,
    }
}

/// The exact 95% confidence interval of a share (Clopper & Pearson 1934): `(0, 1)` where nothing was counted. It holds
/// for a number of events that was fixed beforehand.
pub fn interval(counts: Counts) -> (f64, f64) {
    const HALF: f64 = 0.025;
    let (n, x) = (counts.n as f64, counts.x.min(counts.n) as f64);
    let low = if x == 0.0 { 0.0 } else { quantile(x, n - x + 1.0, HALF) };
    let high = if x == n {
        1.0
    } else {
        quantile(x + 1.0, n - x, 1.0 - HALF)
    };
    (low, high)
}

/// A quantile of the beta distribution, by bisection: it ends for all parameters, which Newton's method does not
/// promise.
fn quantile(a: f64, b: f64, p: f64) -> f64 {
    let Ok(beta) = Beta::new(a, b) else {
        return f64::NAN;
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if beta.cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One disagreement in every `each` pairs.
    fn every(each: usize, pairs: usize) -> Vec<bool> {
        (1..=pairs).map(|i| i % each != 0).collect()
    }

    #[test]
    fn pairs_are_judged_by_their_share_of_disagreements() {
        for (agreements, tolerance, verdict) in [
            (vec![true; 500], 0.05, Verdict::Healthy),
            (every(100, 1000), 0.05, Verdict::Healthy),
            (every(5, 500), 0.05, Verdict::Harmful),
            (every(5, 500), 0.12, Verdict::Harmful),
            (vec![false; 25], 0.25, Verdict::Harmful),
            (every(20, 100), 0.05, Verdict::Undecided),
            (vec![true; 3], 0.01, Verdict::Undecided),
            (Vec::new(), 0.05, Verdict::NoData),
        ] {
            let finding = judge(&agreements, tolerance, Risks::default());
            assert_eq!(
                finding.verdict,
                verdict,
                "{} pairs at {tolerance}: {finding:?}",
                agreements.len()
            );
            let decided = matches!(verdict, Verdict::Healthy | Verdict::Harmful);
            assert_eq!(finding.after.is_some(), decided, "{finding:?}");
            assert!(
                finding.after.is_none_or(|after| after <= agreements.len()),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn health_is_told_from_when_it_lasts() {
        let mut agreements = vec![true; 500];
        agreements.extend(vec![false; 500]);
        let finding = judge(&agreements, 0.05, Risks::default());
        assert_eq!(finding.verdict, Verdict::Harmful);
        assert!(finding.after.is_some_and(|after| after > 500), "{finding:?}");
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // R: binom.test(x, n)$conf.int
        for (n, x, low, high) in [
            (0, 0, 0.0, 1.0),
            (10, 0, 0.0, 0.308_497_1),
            (10, 10, 0.691_502_9, 1.0),
            (500, 0, 0.0, 0.007_350_614),
            (100, 10, 0.049_004_69, 0.176_222_6),
        ] {
            let found = interval(Counts { n, x });
            assert!((found.0 - low).abs() < 1e-6, "{x} of {n}: {found:?}");
            assert!((found.1 - high).abs() < 1e-6, "{x} of {n}: {found:?}");
        }
    }
}
