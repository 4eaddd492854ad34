//! Beginnings and ends: the first install, recovery, a spec that cannot be used, suspension, deletion.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::validate::SpecProblem;
use crate::api::{
    Action, DeletionPolicy, Phase, ProvenBy, Rejected, RevisionRef, RolloutKind, RolloutStatus, condition,
};
use crate::model::identity::Purpose;

use super::climb::plan_digest;
use super::conditions::{Truth, set};
use super::ladder::Goal;
use super::look::{DRAIN, Look, Wait};
use super::observation::Observation;
use super::plan::{Event, Order, Plan, Reason, Record, Scope};

impl Look<'_> {
    /// The first install: the bootstrap variant takes all traffic as soon as it is ready, for there is nothing to compare
    /// it with.
    pub(super) fn bootstrap(&mut self) {
        let at = self.ladder.bootstrap;
        let first = self.ladder.rungs[at].revision.clone();
        if let Some(closed) = self.closed_gate(&first) {
            self.stalled = Some(closed);
            return;
        }
        if self.ready(&first) == 0 {
            let workload = self.workload(&first);
            let trouble = workload.and_then(|w| w.failure.clone().or_else(|| w.unschedulable.clone()));
            self.wait = Some(match trouble {
                Some(message) => Wait {
                    reason: "CannotStart",
                    message: format!("{}: {message}", first.describe()),
                },
                None => Wait {
                    reason: "Bootstrapping",
                    message: format!("{} is brought up to take all traffic", first.describe()),
                },
            });
            return;
        }
        self.status.stable = Some(first.clone());
        self.adopt_reference(self.ladder.reference().revision.clone());
        self.prove(&first, ProvenBy::Declaration);
        self.decide(
            Action::Bootstrapped,
            &first,
            "the first install: there is nothing to compare it with",
        );
    }

    fn adopt_reference(&mut self, reference: RevisionRef) {
        let known = self.ladder.rungs.iter().find(|rung| rung.revision == reference);
        self.status.reference_weights = known.map(|rung| rung.weights_digest.clone());
        self.status.reference = Some(reference);
    }

    /// Rebuilds a lost status from what the owned objects say; whether there was anything. No weight changes.
    pub(super) fn recover(&mut self) -> bool {
        let serving: Vec<_> = self
            .seen
            .workloads
            .iter()
            .filter(|(key, _)| key.purpose == Purpose::Serving)
            .collect();
        let weight = |revision: &RevisionRef| self.seen.route.weights.get(revision).copied().unwrap_or(0);
        let marked = serving
            .iter()
            .find(|(_, w)| w.marks.stable)
            .map(|(key, _)| key.revision.clone());
        let heaviest = || {
            serving
                .iter()
                .map(|(key, _)| &key.revision)
                .filter(|r| weight(r) > 0)
                .max_by_key(|r| weight(r))
                .cloned()
        };
        let Some(stable) = marked.or_else(heaviest) else {
            return false;
        };
        let reference = serving
            .iter()
            .find(|(_, w)| w.marks.reference)
            .map(|(key, _)| key.revision.clone());
        let reference = reference.unwrap_or_else(|| stable.clone());
        let on_trial = serving
            .iter()
            .map(|(key, _)| key.revision.clone())
            .find(|r| *r != stable && *r != reference && weight(r) > 0)
            .map(|candidate| (candidate.clone(), weight(&candidate)));
        let proven: Vec<_> = serving
            .iter()
            .filter(|(_, w)| w.marks.proven)
            .map(|(key, _)| key.revision.clone())
            .collect();
        let rejected: Vec<_> = serving
            .iter()
            .filter_map(|(key, w)| {
                let (guard, reason) = w.marks.rejected.clone()?;
                let RevisionRef { variant, revision } = key.revision.clone();
                Some(Rejected {
                    variant,
                    revision,
                    guard,
                    reason,
                    at: self.time(),
                })
            })
            .collect();
        self.status.stable = Some(stable.clone());
        self.adopt_reference(reference);
        self.status.rejected = rejected;
        for revision in &proven {
            self.prove(revision, ProvenBy::Promotion);
        }
        self.decide(
            Action::Recovered,
            &stable,
            "the status was lost: state was rebuilt from the owned objects, no weight changes",
        );
        if let Some((candidate, weight)) = on_trial {
            self.resume(candidate, weight);
        }
        true
    }

    /// A candidate that carries traffic although nothing is known of its rollout.
    fn resume(&mut self, candidate: RevisionRef, weight: i32) {
        let kind = match self.ladder.goal(&self.status, self.spec.attempt, self.now) {
            Goal::Try { kind, .. } => kind,
            _ => RolloutKind::Climb,
        };
        let reached = self
            .spec
            .rollout
            .steps
            .iter()
            .rposition(|s| s.weight <= weight)
            .unwrap_or(0);
        self.status.rollout = Some(RolloutStatus {
            kind: kind.into(),
            plan_digest: plan_digest(self.spec, kind, &candidate),
            candidate,
            started_at: self.time(),
            step: i32::try_from(reached).unwrap_or(0),
            weight,
            weight_since: Some(self.time()),
            first_weight_at: Some(self.time()),
            stood_still_millis: 0,
            stands_still_since: None,
            promoting: false,
            overdue: false,
            escalated_at: None,
            forecast: None,
        });
        self.forget();
    }
}

/// The spec cannot be used: everything stays as it is, and status says which field to mend.
pub(super) fn stall(seen: &Observation, problems: &[SpecProblem]) -> Plan {
    let message = match problems {
        [] => "spec.variants: is empty; list the precision variants, the reference first".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    };
    let mut plan = untouched(seen);
    let known = seen
        .model
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == condition::STALLED && c.message == message);
    if !known {
        plan.events.push(Event {
            reason: Reason::InvalidSpec,
            note: message.clone(),
        });
    }
    plan.status.phase = plan.status.phase.or(Some(Phase::Pending.into()));
    let conditions = &mut plan.status.conditions;
    for (kind, truth) in [
        (condition::READY, Truth::False),
        (condition::STALLED, Truth::True),
        (condition::RECONCILING, Truth::False),
    ] {
        set(conditions, seen, kind, truth, "InvalidSpec", &message);
    }
    finish_untouched(seen, plan)
}

/// A person has the wheel: nothing is written but this.
pub(super) fn suspend(seen: &Observation) -> Plan {
    let mut plan = untouched(seen);
    plan.status.phase = Some(Phase::Suspended.into());
    let message = "spec.suspend is set: guardbit leaves everything as it is";
    let conditions = &mut plan.status.conditions;
    for (kind, truth) in [
        (condition::READY, Truth::Unknown),
        (condition::STALLED, Truth::False),
        (condition::RECONCILING, Truth::False),
    ] {
        set(conditions, seen, kind, truth, "Suspended", message);
    }
    finish_untouched(seen, plan)
}

/// The route goes first, connections drain, then the pods go with their owner.
pub(super) fn tear_down(seen: &Observation, deleted_at: Timestamp) -> Plan {
    let mut plan = untouched(seen);
    plan.record = Record::Later;
    plan.scope = match seen.model.spec.deletion_policy {
        DeletionPolicy::Orphan => Scope::Orphan,
        DeletionPolicy::Delete if seen.route.exists => Scope::TearDown,
        DeletionPolicy::Delete if seen.now < deleted_at + DRAIN && !seen.workloads.is_empty() => Scope::TearDown,
        DeletionPolicy::Delete => Scope::Release,
    };
    plan.again = SignedDuration::from_secs(1);
    plan
}

/// A plan that leaves everything as it is.
pub(super) fn untouched(seen: &Observation) -> Plan {
    let mut status = seen.model.status.clone();
    status.observed_generation = Some(seen.model.generation);
    Plan {
        scope: Scope::StatusOnly,
        workloads: BTreeMap::new(),
        delete: Vec::new(),
        route: None,
        order: Order::RecordFirst,
        status,
        judged: Vec::new(),
        decisions: Vec::new(),
        events: Vec::new(),
        record: Record::Later,
        again: SignedDuration::from_mins(10),
    }
}

pub(super) fn finish_untouched(seen: &Observation, mut plan: Plan) -> Plan {
    plan.record = if plan.status == seen.model.status {
        Record::Later
    } else {
        Record::Now
    };
    plan
}
