//! Replicas: how many pods each arm needs.

use std::collections::BTreeMap;

use crate::api::{ArmStatus, RetiringReason, RevisionRef, Role};
use crate::model::identity::{self, Purpose};

use super::super::ladder::is;
use super::super::observation::{RecoveryMarks, Rejection, WorkloadKey};
use super::super::plan::{Joined, RoutePlan, Template, WorkloadPlan};
use super::super::trial::staged_apart;
use super::view::{Capacity, DRAIN};

impl Capacity<'_> {
    /// Deployments that must exist, and those that must go; `first` is brought up as the first stable revision.
    pub(in crate::rollout) fn workloads(
        &self,
        first: Option<&RevisionRef>,
    ) -> (BTreeMap<WorkloadKey, WorkloadPlan>, Vec<WorkloadKey>) {
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
        add(first, Role::Stable);
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
        self.shadow_workloads(&mut plans, &mut delete);
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
            (Role::Candidate, _) if self.rests(revision) => 0,
            // A candidate never gets fewer than it has: capacity that was built up for a step is not given back during
            // the trial.
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
        let joined = match leaving {
            // It served before stable, and goes on until that is on record.
            Some(leaving) if self.stable_is_unwritten() && !self.was_given_up(leaving) => {
                self.joined_on_record(revision, true, Joined::All)
            }
            _ => {
                let rises = role != Role::Stable || self.stable_is_unwritten();
                self.joined_on_record(revision, rises, joined)
            }
        };
        let (pods, least) = match (full, role) {
            (Some(_), _) => (pods, pods),
            // What stable needs is known while traffic moves to it: what the revision has that it comes from. Else its scale
            // is the autoscaler's, also when that is 0.
            (None, Role::Stable) => {
                let least = self.moving_pods();
                (pods.max(least), least)
            }
            // A candidate has what a weight needs before it gets it.
            (None, Role::Candidate | Role::Reference) => (pods, pods),
            (None, _) => (pods, pods.min(1)),
        };
        let replicas = match full {
            None if self.workload(revision).is_some() && pods > 0 && desired >= least => None,
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

    /// Whether a candidate needs no pods that could serve, because another one is asked in its shadow stage. Those that it
    /// has from a trial before drain first.
    fn rests(&self, candidate: &RevisionRef) -> bool {
        let started = self.status.rollout.as_ref().map(|rollout| rollout.started_at.0);
        staged_apart(self.spec, self.status) == Some(candidate)
            && started.is_some_and(|at| self.seen.now.duration_since(at) >= DRAIN)
    }

    /// Pods of the revisions that hand their traffic over to stable; 0 where none does.
    fn moving_pods(&self) -> i32 {
        let leaving = self.handovers().map(|leaving| leaving.revision_ref());
        let pods = leaving.filter_map(|revision| Some(self.workload(&revision)?.desired));
        pods.max().unwrap_or(0)
    }

    /// Pods of a revision that serve behind one Service.
    pub(in crate::rollout) fn serving_pods(&self, revision: &RevisionRef) -> i32 {
        let role = match &self.status {
            status if status.stable.as_ref() == Some(revision) => Role::Stable,
            status if status.rollout.as_ref().is_some_and(|r| r.candidate == *revision) => Role::Candidate,
            _ => Role::Reference,
        };
        self.serving(revision, role).joined.of(self.ready(revision))
    }

    /// Plan for a variant of the spec that has no role now.
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
                    marks: RecoveryMarks::default(),
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
                    marks: RecoveryMarks::default(),
                };
                plans.insert(key.clone(), plan);
            }
        }
    }

    /// The one pod that is asked in a shadow stage behind one plain Service. It goes with its stage; nobody waits for it.
    fn shadow_workloads(&self, plans: &mut BTreeMap<WorkloadKey, WorkloadPlan>, delete: &mut Vec<WorkloadKey>) {
        let current = staged_apart(self.spec, self.status).map(|revision| WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Shadow,
        });
        let seen = self.seen.workloads.keys();
        let over = seen.filter(|key| key.purpose == Purpose::Shadow && Some(*key) != current.as_ref());
        delete.extend(over.cloned());
        if let Some(key) = current {
            let plan = WorkloadPlan {
                role: Role::Candidate,
                replicas: Some(1),
                template: self.template(&key.revision),
                joined: Joined::Nobody,
                marks: RecoveryMarks::default(),
            };
            plans.insert(key, plan);
        }
    }

    fn template(&self, revision: &RevisionRef) -> Template {
        if self.ladder.contains(revision) {
            Template::InSpec
        } else {
            Template::AsIs
        }
    }

    fn marks(&self, revision: &RevisionRef) -> RecoveryMarks {
        let status = &self.status;
        RecoveryMarks {
            stable: status.stable.as_ref() == Some(revision),
            proven: status.proven.iter().any(|p| is(revision, &p.variant, &p.revision)),
            reference: status.reference.as_ref() == Some(revision),
            rejected: status
                .rejected
                .iter()
                .find(|r| is(revision, &r.variant, &r.revision))
                .map(|r| Rejection {
                    guard: r.guard.clone(),
                    reason: r.reason.clone(),
                }),
        }
    }

    /// The arms and their traffic, as status shows them.
    pub(in crate::rollout) fn arm_statuses(
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
                    (Purpose::Pinned | Purpose::Shadow, _) => 0,
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
                    weights: workload.map(|w| w.weights.into()),
                }
            })
            .collect();
        arms.sort_by(|a, b| a.role.cmp(&b.role));
        arms
    }
}
