//! Which arms exist, which are ready, and how much each can carry.

use k8s_openapi::jiff::SignedDuration;

use crate::api::{
    OnHarm, QuantizedModelSpec, QuantizedModelStatus, Retiring, RetiringReason, RevisionRef, RolloutKind,
    RolloutStatus, SplitBy,
};
use crate::guards::compare_outputs;
use crate::model::identity::Purpose;
use crate::model::presets::guards;

use super::super::ladder::{Ladder, is};
use super::super::observation::{Seen, Workload, WorkloadKey};
use super::super::trial::purpose_of;

/// Time that connections get to drain, and gateways to follow, before pods go.
pub(in crate::rollout) const DRAIN: SignedDuration = SignedDuration::from_secs(30);

/// The workloads that exist and what is asked of them, under the next status as it is being made.
#[derive(Clone, Copy)]
pub(in crate::rollout) struct Capacity<'a> {
    pub(in crate::rollout) seen: &'a Seen<'a>,
    pub(in crate::rollout) spec: &'a QuantizedModelSpec,
    pub(in crate::rollout) ladder: &'a Ladder,
    pub(in crate::rollout) status: &'a QuantizedModelStatus,
    /// Weight for which capacity is built up, beyond the weight that is granted.
    pub(in crate::rollout) build_up: Option<i32>,
}

impl<'a> Capacity<'a> {
    /// Whether traffic is split by ready replicas behind one Service.
    pub(in crate::rollout) fn by_replicas(&self) -> bool {
        self.spec.traffic.split_by() == SplitBy::Replicas
    }

    /// The serving Deployment of a revision, as seen.
    pub(in crate::rollout) fn workload(&self, revision: &RevisionRef) -> Option<&'a Workload> {
        self.seen.workloads.get(&WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Serving,
        })
    }

    /// The Deployment of a revision that its trial is about, as seen: the serving one, but where its shadow stage has one
    /// of its own.
    pub(in crate::rollout) fn tried(&self, revision: &RevisionRef) -> Option<&'a Workload> {
        self.seen.workloads.get(&WorkloadKey {
            revision: revision.clone(),
            purpose: purpose_of(self.spec, self.status, revision),
        })
    }

    /// Ready endpoints of a revision.
    pub(in crate::rollout) fn ready(&self, revision: &RevisionRef) -> i32 {
        self.workload(revision).map_or(0, |w| w.ready)
    }

    /// Pods that carry all traffic on a revision; `None` when an autoscaler owns the scale.
    pub(super) fn full(&self, revision: &RevisionRef) -> Option<i32> {
        match self.spec.variants.iter().find(|v| v.name == revision.variant) {
            Some(variant) => self.spec.replicas(variant),
            // The revision is gone from the spec: it needs what it runs now.
            None => Some(self.workload(revision).map_or(1, |w| w.desired.max(1))),
        }
    }

    pub(super) fn full_pods(&self, revision: &RevisionRef) -> i32 {
        self.full(revision)
            .unwrap_or_else(|| self.workload(revision).map_or(1, |w| w.desired))
            .max(1)
    }

    /// Pods that a revision needs for all traffic. Where an autoscaler owns the scale, those are as many as stable has now:
    /// what it has itself, with little traffic or none, says nothing of that.
    fn full_beside_stable(&self, revision: &RevisionRef) -> i32 {
        let own = self.full_pods(revision);
        match (&self.status.stable, self.full(revision)) {
            (Some(stable), None) if stable != revision => own.max(self.full_pods(stable)),
            _ => own,
        }
    }

    /// Pods that carry `weight` percent on a revision.
    pub(in crate::rollout) fn needed(&self, revision: &RevisionRef, weight: i32) -> i32 {
        if weight <= 0 {
            return 0;
        }
        let full = self.full_beside_stable(revision);
        if !self.by_replicas() || weight >= 100 {
            let beside = if self.is_on_trial(revision) {
                (100 - weight - self.holdout(weight)).max(weight)
            } else {
                100
            };
            return ((full * weight + beside - 1) / beside).max(1);
        }
        // Beside n pods of stable, c pods take the share c / (n + c): never more than was asked, except for the minimum
        // of one pod.
        let others = self.status.stable.as_ref().map_or(1, |stable| self.full_pods(stable));
        (weight * others / (100 - weight)).max(1)
    }

    /// Whether the pods of a revision are compared with stable's. Stable keeps those for all traffic and empties as the weight
    /// rises, so the candidate's share is held against stable's: its pods must be no busier than stable's, or load would be
    /// taken for slowness. An autoscaler sees to that itself.
    fn is_on_trial(&self, revision: &RevisionRef) -> bool {
        let rollout = self.status.rollout.as_ref();
        let is_candidate = rollout.is_some_and(|rollout| rollout.candidate == *revision && !rollout.promoting);
        is_candidate && self.full(revision).is_some()
    }

    /// Whether the ready endpoints of a revision can carry `weight` percent.
    pub(in crate::rollout) fn can_carry(&self, revision: &RevisionRef, weight: i32) -> bool {
        self.ready(revision) >= self.needed(revision, weight)
    }

    /// Percent of all traffic that the ready endpoints of a revision can carry.
    pub(super) fn carries(&self, revision: &RevisionRef) -> i32 {
        (100 * self.ready(revision) / self.full_pods(revision)).clamp(0, 100)
    }

    /// The control arm, where it is not stable itself.
    pub(in crate::rollout) fn control(&self) -> Option<&RevisionRef> {
        let candidate = self.status.rollout.as_ref().map(|r| &r.candidate);
        let reference = self.status.reference.as_ref()?;
        (Some(reference) != self.status.stable.as_ref() && Some(reference) != candidate).then_some(reference)
    }

    /// Percent that the control arm should have while the candidate has `weight`. While something is compared with it,
    /// it is as large as the candidate, because a fidelity guard on a small holdout would take hours.
    pub(in crate::rollout) fn holdout(&self, weight: i32) -> i32 {
        if self.control().is_none() {
            return 0;
        }
        let compared = match self.status.rollout.as_ref().and_then(|r| r.kind.known()) {
            Some(RolloutKind::NewReference) => true,
            Some(_) => compare_outputs(&guards(self.spec)),
            None => false,
        };
        let declared = self.spec.rollout.holdout;
        if compared {
            control_weight(declared, weight)
        } else {
            declared
        }
    }

    /// Weight for which capacity is built up.
    pub(in crate::rollout) fn next_weight(&self, rollout: &RolloutStatus) -> i32 {
        match self.build_up {
            Some(weight) => weight.max(rollout.weight),
            None if rollout.weight == 0 && !self.by_replicas() => {
                self.spec.rollout.steps.first().map_or(0, |s| s.weight)
            }
            None => rollout.weight,
        }
    }

    /// Percent that the candidate will carry once promoted: all traffic, except for a new reference of an unchanged
    /// model, which only takes over the holdout.
    pub(in crate::rollout) fn promoted_weight(&self) -> i32 {
        if self.takes_over() {
            100
        } else {
            self.spec.rollout.holdout.max(1)
        }
    }

    pub(in crate::rollout) fn takes_over(&self) -> bool {
        let new_reference = self
            .status
            .rollout
            .as_ref()
            .is_some_and(|r| r.kind == RolloutKind::NewReference);
        let same_weights = self.status.reference_weights.as_ref() == Some(&self.ladder.reference().weights_digest);
        !new_reference || self.status.stable == self.status.reference || !same_weights
    }

    /// Most that a leaving revision may keep, in percent. One that was judged harmful or given up never regains what it
    /// has lost.
    pub(super) fn may_keep(&self, leaving: &Retiring) -> i32 {
        let of = leaving.revision_ref();
        if self.ready(&of) == 0 {
            return 0;
        }
        if !self.was_given_up(leaving) {
            return 100;
        }
        let mut arms = self.status.arms.iter();
        let had = arms.find(|arm| is(&of, &arm.variant, &arm.revision));
        let had = had.map_or(0, |arm| arm.weight).min(leaving.keeps.unwrap_or(100));
        // What status says of its weight may be what it was to get once that was on record.
        self.on_record(&of, had)
    }

    /// Whether a leaving revision was judged harmful or given up.
    pub(super) fn was_given_up(&self, leaving: &Retiring) -> bool {
        let of = leaving.revision_ref();
        leaving.keeps.is_some() || self.status.rejected.iter().any(|r| is(&of, &r.variant, &r.revision))
    }

    /// Revisions that hand their traffic over to stable.
    pub(in crate::rollout) fn handovers(&self) -> impl Iterator<Item = &'a Retiring> + use<'a> {
        let retiring = self.status.retiring.iter();
        retiring.filter(|r| r.reason == RetiringReason::Handover)
    }

    pub(in crate::rollout) fn hands_over(&self) -> bool {
        self.handovers().next().is_some()
    }

    /// Whether stable serves, or a former stable does until it can.
    pub(in crate::rollout) fn serves(&self, stable: &RevisionRef) -> bool {
        self.ready(stable) > 0 || self.handovers().any(|r| r.keeps.is_none() && self.may_keep(r) > 0)
    }

    /// Whether stable or its stand-in is ready to take what a candidate gives up.
    pub(in crate::rollout) fn has_fallback(&self) -> bool {
        let stable = self.status.stable.as_ref();
        stable.is_some_and(|stable| self.ready(stable) > 0 || self.stand_in(stable).is_some())
    }

    /// Where traffic goes when stable is harmful: to the previous stable while it is warm, else to the next safer
    /// proven variant, else to the reference. What is safer than a variant that the spec has no more nobody knows.
    pub(in crate::rollout) fn fallback(&self, stable: &RevisionRef) -> RevisionRef {
        let reference = || {
            self.status
                .reference
                .clone()
                .unwrap_or_else(|| self.ladder.reference().revision.clone())
        };
        if self.spec.rollout.on_harm == OnHarm::Reference {
            return reference();
        }
        let proven = |r: &RevisionRef| self.status.proven.iter().any(|p| is(r, &p.variant, &p.revision));
        let warm = self
            .status
            .retiring
            .iter()
            .rev()
            .filter(|r| r.reason == RetiringReason::KeepWarm)
            .map(|r| r.revision_ref());
        if let Some(previous) = warm.into_iter().find(proven) {
            return previous;
        }
        let limit = self.ladder.position(&stable.variant).unwrap_or(0);
        self.ladder.safest_proven_below(limit, self.status)
    }

    /// The revision that serves when stable has lost its last endpoint: the control arm or a warm fallback, never the
    /// candidate.
    pub(super) fn stand_in(&self, stable: &RevisionRef) -> Option<RevisionRef> {
        if self.ready(stable) > 0 {
            return None;
        }
        let warm = self
            .status
            .retiring
            .iter()
            .filter(|r| r.reason == RetiringReason::KeepWarm);
        let warm = warm.map(|r| r.revision_ref());
        self.control()
            .cloned()
            .into_iter()
            .chain(warm)
            .find(|r| self.ready(r) > 0)
    }

    /// The workload that serves header-pinned requests: its own pods, or those of the reference until they are ready.
    pub(in crate::rollout) fn pinned(&self) -> Option<WorkloadKey> {
        if self.spec.traffic.precision_routes.is_empty() {
            return None;
        }
        let revision = self.status.reference.clone()?;
        let own = WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Pinned,
        };
        let shared = WorkloadKey {
            revision,
            purpose: Purpose::Serving,
        };
        let ready = |key: &WorkloadKey| self.seen.workloads.get(key).is_some_and(|w| w.ready > 0);
        Some(if !ready(&own) && ready(&shared) { shared } else { own })
    }
}

/// Percent that the control arm gets beside a candidate of `weight` percent where something is compared with it: the
/// `declared` holdout, or as much as the candidate where stable can spare it.
pub fn control_weight(declared: i32, weight: i32) -> i32 {
    declared.max(weight.min((100 - weight) / 2))
}
