//! All guards of a rollout together: running state, verdicts, and what people read of them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::api::Verdict;
use crate::evidence::{BucketForm, Counts, Observed, Poll};

use super::Regime;
use super::fidelity::count;
use super::guard::{GuardConfig, Rule, Test};
use super::margin::ln_sum;
use super::share::ShareTest;
use super::text;

/// Version of the stored state: another one is not read but started afresh.
const VERSION: &str = "v1:";

/// Requests that each arm must have shown since the last raise before a step can end.
const STEP_REQUESTS: u64 = 200;

/// Polls with data since the last raise before a step can end.
const STEP_POLLS: u64 = 3;

/// Which guards, at which error rate.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteConfig {
    /// The guards by name.
    pub guards: BTreeMap<String, GuardConfig>,
    /// Error rates.
    pub regime: Regime,
}

/// Running state of all guards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    guards: BTreeMap<String, GuardState>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct GuardState {
    test: Test,
    /// Time through which evidence was counted, Unix milliseconds.
    through: i64,
    polls: u64,
    /// Since the last raise.
    step_polls: u64,
    step_candidate: u64,
    step_baseline: u64,
    /// In which form its histograms came, once any have.
    form: Option<BucketForm>,
    /// What is odd about its data, as of late.
    oddity: Option<String>,
}

/// A stored state that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another version wrote it.
    #[error("the stored state of the tests has another version than {VERSION}")]
    Version,
    /// It is damaged.
    #[error("the stored state of the tests is damaged: {0}")]
    Damaged(String),
}

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
}

impl Suite {
    /// Takes one poll of a guard. Unknown guards, and intervals that were counted before, are left out.
    pub fn observe(&mut self, config: &SuiteConfig, guard: &str, poll: &Poll) {
        let Some(guard_config) = config.guards.get(guard) else {
            return;
        };
        let state = self
            .guards
            .entry(guard.to_owned())
            .or_insert_with(|| GuardState::new(guard_config));
        if poll.through <= state.through {
            return;
        }
        if !state.fits(guard_config) {
            *state = GuardState::new(guard_config);
        }
        state.through = poll.through;
        let (candidate, baseline) = requests(&poll.observed);
        if candidate == 0 && baseline == 0 {
            return;
        }
        state.test.observe(config.regime, guard_config, &poll.observed);
        state.polls += 1;
        state.step_polls += 1;
        state.step_candidate += candidate;
        state.step_baseline += baseline;
    }

    /// Whether this guard has begun to listen.
    pub fn listens(&self, guard: &str) -> bool {
        self.guards.contains_key(guard)
    }

    /// A guard begins to listen: takes what its baseline did before, oldest first. Nothing of it is judged: it places the
    /// guesses, the edges and the bins, and tells how bursty the traffic is.
    pub fn recall(&mut self, config: &SuiteConfig, guard: &str, history: &[Observed]) {
        if let Some(guard_config) = config.guards.get(guard) {
            let mut state = GuardState::new(guard_config);
            state.test.recall(guard_config, history);
            self.guards.insert(guard.to_owned(), state);
        }
    }

    /// In which form the histograms of a guard came, once any have.
    pub fn form(&self, guard: &str) -> Option<BucketForm> {
        self.guards.get(guard)?.form
    }

    /// Its histograms come in this form: said in its sentence, and what is asked for first from now on.
    pub fn counts_in(&mut self, guard: &str, form: BucketForm) {
        if let Some(state) = self.guards.get_mut(guard) {
            state.form = Some(form);
        }
    }

    /// What is odd about the data of a guard, and what to do about it; said in its sentence as long as it is so.
    pub fn remark(&mut self, guard: &str, oddity: Option<String>) {
        if let Some(state) = self.guards.get_mut(guard) {
            state.oddity = oddity;
        }
    }

    /// A step begins: what a step needs is counted from here.
    pub fn mark_step(&mut self) {
        for state in self.guards.values_mut() {
            (state.step_polls, state.step_candidate, state.step_baseline) = (0, 0, 0);
        }
    }

    /// Guards that have not seen enough since the step began, with what they wait for.
    pub fn step_waits_for(&self, config: &SuiteConfig) -> Vec<String> {
        let mut waits = Vec::new();
        for (name, guard) in &config.guards {
            let (polls, candidate, baseline) = self
                .guards
                .get(name)
                .map_or((0, 0, 0), |s| (s.step_polls, s.step_candidate, s.step_baseline));
            let counted = guard.rule().is_none();
            if polls < STEP_POLLS || (counted && candidate.min(baseline) < STEP_REQUESTS) {
                waits.push(format!("{name} has seen {candidate} and {baseline} requests in {polls} polls of this step, and needs {STEP_REQUESTS} on each arm in {STEP_POLLS}"));
            }
        }
        waits
    }

    /// The guard that found harm, if the guards together did: Σ w·M ≥ threshold, or the k-of-n rule of one did.
    pub fn harmful(&self, config: &SuiteConfig) -> Option<GuardReport> {
        let reports = self.reports(config);
        let shares = weights(config);
        let together = ln_sum(
            reports
                .iter()
                .filter_map(|r| shares.get(&r.name).map(|w| w.ln() + r.ln_evidence)),
        );
        if together >= config.regime.threshold().ln() {
            return reports
                .into_iter()
                .filter(|r| shares.contains_key(&r.name))
                .max_by(|a, b| a.ln_evidence.total_cmp(&b.ln_evidence))
                .map(|r| GuardReport {
                    verdict: Verdict::Harmful,
                    ..r
                });
        }
        reports
            .into_iter()
            .find(|r| r.verdict == Verdict::Harmful && !shares.contains_key(&r.name))
    }

    /// Whether every guard is healthy now: an intersection–union test, which needs no correction.
    pub fn all_healthy(&self, config: &SuiteConfig) -> bool {
        self.reports(config).iter().all(|r| r.verdict == Verdict::Healthy)
    }

    /// What every guard has found.
    pub fn reports(&self, config: &SuiteConfig) -> Vec<GuardReport> {
        config
            .guards
            .iter()
            .map(|(name, guard)| self.report(config, name, guard))
            .collect()
    }

    fn report(&self, config: &SuiteConfig, name: &str, guard: &GuardConfig) -> GuardReport {
        let fresh = GuardState::new(guard);
        let state = self.guards.get(name).filter(|s| s.fits(guard)).unwrap_or(&fresh);
        let regime = config.regime;
        let weight = weights(config).get(name).copied().unwrap_or(1.0);
        let ln_threshold = regime.threshold().ln() - weight.ln();
        let ln_evidence = state.test.ln_harm(regime).unwrap_or(0.0);
        let ln_health = state.test.ln_health().unwrap_or(0.0);
        let ln_needed = -regime.false_promotion().ln();
        let (candidate, baseline, estimate, mut message) = figures(name, guard, &state.test, regime);
        let rule = guard.rule().zip(state.test.rule());
        let verdict = match rule {
            _ if state.polls == 0 => Verdict::NoData,
            Some(((consecutive, of), rule)) => rule.verdict(consecutive, of),
            _ if ln_evidence >= ln_threshold => Verdict::Harmful,
            _ if ln_health >= ln_needed => Verdict::Healthy,
            _ => Verdict::Undecided,
        };
        if state.form == Some(BucketForm::Native) {
            message.push_str(" (native buckets)");
        }
        if let Some(oddity) = &state.oddity {
            message.push_str(&format!(" ({oddity})"));
        }
        message.push_str(match verdict {
            Verdict::Harmful => "; beyond the tolerance",
            Verdict::Healthy => "; within the tolerance",
            Verdict::Undecided => "; not decided yet",
            Verdict::NoData => "; no data",
        });
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
        let through = (state.through > i64::MIN).then_some(state.through);
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
            through,
            message,
        }
    }

    /// The state as one opaque, versioned, compact string.
    pub fn encode(&self) -> String {
        // Serialising plain data into memory cannot fail; an empty string would be read as damaged, and start afresh.
        postcard::to_stdvec(self)
            .map(|bytes| format!("{VERSION}{}", STANDARD_NO_PAD.encode(bytes)))
            .unwrap_or_default()
    }

    /// Reads what [`Suite::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, StateError> {
        let body = text.strip_prefix(VERSION).ok_or(StateError::Version)?;
        let bytes = STANDARD_NO_PAD
            .decode(body)
            .map_err(|e| StateError::Damaged(e.to_string()))?;
        postcard::from_bytes(&bytes).map_err(|e| StateError::Damaged(e.to_string()))
    }
}

impl GuardState {
    fn new(config: &GuardConfig) -> Self {
        Self {
            test: Test::new(config),
            through: i64::MIN,
            polls: 0,
            step_polls: 0,
            step_candidate: 0,
            step_baseline: 0,
            form: None,
            oddity: None,
        }
    }

    fn fits(&self, config: &GuardConfig) -> bool {
        std::mem::discriminant(&self.test) == std::mem::discriminant(&Test::new(config))
    }
}

/// Weights of the guards with a sampling model in the combined evidence of harm; they sum to 1.
fn weights(config: &SuiteConfig) -> BTreeMap<String, f64> {
    let raw = |guard: &GuardConfig| match guard {
        // Errors are the rarest events that are counted, so their share is the largest.
        GuardConfig::Proportion { .. } => Some(0.45),
        GuardConfig::Latency { .. } => Some(0.35),
        GuardConfig::Fidelity { .. } => Some(0.2),
        GuardConfig::Ratio { .. } | GuardConfig::Query { .. } => None,
    };
    let sum: f64 = config.guards.values().filter_map(raw).sum();
    config
        .guards
        .iter()
        .filter_map(|(name, guard)| Some((name.clone(), raw(guard)? / sum)))
        .collect()
}

fn requests(observed: &Observed) -> (u64, u64) {
    match observed {
        Observed::Proportion { candidate, baseline } => (candidate.n, baseline.n),
        Observed::Histogram { candidate, baseline } => (candidate.counts.iter().sum(), baseline.counts.iter().sum()),
        Observed::Ratio { candidate, baseline } => {
            let usable = candidate.ratio().is_some() && baseline.ratio().is_some_and(|ratio| ratio > 0.0);
            (u64::from(usable), 0)
        }
        Observed::Value(value) => (u64::from(!value.is_nan()), 0),
    }
}

/// Counts of both arms, an estimate, and the sentence without its verdict.
fn figures(name: &str, guard: &GuardConfig, test: &Test, regime: Regime) -> (Counts, Counts, String, String) {
    let shares = |c: Counts, b: Counts| format!("{} vs {}", text::share(c), text::share(b));
    match (guard, test) {
        (
            GuardConfig::Proportion { tolerance },
            Test::Proportion(ShareTest {
                candidate, baseline, ..
            }),
        ) => {
            let message = format!(
                "{name}: {} against {} of {}, tolerance {} × baseline + {}",
                text::of(*candidate),
                text::share(*baseline),
                text::number(baseline.n),
                tolerance.ratio,
                text::percent(tolerance.absolute)
            );
            (*candidate, *baseline, shares(*candidate, *baseline), message)
        }
        (GuardConfig::Latency { at_load, .. }, Test::Latency(test)) => match test.worst(regime) {
            Some(worst) => {
                let loaded = at_load.map(|share| test.load.text(share)).unwrap_or_default();
                let message = format!(
                    "{name}: {} slower than {} s against {} of {}{loaded}{}",
                    text::of(worst.share.candidate),
                    worst.edge,
                    text::share(worst.share.baseline),
                    text::number(worst.share.baseline.n),
                    test.problem.as_ref().map(|p| format!(" ({p})")).unwrap_or_default()
                );
                (
                    worst.share.candidate,
                    worst.share.baseline,
                    shares(worst.share.candidate, worst.share.baseline),
                    message,
                )
            }
            None => (
                Counts::default(),
                Counts::default(),
                String::new(),
                format!(
                    "{name}: {}",
                    test.problem.as_deref().unwrap_or("learning the baseline's quantiles")
                ),
            ),
        },
        (GuardConfig::Fidelity { max_total_variation }, Test::Fidelity(test)) => match test.distances() {
            Some((tv, psi, js)) => {
                let set = test.witness().unwrap_or(0);
                let (candidate, baseline) = (count(&test.candidate, set), count(&test.reference, set));
                let estimate = format!("TV {tv:.3}, PSI {psi:.3}, JS {js:.4}");
                let message = format!(
                    "{name}: total variation {tv:.3} (tolerance {max_total_variation}) over {} and {} outputs; worst set of bins {} against {}",
                    text::number(candidate.n),
                    text::number(baseline.n),
                    text::share(candidate),
                    text::share(baseline)
                );
                (candidate, baseline, estimate, message)
            }
            None => (
                Counts::default(),
                Counts::default(),
                String::new(),
                format!(
                    "{name}: {}",
                    test.problem.as_deref().unwrap_or("learning the reference's deciles")
                ),
            ),
        },
        (GuardConfig::Ratio { .. }, Test::Ratio(test)) if test.rule.looked_at(1) == 0 => (
            Counts::default(),
            Counts::default(),
            String::new(),
            format!("{name}: no poll yet in which both arms did something"),
        ),
        (GuardConfig::Ratio { max, consecutive, of }, Test::Ratio(test)) => {
            let factor = test.candidate / test.baseline;
            let (figure, rule) = (text::figure, rule_text(&test.rule, *consecutive, *of));
            let message = format!(
                "{name}: {} × the baseline's {} (wanted: at most {max:?}), {rule}",
                figure(factor),
                figure(test.baseline),
            );
            let estimate = format!("{} vs {}", figure(test.candidate), figure(test.baseline));
            (Counts::default(), Counts::default(), estimate, message)
        }
        (
            GuardConfig::Query {
                min,
                max,
                consecutive,
                of,
            },
            Test::Query(test),
        ) => {
            let bounds = match (min, max) {
                (Some(min), Some(max)) => format!("{min} to {max}"),
                (Some(min), None) => format!("at least {min}"),
                (None, Some(max)) => format!("at most {max}"),
                (None, None) => "anything".to_owned(),
            };
            let message = format!(
                "{name}: {} (wanted: {bounds}), {}",
                test.last,
                rule_text(&test.rule, *consecutive, *of)
            );
            (Counts::default(), Counts::default(), test.last.to_string(), message)
        }
        _ => (Counts::default(), Counts::default(), String::new(), name.to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Amounts, Buckets};
    use crate::judge::{Budget, Tolerance};
    use proptest::prelude::*;

    fn config() -> SuiteConfig {
        let share = Tolerance {
            ratio: 1.0,
            absolute: 0.005,
        };
        SuiteConfig {
            guards: BTreeMap::from([
                ("errors".to_owned(), GuardConfig::Proportion { tolerance: share }),
                (
                    "latency".to_owned(),
                    GuardConfig::Latency {
                        tolerance: Tolerance { ratio: 1.5, ..share },
                        budget: Some(Budget {
                            slower: 0.5,
                            within: 0.9,
                        }),
                        at_load: None,
                        per_second: 1.0,
                    },
                ),
                (
                    "drift".to_owned(),
                    GuardConfig::Fidelity {
                        max_total_variation: 0.05,
                    },
                ),
                (
                    "energy".to_owned(),
                    GuardConfig::Ratio {
                        max: 1.0,
                        consecutive: 2,
                        of: 3,
                    },
                ),
                (
                    "memory".to_owned(),
                    GuardConfig::Query {
                        min: None,
                        max: Some(0.9),
                        consecutive: 2,
                        of: 3,
                    },
                ),
            ]),
            regime: Regime::Rollout {
                false_rollback: 0.05,
                false_promotion: 0.05,
            },
        }
    }

    fn buckets(scale: u64) -> Buckets {
        Buckets {
            bounds: (1..40).map(|i| f64::from(i) / 40.0).collect(),
            counts: (0..40).map(|i| scale * (1 + i % 7)).collect(),
            pods: scale as u32,
        }
    }

    /// What 100 requests of the candidate and 1,000 of the baseline cost.
    fn joules(candidate: f64, baseline: f64) -> Observed {
        Observed::Ratio {
            candidate: Amounts {
                numerator: candidate,
                denominator: 100.0,
            },
            baseline: Amounts {
                numerator: baseline,
                denominator: 1000.0,
            },
        }
    }

    fn observe(suite: &mut Suite, config: &SuiteConfig, guard: &str, t: i64, observed: Observed) {
        let poll = Poll {
            from: t - 1,
            through: t,
            observed,
        };
        suite.observe(config, guard, &poll);
    }

    fn seen(polls: i64) -> Suite {
        let (config, mut suite) = (config(), Suite::default());
        for t in 1..=polls {
            let errors = Observed::Proportion {
                candidate: Counts { n: 100, x: 1 },
                baseline: Counts { n: 900, x: 4 },
            };
            let histogram = Observed::Histogram {
                candidate: buckets(1),
                baseline: buckets(9),
            };
            for (guard, observed) in [
                ("errors", errors),
                ("latency", histogram.clone()),
                ("drift", histogram),
                ("energy", joules(41.0, 410.0)),
                ("memory", Observed::Value(0.5)),
            ] {
                suite.observe(
                    &config,
                    guard,
                    &Poll {
                        from: t - 1,
                        through: t,
                        observed,
                    },
                );
            }
        }
        suite
    }

    #[test]
    fn the_stored_state_is_small_and_comes_back_whole() {
        let suite = seen(50);
        let text = suite.encode();
        assert!(text.len() < 6_000, "{} bytes", text.len());
        assert_eq!(Suite::decode(&text).unwrap(), suite);
    }

    #[test]
    fn no_interval_counts_twice() {
        let (config, mut suite) = (config(), seen(5));
        let before = suite.clone();
        let again = Observed::Proportion {
            candidate: Counts { n: 100, x: 100 },
            baseline: Counts { n: 900, x: 4 },
        };
        suite.observe(
            &config,
            "errors",
            &Poll {
                from: 4,
                through: 5,
                observed: again,
            },
        );
        assert_eq!(suite, before);
    }

    #[test]
    fn a_state_of_another_version_is_told_from_a_damaged_one() {
        assert!(matches!(Suite::decode("v2:AAAA"), Err(StateError::Version)));
        assert!(matches!(Suite::decode("v1:%%%"), Err(StateError::Damaged(_))));
    }

    #[test]
    fn a_guard_that_changed_its_kind_starts_afresh() {
        let mut config = config();
        config.guards.insert(
            "errors".to_owned(),
            GuardConfig::Fidelity {
                max_total_variation: 0.05,
            },
        );
        let report = seen(5)
            .reports(&config)
            .into_iter()
            .find(|r| r.name == "errors")
            .unwrap();
        assert_eq!(report.verdict, Verdict::NoData);
    }

    #[test]
    fn a_query_is_harmful_by_its_k_of_n_rule_alone() {
        let (config, mut suite) = (config(), seen(5));
        for (t, value, harmful) in [(6, 0.95, false), (7, f64::NAN, false), (8, 0.5, false), (9, 0.95, true)] {
            suite.observe(
                &config,
                "memory",
                &Poll {
                    from: t - 1,
                    through: t,
                    observed: Observed::Value(value),
                },
            );
            assert_eq!(suite.harmful(&config).is_some(), harmful, "poll {t}");
        }
        assert_eq!(
            suite.harmful(&config).unwrap().message,
            "memory: 0.95 (wanted: at most 0.9), out of bounds in 2 of the last 3 polls (plain rule: 2 of 3); beyond the tolerance"
        );
    }

    #[test]
    fn a_ratio_is_judged_against_the_baselines_by_its_k_of_n_rule_alone() {
        let (config, mut suite) = (config(), seen(5));
        let idle = Observed::Ratio {
            candidate: Amounts {
                numerator: 90.0,
                denominator: 0.0,
            },
            baseline: Amounts {
                numerator: 410.0,
                denominator: 1000.0,
            },
        };
        for (t, observed, harmful) in [
            (6, joules(54.1, 410.0), false),
            // Nothing was done, or nothing spent: no poll.
            (7, idle, false),
            (8, joules(99.0, 0.0), false),
            (9, joules(40.0, 410.0), false),
            (10, joules(54.1, 410.0), true),
        ] {
            observe(&mut suite, &config, "energy", t, observed);
            assert_eq!(suite.harmful(&config).is_some(), harmful, "poll {t}");
        }
        let report = suite.harmful(&config).unwrap();
        assert_eq!(
            report.message,
            "energy: 1.32 × the baseline's 0.410 (wanted: at most 1.0), \
             out of bounds in 2 of the last 3 polls (plain rule: 2 of 3); beyond the tolerance"
        );
        assert_eq!((report.evidence.as_str(), report.threshold.as_str()), ("2", "2 of 3"));
        assert_eq!(report.estimate, "0.541 vs 0.410");
    }

    #[test]
    fn a_ratio_is_healthy_after_a_whole_window_and_without_data_nothing() {
        let (config, mut suite) = (config(), Suite::default());
        let energy = |suite: &Suite| suite.reports(&config).into_iter().find(|r| r.name == "energy").unwrap();
        assert_eq!(
            energy(&suite).message,
            "energy: no poll yet in which both arms did something; no data"
        );
        for (t, verdict) in [(1, Verdict::Undecided), (2, Verdict::Undecided), (3, Verdict::Healthy)] {
            observe(&mut suite, &config, "energy", t, joules(30.0, 410.0));
            assert_eq!(energy(&suite).verdict, verdict, "poll {t}");
        }
        assert_eq!(
            energy(&suite).message,
            "energy: 0.732 × the baseline's 0.410 (wanted: at most 1.0), \
             out of bounds in 0 of the last 3 polls (plain rule: 2 of 3); within the tolerance"
        );
    }

    fn latency(at_load: Option<f64>, per_second: f64) -> SuiteConfig {
        let guard = GuardConfig::Latency {
            tolerance: Tolerance {
                ratio: 1.5,
                absolute: 0.005,
            },
            budget: Some(Budget {
                slower: 0.5,
                within: 0.9,
            }),
            at_load,
            per_second,
        };
        SuiteConfig {
            guards: BTreeMap::from([("latency".to_owned(), guard)]),
            ..config()
        }
    }

    /// So many polls in which two pods of the baseline carry 700 requests each, and `pods` of the candidate 700 in all.
    fn loaded(config: &SuiteConfig, polls: i64, pods: u32, slow: u64) -> Suite {
        let mut suite = Suite::default();
        let buckets = |pods: u32, requests: u64, slow: u64| Buckets {
            bounds: vec![0.1, 0.5],
            counts: vec![requests - requests / 10 - slow, requests / 10, slow],
            pods,
        };
        for t in 1..=polls {
            let observed = Observed::Histogram {
                candidate: buckets(pods, 700, slow),
                baseline: buckets(2, 1400, 0),
            };
            observe(&mut suite, config, "latency", t, observed);
        }
        suite
    }

    #[test]
    fn health_of_latency_counts_only_at_load_and_harm_always() {
        let config = latency(Some(0.8), 1.0);
        let busy = loaded(&config, 40, 1, 0).reports(&config).remove(0);
        assert_eq!(busy.verdict, Verdict::Healthy);
        assert!(
            busy.message
                .contains(", 40 of 40 polls at 80% or more of the baseline's load per pod"),
            "{}",
            busy.message
        );
        let idle = loaded(&config, 40, 2, 0).reports(&config).remove(0);
        assert_eq!((idle.verdict, idle.health_progress), (Verdict::Undecided, 0.0));
        assert!(idle.message.contains(", 0 of 40 polls at 80%"), "{}", idle.message);
        // Where pods are not told apart nothing shows that the load was enough.
        assert_eq!(
            loaded(&config, 40, 0, 0).reports(&config)[0].verdict,
            Verdict::Undecided
        );
        assert!(loaded(&config, 40, 2, 100).harmful(&config).is_some());
        let anyway = latency(None, 1.0);
        assert_eq!(loaded(&anyway, 40, 2, 0).reports(&anyway)[0].verdict, Verdict::Healthy);
    }

    #[test]
    fn a_histogram_in_milliseconds_is_judged_in_seconds() {
        let (seconds, millis) = (latency(None, 1.0), latency(None, 1000.0));
        let polls = |config: &SuiteConfig, scale: f64| {
            let mut suite = Suite::default();
            let buckets = |slow: u64| Buckets {
                bounds: [0.005, 0.035, 0.9, 1.1].map(|bound| bound * scale).to_vec(),
                counts: vec![500, 400, 100, slow, slow],
                pods: 1,
            };
            let past = Observed::Histogram {
                candidate: Buckets::default(),
                baseline: buckets(1),
            };
            suite.recall(config, "latency", &[past]);
            for t in 1..=5 {
                let observed = Observed::Histogram {
                    candidate: buckets(40),
                    baseline: buckets(1),
                };
                observe(&mut suite, config, "latency", t, observed);
            }
            suite.reports(config).remove(0)
        };
        let report = polls(&millis, 1000.0);
        assert_eq!(report, polls(&seconds, 1.0));
        assert!(report.message.contains("slower than 0.9 s"), "{}", report.message);
    }

    #[test]
    fn a_verdict_reads_as_a_sentence_with_counts() {
        let (config, mut suite) = (config(), Suite::default());
        let observed = Observed::Proportion {
            candidate: Counts { n: 2310, x: 41 },
            baseline: Counts { n: 21_004, x: 105 },
        };
        suite.observe(
            &config,
            "errors",
            &Poll {
                from: 0,
                through: 1,
                observed,
            },
        );
        assert_eq!(
            suite.harmful(&config).unwrap().message,
            "errors: 41 of 2,310 (1.8%) against 0.50% of 21,004, tolerance 1 × baseline + 0.50%; beyond the tolerance"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_the_reader(text in "(v1:)?[A-Za-z0-9+/]{0,200}") {
            let _ = Suite::decode(&text).map(|suite| suite.reports(&config()));
        }

        #[test]
        fn arbitrary_polls_never_panic_and_all_figures_stay_finite(
            polls in proptest::collection::vec((0u64..1_000_000, 0u64..1_000_000, 0u64..1_000_000, 0u64..1_000_000), 1..20)
        ) {
            let (config, mut suite) = (config(), Suite::default());
            for (t, (a, b, c, d)) in polls.into_iter().enumerate() {
                let t = t as i64 + 1;
                let observed = Observed::Proportion { candidate: Counts { n: a.max(b), x: b }, baseline: Counts { n: c.max(d), x: d } };
                suite.observe(&config, "errors", &Poll { from: t - 1, through: t, observed });
                let histogram = |x: u64, y: u64| Buckets { bounds: vec![0.1, 0.5], counts: vec![x, y, x ^ y], pods: 1 };
                let observed = Observed::Histogram { candidate: histogram(a, b), baseline: histogram(c, d) };
                suite.observe(&config, "latency", &Poll { from: t - 1, through: t, observed: observed.clone() });
                suite.observe(&config, "drift", &Poll { from: t - 1, through: t, observed });
                let amounts = |x: u64, y: u64| Amounts { numerator: x as f64, denominator: y as f64 };
                let observed = Observed::Ratio { candidate: amounts(a, b), baseline: amounts(c, d) };
                suite.observe(&config, "energy", &Poll { from: t - 1, through: t, observed });
            }
            for report in suite.reports(&config) {
                prop_assert!(!report.ln_evidence.is_nan());
            }
        }
    }
}
