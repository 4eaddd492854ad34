//! Shares while the record of something that was decided does not exist yet: nobody rises by it, and whoever served before goes
//! on. Whoever is lowered is lowered, and what they give up goes where it always goes.

use crate::api::{Action, Retiring, RevisionRef};

use super::super::ladder::is;
use super::super::plan::Joined;
use super::view::Capacity;

impl Capacity<'_> {
    /// Percent that a revision gets of what it is to have: no more than it has now while something is not on record.
    pub(super) fn on_record(&self, revision: &RevisionRef, wanted: i32) -> i32 {
        if self.seen.ledger.unwritten_since.is_none() || self.by_replicas() {
            return wanted;
        }
        wanted.min(self.carried(revision))
    }

    /// Percent that the route gives to a revision now.
    pub(super) fn carried(&self, revision: &RevisionRef) -> i32 {
        self.seen.route.weights.get(revision).copied().unwrap_or(0).max(0)
    }

    /// How many pods of a revision belong to the shared Service, of those that are to.
    pub(super) fn joined_on_record(&self, revision: &RevisionRef, rises: bool, wanted: Joined) -> Joined {
        let now = self.workload(revision).map_or(0, |workload| workload.joined);
        match wanted {
            _ if self.seen.ledger.unwritten_since.is_none() || !self.by_replicas() || !rises => wanted,
            Joined::All => Joined::UpTo(now),
            Joined::UpTo(most) => Joined::UpTo(most.min(now)),
            Joined::Nobody => Joined::Nobody,
        }
    }

    /// Whether it is not on record yet that stable became stable, by its first install or by a promotion. It is on its way up
    /// until then; a revision that traffic fell back to, or was moved down to, is not.
    pub(in crate::rollout) fn stable_is_unwritten(&self) -> bool {
        let (Some(since), Some(stable)) = (self.seen.ledger.unwritten_since, &self.status.stable) else {
            return false;
        };
        let makes_stable = |action: Action| {
            matches!(
                action,
                Action::Bootstrapped
                    | Action::Recovered
                    | Action::Promoted
                    | Action::FellBack
                    | Action::TargetMoved
                    | Action::TakenBack
                    | Action::Demoted
            )
        };
        let mut decisions = self.status.decisions.iter().rev();
        let last = decisions.find(|decision| decision.action.known().is_some_and(makes_stable));
        last.is_some_and(|last| {
            let rose = last.action == Action::Bootstrapped || last.action == Action::Promoted;
            // Status keeps whole seconds.
            let is_unwritten = last.time.0.as_second() >= since.as_second();
            rose && is_unwritten && is(stable, &last.variant, &last.revision)
        })
    }

    /// Percent that a leaving revision keeps because that which follows it is not on record yet.
    pub(super) fn kept_for_record(&self, leaving: &Retiring) -> i32 {
        let of = leaving.revision_ref();
        if self.was_given_up(leaving) || self.ready(&of) == 0 {
            return 0;
        }
        self.carried(&of)
    }
}
