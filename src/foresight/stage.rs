//! The scenes of one model: what they have in common, and how each is made.

use crate::api::QuantizedModelSpec;
use crate::guards::{SuiteConfig, compare_outputs};
use crate::model::presets::guards;
use crate::model::{self, Comparer, Model, Step};
use crate::rollout::observation::halve;
use crate::rollout::{Stage, control_weight, guards_of, halved};

use super::pairs::pace::Pace;
use super::scene::{Goal, Held, Scene, Split, of_baseline};
use super::traffic::Traffic;

/// What is to be foreseen.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The model, without problems.
    pub spec: &'a QuantizedModelSpec,
    /// Its traffic.
    pub traffic: &'a Traffic,
    /// Seconds between two scrapes: an evaluation without a new one learns nothing. 0 where every evaluation finds one.
    pub scrape: f64,
    /// Tokens of a question that both arms are asked, where that is known: they count towards a budget of tokens.
    pub prompt_tokens: Option<f64>,
}

/// The part of the comparer's rate at which pairs are asked at each step of a model's first climb, with this traffic.
pub fn asked_at_steps(spec: &QuantizedModelSpec, traffic: &Traffic) -> Vec<f64> {
    let question = Question {
        spec,
        traffic,
        scrape: 0.0,
        prompt_tokens: None,
    };
    Stagecraft::new(&question).asked(false)
}

/// Most evaluations of a run: beyond it, polls are taken together. A test shows that this moves times by little.
pub(super) const EVALUATIONS: f64 = 960.0;

/// A model with all that its scenes have in common.
pub(super) struct Stagecraft<'a> {
    pub(super) spec: &'a QuantizedModelSpec,
    pub(super) traffic: &'a Traffic,
    pub(super) guards: SuiteConfig,
    /// Seconds between two evaluations that learn something.
    pub(super) interval: f64,
    pub(super) deadline: f64,
    pub(super) steps: Vec<Step>,
    pub(super) comparer: Option<Comparer>,
    /// How pairs of answers are asked.
    pub(super) pace: Pace,
    /// Pairs of the candidate that are counted before its first weight.
    pub(super) shadow: Option<u64>,
    pub(super) prompt_tokens: Option<f64>,
}

impl<'a> Stagecraft<'a> {
    pub(super) fn new(question: &Question<'a>) -> Self {
        let Question {
            spec,
            traffic,
            scrape,
            prompt_tokens,
        } = *question;
        let Model { rollout, comparer, .. } = model::read(spec);
        Self {
            spec,
            traffic,
            guards: guards_of(spec, Stage::Rollout),
            interval: rollout.interval.as_secs_f64().max(scrape).max(0.001),
            deadline: rollout.deadline.as_secs_f64(),
            steps: rollout.steps,
            comparer,
            pace: Pace::of(spec, prompt_tokens),
            shadow: rollout.shadow,
            prompt_tokens,
        }
    }

    /// Seconds between the evaluations of a run up to `horizon`.
    pub(super) fn poll(&self, horizon: f64) -> f64 {
        self.interval * (horizon / self.interval / EVALUATIONS).ceil().max(1.0)
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
        let compared = compare_outputs(&guards(self.spec));
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

    /// The part of the comparer's rate at which pairs are asked at each step: the rollout halves the rate where an arm is to
    /// get no more than a share of its requests in pairs.
    pub(super) fn asked(&self, control_arm: bool) -> Vec<f64> {
        let counting = guards(self.spec).into_iter().find_map(|guard| {
            let kind = self.guards.guards.get(&guard.name)?;
            let stream = self.traffic.streams.get(&guard.name)?;
            kind.counts_requests().then_some((kind, stream.per_second))
        });
        let mut now = 0;
        let parts = self.steps.iter().map(|step| {
            let split = self.split(step.weight, control_arm);
            let fewer = counting.map(|(kind, requests)| requests * split.candidate.min(of_baseline(kind, split)));
            now = self
                .comparer
                .as_ref()
                .map_or(0, |comparer| halved(comparer, now, fewer));
            halve(1.0, now)
        });
        parts.collect()
    }

    /// The same at one weight; all of the rate where no step has it.
    pub(super) fn asked_at(&self, weight: i32, control_arm: bool) -> f64 {
        let mut parts = self.steps.iter().zip(self.asked(control_arm));
        let of_step = parts.find(|(step, _)| step.weight == weight);
        of_step.map_or(1.0, |(_, asked)| asked)
    }

    /// How long the shadow stage would take where it does not end before the deadline, or before the budget is spent.
    pub(super) fn late_shadow(&self) -> Option<f64> {
        let takes = self.pace.takes(self.shadow? as f64);
        (takes > self.deadline.min(self.pace.lasts())).then_some(takes)
    }

    /// One weight, held from the first request on.
    pub(super) fn at(&self, weight: i32, control_arm: bool, goal: Goal, horizon: f64) -> Scene<'_> {
        Scene {
            guards: &self.guards,
            traffic: self.traffic,
            steps: vec![Held {
                split: self.split(weight, control_arm),
                hold: 0.0,
                asked: self.asked_at(weight, control_arm),
            }],
            before: self.split(0, control_arm),
            poll: self.poll(horizon),
            horizon,
            shadow: None,
            pairs_last: self.pace.lasts(),
            effect: None,
            only: None,
            goal,
        }
    }

    /// The whole climb of a candidate that is as good as its baseline.
    pub(super) fn climb(&self, control_arm: bool, horizon: f64) -> Scene<'_> {
        let asked = self.asked(control_arm);
        let steps = self.steps.iter().zip(asked).map(|(step, asked)| Held {
            split: self.split(step.weight, control_arm),
            hold: step.hold.as_secs_f64(),
            asked,
        });
        Scene {
            steps: steps.collect(),
            shadow: self.shadow,
            ..self.at(0, control_arm, Goal::Promotion, horizon)
        }
    }
}
