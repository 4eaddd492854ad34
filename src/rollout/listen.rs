//! Takes in the evidence of one look: cursors advance, tests take their polls, `status.guards` is written.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{Action, ArmCounts, GuardStatus, RevisionRef};
use crate::evidence::{Cursor, Observed, Pods, Poll};
use crate::judge::{BenefitConfig, BenefitTest, GuardConfig, GuardReport, SuiteConfig};

use super::benefit::benefit;
use super::look::{Look, Wait};
use super::trial::{Found, Match, Running, on_trial, suite_config};
use super::warm_up::WarmUp;

/// The running evidence of the trial that goes on.
pub(super) struct Listened {
    pub(super) trial: Match,
    pub(super) config: SuiteConfig,
    pub(super) benefit: Option<BenefitConfig>,
    pub(super) running: Running,
}

impl Listened {
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

    /// Whether a guard asks for one value of all pods together.
    fn asks_for_a_value(&self, guard: &str) -> bool {
        matches!(self.config.guards.get(guard), Some(GuardConfig::Query { .. }))
    }
}

impl Look<'_> {
    /// The trial that goes on, with its running evidence as `status.evidence` holds it.
    pub(super) fn trial(&self) -> Option<(Listened, Found)> {
        let trial = on_trial(self.spec, &self.status)?;
        let config = suite_config(self.spec, &trial);
        let (running, found) = Running::read(self.status.evidence.as_deref(), &trial.epoch, self.now);
        let benefit = benefit(self.spec, self.status.rollout.as_ref());
        let listened = Listened {
            trial,
            config,
            benefit,
            running,
        };
        Some((listened, found))
    }

    /// Takes in what Prometheus answered.
    pub(super) fn listen(&mut self) {
        let Some((mut listened, found)) = self.trial() else {
            (self.status.evidence, self.status.guards) = (None, Vec::new());
            return;
        };
        if let Found::Unreadable(why) = found {
            let candidate = listened.trial.candidate.clone();
            // What was shown before is not shown any more.
            if let Some(rollout) = &mut self.status.rollout {
                rollout.promoting = false;
            }
            self.decide(
                Action::EvidenceReset,
                &candidate,
                format!("the stored evidence cannot be used ({why}): weights hold, evidence starts afresh"),
            );
        }
        if self.is_disrupted(&listened.trial.candidate) {
            // What its pods answer while their node is being drained says nothing of the variant.
            listened.running.pass_over(self.now);
            self.blind = None;
            self.store(&listened);
            return;
        }
        let interval = self.interval().as_millis() as i64;
        let (starts, warm_up) = (self.pod_starts(), self.warm_up());
        let split = self.split(&mut listened);
        let mut polls = Vec::new();
        for (guard, answer) in &self.seen.evidence {
            let Ok(samples) = answer else { continue };
            if listened.asks_for_a_value(guard) && !warm_up.is_over(self.now) {
                continue;
            }
            let mut cursor = listened.running.cursor(guard, self.now);
            let (form, before) = (samples.form(), listened.running.suite.form(guard));
            let another = form.is_some() && before.is_some() && form != before;
            if another {
                // Counted in other buckets it is another measurement, and other series count what was counted before.
                cursor.skip_to(cursor.through());
            }
            let begun = cursor.through();
            let warm = warm_up.leave_out(samples, cursor.since());
            let pods = Pods {
                started: &starts,
                warm: &warm_up.pods,
            };
            let advance = cursor.advance_warm(
                warm.as_ref().unwrap_or(samples),
                self.now.as_millisecond(),
                interval,
                pods,
            );
            // The first answer that shows anything is the one that knows the past.
            if another || (cursor.through() > begun && !listened.running.suite.listens(guard)) {
                listened.recall(guard, &Cursor::history(samples, begun, interval));
            }
            if let Some(form) = form {
                listened.running.suite.counts_in(guard, form);
            }
            listened.running.suite.remark(guard, advance.problem);
            polls.extend(advance.polls.into_iter().map(|poll| (guard.as_str(), poll)));
            listened.running.set_cursor(guard, cursor);
        }
        // In the order in which they would have come: after an outage harm must be found where it would have been found,
        // and what came later does not unsay it.
        polls.sort_by_key(|(_, poll)| poll.through);
        let mut found = false;
        for together in polls.chunk_by(|(_, a), (_, b)| a.through == b.through) {
            for (guard, poll) in together {
                listened.observe(guard, poll);
                if let Some(split) = &split {
                    split.observe(&mut listened, guard, &warm_up, poll);
                }
            }
            found = listened.running.suite.is_harmful(&listened.config);
            if found {
                break;
            }
        }
        let reports = listened.running.suite.reports(&listened.config);
        // What was left unread after harm was found is not missing.
        self.blind = self.blindness(&listened, &reports, &warm_up).filter(|_| !found);
        self.store(&listened);
        self.judged = reports;
    }

    /// Writes the running evidence, and what people read of it, into the next status.
    pub(super) fn store(&mut self, listened: &Listened) {
        self.status.guards = listened
            .running
            .suite
            .reports(&listened.config)
            .into_iter()
            .map(guard_status)
            .collect();
        if let Some((guard, message)) = listened.benefit_message()
            && let Some(status) = self.status.guards.iter_mut().find(|status| status.name == guard)
        {
            status.benefit = Some(message);
        }
        self.status.evidence = Some(listened.running.write());
    }

    /// Drops the interval that runs now, because weights change in it, and begins a step.
    pub(super) fn begin_step(&mut self) {
        if let Some((mut listened, _)) = self.trial() {
            listened.running.skip_to(self.now);
            self.store(&listened);
        }
    }

    fn is_disrupted(&self, revision: &RevisionRef) -> bool {
        self.workload(revision).is_some_and(|w| w.disruption.is_some())
    }

    /// Forgets all evidence: another trial begins, or the plan has changed.
    pub(super) fn forget(&mut self) {
        self.status.evidence = None;
        self.status.guards.clear();
        if let Some((mut listened, _)) = self.trial() {
            listened.running = Running::fresh(&listened.trial.epoch, self.now);
            self.store(&listened);
        }
    }

    pub(super) fn interval(&self) -> SignedDuration {
        SignedDuration::from_millis(self.spec.rollout.interval.millis().unwrap_or(15_000).max(1))
    }

    /// Why nothing may be concluded from the metrics now: a server that does not answer, or samples that do not come.
    fn blindness(&self, listened: &Listened, reports: &[GuardReport], warm_up: &WarmUp) -> Option<Wait> {
        // Before the first weight there is nothing to see.
        if self.status.rollout.as_ref().is_some_and(|r| r.weight == 0) {
            return None;
        }
        for name in listened.config.guards.keys() {
            if let Some(Err(problem)) = self.seen.evidence.get(name) {
                return Some(Wait {
                    reason: reason_of(&problem.reason),
                    message: format!("guard {name}: {}", problem.message),
                });
            }
        }
        let patience = (self.interval() * 3).max(SignedDuration::from_secs(60));
        let since = warm_up.counts_from(listened.running.since);
        let silent = reports.iter().find_map(|report| {
            let newest = report.through.unwrap_or(since).max(since);
            let newest = Timestamp::from_millisecond(newest).unwrap_or(self.now);
            (self.now.duration_since(newest) > patience).then(|| Wait {
                reason: "NoSamples",
                message: format!("guard {}: Prometheus has no new samples of it; check that the pods are scraped and that the selectors match", report.name),
            })
        });
        silent.or_else(|| self.broken_split(listened))
    }

    /// When the pods of all arms started: a series born after its pod counts from 0.
    fn pod_starts(&self) -> BTreeMap<String, i64> {
        let pods = self.seen.workloads.values().flat_map(|w| &w.pod_starts);
        pods.map(|(name, at)| (name.clone(), at.as_millisecond())).collect()
    }
}

/// Reasons of the Prometheus client, as conditions know them.
fn reason_of(reason: &str) -> &'static str {
    const KNOWN: [&str; 11] = [
        "Unauthorized",
        "ServerError",
        "NotPrometheus",
        "Truncated",
        "Timeout",
        "Unreachable",
        "UrlNotAllowed",
        "BadQuery",
        "TooLarge",
        "PartialData",
        "SecretUnreadable",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("PrometheusFailed")
}

/// What people read of a guard.
pub fn guard_status(report: GuardReport) -> GuardStatus {
    let counts = |c: crate::evidence::Counts| ArmCounts {
        total: i64::try_from(c.n).unwrap_or(i64::MAX),
        bad: i64::try_from(c.x).unwrap_or(i64::MAX),
    };
    GuardStatus {
        name: report.name,
        verdict: report.verdict.into(),
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
