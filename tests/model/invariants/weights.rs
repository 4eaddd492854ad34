//! Who has how much of the traffic, and on which pods.

use std::collections::{BTreeMap, BTreeSet};

use guardbit::api::{Action, RetiringReason, RevisionRef, Role};
use guardbit::model::identity::Purpose;
use guardbit::model::problems;
use guardbit::rollout::{GuardQuery, Scope};

use super::{Broken, DRAIN, History, Invariant, Step, is_proven, revision};
use crate::world::{deployment, serving};

impl Step<'_> {
    /// A spec that cannot be used, or `suspend`: nothing moves. Deleted: the pods stay until their route is gone.
    pub(super) fn hands_off(&self) -> Result<(), Broken> {
        let (plan, model) = (self.plan, &self.seen.model);
        let held = model.deleted_at.is_some() || model.spec.suspend || !problems(&model.spec).is_empty();
        if !held && plan.scope == Scope::Apply {
            return Ok(());
        }
        let allowed = match plan.scope {
            Scope::Apply => false,
            Scope::StatusOnly | Scope::ConditionsOnly => model.deleted_at.is_none(),
            Scope::TearDown | Scope::Orphan => model.deleted_at.is_some(),
            Scope::Release => model.deleted_at.is_some() && !self.seen.route.exists,
        };
        let writes = !plan.workloads.is_empty() || plan.route.is_some() || !plan.delete.is_empty();
        self.holds(Invariant::HandsOff, allowed && !writes, || {
            format!("a plan of scope {:?}, with writes: {writes}", plan.scope)
        })
    }

    /// Weights sum to 100.
    pub(super) fn weights_sum_to_100(&self) -> Result<(), Broken> {
        let Some(route) = &self.plan.route else { return Ok(()) };
        let sum: i32 = route.weights.iter().map(|(_, w)| w).sum();
        let whole = sum == 100 && self.weights.values().all(|w| (0..=100).contains(w));
        self.holds(
            Invariant::WeightsSumTo100,
            whole && self.weights.len() == route.weights.len(),
            || format!("the weights are {:?}", route.weights),
        )
    }

    /// Nobody rises beyond what its ready endpoints can carry, but a stable that has to.
    pub(super) fn rises_need_capacity(&self) -> Result<(), Broken> {
        for decision in &self.plan.decisions {
            if !matches!(decision.action.known(), Some(Action::Raised | Action::Promoted)) {
                continue;
            }
            let of = revision(&decision.variant, &decision.revision);
            let (weight, ready) = (self.weight(&of), self.ready(&of));
            self.holds(
                Invariant::RisesNeedCapacity,
                100 * ready >= self.full(&of) * weight,
                || format!("{} is given {weight}% with {ready} ready", of.variant),
            )?;
        }
        Ok(())
    }

    /// Pods stay for as long as connections drain, and gateways follow.
    pub(super) fn pods_outlive_their_traffic(&self, history: &History) -> Result<(), Broken> {
        let had = |weights: &BTreeMap<RevisionRef, i32>, of| weights.get(of).is_some_and(|w| *w > 0);
        let now = history
            .weights
            .iter()
            .filter(|(of, _)| had(&history.weights, of) && had(&self.seen.route.weights, of) && self.weight(of) == 0);
        let now = now.map(|(of, _)| (of, self.now));
        for (of, at) in history.lowered.iter().map(|(of, at)| (of, *at)).chain(now) {
            let key = serving(of);
            let Some(seen) = self.seen.workloads.get(&key).filter(|_| self.now < at + DRAIN) else {
                continue;
            };
            let planned = self.plan.workloads.get(&key).map(|w| w.replicas);
            let stays = match planned {
                Some(replicas) => replicas.is_none_or(|replicas| replicas >= seen.desired.min(1)),
                None => false,
            };
            self.holds(Invariant::PodsOutliveTheirTraffic, stays, || {
                format!(
                    "{} had traffic {} s ago and is scaled to {planned:?}",
                    of.variant,
                    self.now - at
                )
            })?;
        }
        Ok(())
    }

    /// A lost status is rebuilt without a change of weights: but for arms that cannot serve, for what others did to the
    /// route, for a holdout that stable gives back to a control arm that can serve again, and for a candidate that is given
    /// up on record.
    pub(super) fn recovery_moves_nothing(&self, history: &History) -> Result<(), Broken> {
        let all_serve = self
            .seen
            .route
            .weights
            .iter()
            .all(|(of, w)| *w == 0 || self.ready(of) >= self.full(of));
        let lost = self.before.stable.is_none() && self.seen.route.weights.values().any(|w| *w > 0);
        if !lost || !all_serve || self.seen.route.weights != history.weights {
            return Ok(());
        }
        let status = &self.plan.status;
        let arms = [&status.stable, &status.reference];
        let others = self.weights.keys().chain(self.seen.route.weights.keys());
        let given_up = |of: &RevisionRef| {
            let mut decisions = self.plan.decisions.iter();
            let lowers = |d: &guardbit::api::Decision| {
                matches!(
                    d.action.known(),
                    Some(Action::Superseded | Action::Failed | Action::Withdrawn)
                )
            };
            decisions.any(|d| revision(&d.variant, &d.revision) == *of && lowers(d))
        };
        for of in others.filter(|of| !given_up(of) && !arms.iter().any(|arm| arm.as_ref() == Some(*of))) {
            let before = self.seen.route.weights.get(of).copied().unwrap_or(0);
            self.holds(Invariant::RecoveryMovesNothing, self.weight(of) == before, || {
                format!("recovery moves {} from {before}% to {}%", of.variant, self.weight(of))
            })?;
        }
        Ok(())
    }

    /// No weight to an arm with no ready endpoint while another has one that may take it; while the candidate has weight it
    /// has an endpoint, and the fallback keeps its capacity.
    pub(super) fn weight_needs_endpoints(&self) -> Result<(), Broken> {
        let status = &self.plan.status;
        let candidate = status.rollout.as_ref().map(|r| &r.candidate);
        let on_trial = candidate.filter(|of| self.weight(of) > 0);
        if let Some(of) = on_trial {
            self.holds(Invariant::WeightNeedsEndpoints, self.ready(of) > 0, || {
                format!("{} has {}% and no endpoint", of.variant, self.weight(of))
            })?;
        }
        let may_take = |of: &RevisionRef| {
            let arm = [&status.stable, &status.reference]
                .into_iter()
                .flatten()
                .any(|r| r == of);
            let warm = status
                .retiring
                .iter()
                .any(|r| r.revision_ref() == *of && r.reason != RetiringReason::Drain && r.keeps.is_none());
            candidate != Some(of) && self.ready(of) > 0 && (arm || (warm && is_proven(status, of)))
        };
        if let Some(other) = self.weights.keys().find(|of| may_take(of)) {
            for (of, weight) in self.weights.iter().filter(|(of, _)| self.ready(of) == 0) {
                self.holds(Invariant::WeightNeedsEndpoints, *weight == 0, || {
                    format!(
                        "{} has {weight}% and no endpoint, while {} has one",
                        of.variant, other.variant
                    )
                })?;
            }
        }
        if let (Some(of), Some(stable)) = (on_trial, &status.stable) {
            let replicas = self.plan.workloads.get(&serving(stable)).and_then(|w| w.replicas);
            self.holds(
                Invariant::FallbackKeepsItsPods,
                replicas >= Some(self.full(stable)),
                || format!("the fallback is scaled to {replicas:?} while {} has weight", of.variant),
            )?;
        }
        Ok(())
    }

    /// At most one candidate.
    pub(super) fn one_candidate(&self) -> Result<(), Broken> {
        let status = &self.plan.status;
        let leaving = |of: &RevisionRef| status.retiring.iter().any(|r| r.revision_ref() == *of);
        let known = |of: &RevisionRef| {
            leaving(of)
                || [&status.stable, &status.reference]
                    .into_iter()
                    .flatten()
                    .any(|r| r == of)
        };
        let with_weight = self
            .weights
            .iter()
            .filter(|(of, w)| **w > 0 && !known(of))
            .map(|(of, _)| of);
        let in_role = self
            .plan
            .workloads
            .iter()
            .filter(|(_, w)| w.role == Role::Candidate)
            .map(|(key, _)| &key.revision);
        let on_trial = status.rollout.iter().map(|r| &r.candidate);
        let all: BTreeSet<_> = with_weight.chain(in_role).chain(on_trial).collect();
        if all.is_empty() {
            return Ok(());
        }
        self.holds(Invariant::OneCandidate, all.len() == 1, || {
            format!("candidates: {all:?}")
        })
    }

    /// Pinned requests reach nothing but the reference, and never count as evidence.
    pub(super) fn pinned_requests_reach_the_reference(&self, queries: &[GuardQuery]) -> Result<(), Broken> {
        let pinned = self.plan.route.as_ref().and_then(|r| r.pinned.as_ref());
        if let Some(key) = pinned {
            self.holds(
                Invariant::PinnedReachTheReference,
                self.plan.status.reference.as_ref() == Some(&key.revision),
                || format!("pinned requests are sent to {}", key.revision.variant),
            )?;
        }
        if pinned.is_none() {
            return Ok(());
        }
        let arms = queries
            .iter()
            .flat_map(|q| [Some(&q.candidate), q.baseline.as_ref()])
            .flatten();
        for arm in arms {
            let name = deployment(&arm.revision, Purpose::Pinned);
            let counts = arm.matchers.iter().any(|m| m.label == "pod" && m.value.contains(&name));
            self.holds(Invariant::PinnedAreNoEvidence, !counts, || {
                format!("the pods of {name} are asked for")
            })?;
        }
        Ok(())
    }
}
