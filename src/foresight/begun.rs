//! A rollout that has begun: what can be foreseen of it from the traffic that its baseline had until then.

use std::collections::BTreeMap;

use crate::api::{ArmStatus, QuantizedModelSpec, Role, RolloutKind, RolloutStatus};
use crate::evidence::{Cursor, Observed};
use crate::judge::GuardConfig;
use crate::rollout::{Observation, Stage, guards_of};

use super::forecast::Question;
use super::headline::headline;
use super::pool::Budget;
use super::traffic::Traffic;

/// Looks that are the least from which a rate can be told.
const LEAST: f64 = 3.0;

/// Share of bad events of guards whose baseline nobody has seen.
const ERROR_RATE: f64 = 0.005;

/// A rollout at its first step, with the traffic it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// The model.
    pub spec: QuantizedModelSpec,
    /// Its traffic.
    pub traffic: Traffic,
    /// Seconds between two scrapes.
    pub scrape: f64,
    /// Whether outputs are compared with an arm beside stable.
    pub control_arm: bool,
}

/// Counts of the baseline arms.
struct Past {
    /// By guard, oldest first.
    history: BTreeMap<String, Vec<Observed>>,
    /// How long it took, in seconds.
    seconds: f64,
    /// Seconds between two polls that had new samples.
    gap: f64,
}

impl Begun {
    /// Of a rollout in progress, whose `arms` carry traffic, and what one look at it saw: at the first look of a trial that is
    /// the hour before. `None` where the traffic does not show, or where the rollout is beyond its beginning.
    pub fn of(rollout: &RolloutStatus, arms: &[ArmStatus], seen: &Observation) -> Option<Self> {
        // A new reference is judged by other guards, and later steps have half of their rollout behind them.
        if rollout
            .kind
            .known()
            .is_none_or(|kind| kind == RolloutKind::NewReference)
            || rollout.weight == 0
            || rollout.step > 0
            || rollout.promoting
        {
            return None;
        }
        let spec = &seen.model.spec;
        let past = past(seen)?;
        let arm = |role: Role| arms.iter().find(|arm| arm.role == role);
        let share = |role: Role| arm(role).map(|arm| f64::from(arm.weight) / 100.0);
        let (stable, control) = (share(Role::Stable).unwrap_or(1.0), share(Role::Reference));
        let of_baseline = |guard: &GuardConfig| match guard {
            GuardConfig::Fidelity { .. } => control.unwrap_or(stable),
            _ => stable,
        };
        let guards = guards_of(spec, Stage::Rollout);
        let traffic = Traffic::measured(&guards, &past.history, past.seconds, ERROR_RATE, of_baseline);
        (traffic.per_second() > 0.0).then(|| Self {
            spec: spec.clone(),
            traffic,
            scrape: past.gap,
            control_arm: control.is_some(),
        })
    }

    /// What is foreseen, in a sentence.
    pub fn headline(&self, budget: &Budget<'_>) -> Option<String> {
        let question = Question {
            spec: &self.spec,
            traffic: &self.traffic,
            scrape: self.scrape,
        };
        headline(&question, budget, self.control_arm)
    }
}

/// The past of the baseline; `None` where it is too short, or nothing happened in it.
fn past(seen: &Observation) -> Option<Past> {
    let interval = seen.model.spec.rollout.interval.millis().unwrap_or(15_000).max(1);
    let (mut history, mut seconds, mut gap) = (BTreeMap::new(), 0.0, 0.0);
    for (guard, answer) in &seen.evidence {
        let Ok(samples) = answer else { continue };
        let polls = Cursor::past(samples, seen.now.as_millisecond(), interval);
        // Before the first event nobody asked anything; and the poll of that event is not a whole one.
        let begun = polls.iter().position(|poll| events(&poll.observed) > 0);
        let Some((first, rest)) = begun.and_then(|at| polls[at..].split_first()) else {
            continue;
        };
        let Some(last) = rest.last() else { continue };
        let took = (last.through - first.through) as f64 / 1000.0;
        if took >= LEAST * interval as f64 / 1000.0 {
            seconds = f64::max(seconds, took);
            gap = f64::max(gap, took / rest.len() as f64);
            let observed = rest.iter().map(|poll| poll.observed.clone()).collect();
            history.insert(guard.clone(), observed);
        }
    }
    (!history.is_empty()).then_some(Past { history, seconds, gap })
}

/// Events of the baseline that can be counted.
fn events(observed: &Observed) -> u64 {
    match observed {
        Observed::Proportion { baseline, .. } => baseline.n,
        Observed::Histogram { baseline, .. } => baseline.counts.iter().sum(),
        Observed::Ratio { .. } | Observed::Value(_) => 0,
    }
}
