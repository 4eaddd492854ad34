//! Benefit: whether a candidate is better than stable, by what one guard counts.

use serde::{Deserialize, Serialize};

use crate::evidence::Observed;
use crate::judge::{BenefitConfig, Means, RatioTest, lower, text};

use super::Kind;
use super::kind::Benefit;

/// Running test of a benefit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenefitTest(State);

/// The state is stored by position, so the order of these variants must not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Means(Means),
    Ratio(RatioTest),
}

impl BenefitTest {
    /// A new test of what a guard counts.
    pub fn new(guard: &Kind) -> Self {
        Self(match guard.benefit() {
            Benefit::Means => State::Means(Means::default()),
            Benefit::Ratio => State::Ratio(RatioTest::default()),
        })
    }

    /// Takes what the baseline did before the trial, oldest first. It sets the guess of its mean, and how bursty it is.
    ///
    /// `slowest` is the largest edge that a latency guard watches, in seconds; `None` while it has none.
    pub fn recall(&mut self, guard: &Kind, slowest: Option<f64>, history: &[Observed]) {
        if let State::Means(means) = &mut self.0 {
            for past in history {
                if let Some((_, baseline)) = guard.values(&mut means.scale, slowest, past) {
                    means.learn(&baseline);
                }
            }
        }
    }

    /// Takes one poll. `slowest` must be what was known before it.
    pub fn observe(&mut self, config: &BenefitConfig, guard: &Kind, slowest: Option<f64>, observed: &Observed) {
        match (&mut self.0, observed) {
            (State::Ratio(test), Observed::Ratio { candidate, baseline }) => {
                test.observe(1.0 - config.at_least, *candidate, *baseline);
            }
            (State::Means(means), _) => {
                if let Some((candidate, baseline)) = guard.values(&mut means.scale, slowest, observed) {
                    means.observe(config, &candidate, &baseline);
                }
            }
            (State::Ratio(_), _) => {}
        }
    }

    /// Whether the candidate has been shown to be better by the share that was asked for.
    pub fn is_shown(&self, config: &BenefitConfig, guard: &Kind) -> bool {
        match &self.0 {
            State::Means(means) => means.ln_evidence() >= -config.false_promotion.ln(),
            State::Ratio(test) => guard.rule().is_some_and(|(_, of)| test.rule.within(of) >= of),
        }
    }

    /// How much better the candidate is, in a sentence with the evidence.
    pub fn message(&self, config: &BenefitConfig, guard: &Kind) -> String {
        let found = match &self.0 {
            State::Means(means) => means.message(config),
            State::Ratio(test) => guard.rule().map(|(_, of)| {
                format!(
                    "{} against {}, {} (wanted: {} lower) in {} of the last {of} polls, and needed in all of them (plain rule)",
                    text::figure(test.candidate),
                    text::figure(test.baseline),
                    lower(test.candidate, test.baseline),
                    text::whole_percent(config.at_least),
                    test.rule.within(of)
                )
            }),
        };
        format!(
            "{}: {}",
            config.guard,
            found.as_deref().unwrap_or("nothing to compare yet")
        )
    }
}

#[cfg(test)]
mod tests;
