//! One evaluation: the next status as it is being made, with the decisions taken on the way.
//!
//! Owns what is put on record, and how. It does not hold what comes next: the steps return that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{
    Action, Decision, Failed, LONGEST_MESSAGE, Proven, ProvenBy, QuantizedModelSpec, QuantizedModelStatus, Rejected,
    Retiring, RetiringReason, RevisionRef, plain,
};
use crate::governance::people::acts::InForce;
use crate::guards::GuardReport;
use crate::model::Model;

use super::capacity::{Capacity, DRAIN};
use super::evidence::Evidence;
use super::ladder::{Ladder, is};
use super::next::{Next, Wait};
use super::observation::Seen;
use super::plan::{Event, Order, Reason};

/// Number of decisions about revisions that status keeps.
const KEPT_DECISIONS: usize = 10;

/// Number of rejections that status keeps.
const KEPT_REJECTIONS: usize = 50;

/// One evaluation of a model.
pub(super) struct Evaluation<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) spec: &'a QuantizedModelSpec,
    /// The spec, with its strings parsed.
    pub(super) model: Model,
    pub(super) now: Timestamp,
    pub(super) ladder: Ladder,
    pub(super) status: QuantizedModelStatus,
    /// Evidence of the current trial, if there is one.
    pub(super) evidence: Option<Evidence>,
    /// Why nothing may be concluded from the metrics, if that is so.
    pub(super) blind: Option<Wait>,
    /// When the pods that the candidate had at the start of its step are warm.
    pub(super) warm_at: Option<Timestamp>,
    /// The guards as this evaluation judged them.
    pub(super) judged: Vec<GuardReport>,
    pub(super) decisions: Vec<Decision>,
    pub(super) events: Vec<Event>,
    pub(super) order: Order,
    /// The acts of people that are in force.
    pub(super) acts: InForce<'a>,
    /// Gates that would have been shut, and are open by an act of a person: each in a sentence.
    pub(super) waived: Vec<String>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(seen: &'a Seen<'a>, model: Model, ladder: Ladder) -> Self {
        Self {
            seen,
            spec: &seen.model.spec,
            model,
            now: seen.now,
            ladder,
            status: seen.model.status.clone(),
            evidence: None,
            blind: None,
            warm_at: None,
            judged: Vec::new(),
            decisions: Vec::new(),
            events: Vec::new(),
            order: Order::RecordFirst,
            acts: InForce::default(),
            waived: Vec::new(),
        }
    }

    pub(super) fn time(&self) -> Time {
        Time(self.now)
    }

    /// The capacity that exists, and that the status asks for as it stands now.
    pub(super) fn capacity(&self) -> Capacity<'_> {
        Capacity {
            seen: self.seen,
            spec: self.spec,
            ladder: &self.ladder,
            status: &self.status,
            build_up: None,
        }
    }

    /// Drops the interval that runs now, because weights change in it, and begins a step.
    pub(super) fn begin_step(&mut self) {
        if let Some(evidence) = &mut self.evidence {
            evidence.begin_step(self.now);
        }
    }

    /// Forgets all evidence: another trial begins, or the plan has changed. What people were asked is void as well.
    pub(super) fn forget(&mut self) {
        self.status.awaiting = None;
        self.evidence = Evidence::of(self.spec, &self.model.rollout, &self.status, None, self.now);
    }

    /// Puts a decision on record, with its event.
    pub(super) fn decide(&mut self, action: Action, revision: &RevisionRef, why: impl Into<String>) {
        let (decision, event) = decided(self.now, action, revision, &why.into());
        keep(&mut self.status.decisions, decision.clone());
        self.decisions.push(decision);
        self.events.push(event);
    }

    /// Whether anything was decided about a revision. What people did is on record as well, and moves nothing.
    pub(super) fn has_decided(&self) -> bool {
        self.decisions.iter().any(|decision| !decision.is_of_people())
    }

    /// Adds the drift figures that the last decision rests on.
    pub(super) fn rests_on(&mut self, drift: Option<String>) {
        let decisions = [self.status.decisions.last_mut(), self.decisions.last_mut()];
        for decision in decisions.into_iter().flatten() {
            decision.drift.clone_from(&drift);
        }
    }

    /// Retires a revision: its pods stay for `reason` until `until`.
    pub(super) fn retire(&mut self, revision: &RevisionRef, reason: RetiringReason, until: Timestamp) {
        self.unretire(revision);
        self.status.retiring.push(Retiring {
            variant: revision.variant.clone(),
            revision: revision.revision.clone(),
            until: Time(until),
            reason: reason.into(),
            keeps: None,
        });
    }

    pub(super) fn unretire(&mut self, revision: &RevisionRef) {
        self.status.retiring.retain(|r| !is(revision, &r.variant, &r.revision));
    }

    pub(super) fn drain(&mut self, revision: &RevisionRef) {
        self.retire(revision, RetiringReason::Drain, self.now + DRAIN);
    }

    pub(super) fn reject(&mut self, revision: &RevisionRef, guard: &str, reason: &str) {
        self.status.proven.retain(|p| !is(revision, &p.variant, &p.revision));
        self.status.rejected.retain(|r| !is(revision, &r.variant, &r.revision));
        self.status.rejected.push(Rejected {
            variant: revision.variant.clone(),
            revision: revision.revision.clone(),
            guard: guard.to_owned(),
            reason: plain(reason, LONGEST_MESSAGE),
            at: self.time(),
        });
        let surplus = self.status.rejected.len().saturating_sub(KEPT_REJECTIONS);
        self.status.rejected.drain(..surplus);
    }

    /// Records a failure; `retries` is how often it may be tried again under this attempt.
    pub(super) fn fail(&mut self, revision: &RevisionRef, reason: &str, retries: i32) {
        let attempt = self.spec.attempt;
        let before = self
            .status
            .failed
            .iter()
            .find(|f| is(revision, &f.variant, &f.revision) && f.attempt == attempt);
        let count = before.map_or(0, |f| f.count) + 1;
        // The retry comes after one minute, then two, then four.
        let retry_at =
            (count <= retries).then(|| Time(self.now + SignedDuration::from_mins(1 << (count - 1).clamp(0, 10))));
        self.status.failed.retain(|f| !is(revision, &f.variant, &f.revision));
        self.status.failed.push(Failed {
            variant: revision.variant.clone(),
            revision: revision.revision.clone(),
            attempt,
            count,
            retry_at,
            reason: plain(reason, LONGEST_MESSAGE),
            at: self.time(),
        });
    }

    /// Puts on record that a revision is proven.
    pub(super) fn prove(&mut self, revision: &RevisionRef, by: ProvenBy) {
        self.status.proven.retain(|p| !is(revision, &p.variant, &p.revision));
        self.status.proven.push(Proven {
            variant: revision.variant.clone(),
            revision: revision.revision.clone(),
            at: self.time(),
            by: by.into(),
        });
    }

    /// Forgets what no longer matters: records of revisions that are neither in the spec nor alive, and retirements
    /// that are over. Rejections stay, because a revert in git may bring the identity back. Returns when the remaining
    /// retirements end.
    pub(super) fn prune(&mut self) -> Next {
        let now = self.now;
        self.drain_unknown();
        // What served before a promotion goes on until that is on record, however long it takes.
        let is_unwritten = self.capacity().stable_is_unwritten();
        self.status.retiring.retain(|r| {
            let goes_on = is_unwritten && r.reason == RetiringReason::KeepWarm;
            r.until.0 > now || r.reason == RetiringReason::Handover || goes_on
        });
        let live = |v: &str, r: &str| {
            let here = |of: &RevisionRef| is(of, v, r);
            self.ladder.variants.iter().any(|v| here(&v.revision))
                || self.status.stable.as_ref().is_some_and(here)
                || self.status.reference.as_ref().is_some_and(here)
                || self.status.rollout.as_ref().is_some_and(|x| here(&x.candidate))
                || self.seen.workloads.keys().any(|key| here(&key.revision))
        };
        let (proven, failed) = (
            self.status
                .proven
                .iter()
                .filter(|x| live(&x.variant, &x.revision))
                .cloned()
                .collect(),
            self.status
                .failed
                .iter()
                .filter(|x| live(&x.variant, &x.revision))
                .cloned()
                .collect(),
        );
        (self.status.proven, self.status.failed) = (proven, failed);
        Next::default().at(self.status.retiring.iter().map(|retiring| retiring.until.0))
    }
}

/// A decision, with the event that tells of it.
pub(super) fn decided(now: Timestamp, action: Action, of: &RevisionRef, why: &str) -> (Decision, Event) {
    let why = plain(why, LONGEST_MESSAGE);
    let event = Event {
        reason: reason(action),
        note: format!("{}: {why}", of.describe()),
    };
    let decision = Decision {
        time: Time(now),
        action: action.into(),
        variant: of.variant.clone(),
        revision: of.revision.clone(),
        why,
        drift: None,
    };
    (decision, event)
}

/// Adds a decision to those that status keeps. Of what people did it keeps the last of each kind, from which it is told what
/// is on record. They push out no decision about a revision, because these are counted: a model may be paused again and
/// again.
pub(super) fn keep(decisions: &mut Vec<Decision>, decision: Decision) {
    if decision.is_of_people() {
        decisions.retain(|kept| kept.action != decision.action);
    }
    decisions.push(decision);
    let of_revisions = decisions.iter().filter(|kept| !kept.is_of_people());
    let mut surplus = of_revisions.count().saturating_sub(KEPT_DECISIONS);
    decisions.retain(|kept| {
        let goes = surplus > 0 && !kept.is_of_people();
        surplus -= usize::from(goes);
        !goes
    });
}

fn reason(action: Action) -> Reason {
    match action {
        Action::Bootstrapped => Reason::Bootstrapped,
        Action::Recovered => Reason::Recovered,
        Action::Started => Reason::RolloutStarted,
        Action::Raised => Reason::WeightRaised,
        Action::Withdrawn => Reason::CandidateWithdrawn,
        Action::Promoting => Reason::Promoting,
        Action::Promoted => Reason::Promoted,
        Action::RolledBack => Reason::RolledBack,
        Action::Undecided | Action::Overdue => Reason::Undecided,
        Action::Escalated => Reason::Escalated,
        Action::FellBack => Reason::FellBack,
        Action::Failed => Reason::CandidateFailed,
        Action::Superseded => Reason::Superseded,
        Action::TargetMoved => Reason::TargetMoved,
        Action::PlanChanged => Reason::PlanChanged,
        Action::EvidenceReset => Reason::EvidenceReset,
        Action::Suspended => Reason::Suspended,
        Action::Unsuspended => Reason::Unsuspended,
        Action::Paused => Reason::Paused,
        Action::Unpaused => Reason::Unpaused,
        Action::HandSet => Reason::HandSet,
        Action::Deleted => Reason::Deleted,
        Action::Orphaned => Reason::Orphaned,
        Action::TakenBack => Reason::TakenBack,
        Action::Declined => Reason::Declined,
        Action::Approved => Reason::Approved,
        Action::Retried => Reason::Retried,
        Action::Resumed => Reason::Resumed,
        Action::Demoted => Reason::Demoted,
        Action::Governed => Reason::Governed,
        Action::Ungoverned => Reason::Ungoverned,
    }
}
