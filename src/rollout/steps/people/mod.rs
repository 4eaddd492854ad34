//! What people do to a model as a whole: they suspend it, pause it, set weights on its route, delete it. Each goes on record
//! once, in the evaluation that first sees it; the status tells what is on record already.
//!
//! To put it on record moves no weight and holds up nothing that does. It comes first in an evaluation, so that harm which is
//! found in the same one is the last decision. What their acts bring about is in `acts`.

mod acts;
mod change;

use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use crate::api::{Action, Phase, RevisionRef, SplitBy};
use crate::model::identity;

use super::super::evaluation::{Evaluation, decided, keep};
use super::super::observation::{ModelSeen, RouteSeen, Seen};
use super::super::plan::Plan;

pub(super) use acts::told;

/// Weights that are set again within this time of what is on record of them are not put there again: whoever fights over a route
/// with guardbit would fill records for as long as the fight lasts.
const AGAIN: SignedDuration = SignedDuration::from_mins(60);

/// Weights by revision.
type Weights = BTreeMap<RevisionRef, i32>;

impl Evaluation<'_> {
    /// Puts on record what people have done since the last evaluation.
    pub(in crate::rollout) fn note_people(&mut self) {
        let goes_on = is_suspended(&self.seen.model);
        if goes_on {
            self.note(
                Action::Unsuspended,
                &format!("spec.suspend is taken away{}", carries(self.seen)),
            );
        }
        self.note_weights(goes_on);
        // What policies ask and what people want by their acts comes from watches.
        if !self.is_in_the_dark() {
            self.note_policies();
            self.note_resumed();
            self.note_pause();
        }
    }

    /// Puts on record that a policy selects the model, or that none does any more. A model that is new begins under its policies.
    fn note_policies(&mut self) {
        let governed = self.seen.governance.governed();
        let was = self.status.policy.is_some();
        if was == governed.is_some() || (self.status.stable.is_none() && !was) {
            return;
        }
        match governed {
            Some(governed) => {
                let from = governed.from.join(", ");
                self.note(
                    Action::Governed,
                    &format!("from now on {from} says what is asked of it"),
                );
            }
            None => {
                let why = "no policy selects it any more: a rollout in progress keeps the rules that it began under";
                self.note(Action::Ungoverned, why);
            }
        }
    }

    /// Puts weights on record that somebody set on the route while guardbit is in control. A weight that was decided and is
    /// not written yet is none of these: the route says itself which weights were written last. `told` is whether the
    /// weights are on record for another reason.
    fn note_weights(&mut self, told: bool) {
        let seen = self.seen;
        let route = &seen.route;
        let Some(written) = &route.changed_from else {
            if !self.was_set_lately() {
                self.status.hand_set = None;
            }
            return;
        };
        let now = digest(route);
        if self.status.hand_set.as_ref() != Some(&now) && !told {
            let written: Weights = written.iter().cloned().collect();
            let (found, written) = (shares(&route.weights, route.elsewhere), shares(&written, 0));
            let why =
                format!("somebody set weights on the route: it gives {found}, and guardbit had written {written}");
            self.note(Action::HandSet, &why);
        }
        self.status.hand_set = Some(now);
    }

    /// Whether weights that somebody set went on record a short time ago.
    fn was_set_lately(&self) -> bool {
        let mut decisions = self.status.decisions.iter().rev();
        let last = decisions.find(|decision| decision.action == Action::HandSet);
        last.is_some_and(|decision| self.now.duration_since(decision.time.0) < AGAIN)
    }

    /// Puts on record that the model was paused, in the spec or by an act, or that it is so no more.
    fn note_pause(&mut self) {
        let by_act = self.paused_by().filter(|_| !self.spec.paused);
        let paused = self.spec.paused || by_act.is_some();
        let mut recorded = self
            .status
            .decisions
            .iter()
            .rev()
            .filter_map(|decision| decision.action.known());
        let last = recorded.find(|action| matches!(action, Action::Paused | Action::Unpaused | Action::Resumed));
        if paused == (last == Some(Action::Paused)) {
            return;
        }
        let mut kept = self.status.decisions.iter().rev();
        let begun = kept.find(|decision| decision.action == Action::Paused);
        let lapsed = begun.and_then(|decision| self.lapsed_pause(decision.time.0));
        let cause = match (paused, by_act, lapsed) {
            (true, Some(act), _) => act,
            (true, None, _) => "spec.paused is set".to_owned(),
            (false, _, Some(act)) => format!("{act} has lapsed"),
            (false, _, None) => "spec.paused is taken away".to_owned(),
        };
        let weight = self.status.rollout.as_ref().map(|rollout| rollout.weight);
        let (action, why) = match (paused, weight) {
            (true, Some(weight)) => (
                Action::Paused,
                format!("{cause}: the weight stays at {weight}%, a rollback still works"),
            ),
            (true, None) => (
                Action::Paused,
                format!("{cause}: no rollout begins, a fallback still works"),
            ),
            (false, Some(weight)) => (Action::Unpaused, format!("{cause}: the rollout goes on from {weight}%")),
            (false, None) => (Action::Unpaused, format!("{cause}: rollouts begin again")),
        };
        self.note(action, &why);
    }

    fn note(&mut self, action: Action, why: &str) {
        let seen = self.seen;
        if let Some(of) = concerned(&seen.model) {
            self.decide(action, of, why);
        }
    }
}

/// Puts on record what people did, in a plan that leaves everything as it is.
pub(super) fn put_on_record(plan: &mut Plan, seen: &Seen<'_>, action: Action, why: &str) {
    let Some(of) = concerned(&seen.model) else { return };
    let (decision, event) = decided(seen.now, action, of, why);
    keep(&mut plan.status.decisions, decision.clone());
    plan.decisions.push(decision);
    plan.events.push(event);
}

/// Whether it is on record that the model is suspended.
pub(super) fn is_suspended(model: &ModelSeen) -> bool {
    model
        .status
        .phase
        .as_ref()
        .is_some_and(|phase| *phase == Phase::Suspended)
}

/// The revision that a decision about the whole model names: the one on trial, else stable, else the reference. `None` for a
/// model that cannot be read, of which nothing serves that is known.
fn concerned(model: &ModelSeen) -> Option<&RevisionRef> {
    let rollout = model.status.rollout.as_ref();
    let candidate = rollout.map(|rollout| &rollout.candidate);
    candidate.or(model.status.stable.as_ref()).or(model.revisions.first())
}

/// What the route carries, as the end of a sentence; and what was decided, where that is something else. One plain Service has
/// no weights.
pub(super) fn carries(seen: &Seen<'_>) -> String {
    let (model, route) = (&seen.model, &seen.route);
    if model.spec.traffic.split_by() == SplitBy::Replicas {
        return String::new();
    }
    if !route.exists {
        return "; there is no route".to_owned();
    }
    let arms = model.status.arms.iter().filter(|arm| arm.weight > 0).map(|arm| {
        let of = RevisionRef {
            variant: arm.variant.clone(),
            revision: arm.revision.clone(),
        };
        (of, arm.weight)
    });
    let decided: Weights = arms.collect();
    let mut carried = route.weights.clone();
    carried.retain(|_, weight| *weight > 0);
    let found = shares(&carried, route.elsewhere);
    if decided.is_empty() || (carried == decided && route.elsewhere == 0) {
        format!("; the route gives {found}")
    } else {
        format!("; the route gives {found}, where {} was decided", shares(&decided, 0))
    }
}

/// Digest of the weights that a route carries.
fn digest(route: &RouteSeen) -> String {
    let weights: Vec<_> = route.weights.iter().collect();
    identity::digest(&json!({"weights": weights, "elsewhere": route.elsewhere}))
}

/// Weights in words; `elsewhere` is what goes to Services of no arm. Weights that somebody set need not sum to 100.
fn shares(weights: &Weights, elsewhere: i32) -> String {
    let all = weights
        .values()
        .fold(elsewhere, |all, weight| all.saturating_add(*weight));
    let share = |weight: i32| {
        if all == 100 {
            format!("{weight}%")
        } else {
            format!("{weight} of {all}")
        }
    };
    let some = weights.iter().filter(|(_, weight)| **weight > 0);
    let arms = some.map(|(of, weight)| format!("{} {}", of.describe(), share(*weight)));
    let elsewhere = (elsewhere > 0).then(|| format!("other Services {}", share(elsewhere)));
    let told: Vec<_> = arms.chain(elsewhere).collect();
    if told.is_empty() {
        "no weight to any arm".to_owned()
    } else {
        told.join(", ")
    }
}
