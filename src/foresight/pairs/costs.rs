//! What pairs of answers cost while a candidate climbs.

use serde::Serialize;

use super::super::scene::{End, Run};
use super::super::stage::Stagecraft;
use super::super::times::{Missed, Times};
use super::pace::Meter;

/// Tokens of a question where nothing is known of them.
const PROMPT: f64 = 1_000.0;

/// What pairs of answers cost in one kind of climb, of a candidate that is as good as its baseline. Medians over the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairCosts {
    /// Pairs per second as the spec has them, those that ask the reference twice among them.
    pub per_second: f64,
    /// The same at each step, where an arm may get no more than a share of its requests in pairs.
    pub rates: Vec<StepRate>,
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

/// How fast pairs are asked at one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRate {
    /// Percent.
    pub weight: i32,
    /// Pairs per second, those that ask the reference twice among them.
    pub per_second: f64,
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
    /// Seconds until it is spent at the rate of the last step. A change of the rate begins a new budget.
    pub lasts: f64,
    /// Share of the runs in which it is spent before the promotion, or before whatever else ends the rollout.
    pub spent: Missed,
    /// Seconds that it lasts after the promotion, at the rate of the last step; absent where fewer than half are promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<f64>,
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

/// The pairs of one run.
struct Asked<'a> {
    run: &'a Run,
    /// Seconds, and pairs meanwhile, of the shadow stage and of each step, as far as the run came.
    spans: Vec<(f64, f64)>,
    /// Whether the budget was spent in one of them.
    spent: bool,
    /// What was left of it at the end, in seconds of the whole rate.
    left: f64,
}

impl<'a> Asked<'a> {
    /// Of a run whose steps have pairs asked at these parts of the rate.
    fn in_run(stage: &Stagecraft<'_>, parts: &[f64], run: &'a Run) -> Self {
        let mut meter = Meter::new(stage.pace.lasts());
        let (mut spans, mut spent) = (Vec::new(), false);
        for (seconds, part) in times(stage, parts, run) {
            let got = meter.ask(seconds, part);
            spent |= got < part * seconds * (1.0 - 1e-9);
            spans.push((seconds, stage.pace.rate * got));
        }
        Self {
            run,
            spans,
            spent,
            left: meter.left,
        }
    }

    fn is_promoted(&self) -> bool {
        self.run.end == End::Healthy
    }

    fn has_shadow(&self) -> bool {
        self.run.begun > 0.0
    }

    /// A step that ended.
    fn step(&self, step: usize) -> Option<(f64, f64)> {
        self.run.raised.get(step)?;
        self.spans.get(step + usize::from(self.has_shadow())).copied()
    }

    fn pairs(&self) -> f64 {
        self.spans.iter().map(|(_, pairs)| pairs).sum()
    }
}

/// How long pairs are asked in a run, and at which part of the rate: in the shadow stage, and at each step.
fn times(stage: &Stagecraft<'_>, parts: &[f64], run: &Run) -> Vec<(f64, f64)> {
    let is_in_shadow = stage.shadow.is_some() && run.begun <= 0.0;
    if is_in_shadow {
        return vec![(run.at, 1.0)];
    }
    let mut times = Vec::new();
    if run.begun > 0.0 {
        times.push((run.begun, 1.0));
    }
    let mut from = run.begun;
    for (i, part) in parts.iter().enumerate().take(run.raised.len() + 1) {
        let to = run.raised.get(i).copied().unwrap_or(run.at);
        times.push((to - from, *part));
        from = to;
    }
    times
}

/// What the climbs of `runs` cost; `None` where no guard counts pairs.
pub(in crate::foresight) fn of_climb(stage: &Stagecraft<'_>, control_arm: bool, runs: &[Run]) -> Option<PairCosts> {
    if !stage.guards.guards.values().any(|guard| guard.counts_pairs()) {
        return None;
    }
    let pace = stage.pace;
    let parts = stage.asked(control_arm);
    let asked: Vec<Asked<'_>> = runs.iter().map(|run| Asked::in_run(stage, &parts, run)).collect();
    let median = |of: &dyn Fn(&Asked<'_>) -> Option<f64>| Times::of(asked.iter().map(of), stage.deadline).median;
    let costs = |of: &dyn Fn(&Asked<'_>) -> Option<(f64, f64)>| {
        let seconds = median(&|asked: &Asked<'_>| of(asked).map(|(seconds, _)| seconds))?;
        let pairs = median(&|asked: &Asked<'_>| of(asked).map(|(_, pairs)| pairs))?;
        Some(Cost::of(stage, seconds, pairs))
    };
    let shadow = costs(&|asked: &Asked<'_>| asked.spans.first().copied().filter(|_| asked.has_shadow()));
    let shadow = shadow.map(|cost| StageCost {
        stage: "shadow".to_owned(),
        cost,
    });
    let steps = stage.steps.iter().enumerate().filter_map(|(i, step)| {
        Some(StageCost {
            stage: format!("{}%", step.weight),
            cost: costs(&|asked: &Asked<'_>| asked.step(i))?,
        })
    });
    let climb = costs(&|asked: &Asked<'_>| asked.is_promoted().then(|| (asked.run.at, asked.pairs())));
    let most = asked.iter().map(Asked::pairs).fold(0.0, f64::max);
    let last = parts.last().copied().unwrap_or(1.0);
    let budget = pace.budget.map(|pairs| BudgetOutlook {
        pairs,
        lasts: pace.lasts() / last,
        spent: Missed::of_share(asked.iter().filter(|asked| asked.spent).count(), runs.len()),
        left: median(&|asked: &Asked<'_>| asked.is_promoted().then_some(asked.left / last)),
    });
    let rates = stage.steps.iter().zip(&parts).map(|(step, part)| StepRate {
        weight: step.weight,
        per_second: pace.rate * part,
    });
    Some(PairCosts {
        per_second: pace.rate,
        rates: rates.collect(),
        control: pace.control,
        prompt_tokens: pace.answer.map(|_| stage.prompt_tokens.unwrap_or(PROMPT)),
        stages: shadow.into_iter().chain(steps).collect(),
        climb: climb.unwrap_or_else(|| Cost::of(stage, stage.deadline, most)),
        budget,
    })
}
