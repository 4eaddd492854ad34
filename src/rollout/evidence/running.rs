//! From polls to what the tests know: the running evidence of a trial while it is evaluated.
//!
//! It is decoded when samples are counted and encoded when the plan is put together; in between it has this form.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{ArmCounts, GuardStatus, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, condition};
use crate::evidence::Poll;
use crate::guards::{Compared, GuardReport, Kind, StepWait, SuiteConfig};
use crate::judge::{BenefitConfig, text};
use crate::model::Rollout;

use super::super::ask::suite_config;
use super::super::capacity::Capacity;
use super::super::next::Wait;
use super::super::reason::{EvidenceReason, WaitReason};
use super::super::trial::{Match, is_asked, on_trial};
use super::benefit::benefit;
use super::feed::Tests;
use super::heard::Heard;
use super::inputs::{self, Finding, Inputs};
use super::split::{self, Split};
use super::state::Running;

/// Events that are expected of a candidate that is like its baseline, from which one that has none is not believed: the
/// chance that none of them occurs is e⁻⁸, or 1 in 3,000.
const SURELY_SEEN: f64 = 8.0;

/// Time after a change of weights from which requests are counted to set the pace of the comparer, in ms: the first scrapes
/// of a step show a part of what there was.
const SETTLED_MS: i64 = 60_000;

/// Largest count that status tells: readers of JSON keep no larger integer exactly.
const LARGEST_TOLD: u64 = 1 << 53;

/// The evidence of the current trial.
pub(in crate::rollout) struct Evidence {
    pub(super) trial: Match,
    pub(super) config: SuiteConfig,
    pub(super) benefit: Option<BenefitConfig>,
    pub(super) running: Running,
    /// Reports of the guards.
    reports: Vec<GuardReport>,
    /// The tests of pairs by source; `None` where there are none.
    inputs: Option<Inputs>,
    /// What this evaluation found of users' requests; `None` where it has not taken what was heard.
    finding: Option<Finding>,
    /// Whether users' requests had moved before.
    moved: bool,
    /// Lines of the golden set that this evaluation was shown, by guard. They are not stored: each answer has them again.
    lines: BTreeMap<String, Vec<u32>>,
    /// Whether a budget of the comparer is used up.
    spent: bool,
    /// Whether any pair of a user's request was counted; `None` where none is to be, or where it was not seen now.
    mirrored: Option<bool>,
    /// Requests a second of the arm that has fewer, where they were counted now.
    requests: Option<f64>,
}

impl Evidence {
    /// The evidence of the current trial under this status. It starts afresh if what was heard is of another trial.
    /// `None` if nothing is on trial.
    pub(in crate::rollout) fn of(
        spec: &QuantizedModelSpec,
        settings: &Rollout,
        status: &QuantizedModelStatus,
        known: Option<Running>,
        now: Timestamp,
    ) -> Option<Self> {
        let trial = on_trial(spec, settings, status)?;
        let config = suite_config(spec, &trial);
        let running = known
            .filter(|running| running.epoch == trial.epoch)
            .unwrap_or_else(|| Running::fresh(&trial.epoch, now));
        Some(Self {
            reports: running.suite.reports(&config),
            inputs: Inputs::of(&config),
            finding: None,
            moved: status.has_condition(condition::INPUTS_MOVED, "True"),
            lines: BTreeMap::new(),
            spent: false,
            mirrored: None,
            benefit: benefit(settings, status.rollout.as_ref()),
            requests: None,
            trial,
            config,
            running,
        })
    }

    /// The revision that is judged.
    pub(in crate::rollout) fn candidate(&self) -> &RevisionRef {
        &self.trial.candidate
    }

    /// Feeds what was heard to the tests. Returns whether they found harm; polls after that are not read.
    pub(in crate::rollout) fn take(&mut self, heard: &Heard, capacity: &Capacity<'_>) -> bool {
        let split = Split::of(&mut self.running, &self.config, &self.trial, capacity);
        for (guard, heard) in &heard.guards {
            self.spent |= heard.spent;
            self.mirrored = self.mirrored.max(heard.mirrored);
            self.lines.insert(guard.clone(), heard.lines.clone());
        }
        let Running {
            suite,
            benefit,
            split: split_test,
            ..
        } = &mut self.running;
        let mut tests = Tests {
            config: &self.config,
            wanted: self.benefit.as_ref(),
            inputs: self.inputs.as_ref(),
            suite,
            benefit,
        };
        let taken = tests.take(&heard.guards, |guard, poll| {
            if let Some(split) = &split {
                split.observe(split_test, guard, heard.warm_until, poll);
            }
        });
        self.finding = taken.finding;
        let reports = self.running.suite.reports(&self.config).into_iter();
        self.reports = reports.map(|report| self.with_lines(report)).collect();
        let counting = split::counting_guard(&self.config, capacity).and_then(|guard| heard.guards.get(&guard));
        self.requests = counting.and_then(|heard| fewer_requests(&heard.polls, self.running.since));
        taken.harm
    }

    /// A report that names lines of the golden set, where there are any.
    fn with_lines(&self, mut report: GuardReport) -> GuardReport {
        if let Some(lines) = self.lines.get(&report.name) {
            report.show(lines);
        }
        report
    }

    /// Requests a second of the arm that has fewer; `None` where this evaluation counted none at the weights that are in
    /// force.
    pub(in crate::rollout) fn requests(&self) -> Option<f64> {
        self.requests
    }

    /// Reports of the guards.
    pub(in crate::rollout) fn reports(&self) -> &[GuardReport] {
        &self.reports
    }

    /// The guard that found harm, if one did.
    pub(in crate::rollout) fn harmful(&self) -> Option<GuardReport> {
        let mut report = self.with_lines(self.running.suite.harmful(&self.config)?);
        report.message.push_str(self.cause(&report.name).unwrap_or_default());
        Some(report)
    }

    /// What the pairs by source say about harm that a guard found, in words that go on with its sentence.
    fn cause(&self, guard: &str) -> Option<&'static str> {
        let inputs = self.inputs.as_ref().filter(|inputs| inputs.is_of(guard))?;
        match self.users_requests() {
            Finding::NotCompared => None,
            Finding::Moved { .. } => Some(inputs::INPUTS_MOVED),
            Finding::Open if self.moved => Some(inputs::INPUTS_MOVED),
            Finding::Open | Finding::AsGolden => {
                let differs = inputs.golden_differs(&self.running.suite);
                differs.then_some(inputs::SERVING_CHANGED)
            }
        }
    }

    /// What is known about users' requests beside the golden set.
    pub(in crate::rollout) fn users_requests(&self) -> Finding {
        let inputs = self.inputs.as_ref();
        let stands = inputs.map(|inputs| inputs.stands(&self.running.suite));
        self.finding.or(stands).unwrap_or(Finding::NotCompared)
    }

    /// Whether every guard has shown health.
    pub(in crate::rollout) fn all_healthy(&self) -> bool {
        self.running.suite.all_healthy(&self.config)
    }

    /// Pairs of answers that were counted since the step began, by the guard that has the fewest; `None` where no guard
    /// counts pairs.
    pub(in crate::rollout) fn pairs(&self) -> Option<u64> {
        let counting = self.config.guards.iter().filter(|(_, kind)| kind.counts_pairs());
        counting.map(|(name, _)| self.running.suite.of_step(name)).min()
    }

    /// Whether no more pairs come, because a budget of the comparer is used up.
    pub(in crate::rollout) fn is_spent(&self) -> bool {
        self.spent
    }

    /// Whether pairs of users' requests come; `None` where none are to, or where nothing says so now.
    pub(in crate::rollout) fn mirrored(&self) -> Option<bool> {
        self.mirrored.filter(|_| !self.spent)
    }

    /// A guard that has not seen enough of the step.
    pub(in crate::rollout) fn step_waits_for(&self) -> Option<StepWait> {
        self.running.suite.step_waits_for(&self.config).into_iter().next()
    }

    /// The guard that leans most towards harm, if one does.
    pub(in crate::rollout) fn suspects(&self) -> Option<&GuardReport> {
        let leaning = self.reports.iter().filter(|report| report.leans_to_harm());
        leaning.max_by(|a, b| a.ln_evidence.total_cmp(&b.ln_evidence))
    }

    /// Drops the interval that runs now, because weights change in it, and begins a step.
    pub(in crate::rollout) fn begin_step(&mut self, now: Timestamp) {
        self.running.begin_step(now);
    }

    /// Why nothing may be concluded from the metrics now: the server does not answer, or no samples come.
    pub(in crate::rollout) fn missing(&self, heard: &Heard, capacity: &Capacity<'_>, interval_ms: i64) -> Option<Wait> {
        let now = capacity.seen.now;
        let because = |reason, message: String| Wait::new(WaitReason::NoEvidence(reason), message);
        let compares = |guard: &Kind| guard.compared_with() != Compared::Bounds;
        let alone = capacity.status.rollout.is_none() && capacity.spec.rollout.holdout == 0;
        if alone && self.config.guards.values().any(compares) {
            return Some(because(
                EvidenceReason::NoHoldout,
                format!(
                    "rollout.holdout is 0, so nothing serves that {} could be compared with: what turns bad is not noticed",
                    self.trial.candidate.describe()
                ),
            ));
        }
        let asked = |name: &str| {
            let kind = self.config.guards.get(name);
            kind.is_some_and(|kind| is_asked(capacity.status, kind))
        };
        for name in self.config.guards.keys() {
            if let Some(problem) = heard.problems.get(name) {
                return Some(because(problem.reason, format!("guard {name}: {}", problem.message)));
            }
        }
        if let Some(message) = self.incomparable(heard) {
            return Some(because(EvidenceReason::NotComparable, message));
        }
        let since = heard.warm_until.counts_from(self.running.since);
        let silent = self.reports.iter().filter(|report| asked(&report.name)).find(|report| {
            let newest = report.through.unwrap_or(since).max(since);
            let pace = self.running.cursor(&report.name, now).pace(interval_ms);
            now.as_millisecond().saturating_sub(newest) > pace.patience()
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

    /// Why the samples of a guard cannot be compared.
    fn incomparable(&self, heard: &Heard) -> Option<String> {
        let of = |report: &GuardReport| {
            let heard = heard.guards.get(&report.name)?;
            let GuardReport {
                candidate, baseline, ..
            } = report;
            let expected = candidate.n as f64 * baseline.x as f64 / baseline.n.max(1) as f64;
            let lacking = || {
                (heard.lacks_part && expected >= SURELY_SEEN).then(|| {
                    format!(
                        "the candidate has no series of the events that are compared, of which it should have had about {expected:.0} \
                         in {} requests: see whether its image exports that metric, or let it start at 0",
                        text::number(candidate.n)
                    )
                })
            };
            let why = heard.unusable.clone().or_else(lacking)?;
            Some(format!("guard {}: {why}", report.name))
        };
        self.reports.iter().find_map(of)
    }

    /// The benefit that is asked for, with the kind of its guard.
    fn benefit_of(&self) -> Option<(&BenefitConfig, &Kind)> {
        let wanted = self.benefit.as_ref()?;
        Some((wanted, self.config.guards.get(&wanted.guard)?))
    }

    /// The benefit that is asked of the candidate and not shown yet, in words that follow "shown to be".
    pub(in crate::rollout) fn lacking_benefit(&self) -> Option<String> {
        let (wanted, guard) = self.benefit_of()?;
        let test = self.running.benefit.as_ref();
        (!test.is_some_and(|test| test.is_shown(wanted, guard))).then(|| guard.better(wanted))
    }

    /// Name of the benefit's guard, and what it found, in a sentence with counts.
    pub(in crate::rollout) fn benefit_message(&self) -> Option<(&str, String)> {
        let (wanted, guard) = self.benefit_of()?;
        let test = self.running.benefit.as_ref()?;
        Some((&wanted.guard, test.message(wanted, guard)))
    }

    /// The evidence as it is stored, and as status shows it.
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

/// Requests a second of the arm that has fewer, in polls of weights that have been in force since a time (Unix ms).
fn fewer_requests(polls: &[Poll], since: i64) -> Option<f64> {
    let (mut millis, mut counted) = (0, [0, 0]);
    for poll in polls
        .iter()
        .filter(|poll| poll.from >= since.saturating_add(SETTLED_MS))
    {
        let (candidate, baseline) = poll.observed.requests();
        // An arm that was waited for in vain has not lost its requests.
        if candidate > 0 && baseline > 0 {
            millis += poll.through - poll.from;
            counted = [counted[0] + candidate, counted[1] + baseline];
        }
    }
    let fewer = counted[0].min(counted[1]);
    (millis > 0).then(|| 1_000.0 * fewer as f64 / millis as f64)
}

/// A guard's report as status shows it.
pub fn guard_status(report: GuardReport) -> GuardStatus {
    let told = |count: u64| count.min(LARGEST_TOLD).cast_signed();
    let counts = |c: crate::evidence::Counts| ArmCounts {
        total: told(c.n),
        bad: told(c.x),
    };
    let examples = report.examples.into_iter().flat_map(i32::try_from);
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
        examples: examples.collect(),
        benefit: None,
    }
}
