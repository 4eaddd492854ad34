//! All guards of a rollout together: running state and verdicts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::Verdict;
use crate::evidence::{BucketForm, Observed, Poll};
use crate::judge::{Regime, ln_sum};

use super::Kind;
use super::kind::StepNeed;

mod report;
mod state;

pub use report::{GuardReport, Numbers};

use report::{harm_together, report};
use state::GuardState;

/// How long a block of polls lasts, in milliseconds: what slows down a pod for a moment is over in a block or two.
const BLOCK_MS: i64 = 15_000;

/// Polls with data since the last raise before a step can end.
const STEP_POLLS: u64 = 3;

/// What a guard has counted in a step that cannot end yet.
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
    /// How much is enough, in words that follow "needs".
    pub needs: String,
}

/// Which guards, at which error rate.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteConfig {
    /// The guards by name.
    pub guards: BTreeMap<String, Kind>,
    /// Error rates.
    pub regime: Regime,
}

/// Running state of all guards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    guards: BTreeMap<String, GuardState>,
}

impl Suite {
    /// Takes one poll of a guard. Unknown guards, and intervals that were counted before, are left out.
    pub fn observe(&mut self, config: &SuiteConfig, guard: &str, poll: &Poll) {
        let Some(kind) = config.guards.get(guard) else {
            return;
        };
        let state = self
            .guards
            .entry(guard.to_owned())
            .or_insert_with(|| GuardState::new(kind));
        if poll.through <= state.through {
            return;
        }
        if !state.test.fits(kind) {
            *state = GuardState::new(kind);
        }
        state.through = poll.through;
        let (candidate, baseline) = poll.observed.requests();
        if candidate == 0 && baseline == 0 {
            return;
        }
        if poll.from >= state.block_until {
            state.test.begin_block(kind);
            state.block_until = poll.from.saturating_add(BLOCK_MS);
        }
        state.test.observe(kind, config.regime, &poll.observed);
        state.polls += 1;
        // A poll without requests of the candidate does not count towards its step.
        state.step_polls += u64::from(candidate > 0);
        state.step_candidate += candidate;
        state.step_baseline += baseline;
    }

    /// Whether this guard has any state.
    pub fn listens(&self, guard: &str) -> bool {
        self.guards.contains_key(guard)
    }

    /// The largest edge that a guard watches, in seconds; `None` while it has none.
    pub fn slowest_edge(&self, config: &SuiteConfig, guard: &str) -> Option<f64> {
        let kind = config.guards.get(guard)?;
        self.guards.get(guard)?.test.slowest_edge(kind)
    }

    /// Whether histograms no longer have a bound that a guard counts at.
    pub fn has_lost_bound(&self, config: &SuiteConfig, guard: &str, observed: &Observed) -> bool {
        let kind = config.guards.get(guard);
        kind.is_some_and(|kind| {
            let state = self.state(guard, kind);
            state.is_some_and(|state| state.test.has_lost_bound(kind, observed))
        })
    }

    /// Starts a guard with what its baseline did before, oldest first. None of that is judged: it sets the guesses, the
    /// edges and the bins, and shows how bursty the traffic is.
    pub fn recall(&mut self, config: &SuiteConfig, guard: &str, history: &[Observed]) {
        if let Some(kind) = config.guards.get(guard) {
            let mut state = GuardState::new(kind);
            state.test.recall(kind, history);
            self.guards.insert(guard.to_owned(), state);
        }
    }

    /// The form of a guard's histograms, once any were received.
    pub fn form(&self, guard: &str) -> Option<BucketForm> {
        self.guards.get(guard)?.form
    }

    /// Records the form of a guard's histograms. Its sentence names the form, and queries ask for it first from now on.
    pub fn counts_in(&mut self, guard: &str, form: BucketForm) {
        if let Some(state) = self.guards.get_mut(guard) {
            state.form = Some(form);
        }
    }

    /// Records what is odd about the data of a guard, and what to do about it; its sentence says so until the oddity is
    /// gone.
    pub fn remark(&mut self, guard: &str, oddity: Option<String>) {
        if let Some(state) = self.guards.get_mut(guard) {
            state.oddity = oddity;
        }
    }

    /// Starts a step: the requests and polls that a step needs are counted from here.
    pub fn mark_step(&mut self) {
        for state in self.guards.values_mut() {
            (state.step_polls, state.step_candidate, state.step_baseline) = (0, 0, 0);
        }
    }

    /// Requests, or pairs, of the candidate that a guard has counted since the step began.
    pub fn of_step(&self, guard: &str) -> u64 {
        self.guards.get(guard).map_or(0, |state| state.step_candidate)
    }

    /// Guards that have not seen enough since the step began.
    pub fn step_waits_for(&self, config: &SuiteConfig) -> Vec<StepWait> {
        let wait = |(name, guard): (&String, &Kind)| {
            let state = self.guards.get(name);
            let (candidate, baseline) = state.map_or((0, 0), |s| (s.step_candidate, s.step_baseline));
            let polls = state.map_or(0, |s| s.step_polls);
            let (enough, needs) = match guard.step_needs() {
                StepNeed::Requests(n) => (
                    candidate.min(baseline) >= n,
                    format!("{n} requests of each arm, in three polls or more"),
                ),
                StepNeed::Pairs(n) => (candidate >= n, format!("{n} pairs of answers, in three polls or more")),
                StepNeed::Polls => (true, "three polls".to_owned()),
            };
            (polls < STEP_POLLS || !enough).then(|| StepWait {
                guard: name.clone(),
                candidate,
                baseline,
                polls,
                needs,
            })
        };
        config.guards.iter().filter_map(wait).collect()
    }

    /// The guard that found harm, if the guards together did (Σ w·M ≥ threshold) or the k-of-n rule of one did.
    pub fn harmful(&self, config: &SuiteConfig) -> Option<GuardReport> {
        if !self.is_harmful(config) {
            return None;
        }
        let (reports, shares) = (self.reports(config), weights(config));
        let (counted, queries): (Vec<_>, Vec<_>) = reports.into_iter().partition(|r| shares.contains_key(&r.name));
        if self.harm_together(config) {
            let worst = counted
                .into_iter()
                .max_by(|a, b| a.ln_evidence.total_cmp(&b.ln_evidence))?;
            if worst.verdict == Verdict::Harmful {
                return Some(worst);
            }
            let guard = config.guards.get(&worst.name)?;
            let state = self.state(&worst.name, guard)?;
            return Some(harm_together(config.regime, guard, state, worst));
        }
        queries.into_iter().find(|r| r.verdict == Verdict::Harmful)
    }

    /// Whether the guards have found harm; quicker than [`Suite::harmful`], which says what.
    pub fn is_harmful(&self, config: &SuiteConfig) -> bool {
        let shares = weights(config);
        // Guards without a sampling model have no share in the combined evidence: each has a rule of its own.
        let ruled = config.guards.iter().filter(|(name, _)| !shares.contains_key(*name));
        let found =
            ruled.filter_map(|(name, guard)| Some(report(config.regime, name, guard, None, self.state(name, guard)?)));
        self.harm_together(config) || found.into_iter().any(|r| r.verdict == Verdict::Harmful)
    }

    fn harm_together(&self, config: &SuiteConfig) -> bool {
        let together = weights(config).into_iter().filter_map(|(name, weight)| {
            let guard = config.guards.get(&name)?;
            let state = self.state(&name, guard);
            let ln_evidence = state.and_then(|s| s.test.ln_harm(guard, config.regime)).unwrap_or(0.0);
            Some(weight.ln() + ln_evidence)
        });
        ln_sum(together) >= config.regime.threshold().ln()
    }

    /// The state of a guard, if it belongs to the guard's current kind.
    fn state(&self, name: &str, guard: &Kind) -> Option<&GuardState> {
        self.guards.get(name).filter(|state| state.test.fits(guard))
    }

    /// Whether every guard is healthy now: an intersection–union test, which needs no correction.
    pub fn all_healthy(&self, config: &SuiteConfig) -> bool {
        self.reports(config).iter().all(|r| r.verdict == Verdict::Healthy)
    }

    /// The reports of all guards.
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

/// Weights of the guards with a sampling model in the combined evidence of harm; they sum to 1.
fn weights(config: &SuiteConfig) -> BTreeMap<String, f64> {
    let sum: f64 = config.guards.values().filter_map(|guard| guard.weight()).sum();
    config
        .guards
        .iter()
        .filter_map(|(name, guard)| Some((name.clone(), guard.weight()? / sum)))
        .collect()
}

#[cfg(test)]
mod tests;
