//! What policies and people hold back, and what waits for records. Nothing that lowers does; see `lowering`.
//!
//! Of the variants that are tried in these worlds none is above a floor, and a RollBack holds traffic at the reference.

use guardbit::api::{ActKind, Action, RolloutStatus};

use super::{Broken, History, Invariant, Step, revision};
use crate::oversight::{Asks, Oversight};

impl Step<'_> {
    /// The decision by which something rises, or is to.
    fn rise_decided(&self) -> Option<String> {
        use Action::{Bootstrapped, Promoted, Promoting, Raised, Started};
        let mut decisions = self.plan.decisions.iter();
        let rise = decisions.find(|d| {
            matches!(
                d.action.known(),
                Some(Bootstrapped | Promoted | Promoting | Raised | Started)
            )
        });
        rise.map(|d| format!("{} {}", d.action, d.variant))
    }

    /// What rises: by a decision, or because it gets more than it had.
    fn rises(&self, history: &History) -> Option<String> {
        let last = self.last_weights(history);
        let by_weight = || {
            self.weights.iter().find_map(|(of, weight)| {
                let rises = !self.is_safest(&of.variant) && *weight > last.get(of).copied().unwrap_or(0);
                rises.then(|| format!("{} rises to {weight}%", of.variant))
            })
        };
        self.rise_decided().or_else(by_weight)
    }

    fn is_safest(&self, variant: &str) -> bool {
        self.seen.model.spec.variants[0].name == variant
    }

    /// No traffic and no promotion that people are to approve before they have, and none of what they reject.
    pub(super) fn approvals_come_first(&self, now: &History) -> Result<(), Broken> {
        let Some(oversight) = self.overseen_for(Asks::Approvals) else {
            return Ok(());
        };
        for decision in &self.plan.decisions {
            let approved = match decision.action.known() {
                Some(Action::Started) => true,
                Some(Action::Raised) => now.approved.first_traffic,
                Some(Action::Promoting | Action::Promoted) => now.approved.first_traffic && now.approved.promotion,
                _ => continue,
            };
            let of = revision(&decision.variant, &decision.revision);
            let mut rejections = oversight.standing(ActKind::Reject, self.now);
            let rejected = rejections.any(|done| done.candidate.as_ref() == Some(&of));
            self.holds(Invariant::ApprovalComesFirst, approved && !rejected, || {
                format!(
                    "{} {}, approved: {:?}, rejected: {rejected}",
                    decision.action, decision.variant, now.approved
                )
            })?;
        }
        Ok(())
    }

    /// Nothing rises in a freeze.
    pub(super) fn nothing_rises_in_a_freeze(&self, history: &History) -> Result<(), Broken> {
        let oversight = self.world.oversight.as_ref();
        if !oversight.is_some_and(|of| of.is_frozen(self.now)) {
            return Ok(());
        }
        self.nothing_rises(Invariant::FreezeRaisesNothing, history, "in a freeze")
    }

    /// Nothing rises below a floor, nor while nobody knows where it is.
    pub(super) fn nothing_rises_below_a_floor(&self, history: &History) -> Result<(), Broken> {
        let Some(oversight) = &self.world.oversight else {
            return Ok(());
        };
        let when = match oversight.asks {
            Asks::Floor | Asks::FloorFallsBack => "below the floor",
            Asks::Unknown => "while nobody knows what policies ask",
            Asks::Absent | Asks::Nothing | Asks::Approvals => return Ok(()),
        };
        self.nothing_rises(Invariant::FloorHolds, history, when)
    }

    /// Nothing rises while a Pause or a RollBack holds, and what serves above the reference goes down by a RollBack.
    pub(super) fn nothing_rises_against_people(&self, history: &History) -> Result<(), Broken> {
        let Some(oversight) = &self.world.oversight else {
            return Ok(());
        };
        let stands = |kind: ActKind| oversight.stands(kind, self.now);
        if stands(ActKind::Pause) {
            self.nothing_rises(Invariant::CapHolds, history, "while a Pause holds")?;
        }
        if !stands(ActKind::RollBack) {
            return Ok(());
        }
        self.nothing_rises(Invariant::CapHolds, history, "while a RollBack holds")?;
        let stable = self.plan.status.stable.as_ref();
        let is_down = stable.is_none_or(|stable| self.is_safest(&stable.variant));
        self.holds(Invariant::CapHolds, is_down, || {
            "what serves goes on above a RollBack".to_owned()
        })
    }

    fn nothing_rises(&self, invariant: Invariant, history: &History, when: &str) -> Result<(), Broken> {
        let risen = self.rises(history);
        self.holds(invariant, risen.is_none(), || {
            format!("{} {when}", risen.unwrap_or_default())
        })
    }

    /// No rise is decided while something is not on record, or could not be signed; see also [`History::written`].
    pub(super) fn nothing_rises_unrecorded(&self) -> Result<(), Broken> {
        let ledger = &self.seen.ledger;
        let governed = self.seen.governance.governed();
        let is_unsigned = ledger.unsigned.is_some() && governed.is_some_and(|governed| governed.signed);
        if !ledger.is_behind() && !is_unsigned {
            return Ok(());
        }
        let risen = self.rise_decided();
        self.holds(Invariant::RisesAreRecordedFirst, risen.is_none(), || {
            format!("{} while records are missing", risen.unwrap_or_default())
        })
    }

    /// Whether people or policies take away what a candidate has.
    pub(super) fn is_taken_away(&self, rollout: &RolloutStatus) -> bool {
        let Some(oversight) = &self.world.oversight else {
            return false;
        };
        let mut rejections = oversight.standing(ActKind::Reject, self.now);
        oversight.stands(ActKind::RollBack, self.now)
            || rejections.any(|done| done.candidate.as_ref() == Some(&rollout.candidate))
            || (oversight.asks == Asks::FloorFallsBack && rollout.weight > 0)
    }

    fn overseen_for(&self, asks: Asks) -> Option<&Oversight> {
        self.world.oversight.as_ref().filter(|of| of.asks == asks)
    }
}
