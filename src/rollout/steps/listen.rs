//! Takes in what was heard of the metrics.

use k8s_openapi::jiff::Timestamp;

use crate::api::{Action, RevisionRef};

use super::super::evaluation::Evaluation;
use super::super::evidence::{Evidence, Heard};
use super::super::next::Wait;
use super::super::reason::WaitReason;

impl Evaluation<'_> {
    /// Lets the tests take what was heard, and finds out whether anything may be concluded from it.
    pub(in crate::rollout) fn listen(&mut self, mut heard: Heard) {
        let known = heard.running.take();
        self.evidence = Evidence::of(self.spec, &self.model.rollout, &self.status, known, self.now);
        let Some(mut evidence) = self.evidence.take() else {
            return;
        };
        if let Some(at) = heard.warm_until.candidate {
            self.warm_at = Timestamp::from_millisecond(at).ok();
        }
        if let Some(why) = &heard.unreadable {
            // What the lost evidence had shown no longer counts.
            if let Some(rollout) = &mut self.status.rollout {
                rollout.promoting = false;
            }
            self.ask_again();
            self.decide(
                Action::EvidenceReset,
                evidence.candidate(),
                format!("the stored evidence cannot be used ({why}): weights hold, evidence starts afresh"),
            );
        }
        // Answers from a node that is being drained say nothing about the variant.
        if let Some(disrupted) = self.disrupted(evidence.candidate()) {
            self.blind = Some(disrupted).filter(|_| !self.is_unseen());
        } else {
            let found = evidence.take(&heard, &self.capacity());
            // Polls that were left unread after harm was found are not missing.
            if !found {
                self.blind = self.blindness(&evidence, &heard);
            }
            self.judged = evidence.reports().to_vec();
        }
        self.evidence = Some(evidence);
    }

    /// Why nothing may be concluded from the metrics now.
    fn blindness(&self, evidence: &Evidence, heard: &Heard) -> Option<Wait> {
        if self.is_unseen() {
            None
        } else {
            evidence.missing(heard, &self.capacity(), self.model.rollout.interval_ms())
        }
    }

    /// Whether nothing of the candidate is measured: it has no weight, so there are no requests, and is in no shadow stage.
    fn is_unseen(&self) -> bool {
        let rollout = self.status.rollout.as_ref();
        rollout.is_some_and(|r| r.weight == 0 && !r.is_shadow())
    }

    /// Why a revision is not judged now: a pod of it is evicted, drained, or on a node that is lost.
    pub(in crate::rollout) fn disrupted(&self, revision: &RevisionRef) -> Option<Wait> {
        let message = self.capacity().tried(revision)?.disruption.as_ref()?;
        let name = revision.describe();
        Some(Wait::new(
            WaitReason::Disrupted,
            format!("a pod of {name} is disrupted ({message}): nothing is judged"),
        ))
    }
}
