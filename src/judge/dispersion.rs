//! Over-dispersion: how much burstier events are than independent ones.
//!
//! Real failures come in clumps: a retry, a bad batch, a pod that stalls for a second. An e-value that takes them for
//! independent ones is too sure. e^{1/φ} keeps E ≤ 1 for every predictable φ ≥ 1 (Jensen), where φ is the
//! quasi-likelihood ratio of the variance that was seen to the one that independent events would have (Wedderburn
//! 1974). It comes from past polls alone, and from differences *within* short blocks of them, so that slow change is
//! not taken for noise.

use serde::{Deserialize, Serialize};

use crate::evidence::Counts;

/// Polls of a block in which the shares of an arm are taken to be constant.
const BLOCK: usize = 8;

/// Polls of a block in which the candidate's share of all bad events is taken to be constant.
const SPLIT_BLOCK: usize = 4;

/// Blocks after which an observation counts half: about two hours of 15-second polls.
const HALF_LIFE: f64 = 60.0;

/// Weight of what is expected of an arm before anything was seen, in units of variance: nearly that of bad events.
const PRIOR: f64 = 20.0;

/// Weight of the prior for the split of bad events between the arms, which is expected to be as bursty as the baseline.
const SPLIT_PRIOR: f64 = 25.0;

/// Smallest φ: no real traffic is as even as independent events, and a candidate that is a little burstier than its
/// baseline (by a quarter, say) cannot be recognised before it is judged.
const LEAST: f64 = 1.1;

/// Expected excess of φ over 1 for a baseline whose past is not known. It halves with every block, because clumps do
/// their damage early, and an arm without failures never shows how bursty they are. A larger value would be safer where
/// failures come in threes, and too slow where they do not.
const SUSPICION: f64 = 0.2;

/// Largest weight of a block, as a multiple of the usual one. An incident has a hundred times the events of a quiet
/// hour: counted whole, the blocks in which it begins and ends would look like burstiness for hours, and hide harm.
const HEAVIEST: f64 = 4.0;

/// Largest φ of a block.
const WILDEST: f64 = 8.0;

/// A ratio of sums: the observed variance, and the variance that independent events would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ratio {
    blocks: f64,
    seen: f64,
    expected: f64,
}

impl Ratio {
    fn add(&mut self, seen: f64, expected: f64) {
        let counted = if self.blocks > 0.0 {
            expected.min(HEAVIEST * self.expected / self.blocks)
        } else {
            expected
        };
        let keep = 0.5f64.powf(1.0 / HALF_LIFE);
        self.blocks = keep * self.blocks + 1.0;
        self.seen = keep * self.seen + (seen / expected).min(WILDEST) * counted;
        self.expected = keep * self.expected + counted;
    }

    /// The ratio, shrunk towards `prior`, which has the weight `weight`.
    fn shrunken(self, prior: f64, weight: f64) -> f64 {
        (weight * prior + self.seen) / (weight + self.expected)
    }
}

/// How bursty the events of one arm are, by category: bad and good ones, or bins of outputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    /// Polls of the block that is open.
    open: Vec<Vec<u64>>,
    ratio: Ratio,
}

impl Spread {
    /// Takes the events of one poll, by category.
    pub(super) fn observe(&mut self, poll: Vec<u64>) {
        if poll.iter().all(|n| *n == 0) {
            return;
        }
        self.open.push(poll);
        if self.open.len() == BLOCK {
            if let Some((seen, expected)) = within(&self.open) {
                self.ratio.add(seen, expected);
            }
            self.open.clear();
        }
    }

    /// Variance as a multiple of that of independent events, shrunk towards `prior`.
    pub(super) fn phi(&self, prior: f64) -> f64 {
        self.ratio.shrunken(prior, PRIOR)
    }
}

/// Running estimate of φ for one share of bad events on two arms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Dispersion {
    baseline: Spread,
    /// Whether the baseline was seen before the candidate.
    past: bool,
    /// Polls that were observed, without the recalled ones.
    polls: u64,
    /// Polls of the block that is open: candidate and baseline.
    open: Vec<(Counts, Counts)>,
    split: Ratio,
}

impl Dispersion {
    /// Takes a poll in which the candidate is not seen.
    pub(super) fn recall(&mut self, baseline: Counts) {
        self.past = true;
        self.baseline.observe(categories(baseline));
    }

    /// Takes one poll; it affects φ only for the polls after it.
    pub(super) fn observe(&mut self, candidate: Counts, baseline: Counts) {
        self.polls += 1;
        self.baseline.observe(categories(baseline));
        self.open.push((candidate, baseline));
        if self.open.len() == SPLIT_BLOCK {
            if let Some((seen, expected)) = split(&self.open) {
                self.split.add(seen, expected);
            }
            self.open.clear();
        }
    }

    /// The estimate of φ; 1.1 or more.
    pub(super) fn phi(&self) -> f64 {
        let expected = if self.past { 1.0 } else { expected(self.polls) };
        let baseline = self.baseline.phi(expected);
        baseline.max(self.split.shrunken(baseline, SPLIT_PRIOR)).max(LEAST)
    }
}

/// Running estimate of φ for pairs, which are counted on one arm. Their clumps are those of a user who asks the same thing
/// again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Alone {
    spread: Spread,
    polls: u64,
}

impl Alone {
    /// Takes one poll; it affects φ only for the polls after it.
    pub(super) fn observe(&mut self, counts: Counts) {
        self.polls += 1;
        self.spread.observe(categories(counts));
    }

    /// The estimate of φ; 1.1 or more.
    pub(super) fn phi(&self) -> f64 {
        self.spread.phi(expected(self.polls)).max(LEAST)
    }
}

/// φ of an arm whose past is not known, after so many polls.
fn expected(polls: u64) -> f64 {
    1.0 + SUSPICION * 0.5f64.powf(polls as f64 / BLOCK as f64)
}

fn categories(counts: Counts) -> Vec<u64> {
    vec![counts.x, counts.n.saturating_sub(counts.x)]
}

/// Pearson's sum of squares within a block, for the B/(B−1) that fitting the shares takes away, and what it would be
/// for independent events. `None` where the block does not show it.
fn within(block: &[Vec<u64>]) -> Option<(f64, f64)> {
    let categories = block.iter().map(Vec::len).max()?;
    let n: Vec<f64> = block.iter().map(|poll| poll.iter().sum::<u64>() as f64).collect();
    let (all, polls) = (n.iter().sum::<f64>(), block.len() as f64);
    let (mut seen, mut expected) = (0.0, 0.0);
    for i in 0..categories {
        let of = |poll: &Vec<u64>| poll.get(i).copied().unwrap_or(0) as f64;
        let p = block.iter().map(of).sum::<f64>() / all;
        seen += block
            .iter()
            .zip(&n)
            .map(|(poll, n)| (of(poll) - n * p).powi(2))
            .sum::<f64>();
        expected += all * p * (1.0 - p);
    }
    (expected > 0.0).then_some((seen * polls / (polls - 1.0), expected))
}

/// Observed and expected sum of squares, as for [`within`], of the candidate's share of all bad events, which an
/// incident on both arms does not change. Its odds are fitted to the block, so that a worse candidate is not taken for
/// a noisy one.
fn split(block: &[(Counts, Counts)]) -> Option<(f64, f64)> {
    let bad = |(c, b): &(Counts, Counts)| (c.x + b.x) as f64;
    let polls: Vec<_> = block
        .iter()
        .filter(|poll| bad(poll) > 0.0 && poll.0.n > 0 && poll.1.n > 0)
        .collect();
    let (of_candidate, all) = polls
        .iter()
        .fold((0.0, 0.0), |(x, m), poll| (x + poll.0.x as f64, m + bad(poll)));
    if polls.len() < 2 || of_candidate == 0.0 || of_candidate == all {
        return None;
    }
    let share = |(c, b): &(Counts, Counts), odds: f64| odds * c.n as f64 / (odds * c.n as f64 + b.n as f64);
    let (mut low, mut high) = (-60f64, 60f64);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if polls.iter().map(|p| bad(p) * share(p, middle.exp())).sum::<f64>() < of_candidate {
            low = middle
        } else {
            high = middle
        }
    }
    let odds = (0.5 * (low + high)).exp();
    let (mut seen, mut expected) = (0.0, 0.0);
    for poll in &polls {
        let (m, share) = (bad(poll), share(poll, odds));
        seen += (poll.0.x as f64 - m * share).powi(2);
        expected += m * share * (1.0 - share);
    }
    let n = polls.len() as f64;
    Some((seen * n / (n - 1.0), expected))
}

#[cfg(test)]
mod tests;
