//! Beginnings: the first install, and the recovery of a lost status.

use k8s_openapi::jiff::Timestamp;

use crate::api::{Action, ProvenBy, Rejected, RevisionRef, RolloutKind, RolloutStatus};
use crate::model::identity::Purpose;

use super::super::evaluation::Evaluation;
use super::super::ladder::{Goal, is};
use super::super::next::{Next, Wait};
use super::super::observation::{Governance, Rejection, Remembered, Workload};
use super::super::reason::WaitReason;
use super::gate::{Grant, Transition};

/// A revision whose Deployment serves users, and the Deployment.
type Serving<'a> = (&'a RevisionRef, &'a Workload);

/// A state that is rebuilt.
struct Rebuilt {
    stable: RevisionRef,
    reference: RevisionRef,
    proven: Vec<RevisionRef>,
    rejected: Vec<Rejected>,
    /// The revision on trial, and the weight with which it goes on.
    on_trial: Option<(RevisionRef, i32)>,
    why: &'static str,
}

impl Evaluation<'_> {
    /// The first install: the bootstrap variant takes all traffic as soon as it is ready, because there is nothing to
    /// compare it with.
    pub(in crate::rollout) fn bootstrap(&mut self) -> Next {
        if let Some(cap) = self.acts.cap {
            // A person has rolled back, also where the status of that is lost.
            self.ladder.bootstrap = self.ladder.bootstrap.min(cap.rung);
        }
        let first = self.ladder.first().clone();
        let grant = match self.may(Transition::Bootstrap, &first) {
            Ok(grant) => grant,
            Err(closed) => return Next::closed(closed),
        };
        if self.capacity().ready(&first) == 0 {
            let cannot =
                |message: &String| Wait::new(WaitReason::CannotStart, format!("{}: {message}", first.describe()));
            let workload = self.capacity().workload(&first);
            // A person must act: it is the variant that everything else is compared with, and there is no other.
            if let Some(failure) = workload.and_then(|w| w.failure.as_ref()) {
                return Next::stalled(cannot(failure));
            }
            let trouble = workload.and_then(|w| {
                let trouble = w.refused.as_ref().or(w.unschedulable.as_ref());
                trouble.or(w.never_ready.as_ref())
            });
            return Next::wait(trouble.map_or_else(
                || {
                    Wait::new(
                        WaitReason::Bootstrapping,
                        format!("{} is brought up to take all traffic", first.describe()),
                    )
                },
                cannot,
            ));
        }
        self.install(grant, &first);
        let why = self.in_spite("the first install: there is nothing to compare it with");
        self.decide(Action::Bootstrapped, &first, why);
        Next::default()
    }

    fn install(&mut self, _: Grant, first: &RevisionRef) {
        self.status.stable = Some(first.clone());
        self.adopt_reference(self.ladder.reference().revision.clone());
        self.prove(first, ProvenBy::Declaration);
    }

    fn adopt_reference(&mut self, reference: RevisionRef) {
        let known = self.ladder.variants.iter().find(|v| v.revision == reference);
        self.status.reference_weights = known.map(|v| v.weights_digest.clone());
        self.status.reference = Some(reference);
    }

    /// Rebuilds a lost status. Returns whether there was anything to rebuild it from. No weight rises by it, but that of a stable
    /// revision to which others are lowered.
    pub(in crate::rollout) fn recover(&mut self) -> bool {
        let seen = self.seen;
        let serving: Vec<Serving<'_>> = seen
            .workloads
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Serving)
            .map(|(key, workload)| (&key.revision, workload))
            .collect();
        let remembered = seen.ledger.remembered.as_deref();
        let recorded = remembered.and_then(|record| self.by_record(record, &serving));
        let rejected = remembered.map_or(&[][..], |record| record.rejected.as_slice());
        let Some(rebuilt) = recorded.or_else(|| self.by_objects(&serving, rejected)) else {
            if !rejected.is_empty() {
                self.status.rejected = rejected.to_vec();
            }
            return false;
        };
        let Rebuilt {
            stable,
            reference,
            proven,
            rejected,
            on_trial,
            why,
        } = rebuilt;
        self.status.stable = Some(stable.clone());
        self.adopt_reference(reference);
        self.status.rejected = rejected;
        for revision in &proven {
            self.prove(revision, ProvenBy::Promotion);
        }
        self.decide(Action::Recovered, &stable, why);
        if let Some((candidate, weight)) = on_trial {
            self.resume(&candidate, weight);
        }
        // What acts bring about depends on what serves.
        self.heed();
        true
    }

    /// The state that the newest record says: whoever can write Deployments can write marks on them, and no record. `None` where
    /// nothing runs that it knows as good.
    fn by_record(&self, record: &Remembered, serving: &[Serving<'_>]) -> Option<Rebuilt> {
        let is_there = |revision: &&RevisionRef| serving.iter().any(|(there, _)| **there == **revision);
        let proven = record.proven.iter().filter(is_there);
        let proven = proven.max_by_key(|revision| self.routed(revision));
        let stable = record.stable.as_ref().filter(is_there).or(proven)?.clone();
        let reference = record.reference.as_ref().filter(is_there).unwrap_or(&stable).clone();
        // A weight that nobody decided is not kept.
        let on_trial = record.on_trial.as_ref().and_then(|(candidate, decided)| {
            let weight = self.routed(candidate).min(*decided);
            (weight > 0 && *candidate != stable).then(|| (candidate.clone(), weight))
        });
        Some(Rebuilt {
            stable,
            reference,
            proven: record.proven.clone(),
            rejected: record.rejected.clone(),
            on_trial,
            why: "the status was lost: state was rebuilt from the newest record",
        })
    }

    /// The state that Deployments and the route say. Where a policy may ask for something and there is no route, nothing has ever
    /// served: that is a first install, which asks the gates, whatever a mark says. What is rejected on record serves nobody.
    fn by_objects(&self, serving: &[Serving<'_>], on_record: &[Rejected]) -> Option<Rebuilt> {
        if !self.seen.route.exists && !matches!(&*self.seen.governance, Governance::Ungoverned) {
            return None;
        }
        let is_harmful = |of: &RevisionRef| on_record.iter().any(|known| is(of, &known.variant, &known.revision));
        let serving = serving.iter().copied().filter(|(revision, _)| !is_harmful(revision));
        let serving: Vec<Serving<'_>> = serving.collect();
        let marked = serving.iter().find(|(_, workload)| workload.marks.stable);
        let carrying = serving.iter().filter(|(revision, _)| self.routed(revision) > 0);
        let heaviest = carrying.max_by_key(|(revision, _)| self.routed(revision));
        let (stable, _) = *marked.or(heaviest)?;
        let reference = serving.iter().find(|(_, workload)| workload.marks.reference);
        let reference = reference.map_or(stable, |(revision, _)| *revision);
        let on_trial = serving
            .iter()
            .map(|(revision, _)| (*revision, self.routed(revision)))
            .find(|(revision, weight)| *revision != stable && *revision != reference && *weight > 0);
        let proven = serving.iter().filter(|(_, workload)| workload.marks.proven);
        let rejected = serving.iter().filter_map(|(revision, workload)| {
            let Rejection { guard, reason } = workload.marks.rejected.clone()?;
            let RevisionRef { variant, revision } = (*revision).clone();
            Some(Rejected {
                variant,
                revision,
                guard,
                reason,
                at: self.time(),
            })
        });
        Some(Rebuilt {
            stable: stable.clone(),
            reference: reference.clone(),
            proven: proven.map(|(revision, _)| (*revision).clone()).collect(),
            rejected: on_record.iter().cloned().chain(rejected).collect(),
            on_trial: on_trial.map(|(revision, weight)| (revision.clone(), weight)),
            why: "the status was lost: state was rebuilt from the owned objects, no weight changes",
        })
    }

    /// Share of the traffic that the route gives a revision.
    fn routed(&self, revision: &RevisionRef) -> i32 {
        self.seen.route.weights.get(revision).copied().unwrap_or(0)
    }

    /// Resumes a candidate that carries traffic although nothing is known of its rollout.
    fn resume(&mut self, candidate: &RevisionRef, weight: i32) {
        let kind = match self.ladder.goal(&self.status, self.spec.attempt, self.now) {
            Goal::Try { kind, .. } => kind,
            _ => RolloutKind::Climb,
        };
        let steps = &self.spec.rollout.steps;
        let reached = steps.iter().rposition(|s| s.weight <= weight).unwrap_or(0);
        self.status.rollout = Some(RolloutStatus {
            step: i32::try_from(reached).unwrap_or(0),
            weight,
            weight_since: Some(self.time()),
            shadow_since: None,
            first_weight_at: Some(self.time()),
            ..self.begun(kind, candidate)
        });
        let warm_up = self.model.rollout.warm_up;
        self.warm_at = Some(self.now.checked_add(warm_up).unwrap_or(Timestamp::MAX));
        self.forget();
    }
}
