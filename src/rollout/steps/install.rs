//! Beginnings: the first install, and the recovery of a lost status.

use k8s_openapi::jiff::Timestamp;

use crate::api::{Action, ProvenBy, Rejected, RevisionRef, RolloutKind, RolloutStatus};
use crate::model::identity::Purpose;

use super::super::evaluation::Evaluation;
use super::super::ladder::Goal;
use super::super::next::{Next, Wait};
use super::super::observation::Rejection;
use super::super::reason::WaitReason;
use super::gate::{Grant, Transition};

impl Evaluation<'_> {
    /// The first install: the bootstrap variant takes all traffic as soon as it is ready, because there is nothing to
    /// compare it with.
    pub(in crate::rollout) fn bootstrap(&mut self) -> Next {
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

    /// Rebuilds a lost status from the owned objects. Returns whether there was anything to rebuild it from. No weight
    /// changes.
    pub(in crate::rollout) fn recover(&mut self) -> bool {
        let serving: Vec<_> = self
            .seen
            .workloads
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Serving)
            .collect();
        let weight = |revision: &RevisionRef| self.seen.route.weights.get(revision).copied().unwrap_or(0);
        let marked = serving
            .iter()
            .find(|(_, w)| w.marks.stable)
            .map(|(key, _)| key.revision.clone());
        let heaviest = || {
            serving
                .iter()
                .map(|(key, _)| &key.revision)
                .filter(|r| weight(r) > 0)
                .max_by_key(|r| weight(r))
                .cloned()
        };
        let Some(stable) = marked.or_else(heaviest) else {
            return false;
        };
        let reference = serving
            .iter()
            .find(|(_, w)| w.marks.reference)
            .map(|(key, _)| key.revision.clone());
        let reference = reference.unwrap_or_else(|| stable.clone());
        let on_trial = serving
            .iter()
            .map(|(key, _)| key.revision.clone())
            .find(|r| *r != stable && *r != reference && weight(r) > 0)
            .map(|candidate| (candidate.clone(), weight(&candidate)));
        let proven: Vec<_> = serving
            .iter()
            .filter(|(_, w)| w.marks.proven)
            .map(|(key, _)| key.revision.clone())
            .collect();
        let rejected: Vec<_> = serving
            .iter()
            .filter_map(|(key, w)| {
                let Rejection { guard, reason } = w.marks.rejected.clone()?;
                let RevisionRef { variant, revision } = key.revision.clone();
                Some(Rejected {
                    variant,
                    revision,
                    guard,
                    reason,
                    at: self.time(),
                })
            })
            .collect();
        self.status.stable = Some(stable.clone());
        self.adopt_reference(reference);
        self.status.rejected = rejected;
        for revision in &proven {
            self.prove(revision, ProvenBy::Promotion);
        }
        self.decide(
            Action::Recovered,
            &stable,
            "the status was lost: state was rebuilt from the owned objects, no weight changes",
        );
        if let Some((candidate, weight)) = on_trial {
            self.resume(&candidate, weight);
        }
        // What acts bring about depends on what serves.
        self.heed();
        true
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
