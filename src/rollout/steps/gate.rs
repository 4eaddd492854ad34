//! Gates: what must hold before a candidate gets weight.
//!
//! Every rise of a weight asks [`Evaluation::may`], and nothing else lets one pass: `tests/architecture/gates.rs`
//! checks the callers. Lowering asks for no grant. What people can do something about comes last: the floor and the other
//! rules of policies, freezes, slots, approvals.

mod approval;
mod policy;

use k8s_openapi::jiff::Timestamp;

use crate::api::{ApprovalGate, RevisionRef, Variant};
use crate::model::template::TemplateProblem;
use crate::model::{self, Dropped};

use super::super::evaluation::Evaluation;
use super::super::next::Wait;
use super::super::observation::{Governance, Governed};
use super::super::reason::WaitReason;

/// A change by which a revision gets weight, or comes nearer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// The first install: all traffic goes to a revision that has nothing to be compared with.
    Bootstrap,
    /// A candidate is put on trial.
    Start,
    /// The candidate gets the weight of this step.
    Raise(usize),
    /// The candidate has won, and capacity is built up for all traffic.
    DecidePromotion,
    /// The candidate becomes stable.
    Promote,
    /// Traffic moves to a proven revision from a variant that the spec has no more, so that it may be a rise.
    Move,
}

impl Transition {
    /// What people must have approved before it. An edit in mid-rollout is another change, of which they approve the first
    /// traffic before anything more rises.
    fn asks(self) -> &'static [ApprovalGate] {
        match self {
            Self::Bootstrap | Self::Start | Self::Move => &[],
            Self::Raise(_) => &[ApprovalGate::FirstTraffic],
            Self::DecidePromotion | Self::Promote => &[ApprovalGate::FirstTraffic, ApprovalGate::Promotion],
        }
    }
}

/// A transition that may be made. Only [`Evaluation::may`] makes one.
#[derive(Debug)]
pub(super) struct Grant(());

impl Evaluation<'_> {
    /// Whether a revision may make a transition now, or what it waits for. The gates of calibration and validation are
    /// asked before its first weight; policies and people are asked each time.
    pub(super) fn may(&mut self, transition: Transition, revision: &RevisionRef) -> Result<Grant, Wait> {
        self.governed()?;
        match transition {
            Transition::Bootstrap | Transition::Start => {
                self.template_gate(revision)?;
                self.gates(revision)?;
            }
            Transition::Raise(0) => self.gates(revision)?,
            Transition::Raise(_) | Transition::DecidePromotion | Transition::Promote | Transition::Move => {}
        }
        if let Some(declined) = self.declined() {
            return Err(declined);
        }
        if let Some(rules) = self.rules()? {
            self.policy_gate(&rules, revision, transition == Transition::Bootstrap)?;
            self.freeze_gate(&rules)?;
            if transition == Transition::Start {
                self.slot_gate()?;
            }
            self.approval_gate(&rules, transition.asks())?;
        }
        Ok(Grant(()))
    }

    /// What governance holds back, whatever the revision: every rise while nobody knows what policies ask, and while something
    /// that was decided is not on record. Lowering asks for none of it.
    fn governed(&self) -> Result<(), Wait> {
        let (governance, ledger) = (&*self.seen.governance, &*self.seen.ledger);
        match governance {
            Governance::Unknown(why) => return Err(Wait::new(WaitReason::GovernanceUnknown, why)),
            Governance::Governed(Governed { unreadable, signed, .. }) => {
                if let Some(why) = unreadable {
                    return Err(Wait::new(WaitReason::PolicyUnreadable, why));
                }
                if let Some(why) = ledger.unsigned.as_ref().filter(|_| *signed) {
                    let why = format!("a policy asks for signed records, and they are not: {why}");
                    return Err(Wait::new(WaitReason::KeyMissing, why));
                }
            }
            Governance::Ungoverned => {}
        }
        if ledger.is_behind() {
            let why = "what was decided before is not on record yet; the condition Recorded says why";
            return Err(Wait::new(WaitReason::RecordPending, why));
        }
        Ok(())
    }

    /// A revision whose pods would lack a part of its template is not begun. One that has pods already is judged on.
    fn template_gate(&self, revision: &RevisionRef) -> Result<(), Wait> {
        let begun = self.seen.workloads.keys().any(|key| key.revision == *revision);
        let problems = self.seen.model.templates.iter();
        let mut problems = problems.filter(|of| of.variant == revision.variant && !begun);
        match problems.next() {
            None => Ok(()),
            Some(TemplateProblem { problem, .. }) => {
                let more = match problems.count() {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                Err(Wait::new(WaitReason::Gated, format!("{problem}{more}")))
            }
        }
    }

    /// The gates of a revision; one that the spec does not describe has none.
    fn gates(&self, revision: &RevisionRef) -> Result<(), Wait> {
        let mut variants = self.spec.variants.iter().zip(&self.model.variants);
        let Some((variant, read)) = variants.find(|(v, _)| v.name == revision.variant) else {
            return Ok(());
        };
        calibration_gate(variant, read, self.now)
            .and_then(|()| validation_gate(variant, read))
            .map_err(|message| Wait::new(WaitReason::Gated, message))
    }
}

/// Whether the calibration of a variant, as written and as read, is fresh enough.
pub fn calibration_gate(variant: &Variant, read: &model::Variant, now: Timestamp) -> Result<(), String> {
    if let Some(calibration) = &variant.calibration
        && read.calibration_expires.is_some_and(|at| now > at)
        && let (Some(done), Some(max)) = (&calibration.completed_at, &calibration.max_age)
    {
        return Err(format!(
            "the calibration of {} was completed at {} and is older than maxAge {max}: calibrate again and set completedAt, or raise maxAge",
            variant.name, done.0
        ));
    }
    Ok(())
}

/// Whether a variant, as written and as read, is good enough offline.
pub fn validation_gate(variant: &Variant, read: &model::Variant) -> Result<(), String> {
    let Some(Dropped { metric, share }) = &read.dropped else {
        return Ok(());
    };
    Err(format!(
        "{} of {} dropped by {:.2}%, from {} to {}, and may drop by {}: quantize again, or raise maxDrop",
        metric.name,
        variant.name,
        share * 100.0,
        metric.reference,
        metric.measured,
        metric.max_drop
    ))
}
