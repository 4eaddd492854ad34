//! Harm that was acted on and is not on record. Lowering waits for nothing, so the route is written before the status; when
//! guardbit dies in between, or the status cannot be written, the route alone knows. What was found is put on record by the
//! next evaluation, whatever the metrics say by then, or do not say: nobody who was found harmful gets his traffic back by a
//! crash.

use crate::api::{Action, RevisionRef};

use super::evaluation::Evaluation;
use super::evidence::Evidence;

/// What was found.
pub(super) struct Harm {
    pub(super) guard: String,
    pub(super) message: String,
}

impl Evaluation<'_> {
    /// The harm that a revision does: what the guards find now, or what was found and acted on before.
    pub(super) fn harm(&self, revision: &RevisionRef, action: Action) -> Option<Harm> {
        let found = self.evidence.as_ref().and_then(Evidence::harmful);
        let found = found.map(|report| Harm {
            guard: report.name,
            message: report.message,
        });
        found.or_else(|| self.unrecorded(revision, action))
    }

    /// The harm for which traffic was taken from a revision by this action. What is on record has ended the trial: the
    /// revision is not asked for any more. The route is believed only where it does what it says: the revision is in its
    /// list, with weight 0.
    fn unrecorded(&self, revision: &RevisionRef, action: Action) -> Option<Harm> {
        let route = &self.seen.route;
        let done = route.decision.as_ref()?;
        let carried_out = route.weights.get(revision) == Some(&0);
        // Nobody on trial was found harmful before the last decision on record. Status and route keep whole seconds.
        let last = self.seen.model.status.decisions.last();
        let in_time = last.is_none_or(|last| done.time.as_second() >= last.time.0.as_second()) && done.time <= self.now;
        if !carried_out || !in_time || done.action != action || done.variant != revision.variant {
            return None;
        }
        // The sentence of a guard begins with its name; that of a fallback says first where traffic went.
        let message = match action {
            Action::FellBack => done.why.split_once(": ")?.1,
            _ => &done.why,
        };
        Some(Harm {
            guard: message.split_once(": ")?.0.to_owned(),
            message: message.to_owned(),
        })
    }
}
