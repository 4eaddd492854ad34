//! What people and programs read about a guard: its verdict, its progress, and a sentence with counts.
//!
//! Must not judge: the evidence comes from the tests, and this says what it means.

use crate::api::Verdict;
use crate::evidence::{BucketForm, Counts};
use crate::guards::Kind;
use crate::guards::figures::Figures;
use crate::judge::{Regime, text};

use super::state::GuardState;

/// What a guard has found.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardReport {
    /// Name of the guard.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Natural logarithm of the evidence of harm of this guard alone.
    pub ln_evidence: f64,
    /// Progress of the evidence of harm, on a logarithmic scale: 0 for none, 1 where it is enough.
    pub harm_progress: f64,
    /// Progress of the evidence of health, on the same scale.
    pub health_progress: f64,
    /// Evidence of harm, for people.
    pub evidence: String,
    /// Threshold of the evidence of harm, for people.
    pub threshold: String,
    /// Evidence of health, for people.
    pub health: String,
    /// Threshold of the evidence of health, for people.
    pub health_threshold: String,
    /// The candidate's events: all, and bad ones (slow ones; those in the witness set).
    pub candidate: Counts,
    /// The baseline's events.
    pub baseline: Counts,
    /// The figures side by side.
    pub estimate: String,
    /// Time through which evidence was counted, Unix milliseconds.
    pub through: Option<i64>,
    /// The finding as a sentence with counts.
    pub message: String,
    /// What was seen, in words: the part of the sentence before the verdict.
    pub seen: String,
    /// The evidence as numbers, for metrics.
    pub numbers: Numbers,
    /// Lines of the golden set that are among the candidate's bad events.
    pub examples: Vec<u32>,
}

/// Evidence of harm of one guard at which no step ends. A candidate within tolerance ever reaches it with a probability of
/// at most a third, and falls below it again.
const SUSPICIOUS: f64 = 3.0;

impl GuardReport {
    /// Whether its evidence leans towards harm. That is no harm yet, but no reason to give the candidate more traffic either.
    pub fn leans_to_harm(&self) -> bool {
        self.ln_evidence >= SUSPICIOUS.ln()
    }

    /// Names lines of the golden set that are among the candidate's bad events, if it has any.
    pub fn show(&mut self, lines: &[u32]) {
        if self.candidate.x == 0 {
            return;
        }
        let told = match lines {
            [] => return,
            [line] => format!("line {line}"),
            [others @ .., last] => {
                let others: Vec<_> = others.iter().map(u32::to_string).collect();
                format!("lines {} and {last}", others.join(", "))
            }
        };
        self.message.push_str(&format!("; such as {told} of the golden set"));
        self.examples = lines.to_vec();
    }
}

/// Evidence and its thresholds as numbers; for a plain rule they are polls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// Evidence of harm.
    pub evidence: f64,
    /// Threshold of the evidence of harm.
    pub threshold: f64,
    /// Evidence of health.
    pub health: f64,
    /// Threshold of the evidence of health.
    pub health_threshold: f64,
}

/// Reports on one guard. `weight` is its share of the combined evidence of harm.
pub(super) fn report(regime: Regime, name: &str, guard: &Kind, weight: Option<f64>, state: &GuardState) -> GuardReport {
    let ln_threshold = regime.threshold().ln() - weight.unwrap_or(1.0).ln();
    let ln_evidence = state.test.ln_harm(guard, regime).unwrap_or(0.0);
    let ln_health = state.test.ln_health(guard).unwrap_or(0.0);
    let ln_needed = -regime.false_promotion().ln();
    let rule = guard.rule().zip(state.test.stands(guard));
    let verdict = match rule {
        _ if state.polls == 0 => Verdict::NoData,
        Some(((consecutive, of), rule)) => rule.verdict(consecutive, of),
        _ if ln_evidence >= ln_threshold => Verdict::Harmful,
        _ if ln_health >= ln_needed => Verdict::Healthy,
        _ => Verdict::Undecided,
    };
    let progress = |now: f64, enough: f64| (now / enough).clamp(0.0, 1.0);
    let (harm_progress, health_progress) = match rule {
        Some(((consecutive, of), rule)) => (
            progress(rule.out_of(of).into(), consecutive.into()),
            progress(rule.within(of).into(), of.into()),
        ),
        None => (progress(ln_evidence, ln_threshold), progress(ln_health, ln_needed)),
    };
    let (evidence, threshold, health, health_threshold) = match rule {
        Some(((consecutive, of), rule)) => (
            rule.out_of(of).to_string(),
            format!("{consecutive} of {of}"),
            rule.within(of).to_string(),
            of.to_string(),
        ),
        None => (
            text::evidence(ln_evidence),
            text::evidence(ln_threshold),
            text::evidence(ln_health),
            text::evidence(ln_needed),
        ),
    };
    // A state that does not fit its guard is never reported on.
    let figures = state.test.figures(guard, regime);
    let figures = figures.unwrap_or_else(|| Figures::none(String::new(), String::new()));
    let Figures {
        candidate,
        baseline,
        estimate,
        seen,
        against,
    } = figures;
    let numbers = match rule {
        Some(((consecutive, of), rule)) => Numbers {
            evidence: rule.out_of(of).into(),
            threshold: consecutive.into(),
            health: rule.within(of).into(),
            health_threshold: of.into(),
        },
        None => Numbers {
            evidence: ln_evidence.exp(),
            threshold: ln_threshold.exp(),
            health: ln_health.exp(),
            health_threshold: ln_needed.exp(),
        },
    };
    let mut message = opening(name, &seen, state);
    message.push_str(&match verdict {
        Verdict::Harmful => format!("; beyond {against}{}", risk_of_harm(rule.is_some(), regime)),
        Verdict::Healthy => format!("; within {against}{}", risk_of_health(rule.is_some(), regime)),
        Verdict::Undecided => format!("; not decided yet against {against}"),
        Verdict::NoData => "; no data".to_owned(),
    });
    GuardReport {
        name: name.to_owned(),
        verdict,
        ln_evidence,
        harm_progress,
        health_progress,
        evidence,
        threshold,
        health,
        health_threshold,
        candidate,
        baseline,
        estimate,
        through: (state.through > i64::MIN).then_some(state.through),
        seen,
        message,
        numbers,
        examples: Vec::new(),
    }
}

/// The report of the guard that weighs most where the guards have found harm together, and none of them alone.
pub(super) fn harm_together(regime: Regime, guard: &Kind, state: &GuardState, report: GuardReport) -> GuardReport {
    let against = state.test.figures(guard, regime).map(|figures| figures.against);
    let message = format!(
        "{}; beyond {}, together with the other guards{}",
        opening(&report.name, &report.seen, state),
        against.unwrap_or_default(),
        risk_of_harm(false, regime)
    );
    GuardReport {
        verdict: Verdict::Harmful,
        message,
        ..report
    }
}

/// What a sentence about a guard begins with.
fn opening(name: &str, seen: &str, state: &GuardState) -> String {
    let mut message = format!("{name}: {seen}");
    if state.form == Some(BucketForm::Native) {
        message.push_str(" (native buckets)");
    }
    if let Some(oddity) = &state.oddity {
        message.push_str(&format!(" ({oddity})"));
    }
    message
}

/// The probability that a tolerable candidate is found harmful: " at 1-in-20 risk". A plain rule has no such
/// probability.
fn risk_of_harm(plain: bool, regime: Regime) -> String {
    match regime {
        _ if plain => String::new(),
        Regime::Rollout { false_rollback, .. } => one_in(false_rollback),
        Regime::Guarding {
            polls_between_false_alarms,
        } => format!(
            " at one false alarm in {} polls",
            text::number(polls_between_false_alarms.round() as u64)
        ),
    }
}

/// The probability that a candidate beyond the tolerance is found healthy.
fn risk_of_health(plain: bool, regime: Regime) -> String {
    if plain {
        String::new()
    } else {
        one_in(regime.false_promotion())
    }
}

fn one_in(risk: f64) -> String {
    format!(" at 1-in-{} risk", text::number((1.0 / risk).round() as u64))
}
