//! One look: the next status in the making, with what is decided on the way.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{
    Action, Decision, Failed, LONGEST_MESSAGE, QuantizedModelSpec, QuantizedModelStatus, Rejected, Retiring,
    RetiringReason, RevisionRef, plain,
};

use crate::judge::GuardReport;

use super::ladder::{Ladder, is};
use super::observation::{Observation, Workload, WorkloadKey};
use super::plan::{Event, Order, Reason};
use crate::model::identity::Purpose;

/// Decisions that status keeps.
const KEPT_DECISIONS: usize = 10;

/// Rejections that status keeps.
const KEPT_REJECTIONS: usize = 50;

/// Time that connections get to drain, and gateways to follow, before pods go.
pub(super) const DRAIN: SignedDuration = SignedDuration::from_secs(30);

/// What holds a rollout back, or what it waits for: a reason for conditions, and a sentence without figures that change
/// at every look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// One look.
pub(super) struct Look<'a> {
    pub(super) seen: &'a Observation,
    pub(super) spec: &'a QuantizedModelSpec,
    pub(super) now: Timestamp,
    pub(super) ladder: Ladder,
    pub(super) status: QuantizedModelStatus,
    /// The guards as this look judged them.
    pub(super) judged: Vec<GuardReport>,
    pub(super) decisions: Vec<Decision>,
    pub(super) events: Vec<Event>,
    pub(super) order: Order,
    /// What the rollout waits for.
    pub(super) wait: Option<Wait>,
    /// A person must act.
    pub(super) stalled: Option<Wait>,
    /// Why there is no evidence, if there should be.
    pub(super) blind: Option<Wait>,
    /// Weight that capacity is built up for, beyond the one that is granted.
    pub(super) build_up: Option<i32>,
    /// Times at which to look again.
    pub(super) alarms: Vec<Timestamp>,
}

impl<'a> Look<'a> {
    pub(super) fn new(seen: &'a Observation, ladder: Ladder) -> Self {
        Self {
            seen,
            spec: &seen.model.spec,
            now: seen.now,
            ladder,
            status: seen.model.status.clone(),
            judged: Vec::new(),
            decisions: Vec::new(),
            events: Vec::new(),
            order: Order::RecordFirst,
            wait: None,
            stalled: None,
            blind: None,
            build_up: None,
            alarms: Vec::new(),
        }
    }

    pub(super) fn time(&self) -> Time {
        Time(self.now)
    }

    /// The serving Deployment of a revision, as seen.
    pub(super) fn workload(&self, revision: &RevisionRef) -> Option<&Workload> {
        self.seen.workloads.get(&WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Serving,
        })
    }

    pub(super) fn ready(&self, revision: &RevisionRef) -> i32 {
        self.workload(revision).map_or(0, |w| w.ready)
    }

    /// Puts a decision on record, with its event.
    pub(super) fn decide(&mut self, action: Action, revision: &RevisionRef, why: impl Into<String>) {
        let why = plain(&why.into(), LONGEST_MESSAGE);
        let decision = Decision {
            time: self.time(),
            action: action.into(),
            variant: revision.variant.clone(),
            revision: revision.revision.clone(),
            why: why.clone(),
        };
        self.status.decisions.push(decision.clone());
        let surplus = self.status.decisions.len().saturating_sub(KEPT_DECISIONS);
        self.status.decisions.drain(..surplus);
        self.decisions.push(decision);
        self.events.push(Event {
            reason: reason(action),
            note: format!("{}: {why}", revision.describe()),
        });
    }

    /// Lets a revision go: its pods stay for `reason` until `until`.
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
        // One minute, then two, then four.
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

    /// Forgets what no longer matters: records of revisions that are neither in the spec nor alive, and retirements that
    /// are over. Rejections stay: a revert in git may bring the identity back.
    pub(super) fn prune(&mut self) {
        let now = self.now;
        self.drain_unknown();
        self.status
            .retiring
            .retain(|r| r.until.0 > now || r.reason == RetiringReason::Handover);
        let live = |v: &str, r: &str| {
            let here = |of: &RevisionRef| is(of, v, r);
            self.ladder.rungs.iter().any(|rung| here(&rung.revision))
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
        for retiring in &self.status.retiring {
            self.alarms.push(retiring.until.0);
        }
    }
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
    }
}
