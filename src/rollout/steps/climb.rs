//! A rollout in progress: from the first weight to promotion, rollback, failure or being superseded.

use crate::api::{Action, Phase, RevisionRef, RolloutStatus};

use super::super::evaluation::Evaluation;
use super::super::evidence::Evidence;
use super::super::ladder::Goal;
use super::super::next::{Next, Wait};
use super::super::reason::WaitReason;
use super::begin::plan_digest;
use super::deadline::Deadline;
use super::gate::{Grant, Transition};

impl Evaluation<'_> {
    /// Takes the rollout one evaluation further.
    pub(in crate::rollout) fn climb(&mut self, rollout: &RolloutStatus) -> Next {
        let candidate = rollout.candidate.clone();
        if let Some(why) = self.unwanted(rollout) {
            return self.abandon(&candidate, Action::Superseded, &why);
        }
        // A rollout of a kind that this release does not know is held before this; see `newer`.
        let Some(kind) = rollout.kind.known() else {
            return Next::default();
        };
        let digest = plan_digest(self.spec, kind, &candidate);
        let changed = digest != rollout.plan_digest;
        if changed {
            self.change_plan(digest);
        }
        if let Some(harm) = self.harm(&candidate, Action::RolledBack) {
            self.reject(&candidate, &harm.guard, &harm.message);
            let next = self.abandon(&candidate, Action::RolledBack, &harm.message);
            self.rests_on(harm.drift);
            return next;
        }
        if let Some((action, why)) = self.taken_away() {
            return self.abandon(&candidate, action, &why);
        }
        if let Some(why) = self
            .falls_short(&candidate)
            .filter(|_| rollout.weight > 0 && self.has_turn())
        {
            return self.abandon(&candidate, Action::Demoted, &why);
        }
        if let Some(why) = self.capacity().tried(&candidate).and_then(|w| w.failure.clone()) {
            return self.give_up(&candidate, &why);
        }
        if rollout.weight > 0 && !self.capacity().by_replicas() && self.capacity().ready(&candidate) == 0 {
            return self.withdraw(&candidate);
        }
        // Lowering the candidate waits for nothing; for the rest a changed plan begins with the next evaluation.
        if changed {
            return Next::default();
        }
        if self.was_out_of_hand() && rollout.weight > 0 {
            return self.hold_afresh();
        }
        let lag = self.lag(rollout);
        self.restart_clock();
        if let Some(paused) = self.stands_still() {
            return Next::wait(paused);
        }
        let overdue = match self.overdue() {
            Deadline::Open(next) => next,
            Deadline::Ended(why) => {
                self.fail(&candidate, &why, 0);
                return self.abandon(&candidate, Action::Undecided, &why);
            }
        };
        if let Some(wait) = lag.or_else(|| self.hold(&candidate)) {
            return overdue.and(Next::wait(wait));
        }
        let next = if rollout.promoting {
            self.promote(rollout)
        } else {
            self.step(rollout)
        };
        // Once the promotion is decided, no person is asked any more.
        let asked = overdue
            .stalled
            .filter(|_| self.status.rollout.as_ref().is_none_or(|r| !r.promoting));
        Next {
            stalled: asked,
            ..overdue
        }
        .and(next)
    }

    /// Why the spec no longer asks for this candidate.
    fn unwanted(&self, rollout: &RolloutStatus) -> Option<String> {
        match self.ladder.goal(&self.status, self.spec.attempt, self.now) {
            Goal::Try { variant, .. } if self.ladder.variants[variant].revision == rollout.candidate => None,
            Goal::Try { variant, .. } => Some(format!(
                "the spec now asks for {}",
                self.ladder.variants[variant].revision.describe()
            )),
            Goal::MoveTo(to) => Some(format!("the spec now asks for {}", to.describe())),
            _ => Some("the spec no longer asks for it".to_owned()),
        }
    }

    /// Whether the model was suspended until now, or in a phase that this release does not know.
    fn was_out_of_hand(&self) -> bool {
        let phase = self.status.phase.as_ref();
        phase.is_some_and(|phase| phase.known().is_none_or(|known| known == Phase::Suspended))
    }

    /// Begins the hold afresh: a person had suspended the model and may have given the candidate any weight, so the
    /// time until now does not count for this step.
    fn hold_afresh(&mut self) -> Next {
        let now = self.time();
        if let Some(rollout) = &mut self.status.rollout {
            (rollout.weight_since, rollout.promoting) = (Some(now), false);
        }
        self.ask_again();
        self.begin_step();
        Next::default()
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
        let why = if self.seen.model.status.observed_generation == Some(self.seen.model.generation) {
            "the spec is the same, and this release of guardbit has other defaults for guards or steps"
        } else {
            "guards, steps, error rates or the comparer were edited"
        };
        let why = format!("{why}: the weight stays at {weight}%, evidence and hold start afresh");
        self.decide(Action::PlanChanged, &candidate, why);
        self.ask_again();
        self.forget();
    }

    /// A weight that is on record and that the route does not carry, because something came in between. Its hold and
    /// its evidence begin when the route carries it, because a step without requests has shown nothing.
    fn lag(&mut self, rollout: &RolloutStatus) -> Option<Wait> {
        let route = &self.seen.route;
        let carried = route.weights.get(&rollout.candidate).copied().unwrap_or(0);
        // Without a route there are no requests and thus no evidence; a replay has no route.
        if self.capacity().by_replicas() || !route.exists || carried >= rollout.weight {
            return None;
        }
        if self.seen.ledger.unwritten_since.is_some() && carried > 0 {
            // It has the requests that it had before, and is judged by them for as long as it takes.
            let why = format!("its {}% is not on record yet", rollout.weight);
            return Some(Wait::new(WaitReason::RecordPending, why));
        }
        let now = self.time();
        if let Some(rollout) = &mut self.status.rollout {
            rollout.weight_since = Some(now);
        }
        self.begin_step();
        Some(Wait::new(
            WaitReason::Applying,
            format!("the route is to give it {}%", rollout.weight),
        ))
    }

    /// What forbids a rise now, though it says nothing about the candidate.
    fn hold(&self, candidate: &RevisionRef) -> Option<Wait> {
        let capacity = self.capacity();
        let arms = [Some(candidate), self.status.stable.as_ref(), capacity.control()];
        for arm in arms.into_iter().flatten() {
            if let Some(disrupted) = self.disrupted(arm) {
                return Some(disrupted);
            }
            let Some(workload) = capacity.tried(arm) else {
                continue;
            };
            let name = arm.describe();
            if workload.image_ids.len() > 1 {
                let images = workload.image_ids.join(", ");
                return Some(Wait::new(
                    WaitReason::IdentityMismatch,
                    format!("the pods of {name} run different images: {images}"),
                ));
            }
        }
        let refused = self.seen.route.refused.as_ref();
        refused
            .map(|message| Wait::new(WaitReason::RouteRefused, message))
            .or_else(|| self.blind.clone())
    }

    /// One step: hold, evidence, capacity, then the next weight.
    fn step(&mut self, rollout: &RolloutStatus) -> Next {
        let steps = &self.spec.rollout.steps;
        let at = usize::try_from(rollout.step).unwrap_or(0).min(steps.len() - 1);
        let Some(since) = rollout.weight_since.as_ref().filter(|_| rollout.weight > 0) else {
            let (first, why) = (steps[0].weight, "the gates are open and its capacity is ready");
            return match self.shadow(rollout, first) {
                Some(next) => next,
                None => self.raise(0, first, why.to_owned()),
            };
        };
        let capacity = self.capacity();
        if capacity.by_replicas() && !capacity.can_carry(&rollout.candidate, rollout.weight) {
            return self.await_pods(rollout, rollout.weight);
        }
        let over = self.model.rollout.hold_ends(at, since.0);
        if self.now < over {
            let message = format!("{}% is held for {}", rollout.weight, steps[at].hold);
            return Next::wait(Wait::new(WaitReason::Holding, message)).at([over]);
        }
        if let Some(warm_at) = self.warm_at.filter(|at| *at > self.now) {
            let message = format!("the first {} of its pods are no evidence", self.spec.rollout.warm_up);
            return Next::wait(Wait::new(WaitReason::WarmingUp, message)).at([warm_at]);
        }
        let Some(evidence) = &self.evidence else {
            return Next::default();
        };
        if let Some(lacking) = evidence.step_waits_for() {
            return Next::wait(Wait::new(
                WaitReason::NeedsData,
                format!(
                    "guard {} has not seen enough of this step yet: it needs {}; status.guards tells what there is",
                    lacking.guard, lacking.needs
                ),
            ));
        }
        if let Some(suspect) = evidence.suspects().filter(|_| at + 1 < steps.len()) {
            return Next::wait(Wait::new(
                WaitReason::LeansToHarm,
                format!(
                    "guard {} leans towards harm; the weight stays until that is decided",
                    suspect.name
                ),
            ));
        }
        match steps.get(at + 1) {
            Some(next) => {
                let (weight, hold) = (rollout.weight, &steps[at].hold);
                let why = format!("{weight}% was held for {hold} and no guard found harm");
                self.raise(at + 1, next.weight, why)
            }
            None => self.decide_promotion(rollout),
        }
    }

    /// The shadow stage, before the `first` weight: pairs of answers are counted while no user is answered by the
    /// candidate. `None` where there is none, or it is over.
    fn shadow(&mut self, rollout: &RolloutStatus, first: i32) -> Option<Next> {
        let wanted = self
            .model
            .rollout
            .shadow
            .filter(|_| rollout.first_weight_at.is_none())?;
        // The answers of a new reference are compared with nothing.
        let pairs = self.evidence.as_ref().and_then(Evidence::pairs)?;
        if !rollout.is_shadow() {
            let capacity = self.capacity();
            if capacity.by_replicas() {
                // Pods for its first weight would get requests at once, so another one is asked.
                let ready = capacity.tried(&rollout.candidate).map_or(0, |own| own.ready);
                if ready == 0 {
                    return Some(self.await_pods(rollout, first));
                }
            } else if !capacity.can_carry(&rollout.candidate, first) {
                // The pods that are to get the first weight are asked.
                return Some(Next {
                    build_up: Some(first),
                    ..self.await_pods(rollout, first)
                });
            }
            let now = self.time();
            if let Some(rollout) = &mut self.status.rollout {
                rollout.shadow_since = Some(now);
            }
            self.begin_step();
        }
        (pairs < wanted).then(|| {
            let counted = format!("{pairs} of {wanted} pairs of answers were counted before its first weight");
            Next::wait(Wait::new(WaitReason::Shadowing, counted + self.no_comparer()))
        })
    }

    /// What keeps the comparer from asking, as the end of a sentence.
    fn no_comparer(&self) -> &'static str {
        if self.evidence.as_ref().is_some_and(Evidence::is_spent) {
            return "; the budget of the comparer is used up: raise spec.comparer.budget";
        }
        match (&self.spec.comparer, &self.seen.comparer) {
            (Some(_), None) => "; the comparer does not run yet",
            (Some(_), Some(comparer)) if !comparer.ready => "; the comparer is not ready, and its pod says why",
            _ => "",
        }
    }

    /// Raises the weight as soon as there is capacity for it.
    fn raise(&mut self, step: usize, weight: i32, why: String) -> Next {
        let Some(rollout) = self.status.rollout.clone() else {
            return Next::default();
        };
        // The gates were open when the rollout started, which may have been long ago.
        let grant = match self.may(Transition::Raise(step), &rollout.candidate) {
            Ok(grant) => grant,
            Err(closed) => return Next::closed(closed),
        };
        // While a person is asked the weight stays.
        if rollout.escalated_at.is_some() {
            return Next::default();
        }
        let capacity = self.capacity();
        if !capacity.by_replicas() {
            let control = capacity.control();
            let control_ready = control.is_none_or(|c| capacity.can_carry(c, capacity.holdout(weight)));
            if !capacity.can_carry(&rollout.candidate, weight) || !control_ready {
                return Next {
                    build_up: Some(weight),
                    ..self.await_pods(&rollout, weight)
                };
            }
        }
        self.grant_weight(grant, step, weight);
        let why = self.in_spite(format!("to {weight}%: {why}"));
        self.decide(Action::Raised, &rollout.candidate, why);
        self.begin_step();
        Next::default()
    }

    fn grant_weight(&mut self, _: Grant, step: usize, weight: i32) {
        let now = self.time();
        if let Some(rollout) = &mut self.status.rollout {
            rollout.step = i32::try_from(step).unwrap_or(0);
            rollout.weight = weight;
            rollout.weight_since = Some(now.clone());
            if rollout.shadow_since.is_none() && rollout.first_weight_at.is_none() {
                // The deadline counts from here, whatever people took before.
                (rollout.stood_still_millis, rollout.stands_still_since) = (0, None);
            }
            rollout.first_weight_at.get_or_insert(now);
        }
    }
}
