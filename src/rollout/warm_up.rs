//! Warm-up: what a pod does in its first seconds is no evidence.
//!
//! Owns from when on evidence counts; what has counted goes on to count, whatever becomes of a pod's readiness, so that a pod
//! that flaps cannot hide. Must not hold anything but a rise: a verdict on evidence that did count waits for nothing.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::evidence::{ArmSamples, GuardSamples, Labels, Matrix};

use super::look::Look;
use super::reason::{Wait, WaitReason};

/// From when on evidence counts. Times are Unix milliseconds.
#[derive(Default)]
pub(super) struct WarmUp {
    /// By pod.
    pub(super) pods: BTreeMap<String, i64>,
    /// Of the candidate, where a series does not say which pod it is of.
    candidate: Option<i64>,
}

impl Look<'_> {
    /// From when on evidence counts; nothing is left out with a `warmUp` of 0.
    pub(super) fn warm_up(&self) -> WarmUp {
        let length = self.duration(&self.spec.rollout.warm_up);
        if length.is_zero() {
            return WarmUp::default();
        }
        let rollout = self.status.rollout.as_ref();
        let pods = self.seen.workloads.iter().flat_map(|(key, workload)| {
            // Servers warm up on requests: a candidate that was ready early is cold until it gets some.
            let served = rollout
                .filter(|r| r.candidate == key.revision)
                .and_then(|r| r.first_weight_at.as_ref())
                .map(|at| at.0);
            workload.pod_starts.keys().map(move |pod| {
                let ready = workload.ready_since.get(pod);
                let warm = ready.map(|ready| plus((*ready).max(served.unwrap_or(*ready)), length));
                (pod.clone(), warm.map_or(i64::MAX, Timestamp::as_millisecond))
            })
        });
        WarmUp {
            pods: pods.collect(),
            candidate: self.step_is_warm_at().map(Timestamp::as_millisecond),
        }
    }

    /// When the candidate's pods that a step began with are warm; later ones come and go without holding anything.
    fn step_is_warm_at(&self) -> Option<Timestamp> {
        let rollout = self.status.rollout.as_ref()?;
        let (served, since) = (rollout.first_weight_at.as_ref()?.0, rollout.weight_since.as_ref()?.0);
        let ready = || {
            self.workload(&rollout.candidate)
                .into_iter()
                .flat_map(|w| w.ready_since.values().copied())
        };
        let ready = ready().filter(|at| *at <= since).max().or_else(|| ready().min());
        let length = self.duration(&self.spec.rollout.warm_up);
        Some(plus(ready.map_or(served, |ready| ready.max(served)), length))
    }

    /// What a rise waits for while the candidate is cold.
    pub(super) fn warming_up(&mut self) -> Option<Wait> {
        let at = self.step_is_warm_at().filter(|at| *at > self.now)?;
        self.alarms.push(at);
        Some(Wait {
            reason: WaitReason::WarmingUp,
            message: format!("the first {} of its pods are no evidence", self.spec.rollout.warm_up),
        })
    }
}

impl WarmUp {
    /// Whether a query of the candidate, which knows no pods, would count now.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.candidate.is_none_or(|at| at <= now.as_millisecond())
    }

    /// Whether nothing was left out of what happened after `from`.
    pub(super) fn is_whole_after(&self, from: i64) -> bool {
        self.pods.values().copied().chain(self.candidate).all(|at| at <= from)
    }

    /// Time from which the newest evidence of a trial that began at `since` can be.
    pub(super) fn counts_from(&self, since: i64) -> i64 {
        self.candidate.map_or(since, |at| at.max(since))
    }

    /// Leaves out the candidate's samples from before `candidate` of series that name no known pod. Samples before `since` do
    /// not count anyway.
    pub(super) fn leave_out(&self, samples: &GuardSamples, since: i64) -> Option<GuardSamples> {
        let from = self.candidate.filter(|from| *from > since)?;
        let names_none = |labels: &Labels| !labels.get("pod").is_some_and(|pod| self.pods.contains_key(pod));
        let trim = |matrix: &mut Matrix| {
            for series in matrix.series.iter_mut().filter(|s| names_none(&s.labels)) {
                series.samples.retain(|(at, _)| *at >= from);
            }
        };
        let mut samples = samples.clone();
        match &mut samples.candidate {
            ArmSamples::Proportion { part, total, .. } => [part, total].into_iter().for_each(trim),
            ArmSamples::Ratio { numerator, denominator } => [numerator, denominator].into_iter().for_each(trim),
            ArmSamples::Histogram(matrix) => trim(matrix),
            ArmSamples::Native(matrix) => {
                for series in matrix.series.iter_mut().filter(|s| names_none(&s.labels)) {
                    series.samples.retain(|(at, _)| *at >= from);
                }
            }
            // Asked for at one instant; see `is_over`.
            ArmSamples::Value(_) => {}
        }
        Some(samples)
    }
}

fn plus(at: Timestamp, length: SignedDuration) -> Timestamp {
    at.checked_add(length).unwrap_or(Timestamp::MAX)
}
