//! Phase and conditions, and the plan as a whole. The README has the truth table.

mod governed;
mod pairs;
mod recorded;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{LONGEST_MESSAGE, Phase, QuantizedModelStatus, RevisionRef, condition, plain};
use crate::model::template::TemplateProblem;

use super::capacity::{Capacity, Mirroring};
use super::evaluation::Evaluation;
use super::evidence::Evidence;
use super::next::{Next, Wait};
use super::observation::{Refused, Seen};
use super::plan::{ActTold, Event, Plan, Reason, Record, Scope};
use super::reason::{EvidenceReason, WaitReason};
use super::trial::on_trial;

/// Longest time between two evaluations when nothing is to be watched.
const IDLE: SignedDuration = SignedDuration::from_mins(10);

/// Shortest time between two evaluations.
pub(super) const SOON: SignedDuration = SignedDuration::from_millis(100);

/// Evidence is missing because requests do not follow the weights.
const TRAFFIC_SPLIT: WaitReason = WaitReason::NoEvidence(EvidenceReason::TrafficSplit);

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Sets a condition; its transition time moves only when its status does. Returns whether its status or reason changed.
pub(super) fn set(
    conditions: &mut Vec<Condition>,
    seen: &Seen<'_>,
    kind: &str,
    truth: Truth,
    reason: &str,
    message: &str,
) -> bool {
    put(
        conditions,
        (seen.now, seen.model.generation),
        kind,
        truth,
        reason,
        message,
    )
}

/// Like [`set`], at a given time and for a given generation of the spec.
pub(super) fn put(
    conditions: &mut Vec<Condition>,
    (now, generation): (Timestamp, i64),
    kind: &str,
    truth: Truth,
    reason: &str,
    message: &str,
) -> bool {
    let old = conditions.iter().find(|c| c.type_ == kind);
    let same_status = old.is_some_and(|c| c.status == truth.as_str());
    let changed = !same_status || old.is_some_and(|c| c.reason != reason);
    let since = old
        .filter(|_| same_status)
        .map_or(Time(now), |c| c.last_transition_time.clone());
    let new = Condition {
        type_: kind.to_owned(),
        status: truth.as_str().to_owned(),
        reason: reason.to_owned(),
        message: plain(message, LONGEST_MESSAGE),
        last_transition_time: since,
        observed_generation: Some(generation),
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(slot) => *slot = new,
        None => conditions.push(new),
    }
    changed
}

/// Sets the condition that says whether all objects of a model could be written. Returns the event, if it is news that
/// some could not.
pub fn applied(conditions: &mut Vec<Condition>, at: (Timestamp, i64), refused: &[Refused]) -> Option<Event> {
    let note = Refused::all(refused);
    let (truth, reason) = match refused {
        [] => (Truth::True, "AsPlanned"),
        _ => (Truth::False, "Refused"),
    };
    let changed = put(conditions, at, condition::APPLIED, truth, reason, &note);
    (changed && truth == Truth::False).then_some(Event {
        reason: Reason::Refused,
        note,
    })
}

impl Evaluation<'_> {
    /// Puts the plan together.
    pub(super) fn finish(mut self, next: Next) -> Plan {
        let capacity = Capacity {
            build_up: next.build_up,
            ..self.capacity()
        };
        let mut route = capacity.route();
        let gated = next
            .stalled
            .as_ref()
            .is_some_and(|s| s.reason != WaitReason::CannotStart);
        let brought_up = self.status.stable.is_none() && !gated;
        let first = brought_up.then(|| self.ladder.first());
        let (workloads, delete) = capacity.workloads(first);
        let arms = capacity.arm_statuses(route.as_ref(), &workloads);
        let trial = on_trial(self.spec, &self.model.rollout, &self.status);
        let requests = self.evidence.as_ref().and_then(Evidence::requests);
        let comparer = self.model.comparer.as_ref().zip(trial);
        let comparer = comparer.and_then(|(comparer, trial)| capacity.comparer(comparer, &trial, requests));
        let mirroring = capacity.mirroring(comparer.as_ref(), self.order);
        if let Some(route) = &mut route {
            route.mirror = mirroring.percent();
        }
        self.status.arms = arms;
        self.status.mirror = mirroring.record();
        self.status.observed_generation = Some(self.seen.model.generation);
        self.conclude(&next, &mirroring);
        let again = self.again(&next);
        let written = self.evidence.take().map(Evidence::write);
        (self.status.evidence, self.status.guards) = match written {
            Some((evidence, guards)) => (Some(evidence), guards),
            None => (None, Vec::new()),
        };
        let record = if same_but_for_figures(&self.status, &self.seen.model.status) {
            Record::Later
        } else {
            Record::Now
        };
        let acts = self.acts.standings.iter().map(|of| ActTold {
            name: of.act.name.clone(),
            state: of.state,
            message: of.message.clone(),
        });
        Plan {
            acts: acts.collect(),
            scope: Scope::Apply,
            workloads,
            delete,
            route,
            comparer,
            order: self.order,
            status: self.status,
            judged: self.judged,
            decisions: self.decisions,
            events: self.events,
            record,
            again,
        }
    }

    fn phase(&self, next: &Next) -> Phase {
        let Some(stable) = &self.status.stable else {
            return if next.stalled.is_some() {
                Phase::Pending
            } else {
                Phase::Bootstrapping
            };
        };
        let waits_for = |reason: WaitReason| next.wait.as_ref().is_some_and(|wait| wait.reason == reason);
        match &self.status.rollout {
            _ if !self.capacity().serves(stable) => Phase::Degraded,
            _ if self.capacity().hands_over() => Phase::RollingBack,
            Some(_) if self.paused().is_some() => Phase::Paused,
            Some(rollout) if rollout.escalated_at.is_some() || waits_for(WaitReason::AwaitingApproval) => {
                Phase::AwaitingApproval
            }
            Some(rollout) if rollout.promoting => Phase::Promoting,
            Some(rollout) if rollout.weight == 0 => Phase::Pending,
            Some(_) => Phase::Progressing,
            None if waits_for(WaitReason::Paused) => Phase::Paused,
            None if next.wait.is_some() => Phase::Pending,
            None => Phase::Guarding,
        }
    }

    /// Writes phase and conditions, and the events that go with their changes.
    fn conclude(&mut self, next: &Next, mirroring: &Mirroring) {
        self.status.phase = Some(self.phase(next).into());
        let mut conditions = std::mem::take(&mut self.status.conditions);
        let seen = self.seen;
        let mut put = |kind: &str, truth: Truth, reason: &str, message: &str| {
            set(&mut conditions, seen, kind, truth, reason, message)
        };
        let none = String::new();
        let serves = self.status.stable.as_ref().is_some_and(|s| self.capacity().serves(s));
        // After a decision it takes another evaluation to know whether there is something left to do.
        let busy = next.stalled.is_none()
            && (self.has_decided()
                || self.status.rollout.is_some()
                || !serves
                || self.capacity().hands_over()
                || next.wait.is_some());
        let progress = self.progress(next);

        match &next.stalled {
            Some(stalled) => {
                let reason = stalled.reason.to_string();
                put(condition::READY, Truth::False, &reason, &stalled.message);
                let new = put(condition::STALLED, Truth::True, &reason, &stalled.message);
                let event = match stalled.reason {
                    WaitReason::Gated | WaitReason::PolicyNotMet => Some(Reason::Gated),
                    WaitReason::CannotStart => Some(Reason::CannotStart),
                    _ => None,
                };
                self.events.extend(event.filter(|_| new).map(|reason| Event {
                    reason,
                    note: stalled.message.clone(),
                }));
            }
            None => {
                let (reason, message) = if busy {
                    ("Progressing", progress.as_str())
                } else {
                    ("Settled", "the target serves and is guarded")
                };
                put(condition::READY, Truth::from(!busy), reason, message);
                put(condition::STALLED, Truth::False, "AsExpected", &none);
            }
        }
        put(
            condition::RECONCILING,
            Truth::from(busy),
            if busy { "Progressing" } else { "Settled" },
            if busy { &progress } else { &none },
        );
        let waits_for = next.wait.as_ref().map(|wait| wait.reason.to_string());
        let usual = if busy { "Progressing" } else { "Settled" };
        let reason = waits_for.as_deref().unwrap_or(usual);
        put(condition::PROGRESSING, Truth::from(busy), reason, &progress);

        let mut refused = seen.model.refused.iter().flatten();
        let (available, reason, message) = match refused.find(|object| object.is_carrier) {
            Some(carrier) => (false, "NotCarried", carrier.to_string()),
            None if serves => (true, "StableServes", "stable has ready endpoints".to_owned()),
            None => (false, "NoEndpoint", "stable has no ready endpoint".to_owned()),
        };
        put(condition::AVAILABLE, Truth::from(available), reason, &message);

        let changed = match &self.blind {
            Some(blind) => put(
                condition::EVIDENCE_AVAILABLE,
                Truth::False,
                &blind.reason.to_string(),
                &blind.message,
            ),
            None => {
                let (reason, message) = match (&self.evidence, &self.status.rollout) {
                    (None, _) => ("NothingOnTrial", "nothing is on trial"),
                    (Some(_), Some(r)) if r.weight == 0 && !r.is_shadow() => {
                        ("NoRequests", "the candidate gets no requests yet")
                    }
                    (Some(_), _) => ("Fresh", "the guards have fresh data"),
                };
                put(condition::EVIDENCE_AVAILABLE, Truth::True, reason, message)
            }
        };
        // The event of a disruption is its own.
        let told = |wait: &&Wait| wait.reason != WaitReason::Disrupted;
        let was_blind = seen.model.status.has_condition(condition::EVIDENCE_AVAILABLE, "False")
            && !had_reason(seen, condition::EVIDENCE_AVAILABLE, WaitReason::Disrupted);
        if let Some(lost) = self.blind.as_ref().filter(told).filter(|_| !was_blind) {
            self.events.push(Event {
                reason: match lost.reason {
                    TRAFFIC_SPLIT => Reason::TrafficSplit,
                    _ => Reason::EvidenceLost,
                },
                note: lost.message.clone(),
            });
        } else if self.blind.is_none() && was_blind && changed && self.evidence.is_some() {
            self.events.push(Event {
                reason: Reason::EvidenceRestored,
                note: if had_reason(seen, condition::EVIDENCE_AVAILABLE, TRAFFIC_SPLIT) {
                    "requests follow the weights again".to_owned()
                } else {
                    "the metrics are back".to_owned()
                },
            });
        }

        self.applied_condition(&mut conditions);
        self.capacity_condition(&mut conditions);
        self.inputs_condition(&mut conditions);
        self.held_conditions(next, &mut conditions);
        self.mirroring_condition(mirroring, &mut conditions);
        self.recorded_condition(&mut conditions);
        self.governed_conditions(&mut conditions);
        self.calibration_condition(&mut conditions);
        self.status.conditions = conditions;
    }

    /// Sets the condition that says whether all objects could be written. It stays as it is until this process has carried
    /// out a plan.
    fn applied_condition(&mut self, conditions: &mut Vec<Condition>) {
        if let Some(refused) = &self.seen.model.refused {
            let at = (self.seen.now, self.seen.model.generation);
            self.events.extend(applied(conditions, at, refused));
        }
    }

    /// Sets the condition that says whether the fallback could take all traffic at once.
    fn capacity_condition(&self, conditions: &mut Vec<Condition>) {
        let Some(stable) = &self.status.stable else { return };
        let on_trial = self.status.rollout.is_some();
        let fallback = if on_trial {
            stable.clone()
        } else {
            self.capacity().fallback(stable)
        };
        let (truth, reason, message) = if fallback == *stable && !on_trial {
            (
                Truth::True,
                "NothingToFallBackFrom",
                "stable is the safest revision there is".to_owned(),
            )
        } else if self.capacity().can_carry(&fallback, 100) {
            (
                Truth::True,
                "Warm",
                format!("{} could take all traffic at once", fallback.describe()),
            )
        } else {
            (
                Truth::False,
                "ScaledDown",
                format!(
                    "{} would be scaled up first, and traffic would follow its ready pods",
                    fallback.describe()
                ),
            )
        };
        set(
            conditions,
            self.seen,
            condition::FALLBACK_CAPACITY,
            truth,
            reason,
            &message,
        );
    }

    /// Sets the conditions of what holds a rollout back, and adds their events.
    fn held_conditions(&mut self, next: &Next, conditions: &mut Vec<Condition>) {
        let mismatch = next.wait.as_ref().filter(|w| w.reason == WaitReason::IdentityMismatch);
        let of_live = |of: &&TemplateProblem| {
            let mut live = self.seen.workloads.keys().map(|key| &key.revision);
            let described = |revision: &RevisionRef| revision.variant == of.variant && self.ladder.contains(revision);
            live.any(described)
        };
        let lacking = self.seen.model.templates.iter().find(of_live);
        let (truth, reason, message) = match (mismatch, lacking) {
            (Some(wait), _) => (Truth::True, "ImagesDiffer", wait.message.as_str()),
            (None, Some(of)) => (Truth::True, "TemplateFields", of.problem.as_str()),
            (None, None) => (Truth::False, "AsExpected", "the pods of each arm run one image"),
        };
        set(
            conditions,
            self.seen,
            condition::IDENTITY_MISMATCH,
            truth,
            reason,
            message,
        );
        let told = next.wait.as_ref().and_then(|Wait { reason, message, .. }| {
            let event = match reason {
                WaitReason::IdentityMismatch => Reason::IdentityMismatch,
                WaitReason::Disrupted => Reason::Disrupted,
                WaitReason::RouteRefused => Reason::RouteRefused,
                WaitReason::AwaitingApproval => Reason::AwaitingApproval,
                _ => return None,
            };
            (!had_reason(self.seen, condition::PROGRESSING, *reason)).then_some((event, message))
        });
        if let Some((reason, message)) = told {
            let note = message.clone();
            self.events.push(Event { reason, note });
        }
    }

    /// Progress of the rollout, as a sentence without figures that change at every evaluation.
    fn progress(&self, next: &Next) -> String {
        let what = match (&self.status.rollout, &self.status.stable) {
            (Some(r), _) if r.promoting => format!("{} is being promoted", r.candidate.describe()),
            (Some(r), _) => format!(
                "{} is on trial at {}%, step {} of {}",
                r.candidate.describe(),
                r.weight,
                r.step + 1,
                self.spec.rollout.steps.len()
            ),
            (None, Some(stable)) if self.capacity().ready(stable) == 0 => {
                format!(
                    "{} is stable and has no ready endpoint; see its pods",
                    stable.describe()
                )
            }
            (None, Some(stable)) => format!("{} is stable", stable.describe()),
            (None, None) => "nothing serves yet".to_owned(),
        };
        match &next.wait {
            Some(wait) => format!("{what}: {}", wait.message),
            None => what,
        }
    }

    /// Time until the next evaluation.
    fn again(&self, next: &Next) -> SignedDuration {
        let watching = self.evidence.is_some() || self.status.stable.is_none() || self.capacity().hands_over();
        let usual = if self.has_decided() {
            SOON
        } else if watching {
            self.model.rollout.interval
        } else {
            IDLE
        };
        let until = next.alarms.iter().map(|at| at.duration_since(self.now));
        let alarm = until.filter(SignedDuration::is_positive).min();
        alarm.map_or(usual, |alarm| alarm.min(usual)).max(SOON)
    }
}

/// Whether a condition had this reason before.
fn had_reason(seen: &Seen<'_>, kind: &str, reason: WaitReason) -> bool {
    let mut conditions = seen.model.status.conditions.iter();
    conditions.any(|c| c.type_ == kind && c.reason == reason.to_string())
}

/// Whether two statuses differ in nothing but running evidence. Its figures grow at every evaluation and are no reason
/// to write.
fn same_but_for_figures(a: &QuantizedModelStatus, b: &QuantizedModelStatus) -> bool {
    let bare = |status: &QuantizedModelStatus| {
        let mut status = status.clone();
        status.evidence = None;
        let verdicts: Vec<_> = status.guards.drain(..).map(|g| (g.name, g.verdict)).collect();
        (status, verdicts)
    };
    bare(a) == bare(b)
}
