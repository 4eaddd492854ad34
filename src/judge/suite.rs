//! All guards of a rollout together: running state and verdicts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::Verdict;
use crate::evidence::{BucketForm, Observed, Poll};

use super::Regime;
use super::guard::{GuardConfig, Test};
use super::margin::ln_sum;
use super::report::{GuardReport, report};

/// Requests that each arm must have shown since the last raise before a step can end.
const STEP_REQUESTS: u64 = 200;

/// Polls with data since the last raise before a step can end.
const STEP_POLLS: u64 = 3;

/// What a guard has seen of a step that needs more: on either arm 200 requests, in three polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepWait {
    /// Name of the guard.
    pub guard: String,
    /// Requests of the candidate in this step.
    pub candidate: u64,
    /// Requests of the baseline in this step.
    pub baseline: u64,
    /// Polls of this step in which the candidate was seen.
    pub polls: u64,
}

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
pub(super) struct GuardState {
    pub(super) test: Test,
    /// Time through which evidence was counted, Unix milliseconds.
    pub(super) through: i64,
    pub(super) polls: u64,
    /// Since the last raise.
    step_polls: u64,
    step_candidate: u64,
    step_baseline: u64,
    /// In which form its histograms came, once any have.
    pub(super) form: Option<BucketForm>,
    /// What is odd about its data, as of late.
    pub(super) oddity: Option<String>,
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
        // A poll in which the candidate was not seen is none of its step.
        state.step_polls += u64::from(candidate > 0);
        state.step_candidate += candidate;
        state.step_baseline += baseline;
    }

    /// Whether this guard has begun to listen.
    pub fn listens(&self, guard: &str) -> bool {
        self.guards.contains_key(guard)
    }

    /// The largest edge that a latency guard watches, in seconds; `None` while it has none.
    pub fn slowest_edge(&self, guard: &str) -> Option<f64> {
        match &self.guards.get(guard)?.test {
            Test::Latency(test) => test.edges.iter().map(|edge| edge.edge).max_by(f64::total_cmp),
            _ => None,
        }
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

    /// Guards that have not seen enough since the step began.
    pub fn step_waits_for(&self, config: &SuiteConfig) -> Vec<StepWait> {
        let wait = |(name, guard): (&String, &GuardConfig)| {
            let state = self.guards.get(name);
            let wait = StepWait {
                guard: name.clone(),
                candidate: state.map_or(0, |s| s.step_candidate),
                baseline: state.map_or(0, |s| s.step_baseline),
                polls: state.map_or(0, |s| s.step_polls),
            };
            let counted = guard.rule().is_none();
            let too_few = counted && wait.candidate.min(wait.baseline) < STEP_REQUESTS;
            (wait.polls < STEP_POLLS || too_few).then_some(wait)
        };
        config.guards.iter().filter_map(wait).collect()
    }

    /// The guard that found harm, if the guards together did: Σ w·M ≥ threshold, or the k-of-n rule of one did.
    pub fn harmful(&self, config: &SuiteConfig) -> Option<GuardReport> {
        if !self.is_harmful(config) {
            return None;
        }
        let (reports, shares) = (self.reports(config), weights(config));
        let (counted, queries): (Vec<_>, Vec<_>) = reports.into_iter().partition(|r| shares.contains_key(&r.name));
        if self.harm_together(config) {
            let worst = counted
                .into_iter()
                .max_by(|a, b| a.ln_evidence.total_cmp(&b.ln_evidence));
            return worst.map(|r| GuardReport {
                verdict: Verdict::Harmful,
                ..r
            });
        }
        queries.into_iter().find(|r| r.verdict == Verdict::Harmful)
    }

    /// Whether the guards have found harm; quicker than [`Suite::harmful`], which says what.
    pub fn is_harmful(&self, config: &SuiteConfig) -> bool {
        let shares = weights(config);
        // Guards without a sampling model have no share in the evidence: each has a rule of its own.
        let ruled = config.guards.iter().filter(|(name, _)| !shares.contains_key(*name));
        let found =
            ruled.filter_map(|(name, guard)| Some(report(config.regime, name, guard, None, self.state(name, guard)?)));
        self.harm_together(config) || found.into_iter().any(|r| r.verdict == Verdict::Harmful)
    }

    fn harm_together(&self, config: &SuiteConfig) -> bool {
        let together = weights(config).into_iter().filter_map(|(name, weight)| {
            let state = self.state(&name, config.guards.get(&name)?);
            let ln_evidence = state.and_then(|s| s.test.ln_harm(config.regime)).unwrap_or(0.0);
            Some(weight.ln() + ln_evidence)
        });
        ln_sum(together) >= config.regime.threshold().ln()
    }

    /// What a guard has found so far, if that was as the kind that it is now.
    fn state(&self, name: &str, guard: &GuardConfig) -> Option<&GuardState> {
        self.guards.get(name).filter(|state| state.fits(guard))
    }

    /// Whether every guard is healthy now: an intersection–union test, which needs no correction.
    pub fn all_healthy(&self, config: &SuiteConfig) -> bool {
        self.reports(config).iter().all(|r| r.verdict == Verdict::Healthy)
    }

    /// What every guard has found.
    pub fn reports(&self, config: &SuiteConfig) -> Vec<GuardReport> {
        let shares = weights(config);
        config
            .guards
            .iter()
            .map(|(name, guard)| {
                let fresh = GuardState::new(guard);
                let state = self.state(name, guard).unwrap_or(&fresh);
                report(config.regime, name, guard, shares.get(name).copied(), state)
            })
            .collect()
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
        GuardConfig::Proportion { .. } => Some(0.5),
        GuardConfig::Latency { .. } => Some(0.3),
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

/// Requests of the candidate and of the baseline.
pub(super) fn requests(observed: &Observed) -> (u64, u64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Amounts, Buckets, Counts};
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
        let bytes = postcard::to_stdvec(&suite).unwrap();
        assert!(bytes.len() < 4_500, "{} bytes", bytes.len());
        assert_eq!(postcard::from_bytes::<Suite>(&bytes).unwrap(), suite);
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
            "memory: 0.95 (wanted: at most 0.9), out of bounds in 2 of the last 3 polls (plain rule: 2 of 3); beyond its bounds"
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
             out of bounds in 2 of the last 3 polls (plain rule: 2 of 3); beyond its bound"
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
             out of bounds in 0 of the last 3 polls (plain rule: 2 of 3); within its bound"
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
        let (mut config, mut suite) = (config(), Suite::default());
        config.guards.retain(|name, _| name == "errors");
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
            "errors: 41 of 2,310 (1.8%) against 0.50% of 21,004; beyond the tolerance of 0.50% + baseline at 1-in-20 risk"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = postcard::from_bytes::<Suite>(&bytes).map(|suite| suite.reports(&config()));
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
