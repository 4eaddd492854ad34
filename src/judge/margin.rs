//! The margin test: is a candidate's share of bad events beyond `ratio` × the baseline's + `absolute`?
//!
//! Exact two-sample e-values: the numerator is a fixed guess (q_c, q_b) made from past polls, the denominator the
//! largest likelihood in the null at its edge. See Turner, Ly & Grünwald, *Generic E-variables for exact sequential
//! k-sample tests* (2024), and Ramdas et al., *Game-theoretic statistics and safe anytime-valid inference* (2023). A
//! bad guess costs power, never validity.

use serde::{Deserialize, Serialize};

use crate::evidence::Counts;

use super::regime::Regime;
use super::tally::Tally;

/// A candidate's share may be as large as `ratio` × the baseline's + `absolute`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Factor on the baseline's share; 0 or more. With 0 the bound is fixed and needs no baseline.
    pub ratio: f64,
    /// Share added to it; in `[0, 1)`.
    pub absolute: f64,
}

impl Tolerance {
    /// Largest tolerated share of the candidate where the baseline's is `p`.
    pub fn edge(self, p: f64) -> f64 {
        self.ratio * p + self.absolute
    }
}

/// Natural logarithm of the e-value of one poll against the null whose edge is `p_c = edge(p_b)`: above the edge if
/// `q_c > edge(q_b)` (a test of harm), below it if `q_c < edge(q_b)` (a test of health). 0 where nothing can be said.
///
/// Where an event of the baseline is bad in part, the part being the chance that it is, the e-value is the more careful
/// for it: its logarithm is linear in the number of bad events, so by Jensen it is at most the mean of the e-values of
/// all ways in which they could have been drawn.
pub fn ln_e(candidate: Counts, baseline: impl Into<Tally>, tolerance: Tolerance, q_c: f64, q_b: f64) -> f64 {
    let baseline: Tally = baseline.into();
    let Tolerance { ratio: r, absolute: d } = tolerance;
    let (n_c, x_c) = (candidate.n as f64, candidate.x.min(candidate.n) as f64);
    let (n_b, x_b) = (baseline.n as f64, baseline.x.min(baseline.n as f64));
    let open = |q: f64| q > 0.0 && q < 1.0;
    if !open(q_c) || candidate.n == 0 {
        return 0.0;
    }
    let term = |x: f64, log: f64| if x == 0.0 { 0.0 } else { x * log };
    let half = |n: f64, x: f64, q: f64, p: f64| term(x, (q / p).ln()) + term(n - x, ((1.0 - q) / (1.0 - p)).ln());
    if r == 0.0 {
        return if open(d) { half(n_c, x_c, q_c, d) } else { 0.0 };
    }
    if baseline.n == 0 || !open(q_b) {
        return 0.0;
    }
    match root(n_c, n_b, tolerance, q_c, q_b) {
        Some(p) => half(n_c, x_c, q_c, tolerance.edge(p)) + half(n_b, x_b, q_b, p),
        None => 0.0,
    }
}

/// The baseline's share p* at which the e-value is largest in expectation over the edge: root, decreasing in p, of
/// `n_c·r·(q_c − c)/(c(1−c)) + n_b·(q_b − p)/(p(1−p))` with `c = r·p + d`.
fn root(n_c: f64, n_b: f64, tolerance: Tolerance, q_c: f64, q_b: f64) -> Option<f64> {
    let Tolerance { ratio: r, absolute: d } = tolerance;
    // d/dx of (q − x)/(x(1−x)) is −((x − q)² + q(1−q))/(x(1−x))²: never above 0.
    let slope = |p: f64| {
        let c = tolerance.edge(p);
        n_c * r * (q_c - c) / (c * (1.0 - c)) + n_b * (q_b - p) / (p * (1.0 - p))
    };
    let bend = |p: f64| {
        let of = |x: f64, q: f64| -((x - q).powi(2) + q * (1.0 - q)) / (x * (1.0 - x)).powi(2);
        n_c * r * r * of(tolerance.edge(p), q_c) + n_b * of(p, q_b)
    };
    let other = (q_c - d) / r;
    let least = f64::MIN_POSITIVE.sqrt();
    // The edge ends where a share is 1. A baseline beyond that end tolerates any candidate: the nearest point of the
    // null then lies just before the end, and a test of health must still give evidence there. So must one of harm,
    // where no baseline would tolerate the guess.
    let end = ((1.0 - d) / r).min(1.0) * (1.0 - 1e-12);
    let (mut low, mut high) = (q_b.min(other).max(least), q_b.max(other).min(end));
    // At the ends one of the two terms is 0 and the other has the expected sign, except for rounding.
    if low >= high || slope(low) < -1e-6 * (n_c + n_b) || slope(high) > 1e-6 * (n_c + n_b) {
        return None;
    }
    // Newton's method; the bracket is halved instead where a step leaves it, or is not at most half as long as the one
    // before.
    let (mut p, mut last) = (halfway(low, high), high - low);
    for _ in 0..200 {
        let at = slope(p);
        if at > 0.0 {
            low = p
        } else {
            high = p
        }
        let steepness = bend(p);
        let newton = p - at / steepness;
        let inside = steepness.is_finite() && newton >= low && newton <= high;
        let next = if inside && 2.0 * (newton - p).abs() <= last {
            newton
        } else {
            halfway(low, high)
        };
        last = (next - p).abs();
        p = next;
        // The e-value is flat at its root: an error in `p` enters it only squared.
        if last <= 1e-12 * p {
            break;
        }
    }
    Some(p)
}

/// The middle of a bracket: the geometric mean if it is wide.
fn halfway(low: f64, high: f64) -> f64 {
    if high > 4.0 * low {
        (low * high).sqrt()
    } else {
        0.5 * (low + high)
    }
}

/// Alternatives of a test of harm: factors on the odds of the edge, with weights that sum to 1, and the weight of a
/// plug-in guess from past polls.
#[derive(Clone, Copy, Debug)]
pub struct Alternatives {
    /// (θ, weight).
    pub odds: &'static [(f64, f64)],
    /// Weight of the plug-in guess; 0 for none.
    pub plug_in: f64,
    /// The most that one block of polls can add to the natural logarithm of a process. An e-value that is cut off at the top
    /// is one still.
    pub most: f64,
}

/// Alternatives for shares of bad events.
pub const SHARES: Alternatives = Alternatives {
    odds: &[
        (1.5, 0.04),
        (2.0, 0.60),
        (2.8, 0.13),
        (4.5, 0.16),
        (10.0, 0.05),
        (25.0, 0.02),
    ],
    plug_in: 0.0,
    most: f64::INFINITY,
};

/// Requests of a few seconds are slow for a common reason: a machine that is short of processors for ten seconds slows down
/// the only pod of a candidate, and one of stable's many. A block of polls is taken for a factor of four at the most (e^1.4),
/// so that harm takes three blocks or more.
const SLOW_TOGETHER: f64 = 1.4;

/// Alternatives for shares of slow requests.
pub const SLOW: Alternatives = Alternatives {
    most: SLOW_TOGETHER,
    ..SHARES
};

/// Alternatives for shares that are held against those of a baseline taken to be slower: most of the requests may lie
/// there, so a candidate that is clearly too slow can be near in odds.
pub const SLOWDOWNS: Alternatives = Alternatives {
    odds: &[
        (1.1, 0.10),
        (1.25, 0.20),
        (1.6, 0.30),
        (2.5, 0.20),
        (6.0, 0.12),
        (25.0, 0.08),
    ],
    plug_in: 0.0,
    most: SLOW_TOGETHER,
};

/// Alternatives for the share of a witness set of outputs.
pub const WITNESS: Alternatives = Alternatives {
    odds: &[(1.1, 0.12), (1.25, 0.14), (1.5, 0.14), (2.0, 0.12), (3.0, 0.08)],
    plug_in: 0.4,
    most: f64::INFINITY,
};

/// Alternatives for the share of pairs whose answers differ.
pub const PAIRS: Alternatives = Alternatives {
    odds: &[(1.25, 0.15), (1.5, 0.20), (2.0, 0.30), (3.0, 0.12), (6.0, 0.08)],
    plug_in: 0.15,
    most: f64::INFINITY,
};

/// Weights of the guesses of a test of health: three between the baseline and the edge, and the candidate's own past
/// share.
const HEALTH: [(Option<f64>, f64); 4] = [(Some(0.0), 0.5), (Some(0.35), 0.2), (Some(0.7), 0.1), (None, 0.2)];

/// Pseudo-requests that a guess from past polls starts with.
const PRIOR: f64 = 100.0;

/// What past polls say about both arms: the guesses that a poll is tested with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// Counts of the candidate in all past polls.
    pub candidate: Counts,
    /// Counts of the baseline in all past polls.
    pub baseline: Tally,
    /// The baseline's share before the first poll.
    pub prior: f64,
    /// φ: the variance of both arms as a multiple of that of independent events; 1 or more.
    pub dispersion: f64,
}

impl Past {
    fn baseline_share(&self) -> f64 {
        let prior = self.prior.clamp(1e-4, 0.9999);
        (self.baseline.x + PRIOR * prior) / (self.baseline.n as f64 + PRIOR)
    }

    /// The edge that the guesses are placed around. It stays below 1, because an edge of 1 or more tolerates
    /// everything.
    fn edge(tolerance: Tolerance, q_b: f64) -> f64 {
        tolerance.edge(q_b).min(0.999)
    }

    fn candidate_share(&self, q_b: f64) -> f64 {
        (self.candidate.x as f64 + PRIOR * q_b) / (self.candidate.n as f64 + PRIOR)
    }
}

/// Log-sum-exp.
pub fn ln_sum(logs: impl IntoIterator<Item = f64>) -> f64 {
    let logs: Vec<f64> = logs.into_iter().filter(|l| *l > f64::NEG_INFINITY).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top.is_finite() {
        top + logs.iter().map(|l| (l - top).exp()).sum::<f64>().ln()
    } else {
        top
    }
}

/// The running test of harm: one process for each alternative, averaged at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    polls: u64,
    /// Logarithms of (A, S): the process from the start, and the restarted ones.
    processes: Vec<(f64, f64)>,
    /// The same when the block began, with what was staked on later starts since; empty where a block may add anything.
    block: Vec<(f64, f64)>,
}

impl Harm {
    /// Takes one poll. `past` must hold only what was known before it.
    pub fn observe(
        &mut self,
        regime: Regime,
        alternatives: Alternatives,
        tolerance: Tolerance,
        past: Past,
        candidate: Counts,
        baseline: Tally,
    ) {
        let q_b = past.baseline_share();
        let edge = Past::edge(tolerance, q_b);
        let guesses = guesses_of_harm(alternatives, edge, past.candidate_share(q_b));
        if self.processes.len() != guesses.len() {
            self.processes = vec![start(regime); guesses.len()];
            self.begin_block(alternatives);
        }
        let staked = match regime {
            Regime::Rollout { .. } => ln_unused(self.polls) - (self.polls as f64 + 60.0).ln(),
            Regime::Guarding { .. } => 0.0,
        };
        for ((a, s), (q_c, _)) in self.processes.iter_mut().zip(guesses) {
            // A guess below the edge would count health as harm. It occurs where the edge is nearly 1 and leaves no
            // room above.
            let ln_e = if q_c > tolerance.edge(q_b) {
                ln_e(candidate, baseline, tolerance, q_c, q_b) / past.dispersion
            } else {
                0.0
            };
            *a += ln_e;
            *s = ln_e + ln_sum([*s, staked]);
        }
        for (_, s) in &mut self.block {
            *s = ln_sum([*s, staked]);
        }
        self.polls += 1;
    }

    /// Begins a block of polls. What the one before it added beyond the limit is gone.
    pub fn begin_block(&mut self, alternatives: Alternatives) {
        if alternatives.most.is_finite() {
            self.processes = self.limited(alternatives).collect();
            self.block.clone_from(&self.processes);
        }
    }

    /// The processes, each with no more from the current block than it can add.
    fn limited(&self, alternatives: Alternatives) -> impl Iterator<Item = (f64, f64)> {
        self.processes.iter().enumerate().map(move |(i, (a, s))| {
            let most = |begun: f64| begun + alternatives.most;
            self.block
                .get(i)
                .map_or((*a, *s), |(a0, s0)| (a.min(most(*a0)), s.min(most(*s0))))
        })
    }

    /// Logarithm of the evidence of harm.
    pub fn ln_evidence(&self, regime: Regime, alternatives: Alternatives) -> f64 {
        let weights = guesses_of_harm(alternatives, 0.5, 0.5);
        let unused = match regime {
            Regime::Rollout { .. } => ln_unused(self.polls),
            Regime::Guarding { .. } => f64::NEG_INFINITY,
        };
        if self.processes.is_empty() {
            let (a, s) = start(regime);
            return ln_sum([a, s, unused]);
        }
        ln_sum(
            self.limited(alternatives)
                .zip(weights)
                .map(|((a, s), (_, weight))| weight.ln() + ln_sum([a, s, unused])),
        )
    }
}

/// Share of the wealth that bets on a later start of harm.
const LATE: f64 = 0.08;

/// Wealth of a process that runs from the start, and of one that starts later.
fn start(regime: Regime) -> (f64, f64) {
    match regime {
        Regime::Rollout { .. } => ((1.0 - LATE).ln(), f64::NEG_INFINITY),
        // An e-detector has no wealth from the start: Shin, Ramdas & Rinaldo, *E-detectors* (2024).
        Regime::Guarding { .. } => (f64::NEG_INFINITY, f64::NEG_INFINITY),
    }
}

/// Logarithm of the wealth that is still kept for a later start after `polls`: C ← (1−h)·C with h = 1/(t + 60), which
/// telescopes to C = `LATE` · 59/(t + 59).
fn ln_unused(polls: u64) -> f64 {
    (LATE * 59.0 / (polls as f64 + 59.0)).ln()
}

fn guesses_of_harm(alternatives: Alternatives, edge: f64, past: f64) -> Vec<(f64, f64)> {
    let raise = |theta: f64| {
        let odds = theta * edge / (1.0 - edge);
        odds / (1.0 + odds)
    };
    let mut guesses: Vec<_> = alternatives
        .odds
        .iter()
        .map(|(theta, weight)| (raise(*theta), *weight))
        .collect();
    if alternatives.plug_in > 0.0 {
        guesses.push((past.clamp(raise(1.02), 1.0 - 1e-9), alternatives.plug_in));
    }
    guesses
}

/// The running test of health: one process for each guess.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    processes: [f64; 4],
}

impl Health {
    /// Takes one poll. `past` must hold only what was known before it. Each process is capped at e³/α', so that a later
    /// change for the worse shows.
    pub fn observe(
        &mut self,
        false_promotion: f64,
        tolerance: Tolerance,
        past: Past,
        candidate: Counts,
        baseline: Tally,
    ) {
        let q_b = past.baseline_share();
        let edge = Past::edge(tolerance, q_b);
        // The baseline itself may lie beyond the edge (ratio below 1, or a fixed bound): the guess is then placed well
        // within.
        let anchor = if tolerance.ratio > 0.0 && q_b < edge {
            q_b
        } else {
            0.4 * edge
        };
        let cap = 3.0 - false_promotion.ln();
        for (process, (fraction, _)) in self.processes.iter_mut().zip(HEALTH) {
            let q_c = match fraction {
                Some(f) => anchor + f * (edge - anchor),
                None => past
                    .candidate_share(anchor)
                    .clamp(0.01 * edge, anchor + 0.9 * (edge - anchor)),
            };
            *process = (*process + ln_e(candidate, baseline, tolerance, q_c, q_b) / past.dispersion).min(cap);
        }
    }

    /// Logarithm of the evidence of health.
    pub fn ln_evidence(&self) -> f64 {
        ln_sum(
            self.processes
                .iter()
                .zip(HEALTH)
                .map(|(process, (_, weight))| weight.ln() + process),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn at_the_root_the_edge_explains_the_guess_best(
            n_c in 1u32..1_000_000, n_b in 1u32..1_000_000, ratio in 0.01f64..10.0, absolute in 0.0f64..0.5,
            (q_c, q_b) in (-14.0f64..-0.001, -14.0f64..-0.001).prop_map(|(c, b)| (c.exp(), b.exp())),
        ) {
            let (n_c, n_b, tolerance) = (f64::from(n_c), f64::from(n_b), Tolerance { ratio, absolute });
            let half = |n: f64, q: f64, p: f64| n * (q * p.ln() + (1.0 - q) * (-p).ln_1p());
            let explains = |p: f64| half(n_c, q_c, tolerance.edge(p)) + half(n_b, q_b, p);
            if let Some(p) = root(n_c, n_b, tolerance, q_c, q_b) {
                let end = ((1.0 - absolute) / ratio).min(1.0);
                for i in 1..1000 {
                    let other = end * (-14.0 * f64::from(i) / 1000.0).exp();
                    prop_assert!(explains(other) <= explains(p) + 1e-9 * (n_c + n_b), "{other} before {p}");
                }
            }
        }
    }

    #[test]
    fn what_tolerates_everything_never_shows_harm() {
        let regime = Regime::Rollout {
            false_rollback: 0.05,
            false_promotion: 0.05,
        };
        let all = Counts { n: 500, x: 500 };
        for absolute in [0.05, 0.2, 0.6] {
            let tolerance = Tolerance { ratio: 1.0, absolute };
            let past = Past {
                candidate: all,
                baseline: Counts { n: 500, x: 490 }.into(),
                prior: 0.97,
                dispersion: 1.0,
            };
            let (mut harm, mut health) = (Harm::default(), Health::default());
            for _ in 0..200 {
                harm.observe(regime, WITNESS, tolerance, past, all, past.baseline);
                health.observe(0.05, tolerance, past, all, past.baseline);
            }
            assert!(
                harm.ln_evidence(regime, WITNESS) <= 1e-9,
                "harm at a tolerance of {absolute}"
            );
            assert!(
                health.ln_evidence() > 20f64.ln(),
                "no health at a tolerance of {absolute}"
            );
        }
    }
}
