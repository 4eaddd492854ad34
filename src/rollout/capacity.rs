//! Replicas and weights: who needs how many pods, and who gets which share of the traffic.

use std::collections::BTreeMap;

use crate::api::{ArmStatus, Retiring, RetiringReason, RevisionRef, Role, RolloutKind};
use crate::model::identity::{self, Purpose};

use super::ladder::is;
use super::look::Look;
use super::observation::{Marks, WorkloadKey};
use super::plan::{Joined, RoutePlan, Template, WorkloadPlan};

impl Look<'_> {
    /// Whether traffic is split by ready replicas behind one Service.
    pub(super) fn by_replicas(&self) -> bool {
        self.spec.traffic.service.is_some()
    }

    /// Pods that carry all traffic on a revision; `None` when an autoscaler owns the scale.
    fn full(&self, revision: &RevisionRef) -> Option<i32> {
        match self.spec.variants.iter().find(|v| v.name == revision.variant) {
            Some(variant) => self.spec.replicas(variant),
            // Gone from the spec: what it runs now is what it needs.
            None => Some(self.workload(revision).map_or(1, |w| w.desired.max(1))),
        }
    }

    fn full_pods(&self, revision: &RevisionRef) -> i32 {
        self.full(revision)
            .unwrap_or_else(|| self.workload(revision).map_or(1, |w| w.desired))
            .max(1)
    }

    /// Pods that carry `weight` percent on a revision.
    pub(super) fn needed(&self, revision: &RevisionRef, weight: i32) -> i32 {
        if weight <= 0 {
            return 0;
        }
        let full = self.full_pods(revision);
        if !self.by_replicas() || weight >= 100 {
            return ((full * weight + 99) / 100).max(1);
        }
        // c pods beside n of stable take the share c / (n + c): never more than was asked, but for a whole pod.
        let others = self.status.stable.as_ref().map_or(1, |stable| self.full_pods(stable));
        (weight * others / (100 - weight)).max(1)
    }

    /// Whether the ready endpoints of a revision can carry `weight` percent.
    pub(super) fn can_carry(&self, revision: &RevisionRef, weight: i32) -> bool {
        self.ready(revision) >= self.needed(revision, weight)
    }

    /// Percent of all traffic that the ready endpoints of a revision can carry.
    fn carries(&self, revision: &RevisionRef) -> i32 {
        (100 * self.ready(revision) / self.full_pods(revision)).clamp(0, 100)
    }

    /// The control arm, where it is not stable itself.
    pub(super) fn control(&self) -> Option<&RevisionRef> {
        let candidate = self.status.rollout.as_ref().map(|r| &r.candidate);
        let reference = self.status.reference.as_ref()?;
        (Some(reference) != self.status.stable.as_ref() && Some(reference) != candidate).then_some(reference)
    }

    /// Percent that the control arm should have while the candidate has `weight`. It is as large as the candidate's while
    /// something is compared with it, or a fidelity guard on a small holdout would take hours.
    pub(super) fn holdout(&self, weight: i32) -> i32 {
        if self.control().is_none() {
            return 0;
        }
        let compared = match self.status.rollout.as_ref().and_then(|r| r.kind.known()) {
            Some(RolloutKind::NewReference) => true,
            Some(_) => self.spec.guards.iter().any(|g| g.fidelity.is_some()),
            None => false,
        };
        let declared = self.spec.rollout.holdout;
        if compared {
            control_weight(declared, weight)
        } else {
            declared
        }
    }

    /// How requests are to be routed; `None` while nothing can serve.
    pub(super) fn route(&self) -> Option<RoutePlan> {
        let stable = self.status.stable.clone()?;
        let mut weights: Vec<(RevisionRef, i32)> = vec![(stable.clone(), 0)];
        if let Some(rollout) = &self.status.rollout {
            weights.push((rollout.candidate.clone(), rollout.weight));
        }
        let granted = weights.last().map_or(0, |(_, w)| *w);
        if let Some(control) = self.control().cloned() {
            let wanted = self.holdout(granted).min(100 - granted);
            weights.push((control.clone(), wanted.min(self.carries(&control))));
        }
        for r in &self.status.retiring {
            let revision = r.revision_ref();
            if !weights.iter().any(|(known, _)| *known == revision) {
                let free = 100 - weights.iter().map(|(_, w)| w).sum::<i32>();
                weights.push((revision, self.kept_for_unknown_reason(r).min(free)));
            }
        }
        let mut rest = 100 - weights.iter().map(|(_, w)| w).sum::<i32>();
        let mut give = |revision: &RevisionRef, share: i32| {
            if let Some((_, w)) = weights.iter_mut().find(|(known, _)| known == revision) {
                *w += share;
            }
        };
        // Who leaves keeps only what its successor cannot carry yet.
        for leaving in self.handovers() {
            let kept = (rest - self.carries(&stable)).min(self.may_keep(leaving)).max(0);
            give(&leaving.revision_ref(), kept);
            rest -= kept;
        }
        give(&self.stand_in(&stable).unwrap_or(stable), rest);
        Some(RoutePlan {
            weights,
            pinned: self.pinned(),
        })
    }

    /// Most that who leaves may keep, in percent: what was judged harmful or given up gets back nothing that it has lost.
    fn may_keep(&self, leaving: &Retiring) -> i32 {
        let of = leaving.revision_ref();
        if self.ready(&of) == 0 {
            return 0;
        }
        let rejected = self.status.rejected.iter().any(|r| is(&of, &r.variant, &r.revision));
        if !rejected && leaving.keeps.is_none() {
            return 100;
        }
        let mut arms = self.status.arms.iter();
        let had = arms.find(|arm| is(&of, &arm.variant, &arm.revision));
        had.map_or(0, |arm| arm.weight).min(leaving.keeps.unwrap_or(100))
    }

    /// Revisions that hand their traffic over to stable.
    pub(super) fn handovers(&self) -> impl Iterator<Item = &Retiring> {
        let retiring = self.status.retiring.iter();
        retiring.filter(|r| r.reason == RetiringReason::Handover)
    }

    pub(super) fn hands_over(&self) -> bool {
        self.handovers().next().is_some()
    }

    /// Whether stable serves, or a former one until it can.
    pub(super) fn serves(&self, stable: &RevisionRef) -> bool {
        self.ready(stable) > 0 || self.handovers().any(|r| r.keeps.is_none() && self.may_keep(r) > 0)
    }

    /// Whether anyone is ready to take what a candidate gives up.
    pub(super) fn has_fallback(&self) -> bool {
        let stable = self.status.stable.as_ref();
        stable.is_some_and(|stable| self.ready(stable) > 0 || self.stand_in(stable).is_some())
    }

    /// Who serves for a stable that has lost its last endpoint: the control arm or a warm fallback, never the candidate.
    fn stand_in(&self, stable: &RevisionRef) -> Option<RevisionRef> {
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

    /// What serves header-pinned requests: pods of their own, until they are ready the reference's, never anything else.
    pub(super) fn pinned(&self) -> Option<WorkloadKey> {
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

    /// Deployments that must exist, and those that must go.
    pub(super) fn workloads(&self) -> (BTreeMap<WorkloadKey, WorkloadPlan>, Vec<WorkloadKey>) {
        let mut plans = BTreeMap::new();
        let mut delete = Vec::new();
        let mut live: Vec<(RevisionRef, Role)> = Vec::new();
        let mut add = |revision: Option<&RevisionRef>, role: Role| {
            if let Some(revision) = revision
                && !live.iter().any(|(known, _)| known == revision)
            {
                live.push((revision.clone(), role));
            }
        };
        add(self.status.stable.as_ref(), Role::Stable);
        add(self.status.rollout.as_ref().map(|r| &r.candidate), Role::Candidate);
        add(self.status.reference.as_ref(), Role::Reference);
        if self.status.stable.is_none() && self.stalled.is_none() {
            add(Some(&self.ladder.rungs[self.ladder.bootstrap].revision), Role::Stable);
        }
        for r in &self.status.retiring {
            add(Some(&r.revision_ref()), Role::Retiring);
        }
        for (revision, role) in &live {
            plans.insert(
                WorkloadKey {
                    revision: revision.clone(),
                    purpose: Purpose::Serving,
                },
                self.serving(revision, *role),
            );
        }
        for key in self
            .seen
            .workloads
            .keys()
            .filter(|key| key.purpose == Purpose::Serving && !plans.contains_key(key))
            .cloned()
            .collect::<Vec<_>>()
        {
            if self.ladder.contains(&key.revision) {
                plans.insert(key.clone(), self.resting(&key.revision));
            } else {
                delete.push(key);
            }
        }
        self.pinned_workloads(&mut plans, &mut delete);
        (plans, delete)
    }

    fn serving(&self, revision: &RevisionRef, role: Role) -> WorkloadPlan {
        let desired = self.workload(revision).map_or(0, |w| w.desired);
        let full = self.full(revision);
        let leaving = self
            .status
            .retiring
            .iter()
            .find(|r| is(revision, &r.variant, &r.revision));
        let reason = leaving.and_then(|r| r.reason.known());
        let rollout = self.status.rollout.as_ref();
        let next = rollout.map_or(0, |r| self.next_weight(r));
        let pods = match (role, leaving) {
            (Role::Stable, _) => self.full_pods(revision),
            _ if reason == Some(RetiringReason::KeepWarm) => self.full_pods(revision),
            (Role::Candidate, _) if rollout.is_some_and(|r| r.promoting) => {
                self.needed(revision, self.promoted_weight())
            }
            // Never fewer than it has: capacity that was built up for a step is not given back while it is on trial.
            (Role::Candidate, _) => self.needed(revision, next).max(desired.min(self.full_pods(revision))),
            (Role::Reference, Some(_)) => desired.max(self.needed(revision, self.holdout(next))),
            (Role::Reference, None) => self.needed(revision, self.holdout(next)),
            (_, Some(_)) => desired,
            _ => 0,
        };
        let granted = rollout.map_or(0, |r| r.weight);
        let joined = match role {
            Role::Stable => Joined::All,
            Role::Candidate if granted > 0 => Joined::All,
            _ if reason == Some(RetiringReason::Handover) => Joined::All,
            _ if leaving.is_some_and(|r| self.left_with_traffic(r)) => Joined::All,
            // After a promotion its pods stay warm, but only the holdout's share of them serves.
            Role::Reference => Joined::UpTo(self.needed(revision, self.holdout(next))),
            _ => Joined::Nobody,
        };
        let replicas = match full {
            None if desired > 0 && pods > 0 => None,
            _ => Some(pods),
        };
        WorkloadPlan {
            role,
            replicas,
            template: self.template(revision),
            joined,
            marks: self.marks(revision),
        }
    }

    /// Pods of a revision that serve behind one Service.
    pub(super) fn serving_pods(&self, revision: &RevisionRef) -> i32 {
        let role = match &self.status {
            status if status.stable.as_ref() == Some(revision) => Role::Stable,
            status if status.rollout.as_ref().is_some_and(|r| r.candidate == *revision) => Role::Candidate,
            _ => Role::Reference,
        };
        self.serving(revision, role).joined.of(self.ready(revision))
    }

    /// A rung of the spec that has no part to play now.
    fn resting(&self, revision: &RevisionRef) -> WorkloadPlan {
        WorkloadPlan {
            role: Role::Retiring,
            replicas: Some(0),
            template: self.template(revision),
            joined: Joined::Nobody,
            marks: self.marks(revision),
        }
    }

    fn pinned_workloads(&self, plans: &mut BTreeMap<WorkloadKey, WorkloadPlan>, delete: &mut Vec<WorkloadKey>) {
        let wanted = self.spec.traffic.precision_routes.iter().map(|r| r.replicas).max();
        let current = self.status.reference.clone().map(|revision| WorkloadKey {
            revision,
            purpose: Purpose::Pinned,
        });
        let mut ready = false;
        if let (Some(key), Some(replicas)) = (&current, wanted) {
            ready = self.seen.workloads.get(key).is_some_and(|w| w.ready > 0);
            let template = self.template(&key.revision);
            plans.insert(
                key.clone(),
                WorkloadPlan {
                    role: Role::Pinned,
                    replicas: Some(replicas),
                    template,
                    joined: Joined::Nobody,
                    marks: Marks::default(),
                },
            );
        }
        for (key, workload) in self
            .seen
            .workloads
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Pinned && Some(*key) != current.as_ref())
        {
            if ready || wanted.is_none() {
                delete.push(key.clone());
            } else {
                // It serves until its successor can.
                let plan = WorkloadPlan {
                    role: Role::Pinned,
                    replicas: Some(workload.desired),
                    template: Template::AsIs,
                    joined: Joined::Nobody,
                    marks: Marks::default(),
                };
                plans.insert(key.clone(), plan);
            }
        }
    }

    fn template(&self, revision: &RevisionRef) -> Template {
        if self.ladder.contains(revision) {
            Template::InSpec
        } else {
            Template::AsIs
        }
    }

    fn marks(&self, revision: &RevisionRef) -> Marks {
        let status = &self.status;
        Marks {
            stable: status.stable.as_ref() == Some(revision),
            proven: status.proven.iter().any(|p| is(revision, &p.variant, &p.revision)),
            reference: status.reference.as_ref() == Some(revision),
            rejected: status
                .rejected
                .iter()
                .find(|r| is(revision, &r.variant, &r.revision))
                .map(|r| (r.guard.clone(), r.reason.clone())),
        }
    }

    /// Who carries traffic, for people.
    pub(super) fn arms(
        &self,
        route: Option<&RoutePlan>,
        plans: &BTreeMap<WorkloadKey, WorkloadPlan>,
    ) -> Vec<ArmStatus> {
        let joined_pods: i32 = plans
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Serving)
            .map(|(key, plan)| plan.joined.of(self.ready(&key.revision)))
            .sum();
        let model = &self.seen.model;
        let mut arms: Vec<ArmStatus> = plans
            .iter()
            .filter(|(_, plan)| plan.replicas != Some(0))
            .map(|(key, plan)| {
                let workload = self.seen.workloads.get(key);
                let ready = workload.map_or(0, |w| w.ready);
                let weight = match (key.purpose, self.by_replicas()) {
                    (Purpose::Pinned, _) => 0,
                    (_, true) => 100 * plan.joined.of(ready) / joined_pods.max(1),
                    (_, false) => route
                        .and_then(|r| r.weights.iter().find(|(rev, _)| *rev == key.revision))
                        .map_or(0, |(_, w)| *w),
                };
                ArmStatus {
                    role: plan.role.into(),
                    variant: key.revision.variant.clone(),
                    revision: key.revision.revision.clone(),
                    deployment: identity::object_name(
                        &model.namespace,
                        &model.name,
                        &key.revision.variant,
                        &key.revision.revision,
                        key.purpose,
                    ),
                    weight,
                    ready_replicas: ready,
                    image_ids: workload.map(|w| w.image_ids.clone()).unwrap_or_default(),
                }
            })
            .collect();
        arms.sort_by(|a, b| a.role.cmp(&b.role));
        arms
    }
}

/// Percent that the control arm gets beside a candidate of `weight` percent where something is compared with it, out of
/// the `declared` holdout: as much as the candidate, where stable can spare it.
pub fn control_weight(declared: i32, weight: i32) -> i32 {
    declared.max(weight.min((100 - weight) / 2))
}
