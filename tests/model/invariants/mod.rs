//! The invariants of a rollout (docs/invariants.md), checked on every plan by someone who has seen all plans before, and on
//! every write of the route.
//!
//! Must not take the plan's word for anything that can be seen in the world: which samples were shown, which gates are open,
//! who is ready.

mod evidence;
mod lowering;
mod oversight;
mod weights;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use guardbit::api::{
    ActKind, Action, ApprovalGate, Phase, QuantizedModelStatus, RetiringReason, RevisionRef, RolloutKind, RolloutStatus,
};
use guardbit::evidence::{ArmSamples, Matrix, Role};
use guardbit::rollout::{GuardQuery, Observation, Plan, RoutePlan, Scope, Workload, WorkloadKey, decide};

use crate::mutants::Mutant;
use crate::oversight::Oversight;
use crate::state::ago;
use crate::traffic::SCRAPE;
use crate::world::{World, Write, seconds, serving};

/// What never happens, whatever does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    HandsOff,
    WeightsSumTo100,
    WeightNeedsEndpoints,
    FallbackKeepsItsPods,
    RisesNeedCapacity,
    PodsOutliveTheirTraffic,
    OneCandidate,
    PinnedReachTheReference,
    PinnedAreNoEvidence,
    RecoveryMovesNothing,
    GatesComeFirst,
    ApprovalComesFirst,
    FreezeRaisesNothing,
    FloorHolds,
    CapHolds,
    RisesNeedEvidence,
    StageComesFirst,
    NothingCountsTwice,
    NoDataDecidesNothing,
    DeadlineIsKept,
    DisruptionDecidesNothing,
    HarmIsFound,
    HarmIsAnswered,
    RejectedStaysOut,
    LoweringWaitsForNothing,
    LoweringComesFirst,
    DecisionsAreRecorded,
    RisesAreRecordedFirst,
}

impl Invariant {
    pub const ALL: [Self; 28] = [
        Self::HandsOff,
        Self::WeightsSumTo100,
        Self::WeightNeedsEndpoints,
        Self::FallbackKeepsItsPods,
        Self::RisesNeedCapacity,
        Self::PodsOutliveTheirTraffic,
        Self::OneCandidate,
        Self::PinnedReachTheReference,
        Self::PinnedAreNoEvidence,
        Self::RecoveryMovesNothing,
        Self::GatesComeFirst,
        Self::ApprovalComesFirst,
        Self::FreezeRaisesNothing,
        Self::FloorHolds,
        Self::CapHolds,
        Self::RisesNeedEvidence,
        Self::StageComesFirst,
        Self::NothingCountsTwice,
        Self::NoDataDecidesNothing,
        Self::DeadlineIsKept,
        Self::DisruptionDecidesNothing,
        Self::HarmIsFound,
        Self::HarmIsAnswered,
        Self::RejectedStaysOut,
        Self::LoweringWaitsForNothing,
        Self::LoweringComesFirst,
        Self::DecisionsAreRecorded,
        Self::RisesAreRecordedFirst,
    ];
}

/// An invariant that does not hold, and how it shows.
#[derive(Clone, Debug)]
pub struct Broken {
    pub invariant: Invariant,
    pub why: String,
}

/// Who decides, and which invariants that is held to.
#[derive(Default)]
pub struct Judge<'a> {
    /// A broken variant, held to the invariant that it should break and to no other.
    pub mutant: Option<&'a Mutant>,
    /// How often each invariant was put to the test: its premise held.
    pub tried: RefCell<BTreeMap<Invariant, u64>>,
}

impl Judge<'_> {
    pub fn decide(&self, seen: &Observation, queries: &mut [GuardQuery]) -> Plan {
        match self.mutant {
            None => decide(seen),
            Some(mutant) => mutant.decide(seen, queries),
        }
    }

    /// To be asked only where the premise of an invariant holds: `so` is its conclusion.
    fn holds(&self, invariant: Invariant, so: bool, why: impl FnOnce() -> String) -> Result<(), Broken> {
        *self.tried.borrow_mut().entry(invariant).or_default() += 1;
        if so || self.mutant.is_some_and(|mutant| mutant.invariant != invariant) {
            Ok(())
        } else {
            Err(Broken { invariant, why: why() })
        }
    }
}

/// Scrapes of the candidate that a rise needs at least: a step asks for as many polls.
const FRESH: u8 = 3;

/// Time that pods stay after their last request, in seconds.
const DRAIN: i64 = 30;

/// Silence after which there is no data, in seconds.
const PATIENCE: i64 = 60;

/// The rollout that goes on, as it was seen.
#[derive(Clone, Debug, Hash)]
struct Trial {
    candidate: RevisionRef,
    /// Scrapes of it that were shown since its weight last rose or its evidence was dropped.
    scrapes: u8,
    /// All guards were healthy after the last step.
    promoting: bool,
}

/// What people have approved of a trial.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Approved {
    first_traffic: bool,
    promotion: bool,
}

/// What someone remembers who has seen every plan that was recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Who was rejected, and when.
    rejected: BTreeMap<RevisionRef, i64>,
    approved: Approved,
    /// Of the last plan.
    weights: BTreeMap<RevisionRef, i32>,
    /// What the candidate was granted; it is given it once that is on record.
    granted: i32,
    /// Who lost all of its weight, and when.
    lowered: BTreeMap<RevisionRef, i64>,
    trial: Option<Trial>,
    /// When its pods were first seen ready for the shadow stage, where there is one.
    stage: Option<i64>,
    /// When the candidate got its first weight.
    first_weight: Option<i64>,
    /// Evidence from before does not count.
    since: Option<i64>,
    /// The newest scrape of the candidate that was shown.
    newest: Option<i64>,
    /// When the evidence of the trial began; earlier, if the controller's clock was earlier at an evaluation since.
    began: Option<i64>,
    /// The question that the first guard asks.
    tolerance: Option<String>,
}

/// One plan, with what it follows from.
struct Step<'a> {
    judge: &'a Judge<'a>,
    world: &'a World,
    seen: &'a Observation,
    before: &'a QuantizedModelStatus,
    plan: &'a Plan,
    weights: BTreeMap<RevisionRef, i32>,
    now: i64,
}

impl History {
    /// What was known to the status alone is gone with it.
    pub fn status_is_lost(&mut self, workloads: &BTreeMap<WorkloadKey, Workload>) {
        self.rejected
            .retain(|r, _| workloads.get(&serving(r)).is_some_and(|w| w.marks.rejected.is_some()));
        self.lowered.clear();
        (self.trial, self.granted) = (None, 0);
    }

    /// Nobody can know any more since when connections drain.
    pub fn clock_jumps(&mut self) {
        self.lowered.clear();
    }

    pub fn evidence_since(&self) -> Option<i64> {
        self.since
    }

    pub fn hash_at<H: Hasher>(&self, now: i64, h: &mut H) {
        (&self.weights, &self.trial, &self.tolerance, self.granted, self.approved).hash(h);
        self.rejected.keys().collect::<Vec<_>>().hash(h);
        for at in [self.stage, self.first_weight, self.since, self.newest, self.began] {
            at.map(|at| ago(now, at)).hash(h);
        }
        for (of, at) in &self.lowered {
            (of, ago(now, *at)).hash(h);
        }
    }

    /// Holds a plan to the invariants; what is remembered once it is recorded.
    pub fn check(
        &self,
        world: &World,
        seen: &Observation,
        queries: &[GuardQuery],
        plan: &Plan,
        judge: &Judge<'_>,
    ) -> Result<Self, Broken> {
        let step = Step {
            judge,
            world,
            seen,
            before: &seen.model.status,
            plan,
            weights: plan.route.iter().flat_map(|r| r.weights.iter().cloned()).collect(),
            now: seconds(seen.now),
        };
        step.hands_off()?;
        if plan.scope != Scope::Apply {
            return Ok(self.clone());
        }
        let mut next = self.clone();
        next.hear(&step);
        next.heed(&step);
        for found in [
            step.weights_sum_to_100(),
            step.weight_needs_endpoints(),
            step.rises_need_capacity(),
            step.pods_outlive_their_traffic(self),
            step.one_candidate(),
            step.pinned_requests_reach_the_reference(queries),
            step.recovery_moves_nothing(self),
            step.no_weight_before_the_gates(self),
            step.approvals_come_first(&next),
            step.nothing_rises_in_a_freeze(self),
            step.nothing_rises_below_a_floor(self),
            step.nothing_rises_against_people(self),
            step.nothing_rises_unrecorded(),
            step.no_rise_without_evidence(self, &next),
            step.no_weight_before_the_pairs(self),
            step.nothing_counts_twice(self, queries),
            step.no_data_decides_nothing(&next),
            step.the_deadline_is_kept(&next),
            step.disrupted_pods_decide_nothing(),
            step.harm_is_answered(self, &next),
            step.rejected_stays_out(&next),
            step.lowering_waits_for_nothing(self),
            step.decisions_are_on_record(),
        ] {
            found?;
        }
        next.remember(&step);
        Ok(next)
    }

    /// Takes in what this evaluation showed of the candidate.
    fn hear(&mut self, step: &Step<'_>) {
        let (Some(trial), Some(samples)) = (&mut self.trial, step.shown()) else {
            return;
        };
        let since = self.newest.max(self.since).unwrap_or(i64::MIN);
        for at in times(&samples.candidate).into_iter().filter(|at| *at > since) {
            trial.scrapes = trial.scrapes.saturating_add(1).min(FRESH);
            self.newest = Some(at);
        }
    }

    /// Takes in what people want.
    fn heed(&mut self, step: &Step<'_>) {
        let Some(oversight) = &step.world.oversight else {
            return;
        };
        for done in oversight.standing(ActKind::Retry, step.now) {
            let is_about = |of: &RevisionRef| done.act.spec.variant.as_ref() == Some(&of.variant);
            self.rejected.retain(|of, at| !is_about(of) || *at >= done.created);
        }
        let Some(rollout) = &step.before.rollout else {
            return;
        };
        for done in oversight.standing(ActKind::Approve, step.now) {
            if done.candidate.as_ref() == Some(&rollout.candidate) {
                self.approved.first_traffic = true;
                self.approved.promotion |= done.gate == Some(ApprovalGate::Promotion);
            }
        }
    }

    fn remember(&mut self, step: &Step<'_>) {
        let Step { plan, now, .. } = step;
        let status = &plan.status;
        for decision in &plan.decisions {
            if matches!(decision.action.known(), Some(Action::RolledBack | Action::FellBack)) {
                let of = revision(&decision.variant, &decision.revision);
                self.rejected.insert(of, *now);
            }
        }
        let candidate = status.rollout.as_ref().map(|r| r.candidate.clone());
        if self.trial.as_ref().map(|t| &t.candidate) != candidate.as_ref() {
            (self.trial, self.stage, self.first_weight, self.newest) = (None, None, None, None);
            (self.granted, self.approved) = (0, Approved::default());
        }
        let granted = if step.seen.ledger.is_behind() { self.granted } else { 0 };
        self.granted = status.rollout.as_ref().map_or(0, |rollout| {
            step.weight(&rollout.candidate).max(granted).min(rollout.weight)
        });
        let tolerance = step.tolerance();
        let afresh = step.begins_afresh() || self.tolerance != tolerance;
        let begins = afresh || step.begins_step();
        if begins || step.is_disrupted() {
            self.since = Some(*now);
        }
        if begins {
            self.trial = None;
        }
        self.began = Some(if afresh {
            *now
        } else {
            self.began.map_or(*now, |at| at.min(*now))
        });
        self.tolerance = tolerance;
        if let (Some(rollout), Some(candidate)) = (&status.rollout, candidate) {
            if step.wants_stage(rollout) && step.ready(&candidate) > 0 {
                self.stage.get_or_insert(*now);
            }
            if rollout.weight > 0 {
                self.first_weight.get_or_insert(*now);
            }
            let trial = self.trial.get_or_insert(Trial {
                candidate,
                scrapes: 0,
                promoting: false,
            });
            trial.promoting = rollout.promoting;
        }
        for (of, before) in &self.weights {
            if *before > 0 && step.weight(of) == 0 {
                self.lowered.insert(of.clone(), *now);
            }
        }
        self.lowered.retain(|of, at| *now < *at + DRAIN && step.weight(of) == 0);
        self.weights = step.weights.clone();
    }

    /// As a reader of the API server sees it: a weight that rises is on record before. While the record of something that
    /// was decided is missing no candidate rises, nor whoever is stable by it.
    pub fn written(&self, world: &World, wanted: &RoutePlan, write: Write, judge: &Judge<'_>) -> Result<(), Broken> {
        let stored = &world.status;
        let unwritten = world.oversight.as_ref().and_then(Oversight::unwritten);
        for (of, weight) in &wanted.weights {
            if *weight <= world.route.weights.get(of).copied().unwrap_or(0) {
                continue;
            }
            let granted = stored.rollout.as_ref().filter(|r| r.candidate == *of).map(|r| r.weight);
            let trusted = [&stored.stable, &stored.reference]
                .into_iter()
                .flatten()
                .any(|r| r == of)
                || is_proven(stored, of)
                || stored.retiring.iter().any(|r| r.revision_ref() == *of);
            let recorded = match granted {
                Some(granted) => *weight <= granted,
                None => trusted || (write == Write::Lower && self.weights.contains_key(of)),
            };
            let is_missing = unwritten.is_some_and(|raised| granted.is_some() || raised.contains(of));
            judge.holds(Invariant::RisesAreRecordedFirst, recorded && !is_missing, || {
                format!("{} is given {weight}%, of which nothing is on record yet", of.variant)
            })?;
        }
        Ok(())
    }
}

impl Step<'_> {
    fn holds(&self, invariant: Invariant, so: bool, why: impl FnOnce() -> String) -> Result<(), Broken> {
        self.judge.holds(invariant, so, why)
    }

    fn weight(&self, of: &RevisionRef) -> i32 {
        self.weights.get(of).copied().unwrap_or(0)
    }

    fn ready(&self, of: &RevisionRef) -> i32 {
        self.seen.workloads.get(&serving(of)).map_or(0, |w| w.ready)
    }

    fn full(&self, of: &RevisionRef) -> i32 {
        let variant = self.seen.model.spec.variants.iter().find(|v| v.name == of.variant);
        variant.and_then(|v| self.seen.model.spec.replicas(v)).unwrap_or(1)
    }

    /// Weights before this evaluation; after a lost status those of the route count.
    fn last_weights<'h>(&'h self, history: &'h History) -> &'h BTreeMap<RevisionRef, i32> {
        if self.decided(&[Action::Recovered]) {
            &self.seen.route.weights
        } else {
            &history.weights
        }
    }

    fn decided(&self, actions: &[Action]) -> bool {
        self.plan
            .decisions
            .iter()
            .any(|d| actions.iter().any(|a| d.action == *a))
    }

    /// Who was on trial at this evaluation: the candidate, or stable after its promotion.
    fn on_trial(&self) -> Option<&RevisionRef> {
        match &self.before.rollout {
            Some(rollout) => Some(&rollout.candidate),
            None => self
                .before
                .stable
                .as_ref()
                .filter(|s| self.before.reference.as_ref() != Some(*s)),
        }
    }

    /// What Prometheus showed of the first guard, or of pairs while no requests are asked about.
    fn shown(&self) -> Option<&guardbit::evidence::GuardSamples> {
        let evidence = &self.seen.evidence;
        let asked = evidence.get("errors").or_else(|| evidence.get("agreement"));
        asked?.as_ref().ok()
    }

    /// Whether a rollout is to have a shadow stage: a new reference is compared with nothing.
    fn wants_stage(&self, rollout: &RolloutStatus) -> bool {
        self.seen.model.spec.rollout.shadow.is_some() && rollout.kind != RolloutKind::NewReference
    }

    fn tolerance(&self) -> Option<String> {
        let guard = self.seen.model.spec.guards[0].proportion.as_ref();
        guard
            .and_then(|p| p.tolerance.absolute.as_ref())
            .map(|absolute| absolute.0.clone())
    }

    /// Another trial begins, or this one anew.
    fn begins_afresh(&self) -> bool {
        use Action::{
            Demoted, EvidenceReset, FellBack, PlanChanged, Promoted, Recovered, Started, TakenBack, TargetMoved,
        };
        let ended = self.before.rollout.is_some() && self.plan.status.rollout.is_none();
        ended
            || self.decided(&[
                Demoted,
                EvidenceReset,
                FellBack,
                PlanChanged,
                Promoted,
                Recovered,
                Started,
                TakenBack,
                TargetMoved,
            ])
    }

    /// Weights change in the interval that runs now, and a step begins.
    fn begins_step(&self) -> bool {
        self.decided(&[Action::Raised, Action::Withdrawn])
            || self.resumes()
            || self.hands_over(self.before) != self.hands_over(&self.plan.status)
    }

    /// A person had the wheel until now.
    fn resumes(&self) -> bool {
        self.before.phase == Some(Phase::Suspended.into()) && self.before.rollout.as_ref().is_some_and(|r| r.weight > 0)
    }

    /// What the candidate's pods answer now says nothing of it.
    fn is_disrupted(&self) -> bool {
        let seen = self.on_trial().and_then(|of| self.seen.workloads.get(&serving(of)));
        seen.is_some_and(|w| w.disruption.is_some())
    }

    fn hands_over(&self, status: &QuantizedModelStatus) -> bool {
        status.retiring.iter().any(|r| r.reason == RetiringReason::Handover)
    }
}

fn revision(variant: &str, revision: &str) -> RevisionRef {
    RevisionRef {
        variant: variant.to_owned(),
        revision: revision.to_owned(),
    }
}

fn is_proven(status: &QuantizedModelStatus, of: &RevisionRef) -> bool {
    status
        .proven
        .iter()
        .any(|p| p.variant == of.variant && p.revision == of.revision)
}

/// When an arm was scraped, in seconds.
fn times(arm: &ArmSamples) -> Vec<i64> {
    let Some(total) = arm.get(Role::Total) else {
        return Vec::new();
    };
    let series = total.series.first();
    series.map_or_else(Vec::new, |s| s.samples.iter().map(|(at, _)| at_seconds(*at)).collect())
}

/// Bad and all requests of an arm between scrapes that follow each other among these.
fn counted(arm: &ArmSamples, scrapes: &[i64]) -> (f64, f64) {
    let (Some(part), Some(total)) = (arm.get(Role::Bad), arm.get(Role::Total)) else {
        return (0.0, 0.0);
    };
    let rise = |matrix: &Matrix| {
        let samples = matrix.series.iter().flat_map(|series| series.samples.windows(2));
        let rises = samples.filter_map(|pair| {
            let [from, to] = [pair[0].0, pair[1].0].map(at_seconds);
            let follow = to - from == SCRAPE && scrapes.contains(&from) && scrapes.contains(&to);
            follow.then(|| pair[1].1 - pair[0].1)
        });
        rises.sum()
    };
    (rise(part), rise(total))
}

fn at_seconds(millis: i64) -> i64 {
    (millis - crate::world::time(0).as_millisecond()) / 1000
}
