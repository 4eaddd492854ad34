//! Harm that is found now, or that was found before and is not on record.
//!
//! Lowering waits for nothing, so the route is written before the status. When guardbit dies in between, or the status
//! cannot be written, only the route knows. The next evaluation puts what was found on record, whatever the metrics say
//! by then, so that a crash gives no traffic back to a revision that was found harmful.

use crate::api::{Action, RevisionRef};
use crate::guards::{GuardReport, compare_outputs};
use crate::model::presets::guards;

use super::super::evaluation::Evaluation;
use super::super::evidence::Evidence;

/// Harm that was found.
pub(super) struct Harm {
    pub(super) guard: String,
    pub(super) message: String,
    /// The drift figures, if it is drift.
    pub(super) drift: Option<String>,
}

impl Evaluation<'_> {
    /// The harm that a revision does: what the guards find now, or what was found and acted on before.
    pub(super) fn harm(&self, revision: &RevisionRef, action: Action) -> Option<Harm> {
        let found = self.evidence.as_ref().and_then(Evidence::harmful);
        let found = found.map(|report| Harm {
            drift: self.drift(&report),
            guard: report.name,
            message: report.message,
        });
        found.or_else(|| self.unrecorded(revision, action))
    }

    /// The drift figures of a report, if its guard watches for drift.
    pub(super) fn drift(&self, report: &GuardReport) -> Option<String> {
        let mut named = guards(self.spec);
        named.retain(|guard| guard.name == report.name);
        // Before anything was counted there is no estimate, and what was seen is no figure.
        (compare_outputs(&named) && !report.estimate.is_empty()).then(|| report.seen.clone())
    }

    /// The harm for which this action took traffic from a revision. Harm that is on record has ended the trial, so the
    /// revision is not asked for any more. The route is believed only where it does what it says: the revision is in
    /// its list, with weight 0.
    fn unrecorded(&self, revision: &RevisionRef, action: Action) -> Option<Harm> {
        let route = &self.seen.route;
        let done = route.harm.as_ref()?;
        let of_it = done.variant == revision.variant && done.revision.as_ref().is_none_or(|r| *r == revision.revision);
        let carried_out = route.weights.get(revision) == Some(&0);
        // Harm of the current trial is never older than the last decision on record. Status and route keep whole
        // seconds.
        // A person may have suspended the model since.
        let recorded = self.seen.model.status.decisions.iter();
        let last = recorded.rev().find(|decision| !decision.is_of_people());
        let in_time = last.is_none_or(|last| done.time.as_second() >= last.time.0.as_second()) && done.time <= self.now;
        (of_it && carried_out && in_time && done.action == action).then(|| Harm {
            guard: done.guard.clone(),
            message: done.message.clone(),
            drift: done.drift.clone(),
        })
    }
}
