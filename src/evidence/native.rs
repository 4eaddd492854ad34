//! Native histograms: samples of cumulative buckets of any layout → events per bucket, each counted exactly once.
//!
//! Owns the layouts. Prometheus writes only buckets that hold something, with their bounds and without their schema:
//! `histogram: [ts, {count, sum, buckets: [[rule, lower, upper, count], …]}]`. Exponential ones are put on a grid of
//! eight bounds an octave (schema 3), coarser ones stay as they are; those of custom buckets (NHCB) keep their bounds.
//! A bucket that is not written is empty. Must not interpolate: where layouts differ, only bounds inside no bucket are
//! used.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::Excluded;

use serde::{Deserialize, Serialize};

use super::counter::doubles::{Shown, doubles};
use super::counter::falls::{self, Falls, Known, Scrapes, Step, Track};
use super::counter::target::{Target, is_named, key_of, target};
use super::counter::{Fingerprint, Limits, Measure, Oddities, Standing};
use super::counts::Buckets;
use super::histogram::{Agreement, key, unkey};
use super::labels::Labels;
use super::role::{Arm, Role};

mod grid;
mod wire;

/// Series of native histograms, as a range selector returns them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeMatrix {
    /// The series, in the order of the response.
    pub series: Vec<NativeSeries>,
}

/// One series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeSeries {
    /// Labels, including `__name__`.
    pub labels: Labels,
    /// Unix milliseconds and the histogram.
    pub samples: Vec<(i64, NativeHistogram)>,
}

/// A histogram at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeHistogram {
    layout: Layout,
    bins: Bins,
}

/// Which bounds a histogram may have beside those that its buckets show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Bounds at every multiple of this many steps of the grid; a power of two.
    Grid(u16),
    /// No bounds beside the written ones are known.
    Custom,
}

impl Default for Layout {
    fn default() -> Self {
        Self::Grid(1)
    }
}

/// A bound, as order-preserving bits.
type Edge = u64;

/// A bucket: `(lower, upper]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bin {
    lower: Edge,
    upper: Edge,
}

/// Events by bucket; buckets do not overlap, and none is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<wire::StoredBin>", into = "Vec<wire::StoredBin>")]
pub(super) struct Bins(BTreeMap<Bin, u64>);

/// The histogram of each series that was last counted, with its time (Unix ms).
pub(super) type NativeLedger = BTreeMap<Fingerprint, (i64, Bins)>;

impl Layout {
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Grid(a), Self::Grid(b)) => Self::Grid(a.max(b)),
            _ => Self::Custom,
        }
    }
}

impl Bins {
    /// All events.
    fn all(&self) -> f64 {
        self.0.values().map(|n| *n as f64).sum()
    }

    /// What was counted since `before`; `None` if a bucket fell, or if one is held by no same or wider bucket any more.
    fn since(&self, before: &Self) -> Option<Self> {
        let mut counted: BTreeMap<Bin, u64> = BTreeMap::new();
        for (old, n) in &before.0 {
            match self.around(*old) {
                Some(bin) => {
                    let sum = counted.entry(bin).or_default();
                    *sum = sum.saturating_add(*n);
                }
                None => return None,
            }
        }
        let mut risen = BTreeMap::new();
        for (bin, n) in &self.0 {
            match n.checked_sub(counted.get(bin).copied().unwrap_or_default()) {
                Some(0) => {}
                Some(n) => drop(risen.insert(*bin, n)),
                None => return None,
            }
        }
        Some(Self(risen))
    }

    /// The bucket that holds all of `bin`.
    fn around(&self, bin: Bin) -> Option<Bin> {
        let last = Bin {
            lower: bin.lower,
            upper: Edge::MAX,
        };
        let (around, _) = self.0.range(..=last).next_back()?;
        (around.upper >= bin.upper).then_some(*around)
    }

    /// Adds `more`; buckets may overlap afterwards.
    pub(super) fn add(&mut self, more: &Self) {
        for (bin, n) in &more.0 {
            let sum = self.0.entry(*bin).or_default();
            *sum = sum.saturating_add(*n);
        }
    }

    /// Events per bucket of `bounds`, none of which may lie inside a bucket of this histogram.
    pub(super) fn buckets(&self, bounds: &[f64]) -> Buckets {
        let mut counts = vec![0u64; bounds.len() + 1];
        for (bin, n) in &self.0 {
            let at = bounds.partition_point(|bound| key(*bound) < bin.upper);
            counts[at] = counts[at].saturating_add(*n);
        }
        Buckets {
            bounds: bounds.to_vec(),
            counts,
            pods: 0,
        }
    }
}

/// Passes what every series counted since its ledger entry to `count`, and enters it in the ledger.
pub(super) fn count_natives<'a>(
    arm: Arm,
    matrix: &'a NativeMatrix,
    ledger: &mut NativeLedger,
    falls: &mut Falls,
    limits: &Limits<'_>,
    count: &mut dyn FnMut(NativeIncrement<'a>),
) -> Oddities {
    let targets = by_target(arm, matrix, limits);
    let twice = doubles(targets.keys().copied(), |target| {
        targets.get(target).map(shown).unwrap_or_default()
    });
    let mut oddities = Oddities::default();
    for (target, mut lines) in targets {
        if twice.contains(&target) {
            oddities.leave_out(target);
            continue;
        }
        let standing = if lines.keys().any(|line| ledger.contains_key(line)) {
            Standing::Known
        } else {
            Standing::New
        };
        let warm = limits.warm(target, standing);
        lines
            .values_mut()
            .for_each(|samples| samples.retain(|at, _| *at >= warm));
        let scrapes = read_scrapes(target, arm, &lines, (ledger, falls), limits.until);
        lines
            .values_mut()
            .for_each(|samples| samples.retain(|at, _| *at <= limits.until && scrapes.shows(*at)));
        oddities.take(target, &scrapes);
        let first = lines.values().filter_map(|samples| samples.keys().next()).min();
        let start = limits.start(target, standing, first.copied());
        for (line, samples) in lines {
            let counted = ledger.get(&line).cloned();
            let through = counted.as_ref().map(|(at, _)| *at);
            let (mut last, mut before) = counted.unwrap_or((start, Bins::default()));
            let mut newest = through;
            for (at, bins) in samples {
                if at > last {
                    let bins = match scrapes.step(last, at) {
                        Step::On => bins.since(&before).unwrap_or_default(),
                        Step::FromZero => bins.clone(),
                        Step::Nothing => Bins::default(),
                    };
                    count(NativeIncrement {
                        target,
                        from: last,
                        at,
                        bins,
                    });
                    last = at;
                } else if through.is_some_and(|through| at <= through) {
                    continue;
                }
                before = bins.clone();
                newest = Some(at);
            }
            if let Some(at) = newest {
                ledger.insert(line, (at, before));
            }
        }
    }
    oddities
}

/// What a series counted between two samples.
pub(super) struct NativeIncrement<'a> {
    /// The target that it is of.
    pub target: Target<'a>,
    /// Time of the sample before, or from which the series counts (Unix ms).
    pub from: i64,
    /// Time of the sample that shows it (Unix ms).
    pub at: i64,
    /// The events.
    pub bins: Bins,
}

/// Reads the scrapes of a target, by the numbers of all events that its histograms show.
fn read_scrapes(
    target: Target<'_>,
    arm: Arm,
    lines: &Lines<'_>,
    (ledger, falls): (&NativeLedger, &mut Falls),
    until: i64,
) -> Scrapes {
    let track = |(line, samples): (&Fingerprint, &BTreeMap<i64, &Bins>)| {
        let counted = ledger.get(line).map(|(at, bins)| (*at, bins.all()));
        let from = counted.map_or(i64::MIN, |(at, _)| at);
        Track {
            line: *line,
            counted,
            samples: samples.range(from..).map(|(at, bins)| (*at, bins.all())).collect(),
        }
    };
    let tracks: Vec<_> = lines.iter().map(track).collect();
    if falls.is_empty() && !tracks.iter().any(|track| falls::falls(track.counted, &track.samples)) {
        return Scrapes::default();
    }
    let known = Known {
        target: key_of(target, arm),
        is_one: is_named(target),
        small: Measure::Events.small(),
        until,
        restart: None,
    };
    falls::read(known, &tracks, falls)
}

/// How many events all histograms of a target show together, by scrape.
fn shown(lines: &Lines<'_>) -> Shown {
    let mut sums = Shown::new();
    for (at, bins) in lines.values().flatten() {
        *sums.entry(*at).or_default() += bins.all();
    }
    sums
}

type Lines<'a> = BTreeMap<Fingerprint, BTreeMap<i64, &'a Bins>>;

fn by_target<'a>(arm: Arm, matrix: &'a NativeMatrix, limits: &Limits<'_>) -> BTreeMap<Target<'a>, Lines<'a>> {
    let mut targets: BTreeMap<Target<'a>, Lines<'a>> = BTreeMap::new();
    for series in &matrix.series {
        let lines = targets.entry(target(&series.labels)).or_default();
        let line = lines
            .entry(series.labels.fingerprint(Role::Native.mark(arm)))
            .or_default();
        for (at, histogram) in &series.samples {
            if (limits.since..=limits.now).contains(at) {
                line.entry(*at).or_insert(&histogram.bins);
            }
        }
    }
    targets
}

/// Finite bounds at which every histogram can be split, and whether others had to be left out.
pub(super) fn common_bounds<'a>(matrices: impl IntoIterator<Item = &'a NativeMatrix>) -> (Vec<f64>, Agreement) {
    let mut layout: Option<Layout> = None;
    let mut bins: BTreeSet<Bin> = BTreeSet::new();
    let series = matrices.into_iter().flat_map(|matrix| &matrix.series);
    for (_, histogram) in series.flat_map(|series| &series.samples) {
        layout = Some(layout.map_or(histogram.layout, |layout| layout.with(histogram.layout)));
        bins.extend(histogram.bins.0.keys());
    }
    let shown: BTreeSet<Edge> = bins.iter().flat_map(|bin| [bin.lower, bin.upper]).collect();
    let mut bounds = shown.clone();
    if let Some(Layout::Grid(step)) = layout {
        bounds.extend(grid::points(step).map(key));
    }
    for bin in &bins {
        let inside: Vec<Edge> = bounds
            .range((
                Excluded(bin.lower),
                Excluded(bin.upper.max(bin.lower.saturating_add(1))),
            ))
            .copied()
            .collect();
        for edge in inside {
            bounds.remove(&edge);
        }
    }
    let agreement = if shown.is_subset(&bounds) {
        Agreement::Same
    } else {
        Agreement::Differ
    };
    let finite = bounds.into_iter().map(unkey).filter(|bound| bound.is_finite());
    (finite.collect(), agreement)
}

#[cfg(test)]
mod tests;
