//! The scenes of one model: what they have in common, and how each is made.

use crate::api::QuantizedModelSpec;
use crate::guards::{SuiteConfig, compare_outputs};
use crate::model::presets::guards;
use crate::model::{self, Step};
use crate::rollout::{Stage, control_weight, guards_of};

use super::pairs::pace::Pace;
use super::scene::{Goal, Held, Scene, Split};
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
        let rollout = model::read(spec).rollout;
        Self {
            spec,
            traffic,
            guards: guards_of(spec, Stage::Rollout),
            interval: rollout.interval.as_secs_f64().max(scrape).max(0.001),
            deadline: rollout.deadline.as_secs_f64(),
            steps: rollout.steps,
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
            shadow: None,
            pairs_until: self.pace.lasts(),
            effect: None,
            only: None,
            goal,
        }
    }

    /// The whole climb of a candidate that is as good as its baseline.
    pub(super) fn climb(&self, control_arm: bool, horizon: f64) -> Scene<'_> {
        let steps = self.steps.iter().map(|step| Held {
            split: self.split(step.weight, control_arm),
            hold: step.hold.as_secs_f64(),
        });
        Scene {
            steps: steps.collect(),
            shadow: self.shadow,
            ..self.at(0, control_arm, Goal::Promotion, horizon)
        }
    }
}
