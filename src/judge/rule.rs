//! Plain rules, for metrics without a sampling model: k of the last n polls out of bounds are harm.

use serde::{Deserialize, Serialize};

use crate::api::Verdict;
use crate::evidence::Amounts;

/// State of a plain k-of-n rule: which of the last polls were out of bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// Bit i is set if the poll i polls ago was out of bounds.
    out: u64,
    seen: u32,
}

/// On which side of its bounds a poll was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Within,
    Beyond,
}

/// State of a query guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueryTest {
    pub(crate) rule: Rule,
    pub(crate) last: f64,
}

/// State of a ratio guard, with the ratios of the last poll.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RatioTest {
    pub(crate) rule: Rule,
    pub(crate) candidate: f64,
    pub(crate) baseline: f64,
}

impl QueryTest {
    /// Takes the value of one poll, unless it is NaN.
    pub(crate) fn observe(&mut self, min: Option<f64>, max: Option<f64>, value: f64) {
        if !value.is_nan() {
            let out = min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max);
            self.rule.observe(if out { Side::Beyond } else { Side::Within });
            self.last = value;
        }
    }
}

impl RatioTest {
    /// Takes one poll, unless one of the arms did nothing in it, or the baseline spent nothing.
    pub(crate) fn observe(&mut self, max: f64, candidate: Amounts, baseline: Amounts) {
        let (Some(candidate), Some(baseline)) = (candidate.ratio(), baseline.ratio()) else {
            return;
        };
        if baseline > 0.0 {
            let out = candidate > max * baseline;
            self.rule.observe(if out { Side::Beyond } else { Side::Within });
            (self.candidate, self.baseline) = (candidate, baseline);
        }
    }
}

impl Rule {
    fn observe(&mut self, side: Side) {
        self.out = self.out << 1 | u64::from(side == Side::Beyond);
        self.seen = self.seen.saturating_add(1);
    }

    /// What the rule says when `consecutive` of the last `of` polls out of bounds are harm.
    pub(crate) fn verdict(&self, consecutive: u32, of: u32) -> Verdict {
        if self.out_of(of) >= consecutive {
            Verdict::Harmful
        } else if self.seen >= of && self.out & 1 == 0 {
            Verdict::Healthy
        } else {
            Verdict::Undecided
        }
    }

    /// Polls that the rule has counted, `of` at most.
    pub(crate) fn counted(&self, of: u32) -> u32 {
        self.seen.min(of)
    }

    /// Polls out of bounds among the last `of`.
    pub(crate) fn out_of(&self, of: u32) -> u32 {
        (self.out & (u64::MAX >> (64 - of.clamp(1, 64)))).count_ones()
    }

    /// Polls within bounds among the last `of`.
    pub(crate) fn within(&self, of: u32) -> u32 {
        self.counted(of).saturating_sub(self.out_of(of))
    }
}
