//! Words in the status that this release does not know, because a newer release left them before a downgrade.
//!
//! Owns how such words are handled where they decide over traffic: no weight moves and no pod goes because of a word
//! that is not understood. Words that decide nothing (an action on record, a verdict, how a revision was proven) are
//! kept as they are, and equal no known word.

use k8s_openapi::jiff::Timestamp;

use crate::RELEASE;
use crate::api::{Condition, Retiring, RetiringReason, RevisionRef, Word, condition};

use super::capacity::{Capacity, DRAIN};
use super::conditions::{Truth, put};
use super::evaluation::Evaluation;
use super::next::Wait;
use super::observation::Seen;
use super::plan::{Event, Plan, Reason, Record, Scope};
use super::reason::WaitReason;
use super::steps::untouched;

/// Holds a rollout of a kind that this release does not know, because the kind decides which arm it is judged against.
/// The rollout continues when a release that knows the kind is back.
pub(super) fn hold(seen: &Seen<'_>) -> Option<Plan> {
    let Word::Unknown(kind) = &seen.model.status.rollout.as_ref()?.kind else {
        return None;
    };
    let message = format!(
        "status.rollout.kind: {kind:?} is the word of a newer guardbit, and this one ({RELEASE}) does not know it: weights hold and nothing is judged until the newer one is back"
    );
    let mut plan = untouched(seen);
    plan.scope = Scope::ConditionsOnly;
    let event = Event {
        reason: Reason::UnknownStatus,
        note: message,
    };
    if stands_still(&mut plan.status.conditions, seen.now, seen.model.generation, &event) {
        plan.events.push(event);
    }
    if plan.status != seen.model.status {
        plan.record = Record::Now;
    }
    Some(plan)
}

/// Says in the conditions of a model that nothing is done about it, and why, as `event` says. Returns whether that is
/// news.
pub fn stands_still(conditions: &mut Vec<Condition>, now: Timestamp, generation: i64, event: &Event) -> bool {
    let stalled = |conditions: &[Condition]| {
        let stalled = conditions.iter().find(|c| c.type_ == condition::STALLED)?;
        Some((stalled.status.clone(), stalled.message.clone()))
    };
    let before = stalled(conditions);
    for (kind, truth) in [
        (condition::READY, Truth::False),
        (condition::STALLED, Truth::True),
        (condition::RECONCILING, Truth::False),
    ] {
        let reason = event.reason.to_string();
        put(conditions, (now, generation), kind, truth, &reason, &event.note);
    }
    stalled(conditions) != before
}

impl Evaluation<'_> {
    /// The wait while a revision leaves for a reason that this release does not know: nothing new begins beside it.
    pub(super) fn leaves_for_unknown_reason(&self) -> Option<Wait> {
        let (leaving, reason) = self.status.retiring.iter().find_map(|r| match &r.reason {
            Word::Unknown(reason) => Some((r, reason)),
            Word::Known(_) => None,
        })?;
        Some(Wait::new(
            WaitReason::HandingOver,
            format!(
                "{} leaves until {} for {reason:?}, the word of a newer guardbit: nothing new begins before",
                leaving.revision_ref().describe(),
                leaving.until.0
            ),
        ))
    }

    /// Drains revisions that left for an unknown reason once their time is over.
    pub(super) fn drain_unknown(&mut self) {
        let now = self.now;
        for leaving in &mut self.status.retiring {
            if leaving.reason.known().is_none() && leaving.until.0 <= now {
                leaving.reason = RetiringReason::Drain.into();
                leaving.until.0 = now + DRAIN;
            }
        }
    }
}

impl Capacity<'_> {
    /// Percent that a revision keeps when it leaves for an unknown reason: what the route gives it now, as long as it
    /// serves.
    pub(super) fn kept_for_unknown_reason(&self, leaving: &Retiring) -> i32 {
        let of = leaving.revision_ref();
        let carried = self.seen.route.weights.get(&of).copied().unwrap_or(0);
        if leaving.reason.known().is_some() || self.ready(&of) == 0 {
            return 0;
        }
        carried.max(0)
    }

    /// Behind one Service: whether a revision that leaves for an unknown reason had traffic at the last evaluation.
    pub(super) fn left_with_traffic(&self, leaving: &Retiring) -> bool {
        let RevisionRef { variant, revision } = leaving.revision_ref();
        let mut arms = self.status.arms.iter();
        leaving.reason.known().is_none()
            && arms.any(|arm| arm.weight > 0 && arm.variant == variant && arm.revision == revision)
    }
}
