//! The deadline of a rollout: its clock, and what follows when it passes without a verdict.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{Action, ApprovalGate, OnUndecided, RolloutKind, RolloutStatus, Verdict};
use crate::guards::GuardReport;

use super::super::evaluation::Evaluation;
use super::super::evidence::Evidence;
use super::super::next::{Next, Wait};
use super::super::reason::WaitReason;
use super::people::told;

/// State of a rollout's deadline.
pub(super) enum Deadline {
    /// The rollout goes on, with what is to be reported about it.
    Open(Next),
    /// The rollout has ended without a verdict, for this reason.
    Ended(String),
}

impl Evaluation<'_> {
    /// Keeps the deadline's clock, which stands still also in a freeze and while people are asked. Returns the wait while a person
    /// has frozen the weights.
    pub(super) fn stands_still(&mut self) -> Option<Wait> {
        let (now, paused) = (self.now, self.paused());
        let waits_for_people = self.asks_people() || self.frozen().is_some();
        let rollout = self.status.rollout.as_mut()?;
        let still = paused.is_some() || rollout.escalated_at.is_some() || waits_for_people;
        match (still, rollout.stands_still_since.take()) {
            (true, since) => rollout.stands_still_since = Some(since.unwrap_or(Time(now))),
            (false, Some(since)) => {
                let stood = rollout.stood_still_millis;
                rollout.stood_still_millis = stood.saturating_add(millis_between(since.0, now));
            }
            (false, None) => {}
        }
        paused
    }

    /// Whether people are asked, and nothing else is waited for. A guard that was healthy when they were asked about the promotion
    /// may be so no more: then the clock goes on, and what they have approved stays approved.
    fn asks_people(&self) -> bool {
        let is_shown = |evidence: &Evidence| evidence.all_healthy() && evidence.lacking_benefit().is_none();
        let awaiting = self.status.awaiting.as_ref();
        awaiting.is_some_and(|awaiting| {
            awaiting.before != ApprovalGate::Promotion || self.evidence.as_ref().is_some_and(is_shown)
        })
    }

    /// Gives a rollout that waits for a person its whole deadline again, once a person said so after it was asked.
    pub(super) fn restart_clock(&mut self) {
        let (now, resumed) = (self.now, self.acts.resumed);
        let (Some(act), Some(rollout)) = (resumed, &mut self.status.rollout) else {
            return;
        };
        if rollout.escalated_at.as_ref().is_none_or(|at| at.0 >= act.created.0) {
            return;
        }
        let first = rollout.shadow_since.as_ref().or(rollout.first_weight_at.as_ref());
        rollout.stood_still_millis = first.map_or(0, |first| millis_between(first.0, now));
        (rollout.escalated_at, rollout.stands_still_since) = (None, None);
        let candidate = rollout.candidate.clone();
        if self.decisions.iter().all(|decision| decision.action != Action::Resumed) {
            let why = format!("{}; the rollout has its whole deadline again", told(act));
            self.decide(Action::Resumed, &candidate, why);
        }
    }

    /// Whether the deadline has passed, and what that means.
    pub(super) fn overdue(&mut self) -> Deadline {
        let Some(rollout) = self.status.rollout.clone() else {
            return Deadline::Open(Next::default());
        };
        let Some(at) = self.deadline(&rollout) else {
            return Deadline::Open(Next::default());
        };
        if self.now < at {
            // The deadline was raised, or its clock stood still.
            self.waits_on(false, None);
            return Deadline::Open(Next::default().at([at]));
        }
        let next = match self.spec.rollout.on_undecided {
            OnUndecided::RollBack => return Deadline::Ended(self.with_figures(self.undecided())),
            OnUndecided::Hold => {
                self.waits_on(true, None);
                if !rollout.overdue {
                    let why = self.with_figures(self.undecided());
                    let why = format!("{why}; the weight stays, as onUndecided says");
                    self.decide(Action::Overdue, &rollout.candidate, why);
                }
                Next::default()
            }
            // The promotion is decided, and only waits for pods.
            OnUndecided::Escalate if rollout.promoting => Next::default(),
            OnUndecided::Escalate => self.escalate(&rollout),
        };
        Deadline::Open(next)
    }

    /// Asks a person.
    fn escalate(&mut self, rollout: &RolloutStatus) -> Next {
        let asked_at = rollout.escalated_at.clone().unwrap_or_else(|| self.time());
        self.waits_on(false, Some(asked_at));
        let (why, ways) = (self.undecided(), self.ways_out(rollout));
        // The condition has no figures, because they change at every evaluation; the decision records them.
        let asked = Wait::new(WaitReason::AwaitingApproval, format!("{why}; {ways}"));
        if rollout.escalated_at.is_none() {
            let why = self.with_figures(why);
            self.decide(Action::Escalated, &rollout.candidate, format!("{why}; {ways}"));
        }
        Next::stalled(asked)
    }

    /// Notes how a rollout goes on after its deadline. The clock stops when a person is asked.
    fn waits_on(&mut self, overdue: bool, escalated_at: Option<Time>) {
        if let Some(rollout) = &mut self.status.rollout {
            rollout.overdue = overdue;
            if let Some(at) = &escalated_at {
                rollout.stands_still_since.get_or_insert(at.clone());
            }
            rollout.escalated_at = escalated_at;
        }
    }

    /// When the deadline passes; `None` before the shadow stage or the first weight.
    fn deadline(&self, rollout: &RolloutStatus) -> Option<Timestamp> {
        let first = rollout.shadow_since.as_ref().or(rollout.first_weight_at.as_ref())?;
        let allowed = self.model.rollout.deadline.saturating_add(self.stood_still(rollout));
        Some(first.0.checked_add(allowed).unwrap_or(Timestamp::MAX))
    }

    /// How long the clock of a rollout has stood still.
    pub(super) fn stood_still(&self, rollout: &RolloutStatus) -> SignedDuration {
        let since = rollout.stands_still_since.as_ref();
        let standing = since.map_or(0, |since| millis_between(since.0, self.now));
        SignedDuration::from_millis(rollout.stood_still_millis.saturating_add(standing))
    }

    /// Why there is no verdict yet, in a sentence.
    fn undecided(&self) -> String {
        let deadline = &self.spec.rollout.deadline;
        let open: Vec<_> = self.unhealthy().map(|guard| guard.name.as_str()).collect();
        let promoting = self.status.rollout.as_ref().is_some_and(|r| r.promoting);
        let lacking = self.evidence.as_ref().and_then(Evidence::lacking_benefit);
        match (open.as_slice(), lacking, &self.blind) {
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

    /// The guards that have not shown health.
    fn unhealthy(&self) -> impl Iterator<Item = &GuardReport> {
        let reports = self.evidence.iter().flat_map(|evidence| evidence.reports());
        reports.filter(|guard| guard.verdict != Verdict::Healthy)
    }

    /// Adds what was found of the benefit, if only the benefit is lacking.
    fn with_figures(&self, why: String) -> String {
        let lacking = |evidence: &&Evidence| evidence.lacking_benefit().is_some();
        let evidence = self.evidence.as_ref().filter(lacking);
        match evidence.and_then(Evidence::benefit_message) {
            Some((_, found)) if self.unhealthy().next().is_none() => format!("{why} ({found})"),
            _ => why,
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
