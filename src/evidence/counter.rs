//! Counters: the increments of every series of an arm, each counted exactly once.
//!
//! Owns the definition of an increment: resets, new series, scrapes that only one of two counters has seen. Must not
//! know what the increments mean (errors, buckets) nor keep state: the caller passes the ledger of what was last
//! counted.

use std::collections::BTreeMap;

pub(super) use super::labels::Fingerprint;
use super::labels::Labels;
use super::role::{Arm, OF_TARGET, Role};
use super::sample::{Matrix, Series};

/// The newest sample of a series that was counted: Unix ms and the counter's value, as its [`Measure`] stores it.
pub(super) type Counted = (i64, u64);

/// The sample that was last counted, by series.
pub(super) type Ledger = BTreeMap<Fingerprint, Counted>;

/// Limits within which samples count.
pub(super) struct Limits<'a> {
    /// Samples before this time are not evidence (Unix ms).
    pub since: i64,
    /// Entries of the ledger up to this time may have been forgotten (Unix ms), so new series count nothing before it.
    pub forgotten: i64,
    /// Samples after this time are left for the next count (Unix ms).
    pub now: i64,
    /// When pods started (Unix ms).
    pub pod_started: &'a BTreeMap<String, i64>,
    /// The time from which the samples of a pod count (Unix ms), unless some have been counted before.
    pub pod_warm: &'a BTreeMap<String, i64>,
}

/// Whether the ledger knows any series of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Known,
    New,
}

impl Limits<'_> {
    /// The time from which a series counts that is not in the ledger; its value until then is the base. `first` is the
    /// time of the first sample of its target (Unix ms).
    pub(super) fn start(&self, [pod, ..]: Target<'_>, standing: Standing, first: Option<i64>) -> i64 {
        // A pod that has a warm-up does not count from 0: what it counted before it was warm is its base.
        let born_under_watch = !self.pod_warm.contains_key(pod)
            && self
                .pod_started
                .get(pod)
                .is_some_and(|&started| started >= self.since.max(self.forgotten));
        if standing == Standing::Known || born_under_watch {
            // All that it counted happened since then, so its first value is an increment from 0.
            return self.forgotten.max(self.since.saturating_sub(1));
        }
        first.unwrap_or(self.since).max(self.forgotten)
    }

    /// The time from which the samples of a target count (Unix ms); all samples of one that has counted before do.
    pub(super) fn warm(&self, [pod, ..]: Target<'_>, standing: Standing) -> i64 {
        match standing {
            Standing::Known => i64::MIN,
            Standing::New => self.pod_warm.get(pod).copied().unwrap_or(i64::MIN),
        }
    }
}

/// One query result of an arm. Of several, the scrapes of the first determine how far the others count.
pub(super) struct Stream<'a> {
    /// What the series are to the guard.
    pub role: Role,
    /// The arm that the series are of.
    pub arm: Arm,
    /// What its counters count.
    pub measure: Measure,
    /// The series.
    pub matrix: &'a Matrix,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Events, as whole numbers. A target without series in the first stream counts nothing.
    Events,
    /// Joules, seconds or money, as real numbers, which are stored as their bits. A target counts with either stream
    /// alone.
    Amounts,
}

impl Measure {
    fn store(self, value: f64) -> u64 {
        match self {
            // Rounding values, not differences, keeps the sum of all increments exact; the cast saturates.
            Self::Events => value.round() as u64,
            // The bits of non-negative numbers have the order of the numbers; adding 0 turns -0 into 0.
            Self::Amounts => (value + 0.0).to_bits(),
        }
    }

    /// By how much a counter rose from `before` to `after`. A drop is a reset: the counter began again at 0.
    fn rise(self, before: u64, after: u64) -> u64 {
        match self {
            Self::Events => after.checked_sub(before).unwrap_or(after),
            Self::Amounts if after < before => after,
            Self::Amounts => (f64::from_bits(after) - f64::from_bits(before)).to_bits(),
        }
    }
}

/// An increment of a series.
pub(super) struct Increment<'a> {
    /// Index of its stream.
    pub stream: usize,
    /// The series that it is of.
    pub series: &'a Series,
    /// Time of the sample that shows it (Unix ms).
    pub at: i64,
    /// By how much the counter rose, as the [`Measure`] of its stream stores it.
    pub by: u64,
}

struct Line<'a> {
    stream: usize,
    measure: Measure,
    series: &'a Series,
    fingerprint: Fingerprint,
    /// The ledger's entry.
    counted: Option<Counted>,
    /// The samples from the ledger's entry on.
    samples: Vec<(i64, u64)>,
}

/// Passes every increment that is not yet in the ledger to `count`, and enters it in the ledger.
pub(super) fn count_increments<'a>(
    streams: &[Stream<'a>],
    ledger: &mut Ledger,
    limits: &Limits<'_>,
    count: &mut dyn FnMut(Increment<'a>),
) {
    for (target, mut lines) in by_target(streams, ledger, limits) {
        let standing = if lines.iter().any(|line| line.counted.is_some()) {
            Standing::Known
        } else {
            Standing::New
        };
        let warm = limits.warm(target, standing);
        lines
            .iter_mut()
            .for_each(|line| line.samples.retain(|&(at, _)| at >= warm));
        let cut = common_scrape(&lines, streams.len());
        lines
            .iter_mut()
            .for_each(|line| line.samples.retain(|&(at, _)| Some(at) <= cut));
        let first = lines.iter().filter_map(|line| line.samples.first());
        let start = limits.start(target, standing, first.map(|&(at, _)| at).min());
        let restarts = restarts(target, &lines, ledger);
        if let (Some(&(after, by)), Some(place)) = (restarts.last(), remembered(target)) {
            ledger.insert(place, (by, by.abs_diff(after)));
        }
        for line in lines {
            let mut entry = line.counted;
            let (mut last, mut value) = entry.unwrap_or((start, 0));
            for (at, next) in line.samples {
                if at > last {
                    let restarted = restarts.iter().any(|&(after, by)| last <= after && by <= at);
                    count(Increment {
                        stream: line.stream,
                        series: line.series,
                        at,
                        by: if restarted {
                            next
                        } else {
                            line.measure.rise(value, next)
                        },
                    });
                    last = at;
                } else if entry.is_some_and(|(counted, _)| at <= counted) {
                    continue;
                }
                value = next;
                entry = Some((at, next));
            }
            if let Some(entry) = entry.filter(|_| entry != line.counted) {
                ledger.insert(line.fingerprint, entry);
            }
        }
    }
}

/// When the process behind a target restarted: after the first time and not later than the second (Unix ms), oldest
/// first.
///
/// A drop of a counter is a reset: it began again at 0. A process that restarts takes all its counters with it, but
/// some may have passed their old value when they are next seen: after a gap, or because an error code is exposed only
/// once it has occurred again. Such a counter would seem to have counted less than those that show the reset, and a
/// share of the two would be a fabrication. Hence the last restart is remembered in the ledger.
fn restarts(target: Target<'_>, lines: &[Line<'_>], ledger: &Ledger) -> Vec<(i64, i64)> {
    if !is_named(target) {
        return Vec::new();
    }
    let drops = lines.iter().flat_map(|line| {
        let mut before = line.counted;
        let counted = before.map_or(i64::MIN, |(at, _)| at);
        line.samples
            .iter()
            .filter(move |(at, _)| *at > counted)
            .filter_map(move |&(at, value)| {
                let (last, counted) = before.replace((at, value))?;
                (value < counted).then_some((last, at))
            })
    });
    // If all series were last counted at the same scrape, all of them have seen the remembered restart.
    let mut counted = lines.iter().filter_map(|line| Some(line.counted?.0));
    let newest = counted.next();
    let remembered = || ledger.get(&remembered(target)?).copied();
    let known = newest
        .filter(|newest| counted.any(|at| at != *newest))
        .and_then(|_| remembered());
    let known = known.map(|(by, since)| (by.saturating_sub_unsigned(since), by));
    let mut restarts: Vec<_> = drops.chain(known).collect();
    restarts.sort_unstable_by_key(|&(after, by)| (by, after));
    restarts
}

/// Key of the last restart of a target in the ledger, which has the end of the restart and its longest duration. `None`
/// for a target that names neither a pod nor an instance: its series may come from many processes that restart
/// separately.
fn remembered(target: Target<'_>) -> Option<Fingerprint> {
    let [pod, instance, job] = target;
    let labels = [("pod", pod), ("instance", instance), ("job", job)];
    is_named(target).then(|| Labels::from(labels).fingerprint(OF_TARGET))
}

fn is_named([pod, instance, _]: Target<'_>) -> bool {
    !pod.is_empty() || !instance.is_empty()
}

/// One endpoint of one job: its series are scraped together and have the same timestamps.
pub(super) type Target<'a> = [&'a str; 3];

/// The pod of a target, or its instance where it names no pod.
pub(super) fn pod([pod, instance, _]: Target<'_>) -> &str {
    if pod.is_empty() { instance } else { pod }
}

/// The target that a series is scraped from.
pub(super) fn target(labels: &Labels) -> Target<'_> {
    ["pod", "instance", "job"].map(|name| labels.get(name).unwrap_or_default())
}

fn by_target<'a>(streams: &[Stream<'a>], ledger: &Ledger, limits: &Limits<'_>) -> BTreeMap<Target<'a>, Vec<Line<'a>>> {
    let mut targets: BTreeMap<Target<'a>, BTreeMap<Fingerprint, Line<'a>>> = BTreeMap::new();
    for (
        stream,
        &Stream {
            role,
            arm,
            measure,
            matrix,
        },
    ) in streams.iter().enumerate()
    {
        for series in &matrix.series {
            let fingerprint = series.labels.fingerprint(role.mark(arm));
            let line = targets
                .entry(target(&series.labels))
                .or_default()
                .entry(fingerprint)
                .or_insert_with(|| Line {
                    stream,
                    measure,
                    series,
                    fingerprint,
                    counted: ledger.get(&fingerprint).copied(),
                    samples: Vec::new(),
                });
            // Samples older than the one that was counted last are counted already.
            let from = line.counted.map_or(limits.since, |(at, _)| at.max(limits.since));
            line.samples.extend(series.samples.iter().filter_map(|&(at, value)| {
                let usable = (from..=limits.now).contains(&at) && value.is_finite() && value >= 0.0;
                usable.then(|| (at, measure.store(value)))
            }));
        }
    }
    let ordered = |mut line: Line<'a>| {
        if !line.samples.is_sorted_by(|(a, _), (b, _)| a < b) {
            line.samples.sort_by_key(|&(at, _)| at);
            line.samples.dedup_by_key(|&mut (at, _)| at);
        }
        line
    };
    targets
        .into_iter()
        .map(|(target, lines)| (target, lines.into_values().map(ordered).collect()))
        .collect()
}

/// The newest scrape of a target that all streams show.
///
/// One query may have been answered just before a scrape was stored, the other just after. Nothing counts beyond the
/// newest scrape of the first stream. If another stream is exactly one scrape behind, counting waits for it, unless the
/// server restarted in between (it exposes an error code only once it has occurred again). A stream further behind has
/// ended.
fn common_scrape(lines: &[Line<'_>], streams: usize) -> Option<i64> {
    let of = |stream: usize| lines.iter().filter(move |line| line.stream == stream);
    let newest = |stream: usize| {
        of(stream)
            .filter_map(|line| line.samples.last())
            .map(|&(at, _)| at)
            .max()
    };
    let Some(ruling) = newest(0) else {
        let apart = lines.iter().filter(|line| line.measure == Measure::Amounts);
        return apart.filter_map(|line| line.samples.last()).map(|&(at, _)| at).max();
    };
    let previous = of(0)
        .flat_map(|line| &line.samples)
        .map(|&(at, _)| at)
        .filter(|&at| at < ruling)
        .max();
    let restarted = of(0).any(|line| match line.samples.as_slice() {
        [.., (_, before), (at, after)] if *at == ruling => after < before,
        [.., (at, _)] => Some(*at) == previous,
        [] => false,
    });
    let late = (1..streams)
        .filter_map(newest)
        .find(|&at| Some(at) == previous && !restarted);
    Some(late.unwrap_or(ruling))
}
