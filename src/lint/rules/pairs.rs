//! Rules on pairs of answers: who asks them, who judges them, and what they do to what else is counted.

use crate::api::{Guard, Protocol};
use crate::evidence::promql::written;
use crate::foresight::clock;
use crate::guards::{self, StepNeed};
use crate::model::{Comparer, presets};

use super::super::document::Model;
use super::super::rule::{
    Finding, GOLDEN_DIGEST, PAIRS_BUDGET, PAIRS_NOT_ASKED, PAIRS_NOT_JUDGED, PAIRS_SHADOW, QUESTIONS_AMONG_REQUESTS,
    TOLERANCE_OF_PRECISION,
};
use super::super::surroundings::Surroundings;
use super::steps::least;

/// Share of the candidate's own requests below which the comparer's questions do not move its latencies.
const FEW: f64 = 0.05;

/// How often the next token is another, by bits of the weights: LLaMA 3 8B in the formats of llama.cpp, as docs/llm.md has it.
const USUAL: [(i32, f64); 4] = [(16, 0.0026), (8, 0.023), (4, 0.081), (2, 0.289)];

/// Multiple of the usual share beyond which a tolerance lets nearly everything pass.
const WIDE: f64 = 4.0;

/// Hexadecimal digits that stand in no real digest twice.
const REPEATED: usize = 12;

/// The digest of an empty file.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn check(model: &Model, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    let judging = model
        .spec
        .guards
        .iter()
        .filter_map(|guard| Some((guard, guards::resolve(guard).ok()?.kind)))
        .find(|(_, kind)| kind.counts_pairs());
    let Some(comparer) = &model.resolved.comparer else {
        if let Some((guard, _)) = judging {
            out.extend(not_asked(model, guard, surroundings));
        }
        return;
    };
    golden(model, out);
    let Some((guard, kind)) = judging else {
        out.push(model.finding(
            &PAIRS_NOT_JUDGED,
            "spec.comparer",
            "the comparer asks both arms the same questions, and no guard judges what it counts: add {name: agreement, agreement: {}} to spec.guards, or leave the comparer out".to_owned(),
        ));
        return;
    };
    if let StepNeed::Pairs(pairs) = kind.step_needs() {
        budget(model, comparer, pairs as f64, out);
    }
    shadow(model, comparer, out);
    among_requests(model, comparer, surroundings, out);
    tolerance(model, comparer, guard, out);
}

/// Nobody asks, unless a comparer is run by hand whose series Prometheus has.
fn not_asked(model: &Model, guard: &Guard, surroundings: &Surroundings) -> Option<Finding> {
    let seen = surroundings.seen.as_ref().and_then(|seen| seen.guards.get(&guard.name));
    if seen.is_some_and(|fields| fields.values().any(|matched| matched.series > 0)) {
        return None;
    }
    Some(model.finding(
        &PAIRS_NOT_ASKED,
        &format!("spec.guards[{}].agreement", guard.name),
        format!(
            "{} judges pairs of answers, and the spec has no comparer that asks them: without pairs no step ends; set spec.comparer, and guardbit runs one beside each rollout, or run guardbit compare by hand",
            guard.name
        ),
    ))
}

fn golden(model: &Model, out: &mut Vec<Finding>) {
    let comparer = model.spec.comparer.as_ref();
    let Some(golden) = comparer.and_then(|comparer| comparer.golden.as_ref()) else {
        return;
    };
    let digest = golden.digest.trim_start_matches("sha256:");
    let digits = digest.as_bytes();
    let repeats = digits
        .windows(REPEATED)
        .enumerate()
        .any(|(i, part)| digits[i + 1..].windows(REPEATED).any(|other| other == part));
    let why = if digest == OF_NOTHING {
        "is that of an empty file"
    } else if repeats {
        "repeats itself, as no real digest does"
    } else {
        return;
    };
    out.push(model.finding(
        &GOLDEN_DIGEST,
        "spec.comparer.golden.digest",
        format!("the digest of the golden set {why}: the comparer would refuse the set, and no pair would be counted; write what `guardbit golden digest` prints for the file"),
    ));
}

/// Whether the budget lasts until the last step has the pairs that it needs.
fn budget(model: &Model, comparer: &Comparer, step_pairs: f64, out: &mut Vec<Finding>) {
    let rollout = &model.resolved.rollout;
    let Some((_, earlier)) = rollout.steps.split_last() else {
        return;
    };
    // Pairs in all, where so many are to be the candidate's.
    let all = |of_candidate: f64| of_candidate / (1.0 - comparer.control);
    let steps = earlier.iter().map(|step| {
        let seconds = step.hold.max(least(rollout)).as_secs_f64();
        (comparer.rate * seconds).max(all(step_pairs))
    });
    let shadow = all(rollout.shadow.unwrap_or_default() as f64);
    let before = shadow + steps.sum::<f64>();
    let needed = before + all(step_pairs);
    if (comparer.pairs as f64) < needed {
        out.push(model.finding(
            &PAIRS_BUDGET,
            "spec.comparer.budget.pairs",
            format!(
                "the budget of {} pairs is spent before the last step can end: what comes before it takes {} at this rate, and every step waits for {step_pairs} of the candidate; write pairs: {} or more, with some for health and for the time after the promotion, or lower the rate",
                comparer.pairs,
                before.ceil(),
                needed.ceil()
            ),
        ));
    }
}

/// Whether the pairs of the shadow stage come before the deadline.
fn shadow(model: &Model, comparer: &Comparer, out: &mut Vec<Finding>) {
    let rollout = &model.resolved.rollout;
    let Some(wanted) = rollout.shadow else { return };
    let deadline = rollout.deadline.as_secs_f64();
    let takes = wanted as f64 / (1.0 - comparer.control) / comparer.rate;
    if takes > deadline {
        out.push(model.finding(
            &PAIRS_SHADOW,
            "spec.rollout.shadow.pairs",
            format!(
                "the shadow stage does not end before the deadline of {}: {wanted} pairs of the candidate take {} at this rate, so no candidate gets a weight; wait for fewer pairs, raise spec.comparer.rate, or raise the deadline",
                model.spec.rollout.deadline,
                clock(takes)
            ),
        ));
    }
}

/// The comparer's questions are requests like any other for a server's histogram of latencies.
fn among_requests(model: &Model, comparer: &Comparer, surroundings: &Surroundings, out: &mut Vec<Finding>) {
    let guards = presets::guards(&model.spec);
    let Some(guard) = guards.iter().find(|guard| counts_all_latencies(guard)) else {
        return;
    };
    let name = &guard.name;
    let Some(first) = model.spec.rollout.steps.first() else {
        return;
    };
    if comparer.share.is_some_and(|share| share <= FEW) {
        return;
    }
    let message = match &surroundings.traffic {
        Some(traffic) => {
            let asked = comparer.rate * (1.0 - comparer.control);
            let requests = traffic.per_second() * f64::from(first.weight) / 100.0;
            let few = FEW * requests;
            if asked <= few {
                return;
            }
            format!(
                "the comparer asks the candidate {} questions a second, and users {} at {}%: {name} counts both, so its latencies are not those of users; write shareOfArm: \"5%\", or rate: \"{}\" or less, or let the selector of the histogram leave them out, by a label such as handler",
                two_digits(asked),
                two_digits(requests),
                first.weight,
                two_digits(few / (1.0 - comparer.control))
            )
        }
        None => format!(
            "{name} counts the comparer's questions among the requests of users, and on a candidate with little traffic they may be most of them: write shareOfArm: \"5%\", keep the rate below a twentieth of the candidate's own requests (with --rps that is checked), or let the selector of the histogram leave the questions out"
        ),
    };
    out.push(model.finding(&QUESTIONS_AMONG_REQUESTS, "spec.comparer.rate", message));
}

/// Whether a guard counts the latencies of whatever reaches the server.
fn counts_all_latencies(guard: &Guard) -> bool {
    let Some(latency) = &guard.latency else { return false };
    let selectors = written(&latency.histogram).unwrap_or_default();
    !selectors.is_empty() && selectors.iter().all(|selector| selector.labels.is_empty())
}

/// A tolerance is held against what quantizations of so many bits usually do to the next token.
fn tolerance(model: &Model, comparer: &Comparer, guard: &Guard, out: &mut Vec<Finding>) {
    if comparer.settings.protocol != Protocol::OpenAI {
        return;
    }
    let at = model.spec.target_index();
    let target = model.spec.variants.get(at).filter(|_| at > 0);
    let usual = target.and_then(|target| {
        let bits = target.precision.bits();
        let (_, usual) = USUAL.into_iter().find(|(of, _)| *of == bits)?;
        Some((target, bits, usual))
    });
    let tolerated = guards::written(guard).and_then(|written| written.tolerance());
    let (Some((target, bits, usual)), Some((field, tolerated))) = (usual, tolerated) else {
        return;
    };
    let what = if tolerated.absolute < usual {
        "so a good one would be rolled back"
    } else if tolerated.absolute > WIDE * usual {
        "so one that is much worse than usual would pass"
    } else {
        return;
    };
    out.push(model.finding(
        &TOLERANCE_OF_PRECISION,
        &format!("spec.guards[{}].{field}", guard.name),
        format!(
            "{} has {bits} bits, whose next tokens usually differ in {}, and {} are tolerated, {what}; docs/llm.md has tolerances to begin with, and guardbit compare --dry-run measures yours",
            target.name,
            percent(usual),
            percent(tolerated.absolute)
        ),
    ));
}

fn percent(share: f64) -> String {
    format!("{}%", two_digits(100.0 * share))
}

/// A number above 0, rounded down to two digits.
fn two_digits(value: f64) -> String {
    let value = value.max(1e-9);
    let scale = 10f64.powi(1 - value.log10().floor() as i32);
    // A hair more, because 8.1 in binary digits may be a little less.
    ((value * scale + 1e-6).floor() / scale).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_with_two_digits() {
        for (value, told) in [
            (0.0026, "0.0026"),
            (8.1, "8.1"),
            (28.9, "28"),
            (0.1, "0.1"),
            (1.8, "1.8"),
            (120.0, "120"),
            (0.0, "0.000000001"),
        ] {
            assert_eq!(two_digits(value), told);
        }
    }
}
