//! Warm-up: a pod's first seconds are no evidence.
//!
//! Owns the time from which evidence counts. Evidence that has counted stays, whatever becomes of a pod's readiness, so
//! that a pod that flaps cannot hide. Must not hold anything but a rise: a verdict on evidence that did count waits for
//! nothing.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::evidence::{GuardSamples, Labels};
use crate::model::identity::Purpose;

use super::super::observation::{Observation, WorkloadKey};
use super::heard::WarmUntil;

/// Times from which evidence counts, in Unix milliseconds.
#[derive(Default)]
pub(super) struct WarmUp {
    /// Times by pod.
    pub(super) pods: BTreeMap<String, i64>,
    /// Time for the candidate's series that do not name their pod.
    candidate: Option<i64>,
    /// Time before which no pod of the candidate can have counted. The baseline does not count before it either, so that
    /// both arms show the same seconds: what slows the machine down for a moment must not hit one of them alone.
    pub(super) begins: Option<i64>,
}

impl WarmUp {
    /// The warm-up of all arms that were seen. With a `warmUp` of 0 nothing is left out.
    pub(super) fn of(seen: &Observation, length: SignedDuration) -> Self {
        if length.is_zero() {
            return Self::default();
        }
        let rollout = seen.model.status.rollout.as_ref();
        let pods = seen.workloads.iter().flat_map(|(key, workload)| {
            // Servers warm up on requests, so a candidate that was ready early is cold until it gets some.
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
        Self {
            pods: pods.collect(),
            candidate: step_is_warm_at(seen, length).map(Timestamp::as_millisecond),
            begins: rollout
                .and_then(|r| r.first_weight_at.as_ref())
                .map(|served| plus(served.0, length).as_millisecond()),
        }
    }

    /// When the warm-up ends.
    pub(super) fn until(&self) -> WarmUntil {
        WarmUntil {
            all: self.pods.values().copied().chain(self.candidate).max(),
            candidate: self.candidate,
        }
    }

    /// Whether a query of the candidate that does not name pods would count now.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.candidate.is_none_or(|at| at <= now.as_millisecond())
    }

    /// Leaves out the candidate's samples from before its warm-up ended, of series that name no known pod. Samples
    /// before `since` do not count anyway.
    pub(super) fn leave_out(&self, samples: &GuardSamples, since: i64) -> Option<GuardSamples> {
        let from = self.candidate.filter(|from| *from > since)?;
        let names_none = |labels: &Labels| !labels.pod().is_some_and(|pod| self.pods.contains_key(pod));
        let mut samples = samples.clone();
        samples.candidate.leave_out(from, names_none);
        Some(samples)
    }
}

/// When the pods that the candidate had at the start of a step are warm. Later pods come and go without holding
/// anything.
fn step_is_warm_at(seen: &Observation, length: SignedDuration) -> Option<Timestamp> {
    let rollout = seen.model.status.rollout.as_ref()?;
    let (served, since) = (rollout.first_weight_at.as_ref()?.0, rollout.weight_since.as_ref()?.0);
    let candidate = seen.workloads.get(&WorkloadKey {
        revision: rollout.candidate.clone(),
        purpose: Purpose::Serving,
    });
    let ready = || candidate.into_iter().flat_map(|w| w.ready_since.values().copied());
    let ready = ready().filter(|at| *at <= since).max().or_else(|| ready().min());
    Some(plus(ready.map_or(served, |ready| ready.max(served)), length))
}

fn plus(at: Timestamp, length: SignedDuration) -> Timestamp {
    at.checked_add(length).unwrap_or(Timestamp::MAX)
}
