//! The deadline of a rollout: its clock, and what follows when it passes without a verdict.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{Action, OnUndecided, RolloutKind, RolloutStatus, Verdict};

use super::look::{Look, Wait};

impl Look<'_> {
    /// Keeps the deadline's clock; whether the weights are frozen.
    pub(super) fn stands_still(&mut self) -> bool {
        let (now, paused) = (self.now, self.spec.paused);
        let Some(rollout) = &mut self.status.rollout else {
            return false;
        };
        let still = paused || rollout.escalated_at.is_some();
        match (still, rollout.stands_still_since.take()) {
            (true, since) => rollout.stands_still_since = Some(since.unwrap_or(Time(now))),
            (false, Some(since)) => {
                let stood = rollout.stood_still_millis;
                rollout.stood_still_millis = stood.saturating_add(millis_between(since.0, now));
            }
            (false, None) => {}
        }
        if paused {
            self.wait = Some(Wait {
                reason: "Paused",
                message: "spec.paused is set: the weights are frozen, a rollback still works".to_owned(),
            });
        }
        paused
    }

    /// Whether the deadline has passed and has ended the rollout.
    pub(super) fn overdue(&mut self) -> bool {
        let Some(rollout) = self.status.rollout.clone() else {
            return false;
        };
        let Some(at) = self.deadline(&rollout) else {
            return false;
        };
        let (candidate, escalated_at) = (rollout.candidate.clone(), rollout.escalated_at.clone());
        if self.now < at {
            self.alarms.push(at);
            // It was raised, or stood still.
            self.waits_on(false, None);
            return false;
        }
        match self.spec.rollout.on_undecided {
            OnUndecided::RollBack => {
                let why = self.with_figures(self.undecided());
                self.fail(&candidate, &why, 0);
                self.abandon(&candidate, Action::Undecided, &why);
                true
            }
            OnUndecided::Hold => {
                self.waits_on(true, None);
                if !rollout.overdue {
                    let why = self.with_figures(self.undecided());
                    self.decide(
                        Action::Overdue,
                        &candidate,
                        format!("{why}; the weight stays, as onUndecided says"),
                    );
                }
                false
            }
            // Decided, and only waiting for pods.
            OnUndecided::Escalate if rollout.promoting => false,
            OnUndecided::Escalate => {
                self.waits_on(false, Some(escalated_at.clone().unwrap_or_else(|| self.time())));
                let (why, ways) = (self.undecided(), self.ways_out(&rollout));
                // Figures change at every look; the decision has them as they were.
                self.stalled = Some(Wait {
                    reason: "AwaitingApproval",
                    message: format!("{why}; {ways}"),
                });
                if escalated_at.is_none() {
                    let why = self.with_figures(why);
                    self.decide(Action::Escalated, &candidate, format!("{why}; {ways}"));
                }
                false
            }
        }
    }

    /// Notes how a rollout goes on after its deadline. The clock stands still from the moment in which a person is asked.
    fn waits_on(&mut self, overdue: bool, escalated_at: Option<Time>) {
        if let Some(rollout) = &mut self.status.rollout {
            rollout.overdue = overdue;
            if let Some(at) = &escalated_at {
                rollout.stands_still_since.get_or_insert(at.clone());
            }
            rollout.escalated_at = escalated_at;
        }
    }

    /// When the deadline passes; `None` before the first weight.
    fn deadline(&self, rollout: &RolloutStatus) -> Option<Timestamp> {
        let first = rollout.first_weight_at.as_ref()?;
        let standing = rollout
            .stands_still_since
            .as_ref()
            .map_or(0, |since| millis_between(since.0, self.now));
        let stood = SignedDuration::from_millis(rollout.stood_still_millis.saturating_add(standing));
        let allowed = self.duration(&self.spec.rollout.deadline).saturating_add(stood);
        Some(first.0.checked_add(allowed).unwrap_or(Timestamp::MAX))
    }

    /// Why there is no verdict yet, in a sentence.
    fn undecided(&self) -> String {
        let deadline = &self.spec.rollout.deadline;
        let open: Vec<_> = self
            .status
            .guards
            .iter()
            .filter(|g| g.verdict != Verdict::Healthy)
            .map(|g| g.name.as_str())
            .collect();
        let promoting = self.status.rollout.as_ref().is_some_and(|r| r.promoting);
        match (open.as_slice(), self.lacking_benefit(), &self.blind) {
            ([], ..) if promoting => {
                format!("not ended within {deadline}: it is healthy, but the pods for all traffic were not ready")
            }
            ([], Some(wanted), _) => format!("safe, but not shown to be {wanted} within {deadline}"),
            ([], None, Some(blind)) => format!("not decided within {deadline}: {}", blind.message),
            ([], None, None) => {
                format!("not decided within {deadline}: it is healthy so far, but the steps were not over")
            }
            (open, ..) => format!(
                "not decided within {deadline}: {} not shown to be healthy",
                open.join(", ")
            ),
        }
    }

    /// With what was found of a benefit that is all that is lacking.
    fn with_figures(&self, why: String) -> String {
        let healthy = self.status.guards.iter().all(|g| g.verdict == Verdict::Healthy);
        let found = self.status.guards.iter().find_map(|g| g.benefit.as_deref());
        match found.filter(|_| healthy && self.lacking_benefit().is_some()) {
            Some(found) => format!("{why} ({found})"),
            None => why,
        }
    }

    /// What a person can do about it.
    fn ways_out(&self, rollout: &RolloutStatus) -> String {
        let back = match (rollout.kind.known(), &self.status.stable) {
            (Some(RolloutKind::Climb), Some(stable)) => format!("lower spec.target to {}", stable.variant),
            _ => "put the old revision back into spec.variants".to_owned(),
        };
        format!(
            "the weight stays and the evidence goes on: on the last step health still promotes, and harm rolls back at any. To go on raise spec.rollout.deadline; to withdraw the candidate {back}; or widen a tolerance of spec.guards, which starts the evidence afresh, on record"
        )
    }
}

fn millis_between(since: Timestamp, now: Timestamp) -> i64 {
    i64::try_from(now.duration_since(since).as_millis().max(0)).unwrap_or(i64::MAX)
}
