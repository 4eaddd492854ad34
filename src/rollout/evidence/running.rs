//! From polls to what the tests know: the running evidence of a trial while it is evaluated.
//!
//! It is decoded when samples are counted and encoded when the plan is put together; in between it is this.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{ArmCounts, GuardStatus, QuantizedModelSpec, QuantizedModelStatus, RevisionRef};
use crate::evidence::{Observed, Poll};
use crate::judge::{BenefitConfig, BenefitTest, GuardConfig, GuardReport, StepWait, SuiteConfig};
use crate::model;

use super::super::capacity::Capacity;
use super::super::next::Wait;
use super::super::reason::{EvidenceReason, WaitReason};
use super::super::trial::{Match, on_trial, suite_config};
use super::benefit::benefit;
use super::heard::Heard;
use super::split::{self, Split};
use super::state::Running;

/// How long a guard may be silent at the least.
const PATIENCE: Duration = Duration::from_secs(60);

/// The evidence of the trial that goes on.
pub(in crate::rollout) struct Evidence {
    pub(super) trial: Match,
    pub(super) config: SuiteConfig,
    pub(super) benefit: Option<BenefitConfig>,
    pub(super) running: Running,
    /// What the guards have found.
    reports: Vec<GuardReport>,
}

impl Evidence {
    /// The trial that goes on under this status, with what is known of it; afresh if that is of another trial. `None` if
    /// nothing is on trial.
    pub(in crate::rollout) fn of(
        spec: &QuantizedModelSpec,
        status: &QuantizedModelStatus,
        known: Option<Running>,
        now: Timestamp,
    ) -> Option<Self> {
        let trial = on_trial(spec, status)?;
        let config = suite_config(spec, &trial);
        let running = known
            .filter(|running| running.epoch == trial.epoch)
            .unwrap_or_else(|| Running::fresh(&trial.epoch, now));
        Some(Self {
            reports: running.suite.reports(&config),
            benefit: benefit(spec, status.rollout.as_ref()),
            trial,
            config,
            running,
        })
    }

    /// The revision that is judged.
    pub(in crate::rollout) fn candidate(&self) -> &RevisionRef {
        &self.trial.candidate
    }

    /// Lets the tests take what was heard; whether they found harm in it, and read no further.
    pub(in crate::rollout) fn take(&mut self, heard: &Heard, capacity: &Capacity<'_>) -> bool {
        let split = Split::of(&mut self.running, &self.config, &self.trial, capacity);
        let mut polls = Vec::new();
        for (guard, heard) in &heard.guards {
            if let Some(history) = &heard.recalled {
                self.recall(guard, history);
            }
            if let Some(form) = heard.form {
                self.running.suite.counts_in(guard, form);
            }
            self.running.suite.remark(guard, heard.oddity.clone());
            polls.extend(heard.polls.iter().map(|poll| (guard.as_str(), poll)));
        }
        // In the order in which they would have come: after an outage harm must be found where it would have been found,
        // and what came later does not unsay it.
        polls.sort_by_key(|(_, poll)| poll.through);
        let mut found = false;
        for together in polls.chunk_by(|(_, a), (_, b)| a.through == b.through) {
            for (guard, poll) in together {
                self.observe(guard, poll);
                if let Some(split) = &split {
                    split.observe(&mut self.running, guard, heard.warm_until, poll);
                }
            }
            found = self.running.suite.is_harmful(&self.config);
            if found {
                break;
            }
        }
        self.reports = self.running.suite.reports(&self.config);
        found
    }

    /// A guard begins to listen: takes what its baseline did before.
    fn recall(&mut self, guard: &str, history: &[Observed]) {
        self.running.suite.recall(&self.config, guard, history);
        let slowest = self.running.suite.slowest_edge(guard);
        if let Some(config) = self.config.guards.get(guard)
            && self.benefit.as_ref().is_some_and(|wanted| wanted.guard == guard)
        {
            let test = self.running.benefit.insert(BenefitTest::new(config));
            test.recall(config, slowest, history);
        }
    }

    /// Takes one poll of a guard.
    fn observe(&mut self, guard: &str, poll: &Poll) {
        let slowest = self.running.suite.slowest_edge(guard);
        if let (Some(wanted), Some(config)) = (&self.benefit, self.config.guards.get(guard))
            && wanted.guard == guard
        {
            let test = self.running.benefit.get_or_insert_with(|| BenefitTest::new(config));
            test.observe(wanted, config, slowest, &poll.observed);
        }
        self.running.suite.observe(&self.config, guard, poll);
    }

    /// What the guards have found.
    pub(in crate::rollout) fn reports(&self) -> &[GuardReport] {
        &self.reports
    }

    /// The guard that found harm, if the guards did.
    pub(in crate::rollout) fn harmful(&self) -> Option<GuardReport> {
        self.running.suite.harmful(&self.config)
    }

    /// Whether every guard has shown health.
    pub(in crate::rollout) fn all_healthy(&self) -> bool {
        self.running.suite.all_healthy(&self.config)
    }

    /// A guard that has not seen enough of the step.
    pub(in crate::rollout) fn step_waits_for(&self) -> Option<StepWait> {
        self.running.suite.step_waits_for(&self.config).into_iter().next()
    }

    /// Drops the interval that runs now, because weights change in it, and begins a step.
    pub(in crate::rollout) fn begin_step(&mut self, now: Timestamp) {
        self.running.begin_step(now);
    }

    /// Why nothing may be concluded from the metrics now: a server that does not answer, or samples that do not come.
    pub(in crate::rollout) fn missing(&self, heard: &Heard, capacity: &Capacity<'_>) -> Option<Wait> {
        let (now, interval) = (capacity.seen.now, model::interval(capacity.spec));
        let because = |reason, message| Wait {
            reason: WaitReason::NoEvidence(reason),
            message,
        };
        for name in self.config.guards.keys() {
            if let Some(problem) = heard.problems.get(name) {
                return Some(because(problem.reason, format!("guard {name}: {}", problem.message)));
            }
        }
        let patience = SignedDuration::try_from((interval * 3).max(PATIENCE)).unwrap_or(SignedDuration::MAX);
        let since = heard.warm_until.counts_from(self.running.since);
        let silent = self.reports.iter().find(|report| {
            let newest = report.through.unwrap_or(since).max(since);
            let newest = Timestamp::from_millisecond(newest).unwrap_or(now);
            now.duration_since(newest) > patience
        });
        match silent {
            Some(GuardReport { name, .. }) => Some(because(
                EvidenceReason::NoSamples,
                format!(
                    "guard {name}: Prometheus has no new samples of it; check that the pods are scraped and that the selectors match"
                ),
            )),
            None => split::broken(&self.running, &self.config, capacity),
        }
    }

    /// The benefit that is asked for, with the guard that it is asked of.
    fn benefit_of(&self) -> Option<(&BenefitConfig, &GuardConfig)> {
        let wanted = self.benefit.as_ref()?;
        Some((wanted, self.config.guards.get(&wanted.guard)?))
    }

    /// What is wanted of the candidate and not shown yet, in words that follow "shown to be".
    pub(in crate::rollout) fn lacking_benefit(&self) -> Option<String> {
        let (wanted, guard) = self.benefit_of()?;
        let test = self.running.benefit.as_ref();
        (!test.is_some_and(|test| test.is_shown(wanted, guard))).then(|| wanted.wanted(guard))
    }

    /// What was found of the benefit, in a sentence with counts; with the name of the guard.
    pub(in crate::rollout) fn benefit_message(&self) -> Option<(&str, String)> {
        let (wanted, guard) = self.benefit_of()?;
        let test = self.running.benefit.as_ref()?;
        Some((&wanted.guard, test.message(wanted, guard)))
    }

    /// The evidence as it is stored, and what people read of it.
    pub(in crate::rollout) fn write(self) -> (String, Vec<GuardStatus>) {
        let benefit = self
            .benefit_message()
            .map(|(guard, message)| (guard.to_owned(), message));
        let evidence = self.running.write();
        let mut guards: Vec<_> = self.reports.into_iter().map(guard_status).collect();
        if let Some((guard, message)) = benefit
            && let Some(status) = guards.iter_mut().find(|status| status.name == guard)
        {
            status.benefit = Some(message);
        }
        (evidence, guards)
    }
}

/// What people read of a guard.
pub fn guard_status(report: GuardReport) -> GuardStatus {
    let counts = |c: crate::evidence::Counts| ArmCounts {
        total: i64::try_from(c.n).unwrap_or(i64::MAX),
        bad: i64::try_from(c.x).unwrap_or(i64::MAX),
    };
    GuardStatus {
        name: report.name,
        verdict: report.verdict,
        evidence: report.evidence,
        threshold: report.threshold,
        health: report.health,
        health_threshold: report.health_threshold,
        candidate: counts(report.candidate),
        baseline: counts(report.baseline),
        estimate: report.estimate,
        observed_through: report
            .through
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .map(Time),
        message: report.message,
        benefit: None,
    }
}
