//! What people and programs read of a guard: its verdict, how far it is, and a sentence with counts.
//!
//! Must not judge: the evidence comes from the tests, and this says what it means.

use crate::api::Verdict;
use crate::evidence::{BucketForm, Counts};

use super::Regime;
use super::fidelity::{FidelityTest, count};
use super::guard::{GuardConfig, QueryTest, RatioTest, Rule, Test};
use super::latency::{LatencyTest, Watched};
use super::margin::Tolerance;
use super::share::ShareTest;
use super::suite::GuardState;
use super::text;

/// What a guard has found.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardReport {
    /// Name of the guard.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Natural logarithm of the evidence of harm of this guard alone.
    pub ln_evidence: f64,
    /// How far the evidence of harm is on its way, on a logarithmic scale: 0 for none, 1 where it is enough.
    pub harm_progress: f64,
    /// How far the evidence of health is on its way.
    pub health_progress: f64,
    /// Evidence of harm, for people.
    pub evidence: String,
    /// Where evidence is enough, for people.
    pub threshold: String,
    /// Evidence of health, for people.
    pub health: String,
    /// Where that is enough, for people.
    pub health_threshold: String,
    /// The candidate's events: all, and bad ones (slow ones; those in the witness set).
    pub candidate: Counts,
    /// The baseline's.
    pub baseline: Counts,
    /// The figures side by side.
    pub estimate: String,
    /// Time through which evidence was counted, Unix milliseconds.
    pub through: Option<i64>,
    /// A sentence with counts.
    pub message: String,
    /// The evidence as numbers, for metrics.
    pub numbers: Numbers,
}

/// Evidence and where it is enough, as numbers: of a plain rule, polls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// Evidence of harm.
    pub evidence: f64,
    /// Where evidence of harm is enough.
    pub threshold: f64,
    /// Evidence of health.
    pub health: f64,
    /// Where evidence of health is enough.
    pub health_threshold: f64,
}

/// What a test has counted, in words.
struct Figures {
    candidate: Counts,
    baseline: Counts,
    estimate: String,
    /// What was seen.
    seen: String,
    /// What it is held against: "the tolerance of 0.50% + baseline".
    against: String,
}

/// Reports on one guard. `weight` is its share of the combined evidence of harm.
pub(super) fn report(
    regime: Regime,
    name: &str,
    guard: &GuardConfig,
    weight: Option<f64>,
    state: &GuardState,
) -> GuardReport {
    let ln_threshold = regime.threshold().ln() - weight.unwrap_or(1.0).ln();
    let ln_evidence = state.test.ln_harm(regime).unwrap_or(0.0);
    let ln_health = state.test.ln_health().unwrap_or(0.0);
    let ln_needed = -regime.false_promotion().ln();
    let rule = guard.rule().zip(state.test.rule());
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
    let Figures {
        candidate,
        baseline,
        estimate,
        seen,
        against,
    } = figures(guard, &state.test, regime);
    let mut message = format!("{name}: {seen}");
    if state.form == Some(BucketForm::Native) {
        message.push_str(" (native buckets)");
    }
    if let Some(oddity) = &state.oddity {
        message.push_str(&format!(" ({oddity})"));
    }
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
        message,
        numbers,
    }
}

/// " at 1-in-20 risk": the probability that a tolerable candidate is found harmful. A plain rule has none to name.
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

/// "the tolerance of 0.50% + 1.5 × baseline".
fn tolerance_text(Tolerance { ratio, absolute }: Tolerance) -> String {
    let share = (absolute > 0.0 || ratio == 0.0).then(|| text::percent(absolute));
    let baseline = (ratio > 0.0).then(|| {
        if ratio == 1.0 {
            "baseline".to_owned()
        } else {
            format!("{ratio} × baseline")
        }
    });
    let parts: Vec<String> = share.into_iter().chain(baseline).collect();
    format!("the tolerance of {}", parts.join(" + "))
}

fn figures(guard: &GuardConfig, test: &Test, regime: Regime) -> Figures {
    match (guard, test) {
        (GuardConfig::Proportion { tolerance }, Test::Proportion(test)) => {
            let ShareTest {
                candidate, baseline, ..
            } = test;
            let seen = format!(
                "{} against {} of {}",
                text::of(*candidate),
                text::share(*baseline),
                text::number(baseline.n)
            );
            Figures::of(*candidate, *baseline, seen, tolerance_text(*tolerance))
        }
        (
            GuardConfig::Latency {
                tolerance,
                budget,
                at_load,
                ..
            },
            Test::Latency(test),
        ) => {
            let slower = budget.map_or(0.0, |budget| budget.slower);
            latency(test, *tolerance, slower, *at_load, regime)
        }
        (GuardConfig::Fidelity { max_total_variation }, Test::Fidelity(test)) => fidelity(test, *max_total_variation),
        (GuardConfig::Ratio { max, consecutive, of }, Test::Ratio(test)) => ratio(test, *max, *consecutive, *of),
        (
            GuardConfig::Query {
                min,
                max,
                consecutive,
                of,
            },
            Test::Query(test),
        ) => query(test, *min, *max, *consecutive, *of),
        // A state that does not fit its guard is never reported on.
        _ => Figures::none(String::new(), String::new()),
    }
}

impl Figures {
    fn of(candidate: Counts, baseline: Counts, seen: String, against: String) -> Self {
        Self {
            candidate,
            baseline,
            estimate: format!("{} vs {}", text::share(candidate), text::share(baseline)),
            seen,
            against,
        }
    }

    /// Without counts.
    fn none(seen: String, against: String) -> Self {
        Self {
            candidate: Counts::default(),
            baseline: Counts::default(),
            estimate: String::new(),
            seen,
            against,
        }
    }
}

fn latency(test: &LatencyTest, tolerance: Tolerance, budget: f64, at_load: Option<f64>, regime: Regime) -> Figures {
    let Some((worst, watched)) = test.worst(regime) else {
        let problem = test.problem.as_deref().unwrap_or("learning the baseline's quantiles");
        return Figures::none(problem.to_owned(), tolerance_text(tolerance));
    };
    let (candidate, baseline) = (worst.share.candidate, worst.share.baseline);
    let loaded = at_load.map(|share| test.load.text(share)).unwrap_or_default();
    let problem = test.problem.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
    let seen = format!(
        "{} slower than {} s against {} of {}{loaded}{problem}",
        text::of(candidate),
        worst.edge,
        text::share(baseline),
        text::number(baseline.n),
    );
    let against = match watched {
        Watched::Baseline => tolerance_text(tolerance),
        Watched::Budget => format!("the budget of {}", text::percent(budget)),
    };
    Figures::of(candidate, baseline, seen, against)
}

fn fidelity(test: &FidelityTest, max_total_variation: f64) -> Figures {
    let against = format!("the tolerance of {max_total_variation}");
    let Some((tv, psi, js)) = test.distances() else {
        let problem = test.problem.as_deref().unwrap_or("learning the reference's deciles");
        return Figures::none(problem.to_owned(), against);
    };
    let set = test.witness().unwrap_or(0);
    let (candidate, baseline) = (count(&test.candidate, set), count(&test.reference, set));
    let seen = format!(
        "total variation {tv:.3} over {} and {} outputs, worst set of bins {} against {}",
        text::number(candidate.n),
        text::number(baseline.n),
        text::share(candidate),
        text::share(baseline)
    );
    Figures {
        estimate: format!("TV {tv:.3}, PSI {psi:.3}, JS {js:.4}"),
        ..Figures::of(candidate, baseline, seen, against)
    }
}

fn ratio(test: &RatioTest, max: f64, consecutive: u32, of: u32) -> Figures {
    let against = "its bound".to_owned();
    if test.rule.looked_at(1) == 0 {
        return Figures::none("no poll yet in which both arms did something".to_owned(), against);
    }
    let (figure, rule) = (text::figure, rule_text(&test.rule, consecutive, of));
    let seen = format!(
        "{} × the baseline's {} (wanted: at most {max:?}), {rule}",
        figure(test.candidate / test.baseline),
        figure(test.baseline),
    );
    Figures {
        estimate: format!("{} vs {}", figure(test.candidate), figure(test.baseline)),
        ..Figures::none(seen, against)
    }
}

fn query(test: &QueryTest, min: Option<f64>, max: Option<f64>, consecutive: u32, of: u32) -> Figures {
    let bounds = match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".to_owned(),
    };
    let rule = rule_text(&test.rule, consecutive, of);
    let seen = format!("{} (wanted: {bounds}), {rule}", test.last);
    Figures {
        estimate: test.last.to_string(),
        ..Figures::none(seen, "its bounds".to_owned())
    }
}

/// How a plain rule stands, named as what it is.
fn rule_text(rule: &Rule, consecutive: u32, of: u32) -> String {
    format!(
        "out of bounds in {} of the last {} polls (plain rule: {consecutive} of {of})",
        rule.out_of(of),
        rule.looked_at(of)
    )
}
