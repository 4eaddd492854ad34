//! What pairs of answers cost while a candidate climbs.

use serde::Serialize;

use super::super::scene::{End, Run};
use super::super::stage::Stagecraft;
use super::super::times::{Missed, Times};

/// Tokens of a question where nothing is known of them.
const PROMPT: f64 = 1_000.0;

/// What pairs of answers cost in one kind of climb, of a candidate that is as good as its baseline. Medians over the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairCosts {
    /// Pairs per second, those that ask the reference twice among them.
    pub per_second: f64,
    /// Share of them that ask the reference twice.
    pub control: f64,
    /// Tokens of a question, as they were said or assumed; absent where servers tell no tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<f64>,
    /// The shadow stage and the steps, as far as half of the runs came.
    pub stages: Vec<StageCost>,
    /// All of it, until the promotion; until the deadline where fewer than half were promoted.
    pub climb: Cost,
    /// What becomes of the budget; absent for a comparer that guardbit does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetOutlook>,
}

/// What one part of a climb costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageCost {
    /// For people: "shadow", or the weight, as in "25%".
    pub stage: String,
    /// Its cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What some pairs cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// How long it takes.
    pub seconds: f64,
    /// Pairs meanwhile, those that ask the reference twice among them.
    pub pairs: f64,
    /// Requests that the candidate gets for them.
    pub candidate_requests: f64,
    /// Requests that the reference gets for them.
    pub reference_requests: f64,
    /// Tokens of both arms; absent where servers tell none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
}

/// What becomes of a budget of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetOutlook {
    /// Pairs until it is spent.
    pub pairs: f64,
    /// Seconds until it is spent.
    pub lasts: f64,
    /// Share of the runs in which that is before the promotion, or before whatever else ends the rollout.
    pub spent: Missed,
}

impl Cost {
    fn of(stage: &Stagecraft<'_>, seconds: f64, pairs: f64) -> Self {
        let control = stage.pace.control;
        // A pair asks both arms, and a control pair the reference twice.
        let (candidate_requests, reference_requests) = (pairs * (1.0 - control), pairs * (1.0 + control));
        let prompt = stage.prompt_tokens.unwrap_or(PROMPT);
        Self {
            seconds,
            pairs,
            candidate_requests,
            reference_requests,
            tokens: stage.pace.answer.map(|answer| 2.0 * pairs * (prompt + answer)),
        }
    }
}

/// What the climbs of `runs` cost; `None` where no guard counts pairs.
pub(in crate::foresight) fn of_climb(stage: &Stagecraft<'_>, runs: &[Run]) -> Option<PairCosts> {
    if !stage.guards.guards.values().any(|guard| guard.counts_pairs()) {
        return None;
    }
    let pace = stage.pace;
    let between = |ends: &dyn Fn(&Run) -> Option<(f64, f64)>| -> Option<Cost> {
        let median = |of: &dyn Fn(f64, f64) -> f64| {
            let values = runs.iter().map(|run| ends(run).map(|(from, to)| of(from, to)));
            Times::of(values, stage.deadline).median
        };
        let seconds = median(&|from: f64, to: f64| to - from)?;
        let pairs = median(&|from: f64, to: f64| pace.pairs(to) - pace.pairs(from))?;
        Some(Cost::of(stage, seconds, pairs))
    };
    let shadow = between(&|run: &Run| (run.begun > 0.0).then_some((0.0, run.begun)));
    let shadow = shadow.map(|cost| StageCost {
        stage: "shadow".to_owned(),
        cost,
    });
    let steps = stage.steps.iter().enumerate().filter_map(|(i, step)| {
        let cost = between(&|run: &Run| {
            let from = match i {
                0 => run.begun,
                _ => *run.raised.get(i - 1)?,
            };
            Some((from, *run.raised.get(i)?))
        })?;
        Some(StageCost {
            stage: format!("{}%", step.weight),
            cost,
        })
    });
    let climb = between(&|run: &Run| (run.end == End::Healthy).then_some((0.0, run.at)));
    let budget = pace.budget.map(|pairs| BudgetOutlook {
        pairs,
        lasts: pace.lasts(),
        spent: Missed::of(runs, |run| run.at > pace.lasts()),
    });
    Some(PairCosts {
        per_second: pace.rate,
        control: pace.control,
        prompt_tokens: pace.answer.map(|_| stage.prompt_tokens.unwrap_or(PROMPT)),
        stages: shadow.into_iter().chain(steps).collect(),
        climb: climb.unwrap_or_else(|| Cost::of(stage, stage.deadline, pace.pairs(stage.deadline))),
        budget,
    })
}
