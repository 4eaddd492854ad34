//! From samples to polls: does everything of an evaluation that needs samples, and decides nothing.

use std::collections::BTreeMap;

use crate::api;
use crate::evidence::{BucketForm, Cursor, GuardSamples, Part, Pods, Poll, Role, incomparable, lacks_part, look_alike};
use crate::guards::{Compared, SuiteConfig, asks};
use crate::model;
use crate::model::presets::guards;

use super::super::ask::suite_config;
use super::super::observation::{Observation, WorkloadKey};
use super::super::trial::{on_trial, purpose_of};
use super::heard::{GuardHeard, Heard};
use super::inputs::{Inputs, are_mirrored};
use super::state::Running;
use super::warm_up::WarmUp;

/// Counts what is new in the samples of an observation.
pub fn hear(observation: &Observation) -> Heard {
    let (seen, now) = (&observation.model, observation.now);
    let settings = model::read(&seen.spec).rollout;
    let Some(trial) = on_trial(&seen.spec, &settings, &seen.status) else {
        return Heard::default();
    };
    let (mut running, unreadable) = Running::read(seen.status.evidence.as_deref(), &trial.epoch, now);
    let warm_up = WarmUp::of(observation, settings.warm_up);
    let mut heard = Heard {
        unreadable,
        warm_until: warm_up.until(),
        ..Heard::default()
    };
    let candidate = observation.workloads.get(&WorkloadKey {
        revision: trial.candidate.clone(),
        purpose: purpose_of(&seen.spec, &seen.status, &trial.candidate),
    });
    if candidate.is_some_and(|workload| workload.disruption.is_some()) {
        // Answers from a node that is being drained say nothing about the variant.
        running.pass_over(now);
    } else {
        let config = suite_config(&seen.spec, &trial);
        let mut hearing = Hearing {
            observation,
            inputs: Inputs::of(&config),
            config,
            interval_ms: settings.interval_ms(),
            starts: pod_starts(observation),
            guards: guards(&seen.spec),
            warm_up,
            running: &mut running,
        };
        for (guard, answer) in &observation.evidence {
            match answer {
                Ok(samples) => {
                    let counted = hearing.count(guard, samples);
                    heard.guards.extend(counted.map(|counted| (guard.clone(), counted)));
                }
                Err(problem) => {
                    heard.problems.insert(guard.clone(), problem.clone());
                }
            }
        }
    }
    heard.running = Some(running);
    heard
}

/// What is needed to count the samples of a guard.
struct Hearing<'a> {
    observation: &'a Observation,
    config: SuiteConfig,
    /// The pairs that are counted by source.
    inputs: Option<Inputs>,
    interval_ms: i64,
    starts: BTreeMap<String, i64>,
    /// The guards as they are written.
    guards: Vec<api::Guard>,
    warm_up: WarmUp,
    running: &'a mut Running,
}

impl Hearing<'_> {
    /// Moves the cursor of a guard over its samples. `None` where they do not count yet.
    fn count(&mut self, guard: &str, samples: &GuardSamples) -> Option<GuardHeard> {
        let now = self.observation.now;
        let kind = self.config.guards.get(guard);
        let pairs = kind.is_some_and(|kind| kind.counts_pairs());
        if kind.is_some_and(|kind| kind.compared_with() == Compared::Bounds) && !self.warm_up.is_over(now) {
            return None;
        }
        let interval = self.interval_ms;
        let mut cursor = self.running.cursor(guard, now);
        // What a pod answers does not depend on how warm it is.
        let begins = self.warm_up.begins.filter(|_| !pairs);
        if let Some(begins) = begins.filter(|begins| cursor.through() < *begins) {
            cursor.skip_to(begins);
        }
        let part = self.part(guard, samples);
        if let Some(why) = incomparable(samples, part.as_ref()) {
            // What is counted meanwhile would be as wrong once the arms can be compared.
            cursor.skip_to(now.as_millisecond());
            self.running.set_cursor(guard, cursor);
            return Some(GuardHeard {
                unusable: Some(why),
                ..GuardHeard::default()
            });
        }
        let (form, before) = (samples.form(), self.running.suite.form(guard));
        let another = form.is_some() && before.is_some() && form != before;
        if another {
            // Other buckets make another measurement, and other series count again what was counted before.
            cursor.skip_to(cursor.through());
        }
        let (begun, muted) = (cursor.through(), cursor.muted());
        let warm = if pairs {
            None
        } else {
            self.warm_up.leave_out(samples, cursor.since())
        };
        let pods = Pods {
            started: &self.starts,
            warm: &self.warm_up.pods,
        };
        let samples_that_count = warm.as_ref().unwrap_or(samples);
        let advance = cursor.advance_warm(samples_that_count, now.as_millisecond(), interval, pods);
        // Buckets of another pod may lack a bound of the edges. Native ones show only bounds around what was counted.
        let lost = form == Some(BucketForm::Classic)
            && advance
                .polls
                .iter()
                .any(|poll| self.running.suite.has_lost_bound(&self.config, guard, &poll.observed));
        // What counters showed that fall again and again was never counted right.
        let lost = lost || cursor.muted() > muted;
        // The first answer that shows anything also has the time before the trial.
        let first = cursor.through() > begun && !self.running.suite.listens(guard);
        // A comparer of before may have shown lines of another golden set.
        let lines = samples.candidate.lines(cursor.since());
        let spent = samples.candidate.is_spent(cursor.since());
        self.running.set_cursor(guard, cursor);
        let by_source = self.by_source(guard, samples);
        Some(GuardHeard {
            recalled: (another || first || lost).then(|| Cursor::history(samples, begun, interval)),
            form,
            oddity: advance.problem,
            unusable: advance.unusable,
            lacks_part: part.is_some_and(|part| lacks_part(samples, &part)),
            polls: advance.polls,
            by_source,
            lines,
            spent,
            mirrored: pairs.then(|| are_mirrored(samples)).flatten(),
        })
    }

    /// Counts the pairs of users' requests and those of the golden set apart, with a cursor of their own.
    fn by_source(&mut self, guard: &str, samples: &GuardSamples) -> Vec<Poll> {
        let inputs = self.inputs.as_ref();
        let Some((name, apart)) = inputs.and_then(|inputs| inputs.apart(guard, samples)) else {
            return Vec::new();
        };
        let now = self.observation.now;
        let mut cursor = self.running.cursor(name, now);
        let advance = cursor.advance(&apart, now.as_millisecond(), self.interval_ms, &self.starts);
        self.running.set_cursor(name, cursor);
        advance.polls
    }

    /// How a guard on a share selects its bad or good events, where that has to be known to compare the arms.
    fn part(&self, guard: &str, samples: &GuardSamples) -> Option<Part> {
        if look_alike(samples) {
            return None;
        }
        let asks = asks(self.guards.iter().find(|of| of.name == guard)?);
        let total = asks.iter().find(|asked| asked.role == Role::Total)?;
        let part = asks.iter().find(|asked| matches!(asked.role, Role::Bad | Role::Good))?;
        Part::of(part.role, &part.text, &total.text)
    }
}

/// When the pods of all arms started; a series that begins after its pod counts from 0.
fn pod_starts(observation: &Observation) -> BTreeMap<String, i64> {
    let pods = observation.workloads.values().flat_map(|w| &w.pod_starts);
    pods.map(|(name, at)| (name.clone(), at.as_millisecond())).collect()
}
