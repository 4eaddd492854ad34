//! Counters: the increments of every series of an arm, each counted exactly once.
//!
//! Owns the definition of an increment: new series, scrapes that only one of two counters has seen, and with
//! [`falls`] and [`doubles`] what is no increment. Must not know what the increments mean (errors, buckets) nor keep
//! state: the caller passes the ledger of what was last counted.

use std::collections::{BTreeMap, BTreeSet};

pub(super) use super::labels::Fingerprint;
use super::role::{Arm, Role};
use super::sample::{Matrix, Series};

use doubles::{Shown, doubles};
use falls::{Falls, Known, Scrapes, Step, Track};
use target::{Target, is_named, key_of, pod, target};

pub(super) mod doubles;
pub(super) mod falls;
pub(super) mod target;

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
    /// Samples after this time are not known yet (Unix ms).
    pub now: i64,
    /// Samples after this time only explain those before; they are left for the next count (Unix ms).
    pub until: i64,
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

    /// The number that was stored.
    fn read(self, stored: u64) -> f64 {
        match self {
            Self::Events => stored as f64,
            Self::Amounts => f64::from_bits(stored),
        }
    }

    /// By how much a counter rose from `before` to `after`; nothing if it fell.
    fn rise(self, before: u64, after: u64) -> u64 {
        match self {
            Self::Events => after.saturating_sub(before),
            Self::Amounts => (f64::from_bits(after) - f64::from_bits(before)).max(0.0).to_bits(),
        }
    }

    /// What a process may show just after it restarted, although it counts nothing afterwards.
    pub(super) fn small(self) -> f64 {
        match self {
            Self::Events => 10.0,
            Self::Amounts => 0.0,
        }
    }
}

/// An increment of a series.
pub(super) struct Increment<'a> {
    /// Index of its stream.
    pub stream: usize,
    /// The series that it is of.
    pub series: &'a Series,
    /// Time of the sample before, or from which the series counts (Unix ms).
    pub from: i64,
    /// Time of the sample that shows it (Unix ms).
    pub at: i64,
    /// By how much the counter rose, as the [`Measure`] of its stream stores it.
    pub by: u64,
}

/// A series of a target.
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

type Targets<'a> = BTreeMap<Target<'a>, Vec<Line<'a>>>;

/// What is odd about the targets of an arm. Targets are named by their pods.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    /// Targets whose counters fall again and again, so that they count nothing.
    pub muted: BTreeSet<String>,
    /// Pods that are scraped twice, with the second target, which counts nothing.
    pub twice: BTreeSet<String>,
    /// How many targets count.
    pub counting: usize,
}

impl Oddities {
    /// Notes a target that shows the same process as another one.
    pub(super) fn leave_out(&mut self, target: Target<'_>) {
        self.twice.insert(pod(target).to_owned());
    }

    /// Notes a target that counts, unless its counters fall too often.
    pub(super) fn take(&mut self, target: Target<'_>, scrapes: &Scrapes) {
        if scrapes.is_muted {
            self.muted.insert(pod(target).to_owned());
        } else {
            self.counting += 1;
        }
    }
}

impl Line<'_> {
    fn falls(&self) -> bool {
        falls::falls(self.counted, &self.samples)
    }

    fn track(&self) -> Track {
        let read = |&(at, value): &Counted| (at, self.measure.read(value));
        Track {
            line: self.fingerprint,
            counted: self.counted.as_ref().map(read),
            samples: self.samples.iter().map(read).collect(),
        }
    }
}

/// Passes every increment of an arm that is not yet in the ledger to `count`, and enters it in the ledger.
pub(super) fn count_increments<'a>(
    streams: &[Stream<'a>],
    ledger: &mut Ledger,
    falls: &mut Falls,
    limits: &Limits<'_>,
    count: &mut dyn FnMut(Increment<'a>),
) -> Oddities {
    let Some(arm) = streams.first().map(|stream| stream.arm) else {
        return Oddities::default();
    };
    let targets = by_target(streams, ledger, limits);
    let twice = doubles(targets.keys().copied(), |target| {
        targets.get(target).map(|lines| shown(lines)).unwrap_or_default()
    });
    let mut oddities = Oddities::default();
    for (target, mut lines) in targets {
        if twice.contains(&target) {
            oddities.leave_out(target);
            continue;
        }
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
        let scrapes = read_scrapes(target, arm, &lines, (ledger, falls), limits.until);
        lines
            .iter_mut()
            .for_each(|line| line.samples.retain(|&(at, _)| at <= limits.until && scrapes.shows(at)));
        oddities.take(target, &scrapes);
        let first = lines.iter().filter_map(|line| line.samples.first());
        let start = limits.start(target, standing, first.map(|&(at, _)| at).min());
        let times = scrape_times(&lines);
        for line in lines {
            let mut entry = line.counted;
            let begins = || start.max(unseen_at(&line, &times));
            let (mut last, mut value) = entry.unwrap_or_else(|| (begins(), 0));
            for (at, next) in line.samples {
                if at > last {
                    let by = match scrapes.step(last, at) {
                        Step::On => line.measure.rise(value, next),
                        Step::FromZero => next,
                        Step::Nothing => 0,
                    };
                    count(Increment {
                        stream: line.stream,
                        series: line.series,
                        from: last,
                        at,
                        by,
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
    oddities
}

/// Reads the scrapes of a target; there is nothing to read as long as no counter has ever fallen.
fn read_scrapes(
    target: Target<'_>,
    arm: Arm,
    lines: &[Line<'_>],
    (ledger, falls): (&mut Ledger, &mut Falls),
    until: i64,
) -> Scrapes {
    // If all series were last counted at the same scrape, all of them have seen the remembered restart.
    let mut counted = lines.iter().filter_map(|line| Some(line.counted?.0));
    let newest = counted.next();
    let lags = newest.is_some_and(|newest| counted.any(|at| at != newest));
    if !lags && falls.is_empty() && !lines.iter().any(Line::falls) {
        return Scrapes::default();
    }
    let place = key_of(target, arm);
    let remembered = ledger.get(&place).copied().filter(|_| lags);
    let known = Known {
        target: place,
        is_one: is_named(target),
        small: lines.first().map_or(0.0, |line| line.measure.small()),
        until,
        restart: remembered.map(|(by, since)| (by.saturating_sub_unsigned(since), by)),
    };
    let tracks: Vec<_> = lines.iter().map(Line::track).collect();
    let scrapes = falls::read(known, &tracks, falls);
    if let Some(&(after, by)) = scrapes.restarts.iter().max_by_key(|&&(after, by)| (by, after)) {
        ledger.insert(place, (by, by.abs_diff(after)));
    }
    scrapes
}

/// When a target was scraped (Unix ms), in order, as far as that is needed for series that have not counted yet.
fn scrape_times(lines: &[Line<'_>]) -> Vec<i64> {
    if lines.iter().all(|line| line.counted.is_some()) {
        return Vec::new();
    }
    let each = lines.iter().flat_map(|line| line.samples.iter().chain(&line.counted));
    let mut times: Vec<_> = each.map(|(at, _)| *at).collect();
    times.sort_unstable();
    times.dedup();
    times
}

/// The last scrape of a target that did not show one of its series yet, which had counted nothing by then.
fn unseen_at(line: &Line<'_>, times: &[i64]) -> i64 {
    let first = line.samples.first().map_or(i64::MIN, |(at, _)| *at);
    let before = times.partition_point(|at| *at < first).checked_sub(1);
    before.and_then(|at| times.get(at)).copied().unwrap_or(i64::MIN)
}

/// What all counters of the first stream show together, by scrape.
fn shown(lines: &[Line<'_>]) -> Shown {
    let mut sums = Shown::new();
    for line in lines.iter().filter(|line| line.stream == 0) {
        for &(at, value) in &line.samples {
            *sums.entry(at).or_default() += line.measure.read(value);
        }
    }
    sums
}

fn by_target<'a>(streams: &[Stream<'a>], ledger: &Ledger, limits: &Limits<'_>) -> Targets<'a> {
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
