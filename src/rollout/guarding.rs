//! Nothing on trial: the guards watch stable, and the next goal is sought.

use crate::api::{Action, OnHarm, Retiring, RetiringReason, RevisionRef, RolloutKind, RolloutStatus};

use super::climb::plan_digest;
use super::ladder::{Goal, is};
use super::look::{DRAIN, Look, Wait};
use super::plan::Order;

impl Look<'_> {
    /// Watches stable, and completes handovers.
    pub(super) fn guard(&mut self) {
        let Some(stable) = self.status.stable.clone() else {
            return;
        };
        // A handover that goes on holds back no answer to harm.
        if let Some(harm) = self.harm(&stable, Action::FellBack) {
            self.reject(&stable, &harm.guard, &harm.message);
            let to = self.fallback(&stable);
            self.hand_over(&stable, &to);
            self.order = Order::LowerFirst;
            self.decide(
                Action::FellBack,
                &stable,
                format!("traffic falls back to {}: {}", to.describe(), harm.message),
            );
            return;
        }
        for leaving in self.handovers().cloned().collect::<Vec<_>>() {
            self.complete(&leaving, &stable);
        }
    }

    /// Lets a revision go as soon as its successor has replaced it.
    fn complete(&mut self, leaving: &Retiring, stable: &RevisionRef) {
        let old = leaving.revision_ref();
        let replaced = match leaving.keeps {
            None => self.can_carry(stable, 100) || (self.ready(&old) == 0 && self.ready(stable) > 0),
            Some(_) => self.has_fallback(),
        };
        if !replaced {
            let message = format!(
                "traffic moves from {} to {} as that becomes ready",
                old.describe(),
                stable.describe()
            );
            self.wait = Some(Wait {
                reason: "HandingOver",
                message,
            });
            return;
        }
        if leaving.keeps.is_some() {
            // It was given up long ago: what is left of it waits for no record.
            self.order = Order::LowerFirst;
        }
        self.drain(&old);
        self.begin_step();
    }

    /// Where traffic goes when stable is harmful: to what was stable before while it is warm, else to the next safer
    /// proven variant, else to the reference.
    pub(super) fn fallback(&self, stable: &RevisionRef) -> RevisionRef {
        let reference = || {
            self.status
                .reference
                .clone()
                .unwrap_or_else(|| self.ladder.reference().revision.clone())
        };
        if self.spec.rollout.on_harm == OnHarm::Reference {
            return reference();
        }
        let proven = |r: &RevisionRef| self.status.proven.iter().any(|p| is(r, &p.variant, &p.revision));
        let warm = self
            .status
            .retiring
            .iter()
            .rev()
            .filter(|r| r.reason == RetiringReason::KeepWarm)
            .map(|r| r.revision_ref());
        if let Some(previous) = warm.into_iter().find(proven) {
            return previous;
        }
        let limit = self.ladder.position(&stable.variant).unwrap_or(self.ladder.rungs.len());
        self.ladder.safest_proven_below(limit, &self.status)
    }

    /// `to` becomes stable; `from` keeps what `to` cannot carry yet.
    fn hand_over(&mut self, from: &RevisionRef, to: &RevisionRef) {
        self.unretire(to);
        self.status.stable = Some(to.clone());
        self.retire(from, RetiringReason::Handover, self.now + DRAIN);
        self.forget();
    }

    /// Does what the spec asks for next.
    pub(super) fn seek(&mut self) {
        if self.hands_over() || !self.decisions.is_empty() {
            return;
        }
        if let Some(wait) = self.leaves_for_unknown_reason() {
            self.wait = Some(wait);
            return;
        }
        let goal = self.ladder.goal(&self.status, self.spec.attempt, self.now);
        if self.spec.paused && goal != Goal::Settled {
            self.wait = Some(Wait {
                reason: "Paused",
                message: "spec.paused is set: the weights are frozen, a rollback still works".to_owned(),
            });
            return;
        }
        match goal {
            Goal::Settled => {}
            Goal::MoveTo(to) => self.move_to(&to),
            Goal::Try { kind, rung } => self.start(kind, rung),
            Goal::Rejected { candidate, why } => {
                let message = format!(
                    "{} was rejected and is not tried again until its identity changes: {why}",
                    candidate.describe()
                );
                self.stalled = Some(Wait {
                    reason: "TargetRejected",
                    message,
                });
            }
            Goal::GivenUp { candidate, why } => {
                let message = format!(
                    "{} was given up; mend it, or raise spec.attempt to try it again: {why}",
                    candidate.describe()
                );
                self.stalled = Some(Wait {
                    reason: "CandidateFailed",
                    message,
                });
            }
            Goal::Retry { candidate, at, why } => {
                self.alarms.push(at);
                self.wait = Some(Wait {
                    reason: "BackingOff",
                    message: format!("{} is tried again at {at}: {why}", candidate.describe()),
                });
            }
        }
    }

    fn move_to(&mut self, to: &RevisionRef) {
        let Some(stable) = self.status.stable.clone().filter(|stable| stable != to) else {
            return;
        };
        self.hand_over(&stable, to);
        self.decide(
            Action::TargetMoved,
            to,
            format!(
                "the spec asks for less than {}: traffic moves to {}",
                stable.describe(),
                to.describe()
            ),
        );
    }

    fn start(&mut self, kind: RolloutKind, rung: usize) {
        let candidate = self.ladder.rungs[rung].revision.clone();
        if let Some(closed) = self.closed_gate(&candidate) {
            self.stalled = Some(closed);
            return;
        }
        let against = match kind {
            RolloutKind::NewReference => self.status.reference.clone(),
            RolloutKind::Climb | RolloutKind::Lateral => self.status.stable.clone(),
        };
        self.unretire(&candidate);
        self.status.rollout = Some(RolloutStatus {
            kind: kind.into(),
            candidate: candidate.clone(),
            plan_digest: plan_digest(self.spec, kind, &candidate),
            started_at: self.time(),
            step: 0,
            weight: 0,
            weight_since: None,
            first_weight_at: None,
            stood_still_millis: 0,
            stands_still_since: None,
            promoting: false,
            overdue: false,
            escalated_at: None,
            forecast: None,
        });
        let what = match kind {
            RolloutKind::Climb => "the next rung",
            RolloutKind::Lateral => "a new revision of the same rung",
            RolloutKind::NewReference => "a new reference",
        };
        self.decide(
            Action::Started,
            &candidate,
            format!("{what}, against {}", against.map_or_else(String::new, |a| a.describe())),
        );
        self.forget();
    }
}
