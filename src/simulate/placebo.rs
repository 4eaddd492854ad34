//! The placebo: how often would an identical candidate have been rolled back *here*?
//!
//! Stable's own pods are split at random into a mock candidate and a mock baseline, over the hours that Prometheus
//! remembers, and the very rollout is run. Whatever is found is false: of metrics, buckets or tolerances that do not fit.
//! Pure: the same recording and seed give the same answer.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Guard, QuantizedModelSpec};
use crate::evidence::promql::parse_matchers;
use crate::evidence::{ArmMatcher, Form, Series};
use crate::guards::asks;
use crate::guards::traffic::Random;
use crate::model::presets;

use super::arms::{Arms, SimulateError};
use super::recording::Recording;
use super::replay::{Outcome, simulate};

/// Label that says which arm a series was given to. No recorded series has it.
const ARM: &str = "guardbit_placebo";

/// Shares of the recording after which a mock candidate may begin at the earliest and at the latest: there is a past
/// before it, and time for a verdict after it.
const BEGINS: (f64, f64) = (0.2, 0.6);

/// Name of the row of all guards together.
pub const TOGETHER: &str = "together";

/// Recorded traffic of stable, to be split.
pub struct Placebo<'a> {
    /// The model, with the guards that can be tried.
    spec: QuantizedModelSpec,
    recording: &'a Recording,
    pods: Vec<&'a str>,
    span: (i64, i64),
}

/// Why there is no placebo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlacebo {
    /// There is nothing to split.
    #[error(
        "{0} of the series name a pod or an instance, and a placebo splits two pods at least: give stable another pod, or check the selectors and --arm"
    )]
    TooFewPods(usize),
    /// No guard can be tried.
    #[error("the model has no guard on counters or histograms, and expressions cannot be split")]
    NoGuards,
    /// There is too little.
    #[error("the metrics have {0} minutes of stable, and a placebo needs half an hour at least")]
    TooShort(i64),
}

/// What one mock rollout came to, of one guard alone or of all together.
#[derive(Clone, Debug, PartialEq)]
pub struct Mock {
    /// The guard, or [`TOGETHER`].
    pub guard: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a sentence with counts.
    pub why: String,
    /// Events per second and pod of the mock candidate, as far as the guard counts any.
    pub load: Option<f64>,
}

impl<'a> Placebo<'a> {
    /// Looks for what can be split.
    pub fn of(spec: &QuantizedModelSpec, recording: &'a Recording) -> Result<Self, NoPlacebo> {
        let counts = |guard: &Guard| asks(guard).iter().all(|asked| asked.form() != Form::Expression);
        let mut spec = spec.clone();
        spec.guards = presets::guards(&spec).into_iter().filter(counts).collect();
        (spec.preset, spec.rollout.benefit) = (None, None);
        if spec.guards.is_empty() {
            return Err(NoPlacebo::NoGuards);
        }
        let pods: BTreeSet<&str> = recording.series().iter().filter_map(pod).collect();
        if pods.len() < 2 {
            return Err(NoPlacebo::TooFewPods(pods.len()));
        }
        let span = recording.whole().unwrap_or_default();
        if span.1 - span.0 < 30 * 60_000 {
            return Err(NoPlacebo::TooShort((span.1 - span.0) / 60_000));
        }
        Ok(Self {
            spec,
            recording,
            pods: pods.into_iter().collect(),
            span,
        })
    }

    /// How many pods there are to split.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// From when to when the metrics go.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let time = |at| Timestamp::from_millisecond(at).unwrap_or_default();
        (time(self.span.0), time(self.span.1))
    }

    /// One mock rollout of each guard alone, and of all together: the same split, from the same moment on.
    pub fn run(&self, seed: u64) -> Result<Vec<Mock>, SimulateError> {
        let mut random = Random::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x2545_f491_4f6c_dd1d);
        let mut pods = self.pods.clone();
        for i in (1..pods.len()).rev() {
            let other = (random.uniform() * (i + 1) as f64) as usize;
            pods.swap(i, other);
        }
        let most = (pods.len() / 2).max(1);
        pods.truncate(1 + (random.uniform() * most as f64) as usize);
        let (from, through) = self.span;
        let begins = BEGINS.0 + random.uniform() * (BEGINS.1 - BEGINS.0);
        let begin = from + (begins * (through - from) as f64) as i64;
        let split = self.split(&pods, begin);
        let arms = Arms {
            stable: arm("stable"),
            candidate: arm("candidate"),
            // Stable is compared with as the reference, too; no series is in an arm of its own.
            reference: arm("reference"),
        };
        let mut mocks = Vec::new();
        for guard in &self.spec.guards {
            let mut alone = self.spec.clone();
            alone.guards = vec![guard.clone()];
            mocks.push(mock(&guard.name, &alone, &split, &arms, pods.len())?);
        }
        mocks.push(mock(TOGETHER, &self.spec, &split, &arms, pods.len())?);
        Ok(mocks)
    }

    /// The recording with each series given to an arm. A mock candidate has no past.
    fn split(&self, candidates: &[&str], begin: i64) -> Recording {
        let given = self.recording.series().iter().filter_map(|series| {
            let is_candidate = candidates.contains(&pod(series)?);
            let mut labels = series.labels.clone();
            labels.set(ARM, if is_candidate { "candidate" } else { "stable" });
            let counts = |(at, _): &&(i64, f64)| !is_candidate || *at >= begin;
            let samples = series.samples.iter().filter(counts).copied().collect();
            Some(Series { labels, samples })
        });
        Recording::new(given.collect())
    }
}

/// The arms that a recording for a placebo is fetched of: these series are stable's, and none is in another arm.
pub fn stable_alone(stable: &[ArmMatcher]) -> Arms {
    Arms {
        stable: stable.to_vec(),
        candidate: arm("none"),
        reference: arm("none"),
    }
}

fn pod(series: &Series) -> Option<&str> {
    series.labels.pod().or_else(|| series.labels.get("instance"))
}

/// Matchers of the series that were given to an arm.
fn arm(name: &str) -> Vec<ArmMatcher> {
    parse_matchers(&format!("{{{ARM}=\"{name}\"}}")).unwrap_or_default()
}

fn mock(
    guard: &str,
    spec: &QuantizedModelSpec,
    split: &Recording,
    arms: &Arms,
    pods: usize,
) -> Result<Mock, SimulateError> {
    let replay = simulate(spec, split, arms, None)?;
    let seconds = replay.frames.first().zip(replay.frames.last());
    let seconds = seconds.map_or(0.0, |(first, last)| last.at_seconds - first.at_seconds);
    let reports = replay.frames.last().map_or(&[][..], |frame| &frame.guards);
    let counted = reports.iter().map(|report| report.candidate.n).max().unwrap_or(0);
    Ok(Mock {
        guard: guard.to_owned(),
        outcome: replay.outcome,
        why: replay.why,
        load: (counted > 0 && seconds > 0.0).then(|| counted as f64 / seconds / pods as f64),
    })
}

#[cfg(test)]
mod tests;
