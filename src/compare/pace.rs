//! When the next pair may be asked: a rate, a budget, and less of both while an arm is busy. It is pure: the caller says
//! what time it is.

/// How many pairs may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Pairs a second at the most; above 0.
    pub rate: f64,
    /// Pairs in all.
    pub pairs: u64,
    /// Tokens in all, of both arms together, where the answers tell them.
    pub tokens: u64,
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// All pairs of the budget.
    Pairs,
    /// All tokens of the budget.
    Tokens,
}

/// Whether a pair may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// Now.
    Now,
    /// In so many seconds at the earliest.
    In(f64),
    /// Not any more.
    Never(Spent),
}

/// The least share of the rate that an arm which goes on being busy is asked at.
const LEAST: f64 = 1.0 / 64.0;

/// The share of the rate that comes back with each pair that went well.
const RECOVERY: f64 = 1.0 / 32.0;

/// How many pairs are asked, and when. Additive increase and multiplicative decrease, as TCP does it: an arm that has no
/// room for its users must not be asked by the comparer.
#[derive(Clone, Debug)]
pub struct Pace {
    allowance: Allowance,
    pairs: u64,
    tokens: u64,
    /// Share of the rate that is in force; from `LEAST` to 1.
    share: f64,
    /// When the next pair may be asked, in seconds of the caller's clock.
    next: f64,
}

impl Pace {
    /// Nothing is used up yet.
    pub fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            pairs: 0,
            tokens: 0,
            share: 1.0,
            next: 0.0,
        }
    }

    /// Whether a pair may be asked at `now` (seconds of any clock that goes forward). Where it may, it is taken as asked.
    pub fn take(&mut self, now: f64) -> Turn {
        if self.pairs >= self.allowance.pairs {
            return Turn::Never(Spent::Pairs);
        }
        if self.tokens >= self.allowance.tokens {
            return Turn::Never(Spent::Tokens);
        }
        if now < self.next {
            return Turn::In(self.next - now);
        }
        self.pairs += 1;
        // Time that was not used is lost: pairs come evenly and never in a burst.
        self.next = now + 1.0 / (self.allowance.rate * self.share);
        Turn::Now
    }

    /// Both arms had room for a pair, which took so many tokens.
    pub fn answered(&mut self, tokens: u64) {
        self.tokens += tokens;
        self.share = (self.share + RECOVERY).min(1.0);
    }

    /// An arm had no room (429, 503) or did not answer in time: the rate is halved.
    pub fn was_busy(&mut self) {
        self.share = (0.5 * self.share).max(LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: f64) -> Pace {
        Pace::new(Allowance {
            rate,
            pairs: 1_000,
            tokens: 1_000,
        })
    }

    /// Pairs asked in so many seconds by a caller that comes as soon as it may.
    fn asked(pace: &mut Pace, from: f64, seconds: f64) -> u32 {
        let (mut now, mut n) = (from, 0);
        while now < from + seconds {
            match pace.take(now) {
                Turn::Now => n += 1,
                Turn::In(wait) => now += wait,
                Turn::Never(_) => return n,
            }
        }
        n
    }

    #[test]
    fn pairs_come_evenly_and_time_that_was_not_used_is_lost() {
        let mut pace = pace(2.0);
        assert_eq!(asked(&mut pace, 0.0, 10.0), 20);
        // After a minute without any there is no burst.
        assert_eq!(asked(&mut pace, 70.0, 10.0), 20);
    }

    #[test]
    fn a_busy_arm_is_asked_less_and_recovers_pair_by_pair() {
        let mut pace = pace(2.0);
        for _ in 0..3 {
            pace.was_busy();
        }
        assert_eq!(asked(&mut pace, 0.0, 40.0), 10, "an eighth of the rate");
        for _ in 0..100 {
            pace.was_busy();
        }
        assert_eq!(asked(&mut pace, 1_000.0, 320.0), 10, "never less than a sixty-fourth");
        for _ in 0..32 {
            pace.answered(0);
        }
        assert_eq!(asked(&mut pace, 2_000.0, 10.0), 20);
    }

    #[test]
    fn a_budget_ends_it_and_says_which() {
        let mut pairs = pace(1_000.0);
        assert_eq!(asked(&mut pairs, 0.0, 10.0), 1_000);
        assert_eq!(pairs.take(100.0), Turn::Never(Spent::Pairs));
        let mut tokens = pace(1.0);
        tokens.answered(1_000);
        assert_eq!(tokens.take(0.0), Turn::Never(Spent::Tokens));
    }
}
