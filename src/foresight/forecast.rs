//! The whole forecast of a model: its climbs, their steps, the watch after promotion.

use serde::Serialize;

use crate::api::QuantizedModelSpec;
use crate::guards::traffic::{Effect, Worse};
use crate::guards::{Kind, SuiteConfig, compare_outputs};
use crate::rollout::{Stage, control_weight, guards_of};

use super::pool::Budget;
use super::remedy;
use super::scales::{LatencyScale, latency_scales};
use super::scene::{End, Goal, Held, Run, Scene, Split};
use super::times::{Times, share_error};
use super::traffic::Traffic;

/// What is to be foreseen.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The model, without problems.
    pub spec: &'a QuantizedModelSpec,
    /// Its traffic.
    pub traffic: &'a Traffic,
    /// Seconds between two scrapes: a look without a new one learns nothing. 0 where every look finds one.
    pub scrape: f64,
}

/// What is foreseen. Times in seconds, shares in `[0, 1]`, weights in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Requests per second of the whole route.
    pub rps: f64,
    /// What the figures rest on.
    pub assumptions: Vec<String>,
    /// How long a rollout may take.
    pub deadline: f64,
    /// Seconds between two looks that learn something, as they were imagined.
    pub poll: f64,
    /// One for each kind of rung.
    pub climbs: Vec<Climb>,
    /// What finding drift takes after promotion, by size of the holdout.
    pub holdouts: Vec<Holdout>,
    /// How much slower a candidate may be.
    pub latency_scales: Vec<LatencyScale>,
    /// What will not decide in time.
    pub problems: Vec<Problem>,
}

/// A climb to one rung; rungs that are compared in the same way share one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Climb {
    /// The variants on trial.
    pub candidates: Vec<String>,
    /// Whether outputs are compared with an arm beside stable: from the second rung on.
    pub control_arm: bool,
    /// First weight to promotion of a candidate that is as good as its baseline.
    pub promotion: Times,
    /// The deadline comes first.
    pub missed: Missed,
    /// Share of such candidates that are rolled back.
    pub rolled_back: Missed,
    /// By step.
    pub steps: Vec<StepOutlook>,
}

/// A share of runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missed {
    /// The share.
    pub share: f64,
    /// Half the width of its 95% interval.
    pub error: f64,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepOutlook {
    /// Percent.
    pub weight: i32,
    /// How long it is held at least.
    pub hold: f64,
    /// Requests per second by arm.
    pub rps: Arms,
    /// By guard: what this weight alone would show, from the first request on.
    pub guards: Vec<GuardOutlook>,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arms {
    /// On trial.
    pub candidate: f64,
    /// Carries the main traffic.
    pub stable: f64,
    /// What outputs are compared with; stable itself on the first rung.
    pub reference: f64,
}

/// What a guard shows at one weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardOutlook {
    /// Its name.
    pub guard: String,
    /// First request to health, of a candidate that is as good as its baseline.
    pub health: Times,
    /// First request to harm, of worse ones.
    pub harm: Vec<Harm>,
}

/// How long a candidate that is so much worse goes unnoticed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Harm {
    /// For people: "2% bad", "1.4 × as slow", "TV 0.1".
    pub effect: String,
    /// The share of bad events, the factor on latencies, or the total variation distance.
    pub size: f64,
    /// First request to harm.
    pub found: Times,
}

/// The watch after promotion at one size of the holdout.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holdout {
    /// The fidelity guard.
    pub guard: String,
    /// Percent of the traffic that stays on the reference.
    pub percent: i32,
    /// Total variation distance of the drift: twice what is tolerated.
    pub drift: f64,
    /// Its beginning to harm.
    pub found: Times,
}

/// Something that will not decide in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The variants on trial.
    pub candidates: Vec<String>,
    /// Index of the step that does not end.
    pub step: usize,
    /// The guard that it waits for.
    pub guard: String,
    /// All of it in a sentence, with what was found to help.
    pub sentence: String,
    /// Changes each of which was tried and helps.
    pub remedies: Vec<Remedy>,
}

/// A change that was tried, and with which a rollout decides in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// The field.
    pub field: String,
    /// What to write there.
    pub value: String,
    /// Share of rollouts that then miss the deadline.
    pub missed: Missed,
    /// Runs that show it.
    pub runs: usize,
}

/// Looks of a run at the most: beyond it, polls are taken together. A test shows that this moves times by little.
pub(super) const LOOKS: f64 = 960.0;

/// How long drift after a promotion is followed, in seconds.
const WATCHED: f64 = 8.0 * 3_600.0;

/// Share of good candidates that may miss the deadline before it is called a problem.
pub(super) const TOO_MANY: f64 = 0.10;

/// Shares of the time budget that are used up when the figures, and the remedies, are done.
const FIGURES: f64 = 0.6;

/// A model with all that its scenes have in common.
pub(super) struct Stagecraft<'a> {
    pub(super) spec: &'a QuantizedModelSpec,
    pub(super) traffic: &'a Traffic,
    pub(super) guards: SuiteConfig,
    pub(super) look: f64,
    pub(super) deadline: f64,
}

impl<'a> Stagecraft<'a> {
    pub(super) fn new(question: &Question<'a>) -> Self {
        let Question { spec, traffic, scrape } = *question;
        Self {
            spec,
            traffic,
            guards: guards_of(spec, Stage::Rollout),
            look: seconds(&spec.rollout.interval).max(scrape).max(0.001),
            deadline: seconds(&spec.rollout.deadline),
        }
    }

    /// Seconds between the looks of a run up to `horizon`.
    pub(super) fn poll(&self, horizon: f64) -> f64 {
        self.look * (horizon / self.look / LOOKS).ceil().max(1.0)
    }

    /// Shares of the traffic while a candidate has `weight` percent.
    pub(super) fn split(&self, weight: i32, control_arm: bool) -> Split {
        let share = |percent: i32| f64::from(percent) / 100.0;
        if !control_arm {
            let stable = share(100 - weight);
            return Split {
                candidate: share(weight),
                baseline: stable,
                reference: stable,
            };
        }
        let compared = compare_outputs(&self.spec.guards);
        let declared = self.spec.rollout.holdout;
        let reference = if compared {
            control_weight(declared, weight)
        } else {
            declared
        };
        Split {
            candidate: share(weight),
            baseline: share(100 - weight - reference),
            reference: share(reference),
        }
    }

    /// One weight, held from the first request on.
    pub(super) fn at(&self, weight: i32, control_arm: bool, goal: Goal, horizon: f64) -> Scene<'_> {
        Scene {
            guards: &self.guards,
            traffic: self.traffic,
            steps: vec![Held {
                split: self.split(weight, control_arm),
                hold: 0.0,
            }],
            before: self.split(0, control_arm),
            poll: self.poll(horizon),
            horizon,
            effect: None,
            only: None,
            goal,
        }
    }

    /// The whole climb of a candidate that is as good as its baseline.
    pub(super) fn climb(&self, control_arm: bool, horizon: f64) -> Scene<'_> {
        let steps = self.spec.rollout.steps.iter().map(|step| Held {
            split: self.split(step.weight, control_arm),
            hold: seconds(&step.hold),
        });
        Scene {
            steps: steps.collect(),
            ..self.at(0, control_arm, Goal::Promotion, horizon)
        }
    }
}

pub(super) fn seconds(duration: &crate::api::Duration) -> f64 {
    duration.millis().unwrap_or(0) as f64 / 1000.0
}

/// Foresees the rollouts of a model.
pub fn forecast(question: &Question<'_>, budget: &Budget<'_>) -> Forecast {
    let stage = Stagecraft::new(question);
    let guarding = guards_of(stage.spec, Stage::Guarding);
    let mut scenes = Vec::new();
    let kinds = kinds(stage.spec);
    for (control_arm, _) in &kinds {
        scenes.push(stage.climb(*control_arm, stage.deadline));
        for step in &stage.spec.rollout.steps {
            scenes.push(stage.at(step.weight, *control_arm, Goal::Health, stage.deadline));
            for (guard, config) in &stage.guards.guards {
                for worse in worse(config, guard, stage.traffic) {
                    scenes.push(Scene {
                        effect: Some((guard, worse.effect)),
                        only: Some(guard),
                        ..stage.at(step.weight, *control_arm, Goal::Harm, stage.deadline)
                    });
                }
            }
        }
    }
    let holdouts = holdouts(&stage, &guarding);
    scenes.extend(holdouts.iter().map(|(scene, ..)| scene.clone()));
    let mut runs = budget.run(&scenes, FIGURES).into_iter();
    let mut next = || runs.next().unwrap_or_default();
    let mut climbs = Vec::new();
    let mut problems = Vec::new();
    for (control_arm, candidates) in kinds {
        let climb = next();
        let steps = stage.spec.rollout.steps.iter().map(|step| {
            let health = next();
            let split = stage.split(step.weight, control_arm);
            let guards = stage
                .guards
                .guards
                .iter()
                .enumerate()
                .map(|(i, (guard, config))| GuardOutlook {
                    guard: guard.clone(),
                    health: Times::of(health.iter().map(|run| run.healthy[i]), stage.deadline),
                    harm: worse(config, guard, stage.traffic)
                        .into_iter()
                        .map(|worse| Harm {
                            effect: worse.told,
                            size: worse.size,
                            found: Times::of(next().iter().map(|run| at(run, End::Harmful)), stage.deadline),
                        })
                        .collect(),
                });
            let rps = |share: f64| share * stage.traffic.per_second();
            StepOutlook {
                weight: step.weight,
                hold: seconds(&step.hold),
                rps: Arms {
                    candidate: rps(split.candidate),
                    stable: rps(split.baseline),
                    reference: rps(split.reference),
                },
                guards: guards.collect(),
            }
        });
        let steps = steps.collect();
        let missed = share(&climb, End::Open);
        if missed.share > TOO_MANY {
            problems.push(remedy::problem(&stage, budget, control_arm, &candidates, &climb));
        }
        climbs.push(Climb {
            candidates,
            control_arm,
            promotion: Times::of(climb.iter().map(|run| at(run, End::Healthy)), stage.deadline),
            missed,
            rolled_back: share(&climb, End::Harmful),
            steps,
        });
    }
    let holdouts = holdouts
        .iter()
        .map(|(_, guard, percent, drift)| Holdout {
            guard: guard.clone(),
            percent: *percent,
            drift: *drift,
            found: Times::of(next().iter().map(|run| at(run, End::Harmful)), WATCHED),
        })
        .collect();
    Forecast {
        rps: stage.traffic.per_second(),
        assumptions: stage.traffic.assumptions.clone(),
        deadline: stage.deadline,
        poll: stage.poll(stage.deadline),
        climbs,
        holdouts,
        latency_scales: latency_scales(&stage.guards, stage.traffic),
        problems,
    }
}

/// What will not decide in time, and nothing else: the part of a forecast that a reviewer must see.
pub fn problems(question: &Question<'_>, budget: &Budget<'_>) -> Vec<Problem> {
    let stage = Stagecraft::new(question);
    let mut problems = Vec::new();
    for (control_arm, candidates) in kinds(stage.spec) {
        let runs = budget.run(&[stage.climb(control_arm, stage.deadline)], FIGURES);
        if share(&runs[0], End::Open).share > TOO_MANY {
            problems.push(remedy::problem(&stage, budget, control_arm, &candidates, &runs[0]));
        }
    }
    problems
}

fn at(run: &Run, end: End) -> Option<f64> {
    (run.end == end).then_some(run.at)
}

pub(super) fn share(runs: &[Run], end: End) -> Missed {
    let share = runs.iter().filter(|run| run.end == end).count() as f64 / runs.len().max(1) as f64;
    Missed {
        share,
        error: share_error(share, runs.len()),
    }
}

/// The kinds of climbs of a ladder, with the candidates of each: the first rung above the reference is compared with stable
/// alone, later ones also with a control arm on the reference.
fn kinds(spec: &QuantizedModelSpec) -> Vec<(bool, Vec<String>)> {
    let bootstrap = spec.rollout.bootstrap.as_ref();
    let first = bootstrap
        .and_then(|b| spec.variants.iter().position(|v| v.name == *b))
        .unwrap_or(0);
    let above = |from: usize, to: usize| -> Vec<String> {
        let rungs = spec
            .variants
            .iter()
            .enumerate()
            .filter(|(i, _)| *i > first && *i >= from && *i <= to);
        rungs.map(|(_, v)| v.name.clone()).collect()
    };
    let target = spec.target_index();
    [(false, above(1, target.min(1))), (true, above(2, target))]
        .into_iter()
        .filter(|(_, candidates)| !candidates.is_empty())
        .collect()
}

/// Candidates that are worse than the baseline of a guard.
fn worse(guard: &Kind, name: &str, traffic: &Traffic) -> Vec<Worse> {
    guard.worse(traffic.streams.get(name).map(|stream| &stream.shape))
}

/// The watch after promotion, at the holdout of the spec and at larger ones: scene, guard, percent, drift.
fn holdouts<'a>(stage: &'a Stagecraft<'_>, guarding: &'a SuiteConfig) -> Vec<(Scene<'a>, String, i32, f64)> {
    let own = stage.spec.rollout.holdout;
    if own == 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = [own, 2 * own, 4 * own].into_iter().filter(|p| *p <= 50).collect();
    sizes.dedup();
    let mut scenes = Vec::new();
    for (name, guard) in &guarding.guards {
        let Some(fidelity) = guard.as_fidelity() else {
            continue;
        };
        let drift = (2.0 * fidelity.max_total_variation).min(0.5);
        for percent in &sizes {
            let reference = f64::from(*percent) / 100.0;
            let split = Split {
                candidate: 1.0 - reference,
                baseline: reference,
                reference,
            };
            let scene = Scene {
                guards: guarding,
                steps: vec![Held { split, hold: 0.0 }],
                before: split,
                effect: Some((name, Effect::Drift(drift))),
                only: Some(name),
                ..stage.at(0, true, Goal::Harm, WATCHED)
            };
            scenes.push((scene, name.clone(), *percent, drift));
        }
    }
    scenes
}
