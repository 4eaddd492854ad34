//! The cursor: how far the evidence of a guard has been counted.
//!
//! Owns the promise that no interval of evidence counts twice and none is lost, across restarts, late samples and outages:
//! it remembers the last counted sample of every series. Must not judge, and has no clock: the caller says what time it is.
//!
//! Polls lie on a grid, so that replaying an outage from stored samples gives the very polls that polling in time would
//! have given; only samples that arrived late are found in an earlier poll than they would have been.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::counter::{Fingerprint, Increment, Ledger, Limits, Measure, Stream, count_increments, pod, target};
use super::histogram::{Agreement, Cumulative, common_bounds};
use super::native::{self, Bins, NativeLedger, NativeMatrix, count_natives};
use super::ratio::{self, Waiting};
use super::{ArmSamples, Buckets, Counts, GuardSamples, Matrix, Observed, PartKind, Poll};

/// How long a series is remembered after its last sample, and the longest window worth asking for: one hour, in ms.
const MEMORY_MS: i64 = 3_600_000;

/// How much of the past of a baseline is worth knowing when a trial begins: one hour, in ms.
pub const HISTORY_MS: i64 = MEMORY_MS;

/// How far the evidence of one guard has been counted. Times are Unix milliseconds.
///
/// Encoded with postcard it takes at most twelve bytes per series at common scrape intervals and request counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Encoded", into = "Encoded")]
pub struct Cursor {
    since: i64,
    through: i64,
    ledger: Ledger,
    /// Of native histograms.
    natives: NativeLedger,
    /// Of a ratio.
    waiting: Option<Waiting>,
}

/// Times relative to `through` and fingerprints of six bytes, because the cursor lives in the status of an object.
#[derive(Serialize, Deserialize)]
struct Encoded {
    through: i64,
    since: i64,
    /// Of all series, one after the other.
    fingerprints: Bytes,
    /// Time and value of each.
    series: Vec<(i64, u64)>,
    natives: Vec<([u8; 6], i64, Bins)>,
    waiting: Option<Waiting>,
}

/// Bytes that are read and written as one piece: one by one they take most of the time of a look.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Piece;
        impl Visitor<'_> for Piece {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Piece)
    }
}

impl From<Cursor> for Encoded {
    fn from(cursor: Cursor) -> Self {
        let Cursor {
            since,
            through,
            ledger,
            natives,
            waiting,
        } = cursor;
        let bytes = |fingerprint: Fingerprint| {
            let [_, _, bytes @ ..] = fingerprint.to_be_bytes();
            bytes
        };
        let fingerprints = ledger.keys().flat_map(|&fingerprint| bytes(fingerprint)).collect();
        let series = ledger
            .into_values()
            .map(|(at, value)| (through.wrapping_sub(at), value));
        let natives = natives
            .into_iter()
            .map(|(fingerprint, (at, bins))| (bytes(fingerprint), through.wrapping_sub(at), bins));
        Self {
            through,
            since: through.wrapping_sub(since),
            fingerprints: Bytes(fingerprints),
            series: series.collect(),
            natives: natives.collect(),
            waiting,
        }
    }
}

impl From<Encoded> for Cursor {
    fn from(encoded: Encoded) -> Self {
        let Encoded {
            through,
            since,
            fingerprints: Bytes(fingerprints),
            series,
            natives,
            waiting,
        } = encoded;
        let fingerprint = |[a, b, c, d, e, f]: [u8; 6]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let (each, _) = fingerprints.as_chunks::<6>();
        let ledger = each
            .iter()
            .zip(series)
            .map(|(bytes, (at, value))| (fingerprint(*bytes), (through.wrapping_sub(at), value)));
        let natives = natives
            .into_iter()
            .map(|(bytes, at, bins)| (fingerprint(bytes), (through.wrapping_sub(at), bins)));
        Self {
            since: through.wrapping_sub(since),
            through,
            ledger: ledger.collect(),
            natives: natives.collect(),
            waiting,
        }
    }
}

/// What is known of the pods of all arms, by name. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pods<'a> {
    /// When they started: a pod that started after the cursor began counts from 0, not from its first sample.
    pub started: &'a BTreeMap<String, i64>,
    /// From when on their samples count. What a pod did before is left out; once it counts, it goes on to.
    pub warm: &'a BTreeMap<String, i64>,
}

/// What an advance found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advance {
    /// Intervals with new samples on at least one arm, oldest first.
    pub polls: Vec<Poll>,
    /// Time of the newest sample of either arm (Unix ms); `None` if there is no series at all.
    pub newest_sample: Option<i64>,
    /// What is odd about the data and what to do; the polls are usable all the same.
    pub problem: Option<String>,
}

/// Increments of one poll, summed over the series of the arms.
#[derive(Default)]
struct Cell<'a> {
    /// Of the candidate and the baseline.
    arms: [Sums<'a>; 2],
}

#[derive(Default)]
struct Sums<'a> {
    total: u64,
    part: u64,
    cumulative: Cumulative,
    bins: Bins,
    pods: BTreeSet<&'a str>,
}

impl Sums<'_> {
    /// The buckets, with the number of pods that they are of.
    fn of_pods(&self, buckets: Buckets) -> Buckets {
        Buckets {
            pods: u32::try_from(self.pods.len()).unwrap_or(u32::MAX),
            ..buckets
        }
    }
}

/// Boundaries of polls between two times.
struct Grid {
    through: i64,
    interval: i64,
    /// Cells of full length; one more follows, which ends now.
    full: i128,
    now: i64,
}

impl Cursor {
    /// A cursor that counts what happens after the first sample at or after `since` (Unix ms).
    pub fn new(since: i64) -> Self {
        Self {
            since,
            through: since,
            ledger: Ledger::new(),
            natives: NativeLedger::new(),
            waiting: None,
        }
    }

    /// All up to here has been counted (Unix ms).
    pub fn through(&self) -> i64 {
        self.through
    }

    /// Evidence began here (Unix ms).
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Starts afresh: the first sample of every series at or after `at` (Unix ms) becomes its base and is not counted.
    /// For changes of weights: an interval in which they changed mixes two populations. Never goes back.
    pub fn skip_to(&mut self, at: i64) {
        *self = Self::new(at.max(self.through));
    }

    /// The range to ask for at `now` so that nothing is missed (ms): what is not yet counted, and four intervals of slack
    /// for late samples; at most an hour, beyond which the remembered values bridge the gap.
    pub fn window_ms(&self, now: i64, interval_ms: i64) -> u64 {
        let slack = interval_ms.max(1).saturating_mul(4);
        now.saturating_sub(self.through)
            .max(0)
            .saturating_add(slack)
            .min(MEMORY_MS)
            .unsigned_abs()
    }

    /// Counts what is new in `samples`, which were asked for the time `now` (Unix ms). Stays where it is if nothing is.
    ///
    /// `pod_started` (Unix ms, by pod name): a pod that started after `since` counts from 0, not from its first sample.
    pub fn advance(
        &mut self,
        samples: &GuardSamples,
        now: i64,
        interval_ms: i64,
        pod_started: &BTreeMap<String, i64>,
    ) -> Advance {
        let pods = Pods {
            started: pod_started,
            warm: &BTreeMap::new(),
        };
        self.advance_warm(samples, now, interval_ms, pods)
    }

    /// The same, without what pods did before they were warm.
    pub fn advance_warm(&mut self, samples: &GuardSamples, now: i64, interval_ms: i64, pods: Pods<'_>) -> Advance {
        let newest_sample = newest(samples, now);
        if now <= self.through {
            return Advance {
                newest_sample,
                ..Advance::default()
            };
        }
        let grid = Grid::new(self.through, now, interval_ms);
        let limits = Limits {
            since: self.since,
            forgotten: self.through.saturating_sub(MEMORY_MS),
            now,
            pod_started: pods.started,
            pod_warm: pods.warm,
        };
        let (polls, problem) = match (&samples.candidate, &samples.baseline) {
            (ArmSamples::Proportion { .. }, ArmSamples::Proportion { .. }) => self.proportion(samples, &grid, &limits),
            (ArmSamples::Histogram(candidate), ArmSamples::Histogram(baseline)) => {
                self.histogram([candidate, baseline], &grid, &limits)
            }
            (ArmSamples::Native(candidate), ArmSamples::Native(baseline)) => {
                self.native([candidate, baseline], &grid, &limits)
            }
            // No series at all: neither form.
            (ArmSamples::Native(candidate), ArmSamples::Histogram(matrix)) if matrix.series.is_empty() => {
                self.native([candidate, &NativeMatrix::default()], &grid, &limits)
            }
            (ArmSamples::Histogram(matrix), ArmSamples::Native(baseline)) if matrix.series.is_empty() => {
                self.native([&NativeMatrix::default(), baseline], &grid, &limits)
            }
            (ArmSamples::Ratio { .. }, ArmSamples::Ratio { .. }) => {
                let arms = [&samples.candidate, &samples.baseline];
                let amounts = ratio::count(arms, &mut self.waiting, &mut self.ledger, &limits);
                let poll = amounts.map(|[candidate, baseline]| Poll {
                    from: self.through,
                    through: now,
                    observed: Observed::Ratio { candidate, baseline },
                });
                (poll.into_iter().collect(), None)
            }
            (ArmSamples::Value(matrix), _) => self.value(matrix, now),
            _ => (Vec::new(), Some("the two arms were asked different questions".into())),
        };
        // An answer without anything new, be it empty, NaN or that of a server that stands still, is as none at all: what it
        // lacks may yet come, and is then counted in the polls to which it belongs.
        let seen = newest_sample
            .filter(|&newest| newest > self.through)
            .map(|newest| grid.end(grid.cell(newest)));
        let counted = polls.iter().map(|poll| poll.through);
        self.through = counted.chain(seen).fold(self.through, i64::max);
        self.forget();
        Advance {
            polls,
            newest_sample,
            problem,
        }
    }

    /// What the baseline did in the hour up to `until` (Unix ms), oldest first.
    pub fn history(samples: &GuardSamples, until: i64, interval_ms: i64) -> Vec<Observed> {
        let polls = Self::past(samples, until, interval_ms).into_iter();
        polls.map(|poll| poll.observed).collect()
    }

    /// The same with its times.
    pub fn past(samples: &GuardSamples, until: i64, interval_ms: i64) -> Vec<Poll> {
        let baseline = GuardSamples {
            candidate: samples.baseline.nothing(),
            baseline: samples.baseline.clone(),
        };
        Self::new(until.saturating_sub(HISTORY_MS))
            .advance(&baseline, until, interval_ms, &BTreeMap::new())
            .polls
    }

    fn proportion(&mut self, samples: &GuardSamples, grid: &Grid, limits: &Limits<'_>) -> (Vec<Poll>, Option<String>) {
        let mut cells: BTreeMap<i128, Cell> = BTreeMap::new();
        let mut kinds = [PartKind::Bad; 2];
        for (arm, samples) in [&samples.candidate, &samples.baseline].into_iter().enumerate() {
            let ArmSamples::Proportion { part, total, kind } = samples else {
                continue;
            };
            kinds[arm] = *kind;
            let role = 2 * arm as u8;
            let streams = [
                Stream {
                    role,
                    measure: Measure::Events,
                    matrix: total,
                },
                Stream {
                    role: role + 1,
                    measure: Measure::Events,
                    matrix: part,
                },
            ];
            count_increments(
                &streams,
                &mut self.ledger,
                limits,
                &mut |Increment { stream, at, by, .. }| {
                    let sums = &mut cells.entry(grid.cell(at)).or_default().arms[arm];
                    let sum = if stream == 0 { &mut sums.total } else { &mut sums.part };
                    *sum = sum.saturating_add(by);
                },
            );
        }
        let mut excess: u64 = 0;
        let polls = cells.into_iter().map(|(cell, Cell { arms })| {
            let [candidate, baseline] = std::array::from_fn(|arm| {
                let Sums { total: n, part, .. } = arms[arm];
                excess = excess.saturating_add(part.saturating_sub(n));
                let part = part.min(n);
                Counts {
                    n,
                    x: if kinds[arm] == PartKind::Bad { part } else { n - part },
                }
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

    fn histogram(&mut self, arms: [&Matrix; 2], grid: &Grid, limits: &Limits<'_>) -> (Vec<Poll>, Option<String>) {
        let mut cells: BTreeMap<i128, Cell> = BTreeMap::new();
        for (arm, &matrix) in arms.iter().enumerate() {
            let streams = [Stream {
                role: 4 + arm as u8,
                measure: Measure::Events,
                matrix,
            }];
            count_increments(
                &streams,
                &mut self.ledger,
                limits,
                &mut |Increment { series, at, by, .. }| {
                    let sums = &mut cells.entry(grid.cell(at)).or_default().arms[arm];
                    sums.cumulative.add(series, by);
                    sums.pods.insert(pod(target(&series.labels)));
                },
            );
        }
        let (bounds, agreement) = common_bounds(arms);
        let has_series = arms.iter().any(|matrix| !matrix.series.is_empty());
        let problem = (has_series && bounds.is_empty())
            .then(no_common_bounds)
            .or_else(|| agreement.problem(bounds.len()));
        let polls = cells.into_iter().map(|(cell, Cell { arms })| {
            let [candidate, baseline] = arms.map(|sums| sums.of_pods(sums.cumulative.buckets(&bounds)));
            grid.poll(cell, Observed::Histogram { candidate, baseline })
        });
        (polls.collect(), problem)
    }

    fn native(&mut self, arms: [&NativeMatrix; 2], grid: &Grid, limits: &Limits<'_>) -> (Vec<Poll>, Option<String>) {
        let mut cells: BTreeMap<i128, Cell> = BTreeMap::new();
        for (arm, &matrix) in arms.iter().enumerate() {
            let role = 6 + arm as u8;
            count_natives(role, matrix, &mut self.natives, limits, &mut |target, at, bins| {
                let sums = &mut cells.entry(grid.cell(at)).or_default().arms[arm];
                sums.bins.add(&bins);
                sums.pods.insert(pod(target));
            });
        }
        let (bounds, agreement) = native::common_bounds(arms);
        let problem = match agreement {
            Agreement::Differ if bounds.is_empty() => Some(no_common_bounds()),
            _ => agreement.problem(bounds.len()),
        };
        let polls = cells.into_iter().map(|(cell, Cell { arms })| {
            let [candidate, baseline] = arms.map(|sums| sums.of_pods(sums.bins.buckets(&bounds)));
            grid.poll(cell, Observed::Histogram { candidate, baseline })
        });
        (polls.collect(), problem)
    }

    fn value(&self, matrix: &Matrix, now: i64) -> (Vec<Poll>, Option<String>) {
        let mut values = matrix
            .series
            .iter()
            .filter_map(|series| series.samples.iter().max_by_key(|(at, _)| *at));
        match (values.next(), values.count()) {
            (None, _) => (Vec::new(), None),
            (Some(&(at, value)), 0) if at > self.through && at <= now && value.is_finite() => (
                vec![Poll {
                    from: self.through,
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

    /// Forgets series that ended an hour ago; what is asked for never reaches back that far.
    fn forget(&mut self) {
        let until = self.through.saturating_sub(MEMORY_MS);
        self.ledger.retain(|_, &mut (at, _)| at >= until);
        self.natives.retain(|_, (at, _)| *at >= until);
    }
}

impl Grid {
    /// The last cell ends at `now` and is up to one and a half intervals long, so that polling in time, with its jitter,
    /// makes one poll of one call.
    fn new(through: i64, now: i64, interval_ms: i64) -> Self {
        let interval = interval_ms.max(1);
        let gap = i128::from(now) - i128::from(through);
        let step = i128::from(interval);
        let full = ((2 * gap - 3 * step).max(0) + 2 * step - 1) / (2 * step);
        Self {
            through,
            interval,
            full,
            now,
        }
    }

    /// The cell that a sample belongs to; a late one belongs to the first that is still open.
    fn cell(&self, at: i64) -> i128 {
        let since = i128::from(at) - i128::from(self.through);
        ((since - 1).div_euclid(i128::from(self.interval)) + 1).clamp(1, self.full + 1)
    }

    /// The last moment of a cell.
    fn end(&self, cell: i128) -> i64 {
        let end = i128::from(self.through) + cell * i128::from(self.interval);
        if cell > self.full {
            self.now
        } else {
            i64::try_from(end).unwrap_or(self.now)
        }
    }

    fn poll(&self, cell: i128, observed: Observed) -> Poll {
        Poll {
            from: self.end(cell - 1),
            through: self.end(cell),
            observed,
        }
    }
}

fn no_common_bounds() -> String {
    "the histograms have no finite bucket bound in common: expose the same buckets, with +Inf, on all pods".to_owned()
}

fn newest(samples: &GuardSamples, now: i64) -> Option<i64> {
    let newest = |matrices: &[&Matrix]| {
        let series = matrices.iter().flat_map(|matrix| &matrix.series);
        let times = series.flat_map(|series| &series.samples).map(|&(at, _)| at);
        times.filter(|&at| at <= now).max()
    };
    let of_arm = |arm: &ArmSamples| match arm {
        ArmSamples::Proportion { part, total, .. } => newest(&[total, part]),
        ArmSamples::Ratio { numerator, denominator } => newest(&[numerator, denominator]),
        ArmSamples::Histogram(matrix) | ArmSamples::Value(matrix) => newest(&[matrix]),
        ArmSamples::Native(matrix) => {
            let samples = matrix.series.iter().flat_map(|series| &series.samples);
            samples.map(|(at, _)| *at).filter(|at| *at <= now).max()
        }
    };
    of_arm(&samples.candidate).max(of_arm(&samples.baseline))
}

#[cfg(test)]
mod tests;
