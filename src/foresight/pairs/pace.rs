//! How fast pairs of answers are asked, and for how long.

use crate::api::{Protocol, QuantizedModelSpec};
use crate::model::comparer;

/// How a model has pairs of answers asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::foresight) struct Pace {
    /// Pairs per second, those that ask the reference twice among them.
    pub(in crate::foresight) rate: f64,
    /// Share of them that ask the reference twice.
    pub(in crate::foresight) control: f64,
    /// Pairs until the budget is spent; `None` for a comparer that guardbit does not run.
    pub(in crate::foresight) budget: Option<f64>,
    /// Tokens of an answer beside those of its question; `None` where servers tell no tokens.
    pub(in crate::foresight) answer: Option<f64>,
}

impl Pace {
    /// Of a spec whose questions have so many tokens; `None` where that is not known.
    pub(in crate::foresight) fn of(spec: &QuantizedModelSpec, prompt: Option<f64>) -> Self {
        let (rate, control) = comparer::pace(spec);
        let answer = match comparer::protocol(spec) {
            Some(Protocol::OpenAI) => Some(1.0),
            Some(Protocol::Embeddings) => Some(0.0),
            Some(Protocol::OpenInference | Protocol::Json) | None => None,
        };
        let budget = comparer::of(spec).map(|comparer| {
            let of_tokens = answer.zip(prompt).map(|(answer, prompt)| {
                let pair = 2.0 * (prompt + answer);
                (comparer.tokens as f64 / pair).floor()
            });
            (comparer.pairs as f64).min(of_tokens.unwrap_or(f64::INFINITY))
        });
        Self {
            rate,
            control,
            budget,
            answer,
        }
    }

    /// Seconds after which the budget is spent at this rate.
    pub(in crate::foresight) fn lasts(&self) -> f64 {
        self.budget.map_or(f64::INFINITY, |pairs| pairs / self.rate)
    }

    /// Seconds until the candidate has so many pairs, if the budget lasts.
    pub(in crate::foresight) fn takes(&self, of_candidate: f64) -> f64 {
        of_candidate / (self.rate * (1.0 - self.control))
    }
}

/// What is left of a budget of pairs, in seconds of the whole rate. It begins anew at every change of the rate, because that
/// restarts the comparer.
#[derive(Clone, Copy, Debug)]
pub(in crate::foresight) struct Meter {
    budget: f64,
    /// What is left of it.
    pub(in crate::foresight) left: f64,
    /// The part of the rate that was asked last.
    asked: f64,
}

impl Meter {
    /// Of a budget that lasts for so many seconds at the whole rate.
    pub(in crate::foresight) fn new(budget: f64) -> Self {
        Self {
            budget,
            left: budget,
            asked: 1.0,
        }
    }

    /// What is asked in so many seconds at a part of the rate, in seconds of the whole rate.
    pub(in crate::foresight) fn ask(&mut self, seconds: f64, asked: f64) -> f64 {
        if (asked - self.asked).abs() > f64::EPSILON {
            (self.left, self.asked) = (self.budget, asked);
        }
        let got = (asked * seconds).min(self.left);
        self.left -= got;
        got
    }
}
