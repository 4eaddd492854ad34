//! Broken variants of `decide`, each in one way that breaks one invariant. The search must find all of them: a check that
//! finds nothing in the real code may only have looked away.

mod oversight;

use guardbit::api::{Action, RevisionRef, Verdict};
use guardbit::evidence::{GuardSamples, Matrix, Role};
use guardbit::model::identity::Purpose;
use guardbit::rollout::{GuardQuery, Observation, Order, Plan, RecoveryMarks, WorkloadKey, decide};

use crate::invariants::Invariant::{self, *};
use crate::search::Model;
use crate::world::{deployment, serving};
use crate::worlds;

/// A variant of `decide` that breaks an invariant.
pub struct Mutant {
    pub invariant: Invariant,
    pub name: &'static str,
    /// Where it is met soon.
    pub world: fn() -> Model,
    how: How,
}

enum How {
    /// It sees something else than is shown.
    Sees(fn(&mut Observation)),
    /// It plans something else.
    Plans(fn(&Observation, &mut Plan)),
    /// It asks something else of Prometheus.
    Asks(fn(&mut GuardQuery)),
}

impl Mutant {
    /// What it decides.
    pub fn decide(&self, seen: &Observation, queries: &mut [GuardQuery]) -> Plan {
        match self.how {
            How::Sees(change) => {
                let mut other = seen.clone();
                change(&mut other);
                decide(&other)
            }
            How::Plans(change) => {
                let mut plan = decide(seen);
                change(seen, &mut plan);
                plan
            }
            How::Asks(change) => {
                queries.iter_mut().for_each(change);
                decide(seen)
            }
        }
    }
}

const fn mutant(invariant: Invariant, name: &'static str, world: fn() -> Model, how: How) -> Mutant {
    Mutant {
        invariant,
        name,
        world,
        how,
    }
}

/// One or more for each invariant.
pub fn mutants() -> Vec<Mutant> {
    MUTANTS.into_iter().chain(oversight::MUTANTS).collect()
}

const MUTANTS: [Mutant; 33] = [
    mutant(
        HandsOff,
        "a suspension is not heeded",
        worlds::target_moves,
        How::Sees(|seen| seen.model.spec.suspend = false),
    ),
    mutant(
        RisesNeedCapacity,
        "one endpoint is taken for all",
        worlds::candidate_waits_for_pods,
        How::Sees(|seen| {
            for workload in seen.workloads.values_mut().filter(|w| w.ready > 0) {
                workload.ready = workload.desired;
            }
        }),
    ),
    mutant(
        PodsOutliveTheirTraffic,
        "pods go with their traffic",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| {
            for retiring in &plan.status.retiring {
                if let Some(workload) = plan.workloads.get_mut(&serving(&retiring.revision_ref())) {
                    workload.replicas = Some(0);
                }
            }
        }),
    ),
    mutant(
        RecoveryMovesNothing,
        "a lost status is taken for a first install",
        worlds::objects_are_edited,
        How::Sees(|seen| {
            if seen.model.status.stable.is_none() {
                seen.workloads
                    .values_mut()
                    .for_each(|w| w.marks = RecoveryMarks::default());
                seen.route.weights.clear();
            }
        }),
    ),
    mutant(
        DisruptionDecidesNothing,
        "a drained node is not seen",
        worlds::candidate_is_disrupted,
        How::Sees(|seen| seen.workloads.values_mut().for_each(|w| w.disruption = None)),
    ),
    mutant(
        DisruptionDecidesNothing,
        "images are not compared",
        worlds::candidate_waits_for_pods,
        How::Sees(|seen| seen.workloads.values_mut().for_each(|w| w.image_ids.truncate(1))),
    ),
    mutant(
        WeightsSumTo100,
        "the weights sum to 99",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| {
            change_weight(plan, |_, weight| if weight > 50 { weight - 1 } else { weight });
        }),
    ),
    mutant(
        GatesComeFirst,
        "the gates are always open",
        worlds::reference_changes,
        How::Sees(|seen| {
            for variant in &mut seen.model.spec.variants {
                variant.calibration = None;
            }
        }),
    ),
    mutant(
        RisesNeedEvidence,
        "a step is over before it has begun",
        worlds::metrics_come_and_go,
        How::Plans(|seen, plan| {
            let steps = &seen.model.spec.rollout.steps;
            let Some(rollout) = plan.status.rollout.as_mut().filter(|r| r.weight == steps[0].weight) else {
                return;
            };
            let candidate = rollout.candidate.clone();
            (rollout.step, rollout.weight) = (1, steps[1].weight);
            set_weight(plan, &candidate, steps[1].weight);
        }),
    ),
    mutant(
        RisesNeedEvidence,
        "what was shown while a person had the wheel ends a step",
        worlds::target_moves,
        How::Sees(|seen| seen.model.status.phase = None),
    ),
    mutant(
        RisesNeedEvidence,
        "evidence from before the last rise ends a step",
        worlds::metrics_come_and_go,
        How::Plans(|seen, plan| {
            let (Some(before), Some(rollout)) = (&seen.model.status.rollout, &mut plan.status.rollout) else {
                return;
            };
            let raised = plan.decisions.iter().any(|d| d.action == Action::Raised);
            if raised && before.weight > 0 {
                rollout.promoting = true;
            }
        }),
    ),
    mutant(
        StageComesFirst,
        "the stage is skipped",
        worlds::shadow_stage,
        How::Sees(|seen| seen.model.spec.rollout.shadow = None),
    ),
    mutant(
        StageComesFirst,
        "an edited guard does not begin the stage afresh",
        worlds::shadow_stage,
        How::Sees(|seen| {
            let errors = seen.model.spec.guards[0].proportion.as_mut().expect("a proportion");
            errors.tolerance.absolute = Some("0.5%".into());
        }),
    ),
    mutant(
        HarmIsFound,
        "pairs are not looked at",
        worlds::shadow_stage,
        How::Sees(|seen| {
            seen.evidence.remove("agreement");
        }),
    ),
    mutant(
        HarmIsAnswered,
        "what answers otherwise in its stage gets its first weight",
        worlds::shadow_stage,
        How::Plans(|seen, plan| {
            if let Some(rollout) = seen.model.status.rollout.as_ref().filter(|_| harmful(plan)) {
                set_weight(plan, &rollout.candidate, 10);
            }
        }),
    ),
    mutant(
        HarmIsAnswered,
        "harm is noted, and the weight stays",
        worlds::metrics_come_and_go,
        How::Plans(|seen, plan| {
            if let Some(rollout) = seen.model.status.rollout.as_ref().filter(|_| harmful(plan)) {
                set_weight(plan, &rollout.candidate, rollout.weight);
            }
        }),
    ),
    mutant(
        HarmIsAnswered,
        "harm after promotion is not answered",
        worlds::ladder,
        How::Plans(|seen, plan| {
            if plan.decisions.iter().any(|d| d.action == Action::FellBack) {
                (plan.status.stable, plan.status.rejected) = (seen.model.status.stable.clone(), Vec::new());
                plan.status.retiring.clear();
                let stable = seen.model.status.stable.clone().unwrap_or_default();
                set_weight(plan, &stable, 90);
            }
        }),
    ),
    mutant(
        RejectedStaysOut,
        "rejections are forgotten",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| plan.status.rejected.clear()),
    ),
    mutant(
        HarmIsFound,
        "errors are not looked at",
        worlds::metrics_come_and_go,
        How::Sees(|seen| {
            seen.evidence.remove("errors");
        }),
    ),
    mutant(
        WeightNeedsEndpoints,
        "weight before endpoints",
        worlds::candidate_waits_for_pods,
        How::Sees(|seen| {
            for workload in seen.workloads.values_mut() {
                workload.ready = workload.desired.max(1);
            }
        }),
    ),
    mutant(
        FallbackKeepsItsPods,
        "the fallback is scaled down during the trial",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| {
            if let (Some(_), Some(stable)) = (&plan.status.rollout, &plan.status.stable)
                && let Some(workload) = plan.workloads.get_mut(&serving(stable))
            {
                workload.replicas = Some(1);
            }
        }),
    ),
    mutant(
        DecisionsAreRecorded,
        "decisions are not written down",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| plan.status.decisions.clear()),
    ),
    mutant(
        RisesAreRecordedFirst,
        "weights rise before that is recorded",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| plan.order = Order::LowerFirst),
    ),
    mutant(
        OneCandidate,
        "another variant gets weight as well",
        worlds::ladder,
        How::Plans(|seen, plan| {
            let trusted = [&plan.status.stable, &plan.status.reference].map(Clone::clone);
            let others = seen.workloads.keys().map(|key| key.revision.clone());
            let candidate = plan.status.rollout.as_ref().map(|r| r.candidate.clone());
            let other = others
                .into_iter()
                .find(|of| !trusted.contains(&Some(of.clone())) && candidate.as_ref() != Some(of));
            if let Some(other) = other.filter(|_| candidate.is_some()) {
                plan.status.retiring.clear();
                set_weight(plan, &other, 10);
            }
        }),
    ),
    mutant(
        NoDataDecidesNothing,
        "an error of Prometheus is taken for an answer",
        worlds::metrics_come_and_go,
        How::Sees(|seen| seen.evidence.retain(|_, answer| answer.is_ok())),
    ),
    mutant(
        NoDataDecidesNothing,
        "no answer is taken for harm",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| {
            let away = plan
                .status
                .conditions
                .iter()
                .any(|c| c.type_ == "EvidenceAvailable" && c.status == "False");
            if let Some(rollout) = plan.status.rollout.take_if(|_| away) {
                give_up(plan, &rollout.candidate, Action::RolledBack);
            }
        }),
    ),
    mutant(
        DeadlineIsKept,
        "the deadline comes early",
        worlds::deadline_passes,
        How::Sees(|seen| {
            seen.model.spec.rollout.deadline = "30s".into();
        }),
    ),
    mutant(
        DeadlineIsKept,
        "the deadline waits for the end of the stage",
        worlds::shadow_stage,
        How::Sees(|seen| {
            let now = seen.now;
            let rollout = seen.model.status.rollout.as_mut();
            if let Some(since) = rollout.and_then(|r| r.shadow_since.as_mut()) {
                since.0 = now;
            }
        }),
    ),
    mutant(
        LoweringWaitsForNothing,
        "a pause holds back a rollback",
        worlds::target_moves,
        How::Plans(|seen, plan| {
            if let Some(rollout) = seen.model.status.rollout.as_ref().filter(|_| seen.model.spec.paused) {
                set_weight(plan, &rollout.candidate, rollout.weight);
            }
        }),
    ),
    mutant(
        LoweringComesFirst,
        "a rollback waits for its record",
        worlds::metrics_come_and_go,
        How::Plans(|_, plan| plan.order = Order::RecordFirst),
    ),
    mutant(
        NothingCountsTwice,
        "every series is counted under two names",
        worlds::metrics_come_and_go,
        How::Sees(|seen| {
            for samples in seen.evidence.values_mut().flatten() {
                double(samples);
            }
        }),
    ),
    mutant(
        PinnedReachTheReference,
        "pinned requests go where the others go",
        worlds::pinned,
        How::Plans(|_, plan| {
            if let (Some(route), Some(rollout)) = (&mut plan.route, &plan.status.rollout) {
                route.pinned = Some(WorkloadKey {
                    revision: rollout.candidate.clone(),
                    purpose: Purpose::Serving,
                });
            }
        }),
    ),
    mutant(
        PinnedAreNoEvidence,
        "pinned requests count as evidence",
        worlds::pinned,
        How::Asks(|query| {
            for arm in [Some(&mut query.candidate), query.baseline.as_mut()]
                .into_iter()
                .flatten()
            {
                let name = deployment(&arm.revision, Purpose::Pinned);
                arm.matchers
                    .iter_mut()
                    .filter(|m| m.label == "pod")
                    .for_each(|m| m.value = format!("{name}.*"));
            }
        }),
    ),
];

fn harmful(plan: &Plan) -> bool {
    plan.judged.iter().any(|report| report.verdict == Verdict::Harmful)
}

/// The rollout ends as `decide` would end it.
fn give_up(plan: &mut Plan, candidate: &RevisionRef, action: Action) {
    set_weight(plan, candidate, 0);
    let Some(last) = plan.status.decisions.last().cloned() else {
        return;
    };
    let decision = guardbit::api::Decision {
        action: action.into(),
        ..last
    };
    plan.order = Order::LowerFirst;
    plan.decisions.push(decision.clone());
    plan.status.decisions.push(decision);
}

fn change_weight(plan: &mut Plan, change: impl Fn(&RevisionRef, i32) -> i32) {
    for (of, weight) in plan.route.iter_mut().flat_map(|route| &mut route.weights) {
        *weight = change(of, *weight);
    }
}

/// Gives a revision this weight, at the cost of the heaviest other.
fn set_weight(plan: &mut Plan, of: &RevisionRef, weight: i32) {
    let Some(route) = &mut plan.route else { return };
    route.weights.retain(|(other, _)| other != of);
    let rest: i32 = route.weights.iter().map(|(_, w)| w).sum();
    if let Some((_, heaviest)) = route.weights.iter_mut().max_by_key(|(_, w)| *w) {
        *heaviest += 100 - weight - rest;
        route.weights.push((of.clone(), weight));
    }
}

fn double(samples: &mut GuardSamples) {
    let again = |matrix: &mut Matrix| {
        let mut more = matrix.series.clone();
        for series in &mut more {
            // Of a pod of its own, for the same counters under one pod are counted once.
            let pod = series.labels.get("pod").unwrap_or_default().to_owned();
            series.labels.set("pod", &format!("{pod}-again"));
        }
        matrix.series.append(&mut more);
    };
    for arm in [&mut samples.candidate, &mut samples.baseline] {
        for role in [Role::Total, Role::Bad, Role::Good, Role::Buckets] {
            if let Some(mut matrix) = arm.get(role).cloned() {
                again(&mut matrix);
                arm.insert(role, matrix);
            }
        }
    }
}
