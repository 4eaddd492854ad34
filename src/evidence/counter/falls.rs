//! Falls: what is made of a counter that shows less than it did before.
//!
//! A process that restarts counts from 0 again, and what it shows then has happened since. But counters also fall
//! without a restart: a value is rounded or arrives out of order, a sum over pods loses one of them, several workers
//! answer behind one port and each scrape meets another one. To take such a fall for a restart is to count requests
//! that were never made. So a fall is taken for a restart only if it looks like one in every way, and nothing is counted
//! across any other fall. What is lost then is one interval; no verdict rests on a request that was not made.
//!
//! Owns that judgement, by the values of a target's counters alone. Must not look at what they mean: it is the same for
//! requests, errors and buckets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use crate::evidence::labels::Fingerprint;

/// What is remembered of falls.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::evidence) struct Falls {
    /// By target: when it was last read (Unix ms), and at which of its last 64 scrapes a counter fell, newest in the
    /// lowest bit.
    pub targets: Remembered,
    /// By counter: when it fell (Unix ms), and by how much, as the bits of a real number.
    pub lost: Remembered,
}

/// A time (Unix ms) and a number by key.
pub(in crate::evidence) type Remembered = BTreeMap<Fingerprint, (i64, u64)>;

impl Falls {
    pub(in crate::evidence) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.lost.is_empty()
    }

    /// Number of targets whose counters fall too often to be counted.
    pub(in crate::evidence) fn muted(&self) -> usize {
        let histories = self.targets.values().map(|(_, history)| *history);
        histories.filter(|history| is_muted(*history)).count()
    }

    /// Forgets what was before `until` (Unix ms).
    pub(in crate::evidence) fn forget(&mut self, until: i64) {
        self.targets.retain(|_, (at, _)| *at >= until);
        self.lost.retain(|_, (at, _)| *at >= until);
    }
}

fn is_muted(history: u64) -> bool {
    history.count_ones() >= TOO_MANY
}

/// Falls within 64 scrapes from which a target's counters count nothing.
const TOO_MANY: u32 = 3;

/// A restart shows no more than this share of what the counters showed before it.
const DEEPEST: f64 = 0.5;

/// A restart shows no more than this many times what the target would have counted since it was last seen, at the pace at
/// which it counts up to the next scrape.
const USUAL: f64 = 3.0;

/// One counter of a target.
pub(in crate::evidence) struct Track {
    /// Its key among what counters lost.
    pub line: Fingerprint,
    /// Time (Unix ms) and value that were last counted.
    pub counted: Option<(i64, f64)>,
    /// Samples from then on, in the order of their times.
    pub samples: Vec<(i64, f64)>,
}

impl Track {
    fn value_at(&self, at: i64) -> Option<f64> {
        let found = self.samples.binary_search_by_key(&at, |(at, _)| *at);
        self.samples.get(found.ok()?).map(|(_, value)| *value)
    }

    /// The last sample before `at` that is to be used.
    fn before(&self, at: i64, scrapes: &Scrapes) -> Option<(i64, f64)> {
        let earlier = self.samples.iter().rev().filter(|(of, _)| *of < at);
        let sample = earlier.copied().find(|(of, _)| scrapes.shows(*of));
        sample.or(self.counted.filter(|(of, _)| *of < at))
    }

    /// What it counted a millisecond between two samples; 0 if it fell.
    fn pace((from, before): (i64, f64), (to, after): (i64, f64)) -> f64 {
        ((after - before) / to.saturating_sub(from).max(1) as f64).max(0.0)
    }
}

/// Whether a counter falls anywhere in its samples, or from the one that was counted last. Samples are in the order of
/// their times.
pub(in crate::evidence) fn falls<V: PartialOrd + Copy>(counted: Option<(i64, V)>, samples: &[(i64, V)]) -> bool {
    let mut before = counted;
    samples.iter().any(|&(at, value)| {
        let (counted, last) = before.replace((at, value)).unwrap_or((at, value));
        counted < at && value < last
    })
}

/// What a step from one sample of a counter to the next is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::evidence) enum Step {
    /// It goes on.
    On,
    /// It began again at 0.
    FromZero,
    /// Nothing can be counted.
    Nothing,
}

/// How the scrapes of a target are to be read. Times are Unix ms.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::evidence) struct Scrapes {
    /// The scrape up to which all were read before, where one fell.
    read: Option<i64>,
    /// Scrapes that show less than the ones before and after them.
    strays: BTreeSet<i64>,
    /// When the target restarted: after the first time and not later than the second.
    pub restarts: Vec<(i64, i64)>,
    /// Scrapes up to which nothing counts, since the ones before.
    gaps: BTreeSet<i64>,
    /// Scrapes at which the counters had fallen too often.
    muted: BTreeSet<i64>,
    /// The first scrape whose fall the next one has yet to explain.
    open: Option<i64>,
    /// Whether the counters have fallen too often as of the last scrape.
    pub is_muted: bool,
}

impl Scrapes {
    /// Whether the samples of this scrape are to be used.
    pub(in crate::evidence) fn shows(&self, at: i64) -> bool {
        let is_new = self.read.is_none_or(|read| read < at);
        is_new && self.open.is_none_or(|open| at < open) && !self.strays.contains(&at)
    }

    /// What the step of a counter between two scrapes is.
    pub(in crate::evidence) fn step(&self, from: i64, to: i64) -> Step {
        if self.muted.contains(&to) || self.gaps.contains(&to) {
            return Step::Nothing;
        }
        match self.restarts.iter().any(|&(after, by)| from <= after && by <= to) {
            true => Step::FromZero,
            false => Step::On,
        }
    }
}

/// A fall of one counter of a target.
struct Fall {
    track: usize,
    before: (i64, f64),
    now: f64,
}

/// What is known of a target before its scrapes are read.
pub(in crate::evidence) struct Known {
    /// Its key among targets.
    pub target: Fingerprint,
    /// Whether it is one process, which can restart.
    pub is_one: bool,
    /// What a restarted process may show although it counts nothing afterwards.
    pub small: f64,
    /// Scrapes after this time only explain those before (Unix ms).
    pub until: i64,
    /// Its last restart, as in [`Scrapes::restarts`].
    pub restart: Option<(i64, i64)>,
}

/// Reads the scrapes of a target.
pub(in crate::evidence) fn read(known: Known, tracks: &[Track], falls: &mut Falls) -> Scrapes {
    let mut scrapes = Scrapes {
        restarts: known.restart.into_iter().collect(),
        ..Scrapes::default()
    };
    let Known {
        target,
        is_one,
        small,
        until,
        ..
    } = known;
    let known = falls.targets.get(&target).copied();
    scrapes.read = known.map(|(read, _)| read);
    let (mut seen, mut history) = known.unwrap_or((i64::MIN, 0));
    let times: BTreeSet<i64> = tracks
        .iter()
        .flat_map(|track| track.samples.iter().map(|(at, _)| *at))
        .filter(|at| *at > seen)
        .collect();
    for &at in times.iter().filter(|at| **at <= until) {
        let fallen = fallen(tracks, at, &scrapes);
        let jumps = || rises_back(tracks, at, &scrapes, falls);
        let fell = !fallen.is_empty();
        if fell {
            let Some(&next) = times.range((Excluded(at), Unbounded)).next() else {
                scrapes.open = Some(at);
                break;
            };
            if returns(tracks, &fallen, next) {
                scrapes.strays.insert(at);
            } else if is_one && is_restart(tracks, &fallen, at, next, small) {
                scrapes.restarts.extend(fallen.iter().map(|fall| (fall.before.0, at)));
            } else {
                scrapes.gaps.insert(at);
                for Fall { track, before, now } in &fallen {
                    let lost = (before.1 - now).to_bits();
                    falls.lost.insert(tracks[*track].line, (at, lost));
                }
            }
        } else if let Some(lines) = jumps() {
            scrapes.gaps.insert(at);
            falls.lost.retain(|line, _| !lines.contains(line));
        }
        history = history << 1 | u64::from(fell);
        seen = at;
        if is_muted(history) {
            scrapes.muted.insert(at);
        }
    }
    scrapes.is_muted = is_muted(history);
    falls.targets.remove(&target);
    if history > 0 {
        falls.targets.insert(target, (seen, history));
    }
    scrapes
}

/// The counters that are lower at a scrape than they were before, and have not been seen since a restart.
fn fallen(tracks: &[Track], at: i64, scrapes: &Scrapes) -> Vec<Fall> {
    let each = tracks.iter().enumerate().filter_map(|(track, of)| {
        let (now, before) = (of.value_at(at)?, of.before(at, scrapes)?);
        let goes_on = scrapes.step(before.0, at) == Step::On;
        (goes_on && now < before.1).then_some(Fall { track, before, now })
    });
    each.collect()
}

/// Whether the counters that fell are all in all at the next scrape where they were before.
fn returns(tracks: &[Track], fallen: &[Fall], next: i64) -> bool {
    let after = |fall: &Fall| tracks[fall.track].value_at(next).unwrap_or(fall.now);
    fallen.iter().map(after).sum::<f64>() >= fallen.iter().map(|fall| fall.before.1).sum()
}

/// Whether the counters that fell look like those of a process that began again at 0: far lower than before, and with
/// no more on them than the process may have counted since.
fn is_restart(tracks: &[Track], fallen: &[Fall], at: i64, next: i64, small: f64) -> bool {
    let (mut before, mut now, mut pace, mut since) = (0.0, 0.0, 0.0, at);
    for fall in fallen {
        let track = &tracks[fall.track];
        before += fall.before.1;
        now += fall.now;
        since = since.min(fall.before.0);
        let after = track.value_at(next).map(|value| (next, value));
        pace += after.map_or(0.0, |after| Track::pace((at, fall.now), after));
    }
    let usual = pace * at.saturating_sub(since) as f64;
    now <= DEEPEST * before && now <= USUAL * usual + small
}

/// The counters that at one scrape take back most of what they lost in a fall that was no restart, such as a sum to
/// which a pod returns.
fn rises_back(tracks: &[Track], at: i64, scrapes: &Scrapes, falls: &Falls) -> Option<Vec<Fingerprint>> {
    let back = tracks.iter().filter_map(|track| {
        let lost = f64::from_bits(falls.lost.get(&track.line)?.1);
        let (before, now) = (track.before(at, scrapes)?, track.value_at(at)?);
        (now - before.1 >= lost / 2.0).then_some(track.line)
    });
    let lines: Vec<_> = back.collect();
    (!lines.is_empty()).then_some(lines)
}
