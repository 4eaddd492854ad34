//! How a candidate loses its weight, because it is given up or all of its endpoints are gone. Lowering waits for
//! nothing.

use k8s_openapi::jiff::Timestamp;

use crate::api::{Action, RetiringReason, RevisionRef, RolloutStatus};
use crate::model::identity::Purpose;

use super::super::capacity::DRAIN;
use super::super::evaluation::Evaluation;
use super::super::next::{Next, Wait};
use super::super::plan::Order;
use super::super::reason::WaitReason;
use super::super::trial::purpose_of;

/// How often a candidate that could not start is tried again under one attempt.
const RETRIES: i32 = 3;

/// How often all endpoints of a candidate may go, among the decisions that status keeps, before it is given up: its traffic is more
/// than it can take, and users must not be sent to and fro for as long as it comes back.
const MOST_WITHDRAWN: usize = 3;

/// Why such a candidate is given up.
const ENDPOINTS_GO: &str = "none of its pods was ready, for the third time since it got traffic: look at its readiness probe and its resources";

impl Evaluation<'_> {
    /// The candidate could not start; it is tried again later.
    pub(super) fn give_up(&mut self, candidate: &RevisionRef, why: &str) -> Next {
        self.fail(candidate, why, RETRIES);
        self.abandon(candidate, Action::Failed, why)
    }

    /// The candidate's weight goes to 0 now, and its pods drain.
    pub(super) fn abandon(&mut self, candidate: &RevisionRef, action: Action, why: &str) -> Next {
        let weight = self.status.rollout.take().map_or(0, |rollout| rollout.weight);
        self.order = Order::LowerFirst;
        // A fallback without a ready endpoint would only fail the candidate's requests: it keeps what it has, and gets
        // no more.
        let capacity = self.capacity();
        if weight == 0 || capacity.has_fallback() || capacity.ready(candidate) == 0 {
            // One that never had a Deployment has nothing to drain.
            if weight > 0 || capacity.workload(candidate).is_some() {
                self.drain(candidate);
            }
        } else {
            self.retire(candidate, RetiringReason::Handover, self.now + DRAIN);
            if let Some(leaving) = self.status.retiring.last_mut() {
                leaving.keeps = Some(weight);
            }
        }
        self.decide(action, candidate, why);
        self.forget();
        Next::default()
    }

    /// All endpoints of the candidate are gone: its share goes to stable until they are back, then it starts at the
    /// first step again. One whose endpoints go again and again, and not because pods are evicted, is given up.
    pub(super) fn withdraw(&mut self, candidate: &RevisionRef) -> Next {
        let why = match self.capacity().workload(candidate).and_then(|w| w.disruption.clone()) {
            Some(disruption) => {
                format!("it has no ready endpoint ({disruption}): its share goes to stable until it is back")
            }
            None if self.times_withdrawn(candidate) + 1 >= MOST_WITHDRAWN => {
                return self.give_up(candidate, ENDPOINTS_GO);
            }
            None => "it has no ready endpoint: its share goes to stable until it is back".to_owned(),
        };
        if let Some(rollout) = &mut self.status.rollout {
            (rollout.weight, rollout.step, rollout.promoting, rollout.weight_since) = (0, 0, false, None);
        }
        self.ask_later();
        self.order = Order::LowerFirst;
        self.decide(Action::Withdrawn, candidate, why);
        self.begin_step();
        Next::default()
    }

    /// How often the candidate was withdrawn in this rollout, among the decisions that status keeps.
    fn times_withdrawn(&self, candidate: &RevisionRef) -> usize {
        let Some(rollout) = &self.status.rollout else { return 0 };
        let decisions = self.status.decisions.iter().filter(|decision| {
            decision.action == Action::Withdrawn
                && decision.revision == candidate.revision
                && decision.time.0 >= rollout.started_at.0
        });
        decisions.count()
    }

    /// Waits for pods, until they have been impossible to schedule for too long, or, before its first weight, not ready
    /// for too long: however slowly a model loads, `scheduleDeadline` alone decides. A candidate that serves has until the
    /// deadline of the rollout.
    pub(super) fn await_pods(&mut self, rollout: &RolloutStatus, weight: i32) -> Next {
        let workload = self.capacity().tried(&rollout.candidate);
        // The pod of a shadow stage is for no weight.
        let goal = match purpose_of(self.spec, &self.status, &rollout.candidate) {
            Purpose::Shadow => "its shadow stage".to_owned(),
            Purpose::Serving | Purpose::Pinned => format!("{weight}%"),
        };
        let unschedulable = workload.and_then(|w| w.unschedulable.clone());
        let refused = workload.and_then(|w| w.refused.clone());
        let settings = &self.model.rollout;
        let since = match &rollout.weight_since {
            Some(since) => settings.hold_ends(usize::try_from(rollout.step).unwrap_or(0), since.0),
            // Nobody takes its pods away while people are asked.
            None => rollout
                .started_at
                .0
                .checked_add(self.stood_still(rollout))
                .unwrap_or(Timestamp::MAX),
        };
        let at = since.checked_add(settings.schedule_deadline).unwrap_or(Timestamp::MAX);
        let late = self.now >= at;
        let allowed = &self.spec.rollout.schedule_deadline;
        if let Some(message) = refused {
            // Whoever refuses them may take them again, so a candidate that serves keeps what it has.
            if late && rollout.weight_since.is_none() {
                let why = format!("the API server created none of its pods within {allowed}: {message}");
                return self.give_up(&rollout.candidate, &why);
            }
            let wait = Next::wait(Wait::new(WaitReason::PodsRefused, message));
            return if late { wait } else { wait.at([at]) };
        }
        match unschedulable {
            Some(message) if late => {
                let why = format!("it could not be scheduled within {allowed}: {message}");
                self.give_up(&rollout.candidate, &why)
            }
            Some(message) => Next::wait(Wait::new(WaitReason::Unschedulable, message)).at([at]),
            None if late && rollout.weight_since.is_none() => {
                let why = format!("its pods for {goal} were not ready within {allowed}");
                self.give_up(&rollout.candidate, &why)
            }
            None => {
                let message = format!("{} is brought up for {goal}", rollout.candidate.describe());
                let wait = Next::wait(Wait::new(WaitReason::AwaitingCapacity, message));
                if late { wait } else { wait.at([at]) }
            }
        }
    }
}
