//! Nothing is on trial: the guards watch stable, and the next goal is sought.

use crate::api::{Action, Retiring, RetiringReason, RevisionRef, RolloutKind};

use super::super::capacity::DRAIN;
use super::super::evaluation::Evaluation;
use super::super::ladder::{Goal, is};
use super::super::next::{Next, Wait};
use super::super::plan::Order;
use super::super::reason::WaitReason;
use super::gate::{Grant, Transition};
use super::people::told;

impl Evaluation<'_> {
    /// Watches stable, and completes handovers.
    pub(in crate::rollout) fn guard(&mut self, stable: &RevisionRef) -> Next {
        // A handover in progress does not hold back the answer to harm.
        if let Some(harm) = self.harm(stable, Action::FellBack) {
            self.reject(stable, &harm.guard, &harm.message);
            let to = self.capacity().fallback(stable);
            self.hand_over(stable, &to);
            self.order = Order::LowerFirst;
            self.decide(
                Action::FellBack,
                stable,
                format!("traffic falls back to {}: {}", to.describe(), harm.message),
            );
            self.rests_on(harm.drift);
            return Next::default();
        }
        let leaving: Vec<_> = self.capacity().handovers().cloned().collect();
        let completed = leaving.iter().map(|leaving| self.complete(leaving, stable));
        completed.fold(Next::default(), Next::and)
    }

    /// Lets a revision go as soon as its successor has replaced it.
    fn complete(&mut self, leaving: &Retiring, stable: &RevisionRef) -> Next {
        let old = leaving.revision_ref();
        let capacity = self.capacity();
        let replaced = match leaving.keeps {
            None => capacity.can_carry(stable, 100) || (capacity.ready(&old) == 0 && capacity.ready(stable) > 0),
            Some(_) => capacity.has_fallback(),
        };
        if !replaced {
            let (from, to) = (old.describe(), stable.describe());
            return Next::wait(Wait::new(
                WaitReason::HandingOver,
                format!("traffic moves from {from} to {to} as that becomes ready"),
            ));
        }
        if leaving.keeps.is_some() {
            // It was given up long ago, so lowering what is left of it waits for no record.
            self.order = Order::LowerFirst;
        }
        self.drain(&old);
        self.begin_step();
        Next::default()
    }

    /// `to` becomes stable; `from` keeps what `to` cannot carry yet.
    fn hand_over(&mut self, from: &RevisionRef, to: &RevisionRef) {
        self.unretire(to);
        self.status.stable = Some(to.clone());
        self.retire(from, RetiringReason::Handover, self.now + DRAIN);
        self.forget();
    }

    /// Does what the spec asks for next.
    pub(in crate::rollout) fn seek(&mut self) -> Next {
        if !self.has_decided() && self.step_down() {
            return Next::default();
        }
        if self.capacity().hands_over() || self.has_decided() {
            return Next::default();
        }
        if let Some(wait) = self.leaves_for_unknown_reason() {
            return Next::wait(wait);
        }
        if self.has_turn() && self.demote() {
            return Next::default();
        }
        let goal = self.ladder.goal(&self.status, self.spec.attempt, self.now);
        if let Some(paused) = self.paused().filter(|_| goal != Goal::Settled) {
            return Next::wait(paused);
        }
        match goal {
            Goal::Settled => Next::default(),
            Goal::MoveTo(to) => self.move_to(&to),
            Goal::Try { kind, variant } if self.acts.cap.is_none() => self.start(kind, variant),
            Goal::Try { .. } => self.held_back().map_or_else(Next::default, Next::wait),
            Goal::Rejected { candidate, why } => {
                let name = candidate.describe();
                let message = format!("{name} was rejected and is not tried again until its identity changes: {why}");
                Next::stalled(Wait::new(WaitReason::TargetRejected, message))
            }
            Goal::GivenUp { candidate, why } => {
                let name = candidate.describe();
                let message = format!("{name} was given up; mend it, or raise spec.attempt to try it again: {why}");
                Next::stalled(Wait::new(WaitReason::CandidateFailed, message))
            }
            Goal::Retry { candidate, at, why } => {
                let message = format!("{} is tried again at {at}: {why}", candidate.describe());
                Next::wait(Wait::new(WaitReason::BackingOff, message)).at([at])
            }
        }
    }

    /// Moves traffic down to where a person holds it. Returns whether it was above. A handover in progress does not hold that
    /// back.
    fn step_down(&mut self) -> bool {
        let (Some(cap), Some(stable)) = (self.acts.cap, self.status.stable.clone()) else {
            return false;
        };
        let is_below = |at: usize| at <= cap.rung;
        // What is safer than a variant that the spec has no more nobody knows, but for the reference.
        let position = self.ladder.position(&stable.variant);
        let limit = position.map_or(0, |_| cap.rung + 1);
        let to = self.ladder.safest_proven_below(limit, &self.status);
        if position.is_some_and(is_below) || to == stable {
            return false;
        }
        self.hand_over(&stable, &to);
        self.order = Order::LowerFirst;
        let why = format!("traffic goes to {}: {}", to.describe(), told(cap.act));
        self.decide(Action::TakenBack, &stable, why);
        true
    }

    /// Moves traffic away from a stable that falls short of a policy which says FallBack: to the next safer revision that is
    /// proven, serves, and does not fall short itself. Returns whether there was reason to, and one to move to.
    fn demote(&mut self) -> bool {
        let Some(stable) = self.status.stable.clone() else {
            return false;
        };
        let (Some(why), Some(at)) = (self.falls_short(&stable), self.ladder.position(&stable.variant)) else {
            return false;
        };
        let is_proven = |of: &RevisionRef| {
            let mut proven = self.status.proven.iter();
            proven.any(|proven| is(of, &proven.variant, &proven.revision))
        };
        let safer = self.ladder.variants[..at].iter().rev().map(|of| &of.revision);
        let mut safer = safer.filter(|of| is_proven(of) && self.capacity().ready(of) > 0);
        let Some(to) = safer.find(|of| self.falls_short(of).is_none()).cloned() else {
            return false;
        };
        self.hand_over(&stable, &to);
        self.order = Order::LowerFirst;
        self.decide(
            Action::Demoted,
            &stable,
            format!("traffic goes to {}: {why}", to.describe()),
        );
        true
    }

    /// Moves traffic to what the spec asks for instead of stable. That waits for nothing, unless it may be a rise.
    fn move_to(&mut self, to: &RevisionRef) -> Next {
        let Some(stable) = self.status.stable.clone().filter(|stable| stable != to) else {
            return Next::default();
        };
        if self.may_rise(&stable, to)
            && let Err(closed) = self.may(Transition::Move, to)
        {
            return Next::closed(closed);
        }
        self.hand_over(&stable, to);
        let (from, name) = (stable.describe(), to.describe());
        let why = self.in_spite(format!("the spec asks for less than {from}: traffic moves to {name}"));
        self.decide(Action::TargetMoved, to, why);
        Next::default()
    }

    /// Whether traffic that moves from one revision to another may go to fewer bits: nobody knows how many the variant has that the
    /// spec has no more. The reference is no rise for any.
    fn may_rise(&self, from: &RevisionRef, to: &RevisionRef) -> bool {
        let is_reference = self.ladder.position(&to.variant) == Some(0) || self.status.reference.as_ref() == Some(to);
        self.ladder.position(&from.variant).is_none() && !is_reference
    }

    fn start(&mut self, kind: RolloutKind, variant: usize) -> Next {
        let candidate = self.ladder.variants[variant].revision.clone();
        match self.may(Transition::Start, &candidate) {
            Ok(grant) => self.put_on_trial(grant, kind, &candidate),
            Err(closed) => return Next::closed(closed),
        }
        let (what, against) = match kind {
            RolloutKind::Climb => ("the next variant", &self.status.stable),
            RolloutKind::Lateral => ("a new revision of the same variant", &self.status.stable),
            RolloutKind::NewReference => ("a new reference", &self.status.reference),
        };
        let against = against.as_ref().map_or_else(String::new, RevisionRef::describe);
        let why = self.in_spite(format!("{what}, against {against}"));
        self.decide(Action::Started, &candidate, why);
        self.forget();
        Next::default()
    }

    fn put_on_trial(&mut self, _: Grant, kind: RolloutKind, candidate: &RevisionRef) {
        self.unretire(candidate);
        self.status.rollout = Some(self.begun(kind, candidate));
    }
}
