//! Benefit: is a candidate that is safe also better than stable, by the share that was asked for?
//!
//! Compares the means of what an event counts, between 0 and 1: bad or not, or how much of the largest edge a latency
//! takes. A ratio has no sampling model, so its plain rule decides: each of the last polls must show it. The null is
//! `μ_c ≥ r·μ_b` with r = 1 − `at_least`. Evidence is won by betting (Waudby-Smith & Ramdas, *Estimating means of
//! bounded random variables by betting*, 2024): each event of the candidate multiplies it by 1 + λ(r·p − v), each of
//! the baseline by 1 + λ'(v − p), with λ' = λ·r·n_c/n_b and a guess p of μ_b from past polls. On the edge of the null
//! the logarithm of the expectation, n_c·ln(1 + λr(p − μ_b)) + n_b·ln(1 + λ'(μ_b − p)), is concave in μ_b and has its
//! maximum, 0, at p: so E ≤ 1 whatever μ_b is, and however it moves from poll to poll. A bad guess costs power, never
//! validity.

use serde::{Deserialize, Serialize};

use crate::evidence::Buckets;

use super::dispersion::Spread;
use super::margin::ln_sum;
use super::text;

/// Bets, as parts of the largest one that keeps all factors positive; one process each, averaged.
const BETS: [f64; 4] = [0.03, 0.1, 0.3, 0.8];

/// Factor by which each poll discounts the past: the guess follows a baseline that changes over some fifty polls.
const MEMORY: f64 = 0.98;

/// Classes of values whose spread over the polls shows how bursty they are.
const CLASSES: usize = 4;

/// The improvement that a candidate must show in addition to being safe.
#[derive(Clone, Debug, PartialEq)]
pub struct BenefitConfig {
    /// The guard that measures it.
    pub guard: String,
    /// Share by which the candidate's mean must be lower than the baseline's, in `(0, 1)`.
    pub at_least: f64,
    /// Probability that a candidate that is not so much better is found to be, in `(0, 1)`.
    pub false_promotion: f64,
}

/// Events of one arm in one poll: a value, and how many events have it.
pub type Values = Vec<(f64, u64)>;

/// All events of one arm, and the sum of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total {
    n: u64,
    sum: f64,
}

impl Total {
    fn mean(self) -> f64 {
        self.sum / self.n as f64
    }
}

/// How much lower the candidate's mean is, as a part of the baseline's.
pub(crate) fn lower(candidate: f64, baseline: f64) -> String {
    let lower = if baseline > 0.0 {
        1.0 - candidate / baseline
    } else {
        0.0
    };
    let which = if lower < 0.0 { "higher" } else { "lower" };
    format!("{} {which}", text::percent(lower.abs()))
}

/// Running test of two means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Means {
    /// What a value of 1 stands for, in seconds; `None` for a share.
    pub(crate) scale: Option<f64>,
    candidate: Total,
    baseline: Total,
    /// The baseline's past, discounted: events, and the sum of their values.
    past: (f64, f64),
    /// Logarithms, one for each of [`BETS`].
    processes: [f64; BETS.len()],
    candidate_spread: Spread,
    baseline_spread: Spread,
}

impl Means {
    pub(crate) fn observe(&mut self, config: &BenefitConfig, candidate: &Values, baseline: &Values) {
        let ratio = 1.0 - config.at_least;
        let (n, sum) = self.past;
        if n > 0.0 {
            let usual = self.baseline_spread.phi(1.0);
            let dispersion = usual.max(self.candidate_spread.phi(usual)).max(1.0);
            let cap = 3.0 - config.false_promotion.ln();
            for (process, bet) in self.processes.iter_mut().zip(BETS) {
                *process = (*process + ln_e(candidate, baseline, ratio, sum / n, bet) / dispersion).min(cap);
            }
        }
        self.candidate_spread.observe(classes(candidate));
        self.learn(baseline);
        add(&mut self.candidate, candidate);
        add(&mut self.baseline, baseline);
    }

    pub(crate) fn learn(&mut self, baseline: &Values) {
        let mut more = Total::default();
        add(&mut more, baseline);
        let (n, sum) = self.past;
        self.past = (MEMORY * n + more.n as f64, MEMORY * sum + more.sum);
        self.baseline_spread.observe(classes(baseline));
    }

    pub(crate) fn ln_evidence(&self) -> f64 {
        ln_sum(self.processes) - (BETS.len() as f64).ln()
    }

    pub(crate) fn message(&self, config: &BenefitConfig) -> Option<String> {
        let means =
            (self.candidate.n > 0 && self.baseline.n > 0).then(|| (self.candidate.mean(), self.baseline.mean()));
        let (candidate, baseline) = means?;
        let shown = |mean: f64| match self.scale {
            Some(scale) => text::seconds(scale * mean),
            None => text::percent(mean),
        };
        Some(format!(
            "{} of {} over {} against {} over {}, {} (wanted: {} lower), evidence {} of {}",
            if self.scale.is_some() { "a mean" } else { "a share" },
            shown(candidate),
            text::number(self.candidate.n),
            shown(baseline),
            text::number(self.baseline.n),
            lower(candidate, baseline),
            text::whole_percent(config.at_least),
            text::evidence(self.ln_evidence()),
            text::evidence(-config.false_promotion.ln())
        ))
    }
}

/// The middle of each bucket as a part of `scale`; requests beyond `scale` count 1.
pub(crate) fn latencies(buckets: &Buckets, scale: f64) -> Values {
    let mut lower = 0.0;
    let middle = |bound: Option<&f64>| {
        let upper = bound.copied().unwrap_or(f64::INFINITY);
        let middle = 0.5 * (std::mem::replace(&mut lower, upper) + upper);
        (middle / scale).clamp(0.0, 1.0)
    };
    let bounds = buckets.bounds.iter().map(Some).chain([None]);
    bounds.map(middle).zip(buckets.counts.iter().copied()).collect()
}

fn classes(values: &Values) -> Vec<u64> {
    let mut classes = vec![0; CLASSES];
    for (value, n) in values {
        classes[((value * CLASSES as f64) as usize).min(CLASSES - 1)] += n;
    }
    classes
}

fn add(total: &mut Total, values: &Values) {
    for (value, n) in values {
        total.n += n;
        total.sum += value * *n as f64;
    }
}

/// Natural logarithm of the e-value of one poll against `mean(candidate) ≥ ratio · mean(baseline)`, with `guess` at the
/// baseline's mean. 0 where nothing can be said.
fn ln_e(candidate: &Values, baseline: &Values, ratio: f64, guess: f64, bet: f64) -> f64 {
    let count = |values: &Values| values.iter().map(|(_, n)| *n as f64).sum::<f64>();
    let (n_c, n_b) = (count(candidate), count(baseline));
    if n_c == 0.0 || n_b == 0.0 || guess <= 0.0 || guess >= 1.0 {
        return 0.0;
    }
    let edge = ratio * guess;
    let largest = (1.0 / (1.0 - edge)).min(n_b / (n_c * edge));
    let bet_c = bet * largest;
    let bet_b = bet_c * ratio * n_c / n_b;
    let won = |(value, n): &(f64, u64)| *n as f64 * (bet_c * (edge - value)).ln_1p();
    let lost = |(value, n): &(f64, u64)| *n as f64 * (bet_b * (value - guess)).ln_1p();
    candidate.iter().map(won).sum::<f64>() + baseline.iter().map(lost).sum::<f64>()
}

#[cfg(test)]
mod tests;
