//! Pairs of answers for a recording that has none, drawn at random: what would an agreement guard have found?
//!
//! They come at the rate of the spec's comparer, from when both arms are there until its budget is spent. The same
//! recording and share give the same pairs.

use crate::api::QuantizedModelSpec;
use crate::evidence::{ArmMatcher, Form, Labels, PromqlError, REVISION, Role, Selection, Series};
use crate::guards::traffic::Random;
use crate::guards::{Selector, asks, counts_pairs};
use crate::model::{self, comparer, identity, interval_ms, problems};

use super::arms::{Arms, SimulateError};
use super::recording::Recording;
use super::replay::on_trial;

/// How long before the candidate's first request pairs begin at the most, in milliseconds.
const LONGEST_LEAD: f64 = 86_400_000.0;

/// A recording with pairs of answers, of which the candidate's differ in a share of `differs` and the reference's in none.
///
/// Where the spec has a shadow stage they begin so long before the candidate's first request that the stage can end by
/// then.
pub fn with_pairs(
    spec: &QuantizedModelSpec,
    recording: &Recording,
    arms: &Arms,
    candidate: Option<&str>,
    differs: f64,
) -> Result<Recording, SimulateError> {
    let found = problems(spec);
    if !found.is_empty() {
        return Err(SimulateError::Spec(found));
    }
    let at = on_trial(spec, recording, arms, candidate)?;
    let counting = spec.guards.iter().find(|guard| counts_pairs(guard));
    let asked = asks(counting.ok_or(SimulateError::Pairs("no agreement guard judges them"))?);
    for selector in &asked {
        if recorded(recording, selector)? {
            return Err(SimulateError::Pairs(
                "the recording has pairs of its own, which are replayed",
            ));
        }
    }
    let series = |arm: &Vec<ArmMatcher>| {
        let selection = Selection::arm(std::slice::from_ref(arm));
        selection.map(|selection| recording.find(&selection)).map_err(unusable)
    };
    let (tried, stable) = (series(&arms.candidate)?, series(&arms.stable)?);
    let requests = recording.counts_from([&tried].into_iter());
    let (Some(requests), Some((_, end))) = (requests, recording.whole()) else {
        return Err(SimulateError::Nothing);
    };
    let ready = recording
        .span(&stable)
        .map_or(requests, |(first, _)| requests.max(first));
    let (rate, control) = comparer::pace(spec);
    let shadow = model::read(spec).rollout.shadow.unwrap_or_default() as f64;
    let lead = (1_000.0 * shadow / (rate * (1.0 - control))).min(LONGEST_LEAD);
    let begin = ready.saturating_sub(lead.ceil() as i64);
    let budget = comparer::of(spec).map_or(f64::INFINITY, |comparer| comparer.pairs as f64);
    let until = begin as f64 + 1_000.0 * budget / rate;
    let revisions = identity::revisions(spec);
    let mut random = Random::new(0x9e6c_63d0_876a_9a7b);
    let mut all = recording.series().to_vec();
    for (revision, share, differs) in [(&revisions[at], 1.0 - control, differs), (&revisions[0], control, 0.0)] {
        let (mut n, mut x) = (0, 0);
        let mut counts = vec![(begin, n, x)];
        let mut now = begin;
        while now < end {
            let next = now.saturating_add(interval_ms(spec)).min(end);
            let seconds = ((next as f64).min(until) - now as f64).max(0.0) / 1_000.0;
            let pairs = rate * share * seconds;
            let bad = random.poisson(pairs * differs);
            x += bad;
            n += bad + random.poisson(pairs * (1.0 - differs));
            counts.push((next, n, x));
            now = next;
        }
        for selector in &asked {
            let of_role = |(at, n, x): &(i64, u64, u64)| {
                let count = if selector.role == Role::Bad { *x } else { *n };
                (*at, count as f64)
            };
            all.push(Series {
                labels: Labels::from([
                    ("__name__", selector.text.as_str()),
                    (REVISION, identity::short(&revision.revision)),
                ]),
                samples: counts.iter().map(of_role).collect(),
            });
        }
    }
    Ok(recording.with_series(all))
}

/// Whether a recording has any series of a counter.
fn recorded(recording: &Recording, selector: &Selector) -> Result<bool, SimulateError> {
    let selection = Selection::plain(Form::Counter, &selector.text, &[Vec::new()]).map_err(unusable)?;
    Ok(recording.span(&recording.find(&selection)).is_some())
}

fn unusable(error: PromqlError) -> SimulateError {
    SimulateError::Guard {
        guard: "agreement".to_owned(),
        problem: error.to_string(),
    }
}
