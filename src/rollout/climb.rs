//! A rollout in progress: from the first weight to promotion, rollback, failure or being superseded.

use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use crate::api::{
    Action, Phase, Proven, ProvenBy, QuantizedModelSpec, RetiringReason, RevisionRef, RolloutKind, RolloutStatus,
};
use crate::model::identity;
use crate::model::presets::guards;

use super::ladder::{Goal, is};
use super::look::{DRAIN, Look, Wait};
use super::plan::Order;

/// How often a candidate that could not start is tried again under one attempt.
const RETRIES: i32 = 3;

/// Digest of what a rollout is judged by. Weights stay when it changes, evidence starts afresh.
pub(super) fn plan_digest(spec: &QuantizedModelSpec, kind: RolloutKind, candidate: &RevisionRef) -> String {
    let rollout = &spec.rollout;
    let mut plan = json!({
        "kind": kind,
        "candidate": candidate,
        "steps": rollout.steps,
        "guards": guards(spec),
        "falseRollback": rollout.false_rollback,
        "falsePromotion": rollout.false_promotion,
    });
    // Left out where it is not asked for: an upgrade must not change the plan of a rollout in progress.
    if let Some(benefit) = &rollout.benefit {
        plan["benefit"] = json!(benefit);
    }
    identity::digest(&plan)
}

impl Look<'_> {
    /// Takes the rollout one look further.
    pub(super) fn climb(&mut self) {
        let Some(rollout) = self.status.rollout.clone() else {
            return;
        };
        let candidate = rollout.candidate.clone();
        if let Some(why) = self.unwanted(&rollout) {
            return self.abandon(&candidate, Action::Superseded, &why);
        }
        // One of a kind that this release does not know is held before this; see `newer`.
        let Some(kind) = rollout.kind.known() else {
            return;
        };
        let digest = plan_digest(self.spec, kind, &candidate);
        let changed = digest != rollout.plan_digest;
        if changed {
            self.change_plan(digest);
        }
        if let Some(harm) = self.harm(&candidate, Action::RolledBack) {
            self.reject(&candidate, &harm.guard, &harm.message);
            return self.abandon(&candidate, Action::RolledBack, &harm.message);
        }
        if let Some(why) = self.workload(&candidate).and_then(|w| w.failure.clone()) {
            self.fail(&candidate, &why, RETRIES);
            return self.abandon(&candidate, Action::Failed, &why);
        }
        if rollout.weight > 0 && !self.by_replicas() && self.ready(&candidate) == 0 {
            return self.withdraw(&candidate);
        }
        // What lowers the candidate waits for nothing; for the rest a changed plan begins with the next look.
        if changed {
            return;
        }
        if self.was_out_of_hand() && rollout.weight > 0 {
            return self.hold_afresh();
        }
        let lag = self.lag(&rollout);
        if self.stands_still() {
            return;
        }
        if self.overdue() {
            return;
        }
        if lag.is_some() {
            self.wait = lag;
            return;
        }
        if let Some(wait) = self.hold(&candidate) {
            self.wait = Some(wait);
            return;
        }
        if rollout.promoting {
            self.promote()
        } else {
            self.step(&rollout)
        }
    }

    /// Why the spec no longer asks for this candidate.
    fn unwanted(&self, rollout: &RolloutStatus) -> Option<String> {
        match self.ladder.goal(&self.status, self.spec.attempt, self.now) {
            Goal::Try { rung, .. } if self.ladder.rungs[rung].revision == rollout.candidate => None,
            Goal::Try { rung, .. } => Some(format!(
                "the spec now asks for {}",
                self.ladder.rungs[rung].revision.describe()
            )),
            Goal::MoveTo(to) => Some(format!("the spec now asks for {}", to.describe())),
            _ => Some("the spec no longer asks for it".to_owned()),
        }
    }

    /// The candidate goes to 0 now; its pods drain.
    pub(super) fn abandon(&mut self, candidate: &RevisionRef, action: Action, why: &str) {
        let weight = self.status.rollout.take().map_or(0, |rollout| rollout.weight);
        self.order = Order::LowerFirst;
        // Without one ready endpoint its requests would only fail there: it keeps what it has, and gets no more.
        if weight == 0 || self.has_fallback() || self.ready(candidate) == 0 {
            self.drain(candidate);
        } else {
            self.retire(candidate, RetiringReason::Handover, self.now + DRAIN);
            if let Some(leaving) = self.status.retiring.last_mut() {
                leaving.keeps = Some(weight);
            }
        }
        self.decide(action, candidate, why);
        self.forget();
    }

    /// Whether a person had the wheel until now, or a newer release did what this one has no word for.
    fn was_out_of_hand(&self) -> bool {
        let phase = self.status.phase.as_ref();
        phase.is_some_and(|phase| phase.known().is_none_or(|known| known == Phase::Suspended))
    }

    /// A person had the wheel and may have given the candidate any weight: what held meanwhile was not this step.
    fn hold_afresh(&mut self) {
        let now = self.time();
        if let Some(rollout) = &mut self.status.rollout {
            (rollout.weight_since, rollout.promoting) = (Some(now), false);
        }
        self.begin_step();
    }

    fn change_plan(&mut self, digest: String) {
        let now = self.time();
        let steps = &self.spec.rollout.steps;
        let Some(rollout) = &mut self.status.rollout else {
            return;
        };
        rollout.plan_digest = digest;
        rollout.forecast = None;
        rollout.promoting = false;
        rollout.weight_since = Some(now);
        // The highest step that the weight has reached.
        let reached = steps.iter().rposition(|s| s.weight <= rollout.weight).unwrap_or(0);
        rollout.step = i32::try_from(reached).unwrap_or(0);
        let (candidate, weight) = (rollout.candidate.clone(), rollout.weight);
        self.decide(Action::PlanChanged, &candidate, format!("guards, steps or error rates were edited: the weight stays at {weight}%, evidence and hold start afresh"));
        self.forget();
    }

    /// All endpoints of the candidate are gone: its share goes to stable until they are back, then it starts at the first
    /// step again.
    fn withdraw(&mut self, candidate: &RevisionRef) {
        let why = match self.workload(candidate).and_then(|w| w.disruption.clone()) {
            Some(disruption) => {
                format!("it has no ready endpoint ({disruption}): its share goes to stable until it is back")
            }
            None => "it has no ready endpoint: its share goes to stable until it is back".to_owned(),
        };
        if let Some(rollout) = &mut self.status.rollout {
            (rollout.weight, rollout.step, rollout.promoting, rollout.weight_since) = (0, 0, false, None);
        }
        self.order = Order::LowerFirst;
        self.decide(Action::Withdrawn, candidate, why);
        self.begin_step();
    }

    /// A weight that is on record and that the route does not carry, because something came in between. Its hold and its
    /// evidence begin when the route does: a step that nobody was sent to has shown nothing.
    fn lag(&mut self, rollout: &RolloutStatus) -> Option<Wait> {
        let route = &self.seen.route;
        let carried = route.weights.get(&rollout.candidate).copied().unwrap_or(0);
        // Without a route there are no requests, and without requests there is no evidence; a replay has none.
        if self.by_replicas() || !route.exists || carried >= rollout.weight {
            return None;
        }
        let now = self.time();
        if let Some(rollout) = &mut self.status.rollout {
            rollout.weight_since = Some(now);
        }
        self.begin_step();
        Some(Wait {
            reason: "Applying",
            message: format!("the HTTPRoute is to give it {}%", rollout.weight),
        })
    }

    /// What forbids a rise now, though it says nothing of the candidate.
    fn hold(&mut self, candidate: &RevisionRef) -> Option<Wait> {
        let arms: Vec<_> = [Some(candidate), self.status.stable.as_ref(), self.control()]
            .into_iter()
            .flatten()
            .collect();
        for arm in &arms {
            let Some(workload) = self.workload(arm) else { continue };
            if let Some(message) = &workload.disruption {
                return Some(Wait {
                    reason: "Disrupted",
                    message: format!(
                        "a pod of {} is disrupted ({message}): nothing is judged",
                        arm.describe()
                    ),
                });
            }
            if workload.image_ids.len() > 1 {
                return Some(Wait {
                    reason: "IdentityMismatch",
                    message: format!(
                        "the pods of {} run different images: {}",
                        arm.describe(),
                        workload.image_ids.join(", ")
                    ),
                });
            }
        }
        if let Some(message) = &self.seen.route.refused {
            return Some(Wait {
                reason: "RouteRefused",
                message: message.clone(),
            });
        }
        self.blind.clone()
    }

    /// One step: hold, evidence, capacity, then the next weight.
    fn step(&mut self, rollout: &RolloutStatus) {
        let steps = self.spec.rollout.steps.clone();
        let at = usize::try_from(rollout.step).unwrap_or(0).min(steps.len() - 1);
        let Some(since) = rollout.weight_since.as_ref().filter(|_| rollout.weight > 0) else {
            // They were open when it was started, which may have been long ago.
            if let Some(closed) = self.closed_gate(&rollout.candidate) {
                self.stalled = Some(closed);
                return;
            }
            return self.raise(
                0,
                steps[0].weight,
                "the gates are open and its capacity is ready".to_owned(),
            );
        };
        if self.by_replicas() && !self.can_carry(&rollout.candidate, rollout.weight) {
            return self.await_pods(rollout, rollout.weight);
        }
        let over = since.0 + self.duration(&steps[at].hold);
        if self.now < over {
            self.alarms.push(over);
            self.wait = Some(Wait {
                reason: "Holding",
                message: format!("{}% is held for {}", rollout.weight, steps[at].hold),
            });
            return;
        }
        if let Some(cold) = self.warming_up() {
            self.wait = Some(cold);
            return;
        }
        let Some((listened, _)) = self.trial() else { return };
        if let [first, ..] = listened.running.suite.step_waits_for(&listened.config).as_slice() {
            let guard = first.split(' ').next().unwrap_or_default();
            self.wait = Some(Wait {
                reason: "NeedsData",
                message: format!("guard {guard} has not seen enough requests of this step yet; see status.guards"),
            });
            return;
        }
        if let Some(next) = steps.get(at + 1) {
            let why = format!(
                "{}% was held for {} and no guard found harm",
                rollout.weight, steps[at].hold
            );
            return self.raise(at + 1, next.weight, why);
        }
        if !listened.running.suite.all_healthy(&listened.config) {
            self.wait = Some(Wait {
                reason: "NotYetHealthy",
                message: "the last step is held until every guard has shown health; see status.guards".to_owned(),
            });
            return;
        }
        if let Some(wait) = self.not_yet_better() {
            self.wait = Some(wait);
            return;
        }
        let mut shown: Vec<_> = self.status.guards.iter().map(|g| g.message.clone()).collect();
        shown.extend(
            listened
                .benefit_message()
                .map(|(_, message)| format!("better in {message}")),
        );
        if let Some(rollout) = &mut self.status.rollout {
            (rollout.promoting, rollout.escalated_at) = (true, None);
        }
        self.stalled = None;
        self.decide(
            Action::Promoting,
            &rollout.candidate,
            format!("every guard is healthy: {}", shown.join("; ")),
        );
    }

    /// Raises the weight as soon as there is capacity for it.
    fn raise(&mut self, step: usize, weight: i32, why: String) {
        // While a person is asked the weight stays.
        let Some(rollout) = self.status.rollout.clone().filter(|r| r.escalated_at.is_none()) else {
            return;
        };
        let control = self.control().cloned();
        let control_ready = control.is_none_or(|c| self.can_carry(&c, self.holdout(weight)));
        if !self.by_replicas() {
            self.build_up = Some(weight);
            if !self.can_carry(&rollout.candidate, weight) || !control_ready {
                return self.await_pods(&rollout, weight);
            }
        }
        let now = self.time();
        if let Some(rollout) = &mut self.status.rollout {
            rollout.step = i32::try_from(step).unwrap_or(0);
            rollout.weight = weight;
            rollout.weight_since = Some(now.clone());
            rollout.first_weight_at.get_or_insert(now);
        }
        self.decide(Action::Raised, &rollout.candidate, format!("to {weight}%: {why}"));
        self.begin_step();
    }

    /// Waits for pods, until they have been impossible to schedule for too long.
    fn await_pods(&mut self, rollout: &RolloutStatus, weight: i32) {
        let Some(message) = self.workload(&rollout.candidate).and_then(|w| w.unschedulable.clone()) else {
            self.wait = Some(Wait {
                reason: "AwaitingCapacity",
                message: format!("{} is brought up for {weight}%", rollout.candidate.describe()),
            });
            return;
        };
        let since = rollout.weight_since.as_ref().map_or(rollout.started_at.0, |since| {
            let at = usize::try_from(rollout.step).unwrap_or(0);
            since.0
                + self
                    .spec
                    .rollout
                    .steps
                    .get(at)
                    .map_or(SignedDuration::ZERO, |s| self.duration(&s.hold))
        });
        let at = since + self.duration(&self.spec.rollout.schedule_deadline);
        if self.now >= at {
            let why = format!(
                "it could not be scheduled within {}: {message}",
                self.spec.rollout.schedule_deadline
            );
            self.fail(&rollout.candidate, &why, RETRIES);
            return self.abandon(&rollout.candidate, Action::Failed, &why);
        }
        self.alarms.push(at);
        self.wait = Some(Wait {
            reason: "Unschedulable",
            message,
        });
    }

    /// Weight that capacity is built up for.
    pub(super) fn next_weight(&self, rollout: &RolloutStatus) -> i32 {
        match self.build_up {
            Some(weight) => weight.max(rollout.weight),
            None if rollout.weight == 0 && !self.by_replicas() => {
                self.spec.rollout.steps.first().map_or(0, |s| s.weight)
            }
            None => rollout.weight,
        }
    }

    /// What the candidate will carry once promoted: all traffic, but for a new reference of an unchanged model, which
    /// only takes over the holdout.
    pub(super) fn promoted_weight(&self) -> i32 {
        if self.takes_over() {
            100
        } else {
            self.spec.rollout.holdout.max(1)
        }
    }

    fn takes_over(&self) -> bool {
        let new_reference = self
            .status
            .rollout
            .as_ref()
            .is_some_and(|r| r.kind == RolloutKind::NewReference);
        let same_weights = self.status.reference_weights.as_ref() == Some(&self.ladder.reference().weights_digest);
        !new_reference || self.status.stable == self.status.reference || !same_weights
    }

    /// Makes the candidate stable (or the reference) as soon as it has the capacity.
    fn promote(&mut self) {
        let Some(rollout) = self.status.rollout.clone() else {
            return;
        };
        if !self.can_carry(&rollout.candidate, self.promoted_weight()) {
            return self.await_pods(&rollout, self.promoted_weight());
        }
        let (candidate, takes_over) = (rollout.candidate, self.takes_over());
        let why = match self
            .status
            .decisions
            .iter()
            .rev()
            .find(|d| d.action == Action::Promoting)
        {
            Some(decision) => decision.why.clone(),
            None => "every guard is healthy".to_owned(),
        };
        let warm = self.now + self.duration(&self.spec.rollout.keep_warm).max(DRAIN);
        self.status.rollout = None;
        let mut leaving = Vec::new();
        if rollout.kind == RolloutKind::NewReference {
            leaving.extend(self.status.reference.replace(candidate.clone()));
            self.status.reference_weights = Some(self.ladder.reference().weights_digest.clone());
        }
        if takes_over {
            leaving.extend(self.status.stable.replace(candidate.clone()));
        }
        leaving.dedup();
        leaving.retain(|old| Some(old) != self.status.stable.as_ref());
        for old in &leaving {
            self.retire(old, RetiringReason::KeepWarm, warm);
        }
        self.unretire(&candidate);
        self.status.failed.retain(|f| !is(&candidate, &f.variant, &f.revision));
        self.prove(&candidate, ProvenBy::Promotion);
        self.decide(Action::Promoted, &candidate, why);
        self.forget();
    }

    pub(super) fn prove(&mut self, revision: &RevisionRef, by: ProvenBy) {
        self.status.proven.retain(|p| !is(revision, &p.variant, &p.revision));
        self.status.proven.push(Proven {
            variant: revision.variant.clone(),
            revision: revision.revision.clone(),
            at: self.time(),
            by: by.into(),
        });
    }

    /// A duration of the spec; the spec was checked before.
    pub(super) fn duration(&self, duration: &crate::api::Duration) -> SignedDuration {
        SignedDuration::from_millis(duration.millis().unwrap_or(0))
    }
}
