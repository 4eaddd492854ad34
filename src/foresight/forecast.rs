//! The whole forecast of a model: its climbs, their steps, the watch after promotion.

use crate::api::QuantizedModelSpec;
use crate::guards::traffic::{Effect, Worse};
use crate::guards::{Kind, SuiteConfig};
use crate::rollout::{Stage, guards_of};

use super::outlook::{Arms, Climb, Forecast, GuardOutlook, Harm, Holdout, Problem, StepOutlook, TOO_MANY};
use super::pairs;
use super::pool::Budget;
use super::remedy;
use super::scales::latency_scales;
use super::scene::{End, Goal, Held, Run, Scene, Split};
use super::stage::{Question, Stagecraft};
use super::times::{Times, share};
use super::traffic::Traffic;

/// How long drift after a promotion is followed, in seconds.
const WATCHED: f64 = 8.0 * 3_600.0;

/// Shares of the time budget that are used up when the figures, and the remedies, are done.
const FIGURES: f64 = 0.6;

/// Foresees the rollouts of a model.
pub fn forecast(question: &Question<'_>, budget: &Budget<'_>) -> Forecast {
    let stage = Stagecraft::new(question);
    let guarding = guards_of(stage.spec, Stage::Guarding);
    let mut scenes = Vec::new();
    let kinds = kinds(stage.spec);
    for (control_arm, _) in &kinds {
        scenes.push(stage.climb(*control_arm, stage.deadline));
        for step in &stage.steps {
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
    let shadow = pairs::cases(&stage);
    scenes.extend(shadow.iter().map(|case| case.scene.clone()));
    let mut runs = budget.run(&scenes, FIGURES).into_iter();
    let mut next = || runs.next().unwrap_or_default();
    let mut climbs = Vec::new();
    let mut problems = Vec::new();
    for (control_arm, candidates) in kinds {
        let climb = next();
        let steps = stage.steps.iter().map(|step| {
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
                hold: step.hold.as_secs_f64(),
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
            pairs: pairs::of_climb(&stage, control_arm, &climb),
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
    let shadow = pairs::outlooks(&stage, &shadow, &mut next);
    Forecast {
        rps: stage.traffic.per_second(),
        assumptions: stage.traffic.assumptions.clone(),
        deadline: stage.deadline,
        poll: stage.poll(stage.deadline),
        climbs,
        shadow,
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

/// The kinds of climbs of a ladder, with the candidates of each: the first variant above the reference is compared with stable
/// alone, later ones also with a control arm on the reference.
fn kinds(spec: &QuantizedModelSpec) -> Vec<(bool, Vec<String>)> {
    let bootstrap = spec.rollout.bootstrap.as_ref();
    let first = bootstrap
        .and_then(|b| spec.variants.iter().position(|v| v.name == *b))
        .unwrap_or(0);
    let above = |from: usize, to: usize| -> Vec<String> {
        let variants = spec
            .variants
            .iter()
            .enumerate()
            .filter(|(i, _)| *i > first && *i >= from && *i <= to);
        variants.map(|(_, v)| v.name.clone()).collect()
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
                steps: vec![Held {
                    split,
                    hold: 0.0,
                    asked: 1.0,
                }],
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
