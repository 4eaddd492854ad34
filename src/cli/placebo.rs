//! `guardbit plan --placebo`: would an identical candidate have been rolled back here?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::api::QuantizedModelSpec;
use crate::evidence::ArmMatcher;
use crate::guards::counts_pairs;
use crate::guards::traffic::percent;
use crate::model;
use crate::prometheus::PrometheusClient;
use crate::simulate::{Mock, Outcome, Placebo, TOGETHER, stable_alone};

use super::backtest::{Stretch, fetch};
use super::server::runtime;

/// What mock rollouts of one guard, or of all together, came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    guard: String,
    rollouts: usize,
    rolled_back: f64,
    promoted: f64,
    undecided: f64,
    /// Events per second and pod; none where the guard counts none.
    load_per_pod: Option<f64>,
    /// What the first rollback was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    model: String,
    pods: usize,
    hours: f64,
    false_rollback: f64,
    guards: Vec<Row>,
}

/// How much is tried.
pub(super) struct Extent {
    pub(super) hours: f64,
    pub(super) runs: u64,
    pub(super) seconds: f64,
}

/// Asks for stable's own past, and tries it.
pub(super) fn placebo(
    name: &str,
    spec: &QuantizedModelSpec,
    client: &PrometheusClient,
    arm: &[ArmMatcher],
    extent: &Extent,
) -> Result<Answer, String> {
    let through = Timestamp::now().as_millisecond();
    let stretch = Stretch {
        from: through - (extent.hours * 3_600_000.0) as i64,
        through,
    };
    // Pairs of answers are counted by one pod, for two arms.
    let mut spec = spec.clone();
    spec.guards.retain(|guard| !counts_pairs(guard));
    spec.rollout.shadow = None;
    let spec = &spec;
    let recording = runtime()?.block_on(fetch(client, spec, &stable_alone(arm), stretch))?;
    let placebo = Placebo::of(spec, &recording).map_err(|e| e.to_string())?;
    let mocks = run(&placebo, extent)?;
    let (from, through) = placebo.span();
    Ok(Answer {
        model: name.to_owned(),
        pods: placebo.pods(),
        hours: through.duration_since(from).as_secs_f64() / 3_600.0,
        false_rollback: model::read(spec).rollout.false_rollback,
        guards: rows(mocks),
    })
}

/// Mock rollouts on all cores, with the seeds 0, 1, 2 …: at least twenty, however long they take.
fn run(placebo: &Placebo<'_>, extent: &Extent) -> Result<Vec<Mock>, String> {
    const LEAST: u64 = 20;
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    let done = Mutex::new(BTreeMap::new());
    let limit = Duration::from_secs_f64(extent.seconds);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= extent.runs || (seed >= LEAST && begun.elapsed() > limit) {
                        return;
                    }
                    let mocks = placebo.run(seed);
                    done.lock().insert(seed, mocks);
                }
            });
        }
    });
    let mut all = Vec::new();
    for mocks in done.into_inner().into_values() {
        all.extend(mocks.map_err(|e| e.to_string())?);
    }
    Ok(all)
}

fn rows(mocks: Vec<Mock>) -> Vec<Row> {
    let mut names: Vec<String> = Vec::new();
    for mock in &mocks {
        if !names.contains(&mock.guard) {
            names.push(mock.guard.clone());
        }
    }
    let row = |guard: String| {
        let own: Vec<&Mock> = mocks.iter().filter(|mock| mock.guard == guard).collect();
        let share = |outcome| own.iter().filter(|m| m.outcome == outcome).count() as f64 / own.len().max(1) as f64;
        let loads: Vec<f64> = own.iter().filter_map(|mock| mock.load).collect();
        let back = own.iter().find(|mock| mock.outcome == Outcome::RolledBack);
        Row {
            rollouts: own.len(),
            rolled_back: share(Outcome::RolledBack),
            promoted: share(Outcome::Promoted),
            undecided: share(Outcome::Undecided),
            load_per_pod: (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64),
            why: back.map(|mock| mock.why.clone()),
            guard,
        }
    };
    names.into_iter().map(row).collect()
}

impl Answer {
    /// Whether no guard would roll an identical candidate back more often than the model allows.
    pub(super) fn is_fit(&self) -> bool {
        self.guards.iter().all(|row| row.rolled_back <= self.false_rollback)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let rollouts = self.guards.first().map_or(0, |row| row.rollouts);
        let _ = writeln!(
            out,
            "{}: {rollouts} rollouts of a placebo, of the last {:.1} h of stable's own {} pods: some of them as a candidate, the others as its baseline\n",
            self.model, self.hours, self.pods
        );
        let width = self.guards.iter().map(|row| row.guard.len()).max().unwrap_or(0).max(5);
        let _ = writeln!(
            out,
            "  {:width$}  rolled back  promoted  undecided  events a second and pod",
            "guard"
        );
        for row in &self.guards {
            let load = row.load_per_pod.map_or("-".to_owned(), |load| format!("{load:.1}"));
            let _ = writeln!(
                out,
                "  {:width$}  {:>11}  {:>8}  {:>9}  {load}",
                row.guard,
                percent(row.rolled_back),
                percent(row.promoted),
                percent(row.undecided),
            );
        }
        let allowed = percent(self.false_rollback);
        let unfit: Vec<&Row> = self
            .guards
            .iter()
            .filter(|row| row.rolled_back > self.false_rollback)
            .collect();
        if unfit.is_empty() {
            let _ = writeln!(
                out,
                "\nAn identical candidate is rolled back no more often than falseRollback says ({allowed})."
            );
        }
        for row in unfit {
            let who = match row.guard.as_str() {
                TOGETHER => "all guards together roll".to_owned(),
                guard => format!("{guard} alone rolls"),
            };
            let _ = writeln!(
                out,
                "\n{who} an identical candidate back in {} of the rollouts, more than falseRollback ({allowed}): the metric, its buckets or the tolerance do not fit, or stable's pods are not alike. The first: {}",
                percent(row.rolled_back),
                row.why.as_deref().unwrap_or_default()
            );
        }
        out
    }
}
