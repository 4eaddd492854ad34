//! What people read of a forecast.

use std::fmt::Write as _;

use super::outlook::{Climb, Forecast, StepOutlook};
use super::pairs::{PairCosts, ShadowOutlook};
use super::remedy::figure;
use super::times::{Missed, Times, clock};
use crate::guards::traffic::percent;

/// Share of runs below which something cannot be relied on at all.
const RARE: f64 = 0.1;

/// The forecast as a table. `model` is its name.
pub fn table(model: &str, forecast: &Forecast) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{model} at {} rps: an evaluation every {}, deadline {}",
        figure(forecast.rps),
        clock(forecast.poll),
        clock(forecast.deadline)
    );
    for climb in &forecast.climbs {
        climb_table(&mut out, climb);
    }
    for shadow in &forecast.shadow {
        shadow_table(&mut out, shadow);
    }
    if let Some(first) = forecast.holdouts.first() {
        let _ = writeln!(
            out,
            "\nafter promotion, a drift of TV {} is found",
            trimmed(first.drift)
        );
        for holdout in &forecast.holdouts {
            let _ = writeln!(
                out,
                "  with a holdout of {:>2}%  {}  ({})",
                holdout.percent,
                within(&holdout.found),
                holdout.guard
            );
        }
    }
    if !forecast.latency_scales.is_empty() {
        let _ = writeln!(
            out,
            "\nlatency tolerance, as a factor on all latencies that just stays within it"
        );
        for scale in &forecast.latency_scales {
            let _ = writeln!(
                out,
                "  {}: ×{:.2}, watched at {} (p{})",
                scale.guard,
                scale.scale,
                seconds(scale.edge),
                trimmed((scale.percentile * 10.0).round() / 10.0)
            );
        }
    }
    let _ = writeln!(out, "\nassumed");
    for assumption in &forecast.assumptions {
        let _ = writeln!(out, "  {assumption}");
    }
    let _ = writeln!(
        out,
        "  capacity is always ready\nTimes are medians over {} to {} runs of the judge itself; ± is their 95% Monte-Carlo error.",
        runs(forecast).min().unwrap_or(0),
        runs(forecast).max().unwrap_or(0)
    );
    for problem in &forecast.problems {
        let _ = writeln!(out, "\n{}: {}", problem.candidates.join(", "), problem.sentence);
        for remedy in &problem.remedies {
            let _ = writeln!(
                out,
                "  tried: {}: {} misses the deadline in {} of {} runs",
                remedy.field,
                remedy.value,
                share(&remedy.missed),
                remedy.runs
            );
        }
    }
    out
}

fn climb_table(out: &mut String, climb: &Climb) {
    let _ = writeln!(
        out,
        "\n{}, against {}\n  as good as its baseline: promoted {}; misses the deadline in {}, rolled back in {}",
        climb.candidates.join(", "),
        if climb.control_arm {
            "stable, outputs against the reference"
        } else {
            "the reference"
        },
        within(&climb.promotion),
        share(&climb.missed),
        share(&climb.rolled_back)
    );
    for step in &climb.steps {
        step_table(out, step, climb.control_arm);
    }
    if let Some(pairs) = &climb.pairs {
        pairs_table(out, pairs);
    }
}

fn pairs_table(out: &mut String, pairs: &PairCosts) {
    let slower = pairs.rates.iter().filter(|rate| rate.per_second < pairs.per_second);
    let slower: Vec<String> = slower
        .map(|rate| format!("{} at {}%", figure(rate.per_second), rate.weight))
        .collect();
    let limited = if slower.is_empty() {
        String::new()
    } else {
        format!(" (by shareOfArm {})", slower.join(", "))
    };
    let _ = writeln!(
        out,
        "  pairs of answers: {} a second{limited}, {} of them ask the reference twice",
        figure(pairs.per_second),
        percent(pairs.control)
    );
    for stage in &pairs.stages {
        let _ = writeln!(
            out,
            "    {:<8} {} pairs in {}",
            stage.stage,
            figure(stage.cost.pairs),
            clock(stage.cost.seconds)
        );
    }
    let climb = &pairs.climb;
    let tokens = climb.tokens.zip(pairs.prompt_tokens).map(|(tokens, prompt)| {
        format!(
            "; {} million tokens, where a prompt has {}",
            figure(tokens / 1e6),
            figure(prompt)
        )
    });
    let _ = writeln!(
        out,
        "    in all   {} pairs in {}: {} requests of the candidate, {} of the reference{}",
        figure(climb.pairs),
        clock(climb.seconds),
        figure(climb.candidate_requests),
        figure(climb.reference_requests),
        tokens.unwrap_or_default()
    );
    if let Some(budget) = pairs.budget {
        let after = match budget.left {
            Some(left) if left > 0.0 => format!(
                "; after a promotion it lasts for another {}, and then nothing guards the answers",
                clock(left)
            ),
            _ => String::new(),
        };
        let lasts = clock(budget.lasts);
        let spent = if slower.is_empty() {
            format!("is spent after {lasts}, ")
        } else {
            format!("begins anew when the rate changes, lasts {lasts} at that of the last step, and is spent ")
        };
        let _ = writeln!(
            out,
            "    the budget of {} pairs {spent}before the end of the rollout in {}{after}",
            figure(budget.pairs),
            share(&budget.spent)
        );
    }
}

/// What so many pairs can show, and what they cannot.
fn shadow_table(out: &mut String, shadow: &ShadowOutlook) {
    let (pairs, seconds, guard) = (shadow.pairs, clock(shadow.seconds), &shadow.guard);
    let _ = if shadow.ends {
        writeln!(
            out,
            "\nshadow stage, before the first weight: {pairs} pairs of the candidate in {seconds}  ({guard})"
        )
    } else {
        writeln!(
            out,
            "\nthe shadow stage does not end before the deadline: {:.0} of {pairs} pairs of the candidate in {seconds}  ({guard})",
            shadow.counted
        )
    };
    let harm = shadow.harm.iter().map(|seen| (seen, "found"));
    let health = shadow.health.iter().map(|seen| (seen, "shown to be healthy"));
    for (seen, shown) in harm.chain(health) {
        let rarely = if seen.shown.share < RARE {
            "as good as never "
        } else {
            ""
        };
        let _ = writeln!(out, "  {:<16} {rarely}{shown}: in {}", seen.effect, share(&seen.shown));
    }
}

fn step_table(out: &mut String, step: &StepOutlook, control_arm: bool) {
    let arms = step.rps;
    let beside = if control_arm {
        format!(", {} on the reference", figure(arms.reference))
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        "  {}%, held for {}: {} rps on the candidate, {} on stable{beside}",
        step.weight,
        clock(step.hold),
        figure(arms.candidate),
        figure(arms.stable)
    );
    let width = step.guards.iter().map(|g| g.guard.len()).max().unwrap_or(0);
    for guard in &step.guards {
        let _ = writeln!(out, "    {:width$}  healthy {}", guard.guard, within(&guard.health));
        for harm in &guard.harm {
            let _ = writeln!(
                out,
                "    {:width$}  {:<16} harmful {}",
                "",
                harm.effect,
                within(&harm.found)
            );
        }
    }
}

/// "in 12 min ±4%, 9 of 10 in 14 min".
fn within(times: &Times) -> String {
    let Some(median) = times.median else {
        return format!("in {} of runs within {}", percent(times.reached), clock(times.horizon));
    };
    let error = match times.median_interval {
        Some((low, Some(high))) => format!(" ±{:.0}%", 50.0 * (high - low) / median.max(1e-9)),
        _ => String::new(),
    };
    let most = match times.p90 {
        Some(p90) => format!("9 of 10 in {}", clock(p90)),
        None => format!("{} within {}", percent(times.reached), clock(times.horizon)),
    };
    format!("in {}{error}, {most}", clock(median))
}

/// "3% (±1.2)".
fn share(missed: &Missed) -> String {
    format!("{} (±{})", percent(missed.share), percent(missed.error))
}

fn trimmed(value: f64) -> String {
    format!("{value:.3}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

fn seconds(value: f64) -> String {
    if value < 1.0 {
        format!("{} ms", figure(value * 1000.0))
    } else {
        format!("{} s", figure(value))
    }
}

fn runs(forecast: &Forecast) -> impl Iterator<Item = usize> {
    let climbs = forecast.climbs.iter().flat_map(|climb| {
        let guards = climb.steps.iter().flat_map(|step| &step.guards);
        let cells = guards.flat_map(|guard| guard.harm.iter().map(|harm| harm.found.runs).chain([guard.health.runs]));
        cells.chain([climb.promotion.runs])
    });
    climbs.chain(forecast.holdouts.iter().map(|holdout| holdout.found.runs))
}
