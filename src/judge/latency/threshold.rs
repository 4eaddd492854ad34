//! Which of the baseline's requests a candidate's slow ones are held against.
//!
//! For a tolerated slowdown `s` they are those above `edge / s`, which lies inside a bucket. Taking the whole bucket would
//! be exact, and would allow a slowdown by 2 to 2.5 with Prometheus' default bounds. So the baseline's share there is read
//! between the two bounds, logit-linearly in the logarithm of latency, once, and then kept: from then on each request of the
//! bucket counts in that part. What is tested is the tolerance so stated.
//!
//! A bucket that holds nearly all that is slower than its lower bound does not say where in it the requests lie: where the
//! baseline has hardly a request at or below that bound, the whole bucket is taken. Else the very same model, a little
//! slower because its pods have less to do, could cross the bound and look twice as slow.

use serde::{Deserialize, Serialize};

/// Requests at or below a bound that say where above it the others lie.
const TELLING: u64 = 3;

/// Bounds within this relative distance are the same.
const SAME: f64 = 1e-9;

/// The baseline's requests that count as above a latency: all above `upper`, and a part of those between the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Threshold {
    /// The latency, in seconds.
    pub(crate) at: f64,
    /// The bound below it; 0 where the histogram has none. Equal to `upper` where the latency is a bound.
    pub(crate) lower: f64,
    /// The bound at or above it.
    pub(crate) upper: f64,
    /// The part of a request between the bounds that counts, in `[0, 1]`.
    pub(crate) part: f64,
}

impl Threshold {
    /// Those above a bound.
    pub(super) fn at_bound(bound: f64) -> Self {
        Self {
            at: bound,
            lower: bound,
            upper: bound,
            part: 0.0,
        }
    }

    /// Those above a latency, in seconds, and their share among `n` requests of the baseline, of which `up_to` has how
    /// many are at or below each bound. `None` above all bounds.
    pub(super) fn read(at: f64, up_to: &[(f64, u64)], n: u64) -> Option<(Self, f64)> {
        let next = up_to.iter().position(|(bound, _)| *bound >= at * (1.0 - SAME))?;
        let (upper, below_upper) = up_to[next];
        let above = |below: u64| n.saturating_sub(below) as f64 / n.max(1) as f64;
        if upper <= at * (1.0 + SAME) {
            return Some((Self::at_bound(upper), above(below_upper)));
        }
        let (lower, below_lower) = match next {
            0 => (0.0, 0),
            _ => up_to[next - 1],
        };
        let part = if below_lower < TELLING || below_lower == below_upper {
            1.0
        } else {
            // Half a request is added on each side, so that no share is 0 or 1.
            let share = |below: u64| (n.saturating_sub(below) as f64 + 0.5) / (n as f64 + 1.0);
            let (most, least) = (share(below_lower), share(below_upper));
            let way = (at / lower).ln() / (upper / lower).ln();
            let read = expit(logit(most) + way * (logit(least) - logit(most)));
            ((read - least) / (most - least)).clamp(0.0, 1.0)
        };
        let threshold = Self { at, lower, upper, part };
        let share = above(below_upper) + part * (above(below_lower) - above(below_upper));
        Some((threshold, share))
    }
}

fn logit(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

fn expit(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests;
