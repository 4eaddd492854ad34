//! Samples of both arms → polls: which increments belong together, and what is odd about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::answer::{ArmSamples, BucketForm};
use crate::evidence::counter::falls::Falls;
use crate::evidence::counter::target::{pod, target};
use crate::evidence::counter::{Ledger, Limits, Measure, Oddities, Stream, count_increments};
use crate::evidence::counts::{Buckets, Counts, Observed, Poll};
use crate::evidence::histogram::{Agreement, Cumulative, NO_COMMON_BOUND, common_bounds};
use crate::evidence::native::{self, Bins, NativeLedger, NativeMatrix, count_natives};
use crate::evidence::role::{Arm, Role};
use crate::evidence::sample::{Matrix, Series};

use super::closing::Closing;

static NO_SERIES: Matrix = Matrix { series: Vec::new() };
static NO_NATIVES: NativeMatrix = NativeMatrix { series: Vec::new() };

/// What was counted last, and which counters have fallen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    pub(super) natives: NativeLedger,
    pub(super) falls: Falls,
}

/// The samples of candidate and baseline, in the way in which they are counted.
pub(super) enum Arms<'a> {
    /// The counters of [`Role::Total`] and of [`Role::Bad`] or [`Role::Good`].
    Share([&'a ArmSamples; 2]),
    Classic([&'a Matrix; 2]),
    Native([&'a NativeMatrix; 2]),
    Ratio([&'a ArmSamples; 2]),
    /// The value of an expression on the candidate.
    Value(&'a Matrix),
}

/// What a series counted between two samples.
pub(super) struct Risen<'a> {
    pub(super) arm: Arm,
    /// Time of the sample before (Unix ms).
    pub(super) from: i64,
    /// Time of the sample that shows it (Unix ms).
    pub(super) at: i64,
    pub(super) what: What<'a>,
}

/// The events of an increment.
pub(super) enum What<'a> {
    /// All events of a share.
    Total(u64),
    /// The bad or the good ones among them.
    Part(u64),
    /// Events up to the bound of a series.
    UpTo(&'a Series, u64),
    /// Events by bucket, of a pod.
    Bins(&'a str, Bins),
}

impl<'a> Arms<'a> {
    /// Determines by the roles of the answers how they are counted.
    pub(super) fn of(arms: [&'a ArmSamples; 2]) -> Result<Self, String> {
        let [candidate, baseline] = arms;
        let different = || Err("the two arms were asked different questions".to_owned());
        if let Some(value) = candidate.get(Role::Value) {
            return Ok(Self::Value(value));
        }
        if arms.iter().all(|arm| arm.is_histogram()) {
            // An arm without any series matches either form.
            return match arms.map(ArmSamples::form) {
                [Some(one), Some(other)] if one != other => different(),
                [Some(BucketForm::Native), _] | [_, Some(BucketForm::Native)] => {
                    Ok(Self::Native(arms.map(|arm| arm.natives().unwrap_or(&NO_NATIVES))))
                }
                _ => Ok(Self::Classic(
                    arms.map(|arm| arm.get(Role::Buckets).unwrap_or(&NO_SERIES)),
                )),
            };
        }
        match candidate.roles().eq(baseline.roles()) {
            false => different(),
            true if candidate.get(Role::Total).is_some() => Ok(Self::Share(arms)),
            true => Ok(Self::Ratio(arms)),
        }
    }

    /// Times between samples, in ms, of one series of each arm.
    pub(super) fn gaps(&self) -> [Vec<i64>; 2] {
        match self {
            Self::Share(arms) => arms.map(|arm| {
                let total = arm.get(Role::Total).and_then(|matrix| matrix.series.first());
                total.map(|series| gaps(&series.samples)).unwrap_or_default()
            }),
            Self::Classic(arms) => arms.map(|matrix| {
                let first = matrix.series.first();
                first.map(|series| gaps(&series.samples)).unwrap_or_default()
            }),
            Self::Native(arms) => arms.map(|matrix| {
                let first = matrix.series.first();
                first.map(|series| gaps(&series.samples)).unwrap_or_default()
            }),
            Self::Ratio(_) | Self::Value(_) => [Vec::new(), Vec::new()],
        }
    }

    /// Counts what is new on both arms, and returns what is odd about them.
    pub(super) fn count(
        &self,
        books: &mut Books,
        limits: &Limits<'_>,
        count: &mut dyn FnMut(Risen<'a>),
    ) -> [Oddities; 2] {
        let Books { ledger, natives, falls } = books;
        Arm::BOTH.map(|arm| match self {
            Self::Share(arms) => {
                let samples = arms[arm as usize];
                let Some(counters) = share(samples) else {
                    return Oddities::default();
                };
                let streams = counters.map(|(role, matrix)| Stream {
                    role,
                    arm,
                    measure: Measure::Events,
                    matrix,
                });
                count_increments(&streams, ledger, falls, limits, &mut |risen| {
                    count(Risen {
                        arm,
                        from: risen.from,
                        at: risen.at,
                        what: match risen.stream {
                            0 => What::Total(risen.by),
                            _ => What::Part(risen.by),
                        },
                    });
                })
            }
            Self::Classic(arms) => {
                let streams = [Stream {
                    role: Role::Buckets,
                    arm,
                    measure: Measure::Events,
                    matrix: arms[arm as usize],
                }];
                count_increments(&streams, ledger, falls, limits, &mut |risen| {
                    count(Risen {
                        arm,
                        from: risen.from,
                        at: risen.at,
                        what: What::UpTo(risen.series, risen.by),
                    });
                })
            }
            Self::Native(arms) => count_natives(arm, arms[arm as usize], natives, falls, limits, &mut |risen| {
                count(Risen {
                    arm,
                    from: risen.from,
                    at: risen.at,
                    what: What::Bins(pod(risen.target), risen.bins),
                });
            }),
            Self::Ratio(_) | Self::Value(_) => Oddities::default(),
        })
    }

    /// Counts the polls that have closed, and says what is odd about them.
    pub(super) fn polls(
        &self,
        books: &mut Books,
        closing: &Closing,
        limits: &Limits<'_>,
    ) -> (Vec<Poll>, Option<String>) {
        let mut cells: BTreeMap<i128, [Sums<'a>; 2]> = BTreeMap::new();
        self.count(books, limits, &mut |risen| {
            cells.entry(closing.cell(risen.at)).or_default()[risen.arm as usize].add(risen.what);
        });
        match self {
            Self::Share(arms) => shares(*arms, cells, closing),
            Self::Classic(arms) => {
                let (bounds, agreement) = common_bounds(*arms);
                let has_series = arms.iter().any(|matrix| !matrix.series.is_empty());
                let problem = (has_series && bounds.is_empty())
                    .then(|| NO_COMMON_BOUND.to_owned())
                    .or_else(|| agreement.problem(bounds.len()));
                (
                    histograms(cells, closing, |sums| sums.cumulative.buckets(&bounds)),
                    problem,
                )
            }
            Self::Native(arms) => {
                let (bounds, agreement) = native::common_bounds(*arms);
                let problem = match agreement {
                    Agreement::Differ if bounds.is_empty() => Some(NO_COMMON_BOUND.to_owned()),
                    _ => agreement.problem(bounds.len()),
                };
                (histograms(cells, closing, |sums| sums.bins.buckets(&bounds)), problem)
            }
            Self::Ratio(_) | Self::Value(_) => (Vec::new(), None),
        }
    }
}

/// Times between the samples of a series, in ms.
fn gaps<V>(samples: &[(i64, V)]) -> Vec<i64> {
    let pairs = samples.windows(2);
    pairs.map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect()
}

/// The counters of all events and of the bad or good ones of an arm that was asked for both.
fn share(samples: &ArmSamples) -> Option<[(Role, &Matrix); 2]> {
    let of = |role| Some((role, samples.get(role)?));
    Some([of(Role::Total)?, of(Role::Bad).or_else(|| of(Role::Good))?])
}

/// Increments of an arm in one poll.
#[derive(Default)]
struct Sums<'a> {
    total: u64,
    part: u64,
    cumulative: Cumulative,
    bins: Bins,
    pods: BTreeSet<&'a str>,
}

impl<'a> Sums<'a> {
    fn add(&mut self, what: What<'a>) {
        match what {
            What::Total(by) => self.total = self.total.saturating_add(by),
            What::Part(by) => self.part = self.part.saturating_add(by),
            What::UpTo(series, by) => {
                self.cumulative.add(series, by);
                self.pods.insert(pod(target(&series.labels)));
            }
            What::Bins(pod, bins) => {
                self.bins.add(&bins);
                self.pods.insert(pod);
            }
        }
    }
}

fn shares(
    arms: [&ArmSamples; 2],
    cells: BTreeMap<i128, [Sums<'_>; 2]>,
    closing: &Closing,
) -> (Vec<Poll>, Option<String>) {
    let is_good = arms.map(|samples| share(samples).is_some_and(|[_, (role, _)]| role == Role::Good));
    let mut excess: u64 = 0;
    let polls = cells.into_iter().map(|(cell, arms)| {
        let [candidate, baseline] = Arm::BOTH.map(|arm| {
            let Sums { total: n, part, .. } = arms[arm as usize];
            excess = excess.saturating_add(part.saturating_sub(n));
            let part = part.min(n);
            let x = if is_good[arm as usize] { n - part } else { part };
            Counts { n, x }
        });
        closing.poll(cell, Observed::Proportion { candidate, baseline })
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

fn histograms(
    cells: BTreeMap<i128, [Sums<'_>; 2]>,
    closing: &Closing,
    buckets: impl Fn(&Sums<'_>) -> Buckets,
) -> Vec<Poll> {
    let polls = cells.into_iter().map(|(cell, arms)| {
        let [candidate, baseline] = arms.map(|sums| Buckets {
            pods: u32::try_from(sums.pods.len()).unwrap_or(u32::MAX),
            ..buckets(&sums)
        });
        closing.poll(cell, Observed::Histogram { candidate, baseline })
    });
    polls.collect()
}

/// Takes the value of an expression: there must be exactly one, newer than `after` (Unix ms).
pub(super) fn value(matrix: &Matrix, after: i64, now: i64) -> (Vec<Poll>, Option<String>) {
    let mut values = matrix
        .series
        .iter()
        .filter_map(|series| series.samples.iter().max_by_key(|(at, _)| *at));
    match (values.next(), values.count()) {
        (Some(&(at, value)), 0) if at > after && at <= now && value.is_finite() => {
            let poll = Poll {
                from: after,
                through: now,
                observed: Observed::Value(value),
            };
            (vec![poll], None)
        }
        (None, _) | (Some(_), 0) => (Vec::new(), None),
        (Some(_), more) => {
            let problem = format!(
                "the query gave {} values: wrap it in max(…), min(…) or avg(…)",
                more + 1
            );
            (Vec::new(), Some(problem))
        }
    }
}
