//! What would make a rollout decide in time: found by search, and each value tried by running the rollout with it.

use crate::api::QuantizedModelSpec;
use crate::guards::{set_margin, written};
use crate::rollout::{Stage, guards_of};

use super::outlook::{Problem, Remedy, TOO_MANY};
use super::pool::Budget;
use super::scene::{End, Goal, Run, Scene};
use super::stage::{Question, Stagecraft};
use super::times::{Missed, Times, clock, share};

/// Weights that are proposed, in percent. Beyond half of the traffic the baseline has too little of it.
const WEIGHTS: [i32; 10] = [2, 5, 10, 15, 20, 25, 30, 35, 40, 50];

/// Absolute tolerances and distances that are proposed.
const SHARES: [&str; 9] = ["0.2%", "0.5%", "1%", "2%", "3%", "5%", "10%", "15%", "20%"];

/// Rates that are proposed, in pairs a second.
const RATES: [&str; 8] = ["0.5", "1", "2", "3", "5", "10", "15", "20"];

/// Budgets of pairs that are proposed.
const BUDGETS: [i64; 7] = [2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000];

/// How many times the deadline a rollout is followed, to find how long it would take.
const FOLLOWED: f64 = 16.0;

/// Why a rollout misses its deadline, and what helps; `climb` are runs that show it.
pub(super) fn problem(
    stage: &Stagecraft<'_>,
    budget: &Budget<'_>,
    control_arm: bool,
    candidates: &[String],
    climb: &[Run],
) -> Problem {
    let open: Vec<&Run> = climb.iter().filter(|run| run.end == End::Open).collect();
    let steps = &stage.spec.rollout.steps;
    // The step that most of them did not leave.
    let step = (0..steps.len())
        .max_by_key(|step| open.iter().filter(|run| run.raised.len() == *step).count())
        .unwrap_or(0);
    let names: Vec<&String> = stage.guards.guards.keys().collect();
    let lacking = |guard: &usize| open.iter().filter(|run| run.unsure.get(*guard) == Some(&true)).count();
    let counting = |guard: &usize| {
        stage
            .guards
            .guards
            .get(names[*guard])
            .is_some_and(|kind| kind.counts_pairs())
    };
    // A shadow stage that does not end lets no other guard see anything.
    let waiting = (0..names.len()).find(counting).zip(stage.late_shadow());
    let guard = match waiting {
        Some((guard, _)) => guard,
        None => (0..names.len()).rev().max_by_key(lacking).unwrap_or(0),
    };
    let name = names.get(guard).map_or_else(String::new, |name| (*name).clone());
    let (weight, deadline) = (steps[step].weight, stage.deadline);
    let horizon = FOLLOWED * deadline;
    let followed = budget.run(
        &[
            Scene {
                only: Some(&name),
                ..stage.at(weight, control_arm, Goal::Health, horizon)
            },
            stage.climb(control_arm, horizon),
        ],
        0.75,
    );
    let needed = Times::of(followed[0].iter().map(|run| run.healthy[guard]), horizon);
    let takes = match needed.median {
        Some(median) => clock(median),
        None => format!("more than {}", clock(horizon)),
    };
    // Pairs follow no weight.
    let counts_pairs = stage.guards.guards.get(&name).is_some_and(|guard| guard.counts_pairs());
    let part = match waiting {
        Some(_) => 1.0,
        None => stage.asked_at(weight, control_arm),
    };
    let spent = Some(stage.pace.lasts() / part).filter(|lasts| counts_pairs && *lasts < deadline);
    let more = match (counts_pairs, spent) {
        (false, _) => [by_weight(stage, budget, control_arm, step), None],
        (true, None) => [by_rate(stage, budget, control_arm), None],
        // A faster rate spends it sooner, and may have shown enough by then.
        (true, Some(_)) => [
            by_budget(stage, budget, control_arm),
            by_rate(stage, budget, control_arm),
        ],
    };
    let remedies = more.into_iter().chain([
        by_tolerance(stage, budget, control_arm, &name),
        by_deadline(stage, control_arm, &followed[1]),
    ]);
    let remedies: Vec<Remedy> = remedies.flatten().collect();
    let rps = figure(stage.traffic.per_second());
    let told = &stage.spec.rollout.deadline;
    let why = match (waiting, spent) {
        (Some((_, takes)), _) if takes > deadline => format!(
            "the shadow stage does not end before the deadline of {told}: {} pairs of the candidate take {}",
            stage.shadow.unwrap_or_default(),
            clock(takes)
        ),
        (_, Some(lasts)) => format!(
            "the budget of pairs is spent after {}, and no more come: too few for the {weight}% step to show health of {name} by the deadline of {told}",
            clock(lasts)
        ),
        (_, None) => {
            format!("at {rps} rps the {weight}% step needs {takes} to show health of {name}; the deadline is {told}")
        }
    };
    let more = match (counts_pairs, spent) {
        (false, _) => "send it more traffic".to_owned(),
        (true, Some(_)) => more_budget(stage, part),
        (true, None) if part < 1.0 => "raise spec.comparer.shareOfArm, or send it more traffic".to_owned(),
        (true, None) => "have more pairs asked a second".to_owned(),
    };
    let sentence = format!("{why}: {}", advice(&remedies, weight, counts_pairs, &more, budget));
    Problem {
        candidates: candidates.to_vec(),
        step,
        guard: name,
        sentence,
        remedies,
    }
}

/// The budget of pairs that lasts until the deadline; the one of tokens where that is spent first.
fn more_budget(stage: &Stagecraft<'_>, part: f64) -> String {
    let written = stage
        .spec
        .comparer
        .as_ref()
        .map(|comparer| comparer.budget.pairs as f64);
    if stage.pace.budget < written {
        return "raise spec.comparer.budget.tokens".to_owned();
    }
    let needed = (stage.pace.rate * part * stage.deadline).ceil();
    format!("raise spec.comparer.budget.pairs ({needed} last until the deadline at this rate)")
}

/// What was found to help, or what may help beside what was tried: `more`.
fn advice(remedies: &[Remedy], weight: i32, counts_pairs: bool, more: &str, budget: &Budget<'_>) -> String {
    if remedies.is_empty() && budget.is_spent() {
        return format!(
            "the time for the search was over before anything was found that helps; give it more (--seconds), or {more}"
        );
    }
    if remedies.is_empty() {
        let tried = if counts_pairs {
            "rate, budget of pairs".to_owned()
        } else {
            format!("weight beyond {weight}%")
        };
        return format!(
            "no {tried}, tolerance or deadline that was tried helps by itself; {more}, or leave the guard out"
        );
    }
    let what = remedies.iter().map(|remedy| {
        let field = remedy.field.rsplit('.').next().unwrap_or_default();
        let field = match field {
            "weight" => "the weight",
            "deadline" => "the deadline",
            "rate" => "the rate of pairs",
            "pairs" => "spec.comparer.budget.pairs",
            "maxTotalVariation" => "maxTotalVariation",
            _ => "the tolerance",
        };
        let percent = if field == "the weight" { "%" } else { "" };
        format!("{field} to {}{percent}", remedy.value)
    });
    let what: Vec<String> = what.collect();
    format!("raise {}", what.join(", or "))
}

/// Requests per second, with the digits that matter.
pub(super) fn figure(value: f64) -> String {
    if value >= 9.95 {
        format!("{value:.0}")
    } else if value >= 0.0995 {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").unwrap_or(&text).to_owned()
    } else {
        let digits = (1.0 - value.max(1e-9).log10().floor()) as usize;
        format!("{value:.digits$}").trim_end_matches('0').to_owned()
    }
}

/// How many rollouts miss the deadline with a changed spec.
fn misses(
    stage: &Stagecraft<'_>,
    budget: &Budget<'_>,
    spec: &QuantizedModelSpec,
    control_arm: bool,
) -> (Missed, usize) {
    let traffic = stage.traffic.paced(spec);
    let question = Question {
        spec,
        traffic: &traffic,
        scrape: stage.interval,
        prompt_tokens: stage.prompt_tokens,
    };
    let changed = Stagecraft {
        guards: guards_of(spec, Stage::Rollout),
        ..Stagecraft::new(&question)
    };
    let runs = budget.run(&[changed.climb(control_arm, changed.deadline)], 1.0);
    (share(&runs[0], End::Open), runs[0].len())
}

/// The first of `values` of a field, in which later ones are more lenient, with which the rollout decides.
fn least<T: Copy + ToString>(
    field: String,
    values: &[T],
    stage: &Stagecraft<'_>,
    budget: &Budget<'_>,
    control_arm: bool,
    change: impl Fn(&mut QuantizedModelSpec, T),
) -> Option<Remedy> {
    let with = |value: T| {
        let mut spec = stage.spec.clone();
        change(&mut spec, value);
        misses(stage, budget, &spec, control_arm)
    };
    let (mut low, mut high, mut found) = (0, values.len(), None);
    // What was found so far helps, too, if it is not the least.
    while low < high && !budget.is_spent() {
        let middle = (low + high) / 2;
        let (missed, runs) = with(values[middle]);
        if missed.share <= TOO_MANY {
            (high, found) = (middle, Some((values[middle], missed, runs)));
        } else {
            low = middle + 1;
        }
    }
    let (value, missed, runs) = found?;
    Some(Remedy {
        field,
        value: value.to_string(),
        missed,
        runs,
    })
}

fn by_weight(stage: &Stagecraft<'_>, budget: &Budget<'_>, control_arm: bool, step: usize) -> Option<Remedy> {
    let now = stage.spec.rollout.steps[step].weight;
    let most = 99 - stage.spec.rollout.holdout;
    let values: Vec<i32> = WEIGHTS.into_iter().filter(|w| *w > now && *w <= most).collect();
    let field = format!("spec.rollout.steps[{step}].weight");
    least(field, &values, stage, budget, control_arm, |spec, weight| {
        // Steps before it, and after it, keep rising.
        for (i, step_spec) in spec.rollout.steps.iter_mut().enumerate() {
            if i == step || (i > step && step_spec.weight < weight) {
                step_spec.weight = weight;
            }
        }
    })
}

/// More pairs a second, where guardbit asks them.
fn by_rate(stage: &Stagecraft<'_>, budget: &Budget<'_>, control_arm: bool) -> Option<Remedy> {
    stage.spec.comparer.as_ref()?;
    let now = stage.pace.rate;
    let faster = |text: &&str| text.parse::<f64>().is_ok_and(|rate| rate > now);
    let values: Vec<&str> = RATES.into_iter().filter(faster).collect();
    let field = "spec.comparer.rate".to_owned();
    least(field, &values, stage, budget, control_arm, |spec, rate| {
        if let Some(comparer) = &mut spec.comparer {
            comparer.rate = rate.into();
        }
    })
}

/// More pairs in all, where the budget is spent before the deadline.
fn by_budget(stage: &Stagecraft<'_>, budget: &Budget<'_>, control_arm: bool) -> Option<Remedy> {
    let now = stage.spec.comparer.as_ref()?.budget.pairs;
    let spent = stage.pace.lasts() < stage.deadline;
    let values: Vec<i64> = BUDGETS.into_iter().filter(|pairs| spent && *pairs > now).collect();
    let field = "spec.comparer.budget.pairs".to_owned();
    least(field, &values, stage, budget, control_arm, |spec, pairs| {
        if let Some(comparer) = &mut spec.comparer {
            comparer.budget.pairs = pairs;
        }
    })
}

fn by_tolerance(stage: &Stagecraft<'_>, budget: &Budget<'_>, control_arm: bool, guard: &str) -> Option<Remedy> {
    let of = |spec: &QuantizedModelSpec| spec.guards.iter().position(|g| g.name == guard);
    let at = of(stage.spec)?;
    let (field, now) = written(&stage.spec.guards[at])?.margin()?;
    let value_of = |text: &str| crate::api::Fraction::from(text).value().unwrap_or(0.0);
    let values: Vec<&str> = SHARES
        .into_iter()
        .filter(|text| value_of(text) > now * (1.0 + 1e-9))
        .collect();
    let field = format!("spec.guards[{at}].{field}");
    least(field, &values, stage, budget, control_arm, |spec, value| {
        set_margin(&mut spec.guards[at], value);
    })
}

/// The deadline by which nine of ten are decided, as the runs that were followed on show it.
fn by_deadline(stage: &Stagecraft<'_>, control_arm: bool, followed: &[Run]) -> Option<Remedy> {
    let horizon = FOLLOWED * stage.deadline;
    let ended = |run: &Run| (run.end != End::Open).then_some(run.at);
    let p90 = Times::of(followed.iter().map(ended), horizon).p90?;
    // Polls are taken together over a long time; one of them more is on the safe side.
    let needed = p90 + stage.climb(control_arm, horizon).poll;
    let unit = if needed > 2.0 * 3_600.0 { 3_600.0 } else { 60.0 };
    let value = (needed / unit).ceil();
    let late = followed
        .iter()
        .filter(|run| ended(run).is_none_or(|at| at > value * unit))
        .count();
    let share = late as f64 / followed.len().max(1) as f64;
    Some(Remedy {
        field: "spec.rollout.deadline".to_owned(),
        value: format!("{value:.0}{}", if unit == 60.0 { "m" } else { "h" }),
        missed: Missed {
            share,
            error: super::times::share_error(share, followed.len()),
        },
        runs: followed.len(),
    })
}
