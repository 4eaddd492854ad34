//! The end of a rollout that went well: the decision to promote, and the promotion once there is capacity for it.

use crate::api::{Action, ProvenBy, RetiringReason, RolloutKind, RolloutStatus};

use super::super::capacity::DRAIN;
use super::super::evaluation::Evaluation;
use super::super::ladder::is;
use super::super::next::{Next, Wait};
use super::super::reason::WaitReason;
use super::gate::{Grant, Transition};

impl Evaluation<'_> {
    /// After the last step: the promotion is decided once every guard has shown health, and the candidate its benefit.
    pub(super) fn decide_promotion(&mut self, rollout: &RolloutStatus) -> Next {
        let Some(evidence) = &self.evidence else {
            return Next::default();
        };
        if !evidence.all_healthy() {
            return Next::wait(Wait::new(
                WaitReason::NotYetHealthy,
                "the last step is held until every guard has shown health; see status.guards",
            ));
        }
        if let Some(wanted) = evidence.lacking_benefit() {
            return Next::wait(Wait::new(
                WaitReason::NoBenefitYet,
                format!("every guard is healthy, but the candidate is not shown to be {wanted} yet; see status.guards"),
            ));
        }
        let mut shown: Vec<_> = evidence.reports().iter().map(|guard| guard.message.clone()).collect();
        let benefit = evidence.benefit_message();
        shown.extend(benefit.map(|(_, message)| format!("better in {message}")));
        let grant = match self.may(Transition::DecidePromotion, &rollout.candidate) {
            Ok(grant) => grant,
            Err(closed) => return Next::closed(closed),
        };
        self.begin_promotion(grant);
        let why = self.in_spite(format!("every guard is healthy: {}", shown.join("; ")));
        let drift: Vec<_> = self.judged.iter().filter_map(|report| self.drift(report)).collect();
        let drift = (!drift.is_empty()).then(|| drift.join("; "));
        self.decide(Action::Promoting, &rollout.candidate, why);
        self.rests_on(drift);
        Next::default()
    }

    fn begin_promotion(&mut self, _: Grant) {
        if let Some(rollout) = &mut self.status.rollout {
            (rollout.promoting, rollout.escalated_at) = (true, None);
        }
    }

    /// Makes the candidate stable (or the reference) as soon as it has the capacity.
    pub(super) fn promote(&mut self, rollout: &RolloutStatus) -> Next {
        let candidate = &rollout.candidate;
        let capacity = self.capacity();
        let (weight, takes_over) = (capacity.promoted_weight(), capacity.takes_over());
        if !capacity.can_carry(candidate, weight) {
            return self.await_pods(rollout, weight);
        }
        match self.may(Transition::Promote, candidate) {
            Ok(grant) => self.hand_over_to(grant, rollout, takes_over),
            Err(closed) => return Next::closed(closed),
        }
        let mut decisions = self.status.decisions.iter().rev();
        let (why, drift) = match decisions.find(|d| d.action == Action::Promoting) {
            Some(decision) => (decision.why.clone(), decision.drift.clone()),
            None => ("every guard is healthy".to_owned(), None),
        };
        self.status.failed.retain(|f| !is(candidate, &f.variant, &f.revision));
        self.prove(candidate, ProvenBy::Promotion);
        let why = self.in_spite(why);
        self.decide(Action::Promoted, candidate, why);
        self.rests_on(drift);
        self.forget();
        Next::default()
    }

    /// The candidate takes the places that it is promoted to; the revisions that had them stay warm.
    fn hand_over_to(&mut self, _: Grant, rollout: &RolloutStatus, takes_over: bool) {
        let candidate = &rollout.candidate;
        let warm = self.now + self.model.rollout.keep_warm.max(DRAIN);
        self.status.rollout = None;
        let mut leaving = Vec::new();
        if rollout.kind == RolloutKind::NewReference {
            leaving.extend(self.status.reference.replace(candidate.clone()));
            self.status.reference_weights = Some(self.ladder.reference().weights_digest.clone());
        }
        if takes_over {
            leaving.extend(self.status.stable.replace(candidate.clone()));
        }
        leaving.dedup();
        leaving.retain(|old| Some(old) != self.status.stable.as_ref());
        for old in &leaving {
            self.retire(old, RetiringReason::KeepWarm, warm);
        }
        self.unretire(candidate);
    }
}
