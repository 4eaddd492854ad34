//! The cursor: how far the evidence of a guard has been counted.
//!
//! Owns the promise that no interval of evidence counts twice and none is lost, across restarts, late samples and
//! outages: it remembers the last counted sample of every series. Must not judge, and has no clock: the caller says
//! what time it is.
//!
//! Polls lie on a grid, so that replaying an outage from stored samples gives the same polls that polling in time would
//! have given; only samples that arrived late are in an earlier poll than they would have been.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answer::{ArmSamples, BucketForm, GuardSamples};
use super::counter::{Fingerprint, Ledger, Limits};
use super::counts::{Observed, Poll};
use super::native::{Bins, NativeLedger, NativeMatrix};
use super::ratio::{self, Waiting};
use super::role::Role;
use super::sample::Matrix;

use bytes::Bytes;
use grid::Grid;
use polls::Counted;

mod bytes;
mod grid;
mod polls;

/// How long a series is remembered after its last sample, and the longest window worth asking for: one hour, in ms.
const MEMORY_MS: i64 = 3_600_000;

/// How much of a baseline's past is used when a trial begins: one hour, in ms.
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
    /// Ledger of native histograms.
    natives: NativeLedger,
    /// Increments of a ratio that are in no poll yet.
    waiting: Option<Waiting>,
}

/// The stored form. It has times relative to `through` and fingerprints of six bytes, to be small in the status of an
/// object.
#[derive(Serialize, Deserialize)]
struct Encoded {
    through: i64,
    since: i64,
    /// Fingerprints of all series, one after the other.
    fingerprints: Bytes,
    /// Time and value of each series.
    series: Vec<(i64, u64)>,
    natives: Vec<([u8; 6], i64, Bins)>,
    waiting: Option<Waiting>,
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

/// What is known about the pods of all arms, by name. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pods<'a> {
    /// When they started: a pod that started after the cursor began counts from 0, not from its first sample.
    pub started: &'a BTreeMap<String, i64>,
    /// The times from which their samples count. What a pod did before is left out; a pod that has counted goes on
    /// counting.
    pub warm: &'a BTreeMap<String, i64>,
}

/// What an advance found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advance {
    /// Intervals with new samples on at least one arm, oldest first.
    pub polls: Vec<Poll>,
    /// Time of the newest sample of either arm (Unix ms); `None` if there is no series at all.
    pub newest_sample: Option<i64>,
    /// What is odd about the data and what to do; the polls are usable anyway.
    pub problem: Option<String>,
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

    /// Time up to which everything has been counted (Unix ms).
    pub fn through(&self) -> i64 {
        self.through
    }

    /// Time at which evidence began (Unix ms).
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Starts afresh: the first sample of every series at or after `at` (Unix ms) becomes its base and is not counted.
    /// This is for changes of weights, because an interval in which they changed mixes two populations. It never goes
    /// back in time.
    pub fn skip_to(&mut self, at: i64) {
        *self = Self::new(at.max(self.through));
    }

    /// The range to ask for at `now` so that nothing is missed (ms): what is not yet counted, and four intervals of
    /// slack for late samples; at most an hour, beyond which the remembered values bridge the gap.
    pub fn window_ms(&self, now: i64, interval_ms: i64) -> u64 {
        let slack = interval_ms.max(1).saturating_mul(4);
        now.saturating_sub(self.through)
            .max(0)
            .saturating_add(slack)
            .min(MEMORY_MS)
            .unsigned_abs()
    }

    /// Counts what is new in `samples`, which were asked for the time `now` (Unix ms). Does not move if nothing is new.
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

    /// Does what [`Cursor::advance`] does, but leaves out what pods did before they were warm.
    pub fn advance_warm(&mut self, samples: &GuardSamples, now: i64, interval_ms: i64, pods: Pods<'_>) -> Advance {
        let newest_sample = samples.candidate.newest(now).max(samples.baseline.newest(now));
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
        let (polls, problem) = self.count([&samples.candidate, &samples.baseline], &grid, &limits);
        // An answer without anything new (empty, NaN, or from a server that ingests nothing) is treated as no answer:
        // the missing samples may still come, and are then counted in the polls to which they belong.
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

    /// The polls of [`Cursor::history`], with their times.
    pub fn past(samples: &GuardSamples, until: i64, interval_ms: i64) -> Vec<Poll> {
        let baseline = GuardSamples {
            candidate: samples.baseline.nothing(),
            baseline: samples.baseline.clone(),
        };
        Self::new(until.saturating_sub(HISTORY_MS))
            .advance(&baseline, until, interval_ms, &BTreeMap::new())
            .polls
    }

    /// Counts in the way that the roles of the answers require.
    fn count(&mut self, arms: [&ArmSamples; 2], grid: &Grid, limits: &Limits<'_>) -> Counted {
        let [candidate, baseline] = arms;
        if let Some(value) = candidate.get(Role::Value) {
            return polls::value(value, self.through, limits.now);
        }
        if candidate.is_histogram() && baseline.is_histogram() {
            return self.histograms(arms, grid, limits);
        }
        if !candidate.roles().eq(baseline.roles()) {
            return (Vec::new(), Some("the two arms were asked different questions".into()));
        }
        if candidate.get(Role::Total).is_some() {
            return polls::share(arms, &mut self.ledger, grid, limits);
        }
        let amounts = ratio::count(arms, &mut self.waiting, &mut self.ledger, limits);
        let poll = amounts.map(|[candidate, baseline]| Poll {
            from: self.through,
            through: limits.now,
            observed: Observed::Ratio { candidate, baseline },
        });
        (poll.into_iter().collect(), None)
    }

    /// Counts histograms if both arms have the same form; an arm without any series matches either.
    fn histograms(&mut self, arms: [&ArmSamples; 2], grid: &Grid, limits: &Limits<'_>) -> Counted {
        let (no_classic, no_native) = (Matrix::default(), NativeMatrix::default());
        let classic = arms.map(|arm| arm.get(Role::Buckets).unwrap_or(&no_classic));
        let native = arms.map(|arm| arm.natives().unwrap_or(&no_native));
        match arms.map(ArmSamples::form) {
            [Some(one), Some(other)] if one != other => {
                (Vec::new(), Some("the two arms were asked different questions".into()))
            }
            [Some(BucketForm::Native), _] | [_, Some(BucketForm::Native)] => {
                polls::natives(native, &mut self.natives, grid, limits)
            }
            _ => polls::buckets(classic, &mut self.ledger, grid, limits),
        }
    }

    /// Forgets series that ended an hour ago; queries never reach back that far.
    fn forget(&mut self) {
        let until = self.through.saturating_sub(MEMORY_MS);
        self.ledger.retain(|_, &mut (at, _)| at >= until);
        self.natives.retain(|_, (at, _)| *at >= until);
    }
}

#[cfg(test)]
mod tests;
