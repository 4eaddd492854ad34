//! Samples of both arms → polls: which increments belong together, and what is odd about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::answer::ArmSamples;
use crate::evidence::counter::{Increment, Ledger, Limits, Measure, Stream, count_increments, pod, target};
use crate::evidence::counts::{Buckets, Counts, Observed, Poll};
use crate::evidence::histogram::{Agreement, Cumulative, common_bounds};
use crate::evidence::native::{self, Bins, NativeLedger, NativeMatrix, count_natives};
use crate::evidence::role::{Arm, Role};
use crate::evidence::sample::Matrix;

use super::grid::Grid;

/// Polls, and what is odd about the data.
pub(super) type Counted = (Vec<Poll>, Option<String>);

/// Increments by cell of the grid, summed over the series of the candidate and of the baseline.
type Cells<'a> = BTreeMap<i128, [Sums<'a>; 2]>;

#[derive(Default)]
struct Sums<'a> {
    total: u64,
    part: u64,
    cumulative: Cumulative,
    bins: Bins,
    pods: BTreeSet<&'a str>,
}

impl Sums<'_> {
    /// The buckets, with the number of pods that they come from.
    fn of_pods(&self, buckets: Buckets) -> Buckets {
        Buckets {
            pods: u32::try_from(self.pods.len()).unwrap_or(u32::MAX),
            ..buckets
        }
    }
}

/// Counts a share of all events, by the counters of [`Role::Total`] and of [`Role::Bad`] or [`Role::Good`].
pub(super) fn share(arms: [&ArmSamples; 2], ledger: &mut Ledger, grid: &Grid, limits: &Limits<'_>) -> Counted {
    let mut cells = Cells::new();
    let mut parts = [Role::Bad; 2];
    for (arm, samples) in Arm::BOTH.into_iter().zip(arms) {
        let of = |role| Some((role, samples.get(role)?));
        let (Some(total), Some(part)) = (of(Role::Total), of(Role::Bad).or_else(|| of(Role::Good))) else {
            continue;
        };
        parts[arm as usize] = part.0;
        let streams = [total, part].map(|(role, matrix)| Stream {
            role,
            arm,
            measure: Measure::Events,
            matrix,
        });
        count_increments(&streams, ledger, limits, &mut |Increment { stream, at, by, .. }| {
            let sums = &mut cells.entry(grid.cell(at)).or_default()[arm as usize];
            let sum = if stream == 0 { &mut sums.total } else { &mut sums.part };
            *sum = sum.saturating_add(by);
        });
    }
    let mut excess: u64 = 0;
    let polls = cells.into_iter().map(|(cell, arms)| {
        let [candidate, baseline] = Arm::BOTH.map(|arm| {
            let Sums { total: n, part, .. } = arms[arm as usize];
            excess = excess.saturating_add(part.saturating_sub(n));
            let part = part.min(n);
            let x = if parts[arm as usize] == Role::Bad {
                part
            } else {
                n - part
            };
            Counts { n, x }
        });
        grid.poll(cell, Observed::Proportion { candidate, baseline })
    });
    let polls = polls.collect();
    let problem = (excess > 0).then(|| {
        format!(
            "{excess} more events were counted by the first counter than by total: every event it counts must also \
             be counted by total, and both must come from the same scrape"
        )
    });
    (polls, problem)
}

/// Counts classic histograms.
pub(super) fn buckets(arms: [&Matrix; 2], ledger: &mut Ledger, grid: &Grid, limits: &Limits<'_>) -> Counted {
    let mut cells = Cells::new();
    for (arm, matrix) in Arm::BOTH.into_iter().zip(arms) {
        let streams = [Stream {
            role: Role::Buckets,
            arm,
            measure: Measure::Events,
            matrix,
        }];
        count_increments(&streams, ledger, limits, &mut |Increment { series, at, by, .. }| {
            let sums = &mut cells.entry(grid.cell(at)).or_default()[arm as usize];
            sums.cumulative.add(series, by);
            sums.pods.insert(pod(target(&series.labels)));
        });
    }
    let (bounds, agreement) = common_bounds(arms);
    let has_series = arms.iter().any(|matrix| !matrix.series.is_empty());
    let problem = (has_series && bounds.is_empty())
        .then(no_common_bounds)
        .or_else(|| agreement.problem(bounds.len()));
    let polls = cells.into_iter().map(|(cell, arms)| {
        let [candidate, baseline] = arms.map(|sums| sums.of_pods(sums.cumulative.buckets(&bounds)));
        grid.poll(cell, Observed::Histogram { candidate, baseline })
    });
    (polls.collect(), problem)
}

/// Counts native histograms.
pub(super) fn natives(
    arms: [&NativeMatrix; 2],
    ledger: &mut NativeLedger,
    grid: &Grid,
    limits: &Limits<'_>,
) -> Counted {
    let mut cells = Cells::new();
    for (arm, matrix) in Arm::BOTH.into_iter().zip(arms) {
        count_natives(arm, matrix, ledger, limits, &mut |target, at, bins| {
            let sums = &mut cells.entry(grid.cell(at)).or_default()[arm as usize];
            sums.bins.add(&bins);
            sums.pods.insert(pod(target));
        });
    }
    let (bounds, agreement) = native::common_bounds(arms);
    let problem = match agreement {
        Agreement::Differ if bounds.is_empty() => Some(no_common_bounds()),
        _ => agreement.problem(bounds.len()),
    };
    let polls = cells.into_iter().map(|(cell, arms)| {
        let [candidate, baseline] = arms.map(|sums| sums.of_pods(sums.bins.buckets(&bounds)));
        grid.poll(cell, Observed::Histogram { candidate, baseline })
    });
    (polls.collect(), problem)
}

/// Takes the value of an expression: there must be exactly one, newer than `after` (Unix ms).
pub(super) fn value(matrix: &Matrix, after: i64, now: i64) -> Counted {
    let mut values = matrix
        .series
        .iter()
        .filter_map(|series| series.samples.iter().max_by_key(|(at, _)| *at));
    match (values.next(), values.count()) {
        (None, _) => (Vec::new(), None),
        (Some(&(at, value)), 0) if at > after && at <= now && value.is_finite() => (
            vec![Poll {
                from: after,
                through: now,
                observed: Observed::Value(value),
            }],
            None,
        ),
        (Some(_), 0) => (Vec::new(), None),
        (Some(_), more) => {
            let problem = format!(
                "the query gave {} values: wrap it in max(…), min(…) or avg(…)",
                more + 1
            );
            (Vec::new(), Some(problem))
        }
    }
}

fn no_common_bounds() -> String {
    "the histograms have no finite bucket bound in common: expose the same buckets, with +Inf, on all pods".to_owned()
}
