//! The cursor: how far the evidence of a guard has been counted.
//!
//! Owns the promise that no interval of evidence counts twice and none is lost, across restarts, late samples and
//! outages: it remembers the last counted sample of every series. Must not judge, and has no clock: the caller says
//! what time it is.
//!
//! Polls lie on a grid and close by the times of samples alone, so that replaying an outage from stored samples gives the
//! same polls that polling in time would have given; only samples that arrived late are in another poll than they would
//! have been. What is in no poll yet is not entered: it is found again in the next answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answer::{ArmSamples, GuardSamples};
use super::counter::falls::Falls;
use super::counter::{Fingerprint, Limits};
use super::counts::{Observed, Poll};
use super::native::Bins;
use super::ratio::{self, Waiting};

use bytes::Bytes;
use closing::{Closing, Needed};
use grid::Grid;
use polls::{Arms, Books};

pub use pace::Pace;

mod bytes;
mod closing;
mod grid;
mod news;
mod pace;
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
    books: Books,
    /// Increments of a ratio that are in no poll yet.
    waiting: Option<Waiting>,
    /// Time between two scrapes of a pod, in ms, once it was seen.
    scrapes_ms: Option<i64>,
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
    /// Scrapes of targets whose counters fell, and what single counters lost.
    falls: [Vec<([u8; 6], i64, u64)>; 2],
    waiting: Option<Waiting>,
    scrapes_ms: Option<i64>,
}

impl From<Cursor> for Encoded {
    fn from(cursor: Cursor) -> Self {
        let Cursor {
            since,
            through,
            books: Books { ledger, natives, falls },
            waiting,
            scrapes_ms,
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
        let falls = [falls.targets, falls.lost].map(|remembered| {
            let each = remembered.into_iter();
            each.map(|(fingerprint, (at, value))| (bytes(fingerprint), through.wrapping_sub(at), value))
                .collect()
        });
        Self {
            through,
            since: through.wrapping_sub(since),
            fingerprints: Bytes(fingerprints),
            series: series.collect(),
            natives: natives.collect(),
            falls,
            waiting,
            scrapes_ms,
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
            falls,
            waiting,
            scrapes_ms,
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
        let [targets, lost] = falls.map(|remembered| {
            let each = remembered.into_iter();
            each.map(|(bytes, at, value)| (fingerprint(bytes), (through.wrapping_sub(at), value)))
                .collect()
        });
        Self {
            since: through.wrapping_sub(since),
            through,
            books: Books {
                ledger: ledger.collect(),
                natives: natives.collect(),
                falls: Falls { targets, lost },
            },
            waiting,
            scrapes_ms,
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
    /// Intervals with new samples of both arms, oldest first. An interval for which an arm was waited in vain has those
    /// of the other.
    pub polls: Vec<Poll>,
    /// Time of the newest sample of either arm (Unix ms); `None` if there is no series at all.
    pub newest_sample: Option<i64>,
    /// What is odd about the data and what to do; the polls are usable anyway.
    pub problem: Option<String>,
    /// Why the data of an arm is no evidence at all, and what to do.
    pub unusable: Option<String>,
}

impl Cursor {
    /// A cursor that counts what happens after the first sample at or after `since` (Unix ms).
    pub fn new(since: i64) -> Self {
        Self {
            since,
            through: since,
            books: Books::default(),
            waiting: None,
            scrapes_ms: None,
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
    /// back in time, and does not forget which counters fell, nor how often samples come.
    pub fn skip_to(&mut self, at: i64) {
        let falls = std::mem::take(&mut self.books.falls);
        *self = Self {
            scrapes_ms: self.scrapes_ms,
            ..Self::new(at.max(self.through))
        };
        self.books.falls = falls;
    }

    /// Number of targets whose counters fall too often to be counted.
    pub fn muted(&self) -> usize {
        self.books.falls.muted()
    }

    /// How often evaluations and samples come.
    pub fn pace(&self, interval_ms: i64) -> Pace {
        Pace {
            interval_ms,
            scrapes_ms: self.scrapes_ms,
        }
    }

    /// The range to ask for at `now` so that nothing is missed (ms): what is not yet counted, and slack for samples that
    /// come late; at most an hour, beyond which the remembered values bridge the gap.
    pub fn window_ms(&self, now: i64, interval_ms: i64) -> u64 {
        now.saturating_sub(self.through)
            .max(0)
            .saturating_add(self.pace(interval_ms).slack())
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
        self.count(
            [&samples.candidate, &samples.baseline],
            now,
            interval_ms,
            pods,
            [true; 2],
        )
    }

    /// What the baseline did in the hour up to `until` (Unix ms), oldest first. Its histograms are counted on the bounds
    /// that those of the candidate have as well.
    pub fn history(samples: &GuardSamples, until: i64, interval_ms: i64) -> Vec<Observed> {
        let polls = Self::past(samples, until, interval_ms).into_iter();
        polls.map(|poll| poll.observed).collect()
    }

    /// The polls of [`Cursor::history`], with their times.
    pub fn past(samples: &GuardSamples, until: i64, interval_ms: i64) -> Vec<Poll> {
        let none = BTreeMap::new();
        let pods = Pods {
            started: &none,
            warm: &none,
        };
        let mut cursor = Self::new(until.saturating_sub(HISTORY_MS));
        let nothing = samples.baseline.nothing();
        let asked = samples.candidate.roles().next().is_some();
        let candidate = if asked { &samples.candidate } else { &nothing };
        let arms = [candidate, &samples.baseline];
        let polls = cursor.count(arms, until, interval_ms, pods, [false, true]).polls;
        let of_baseline = polls.into_iter().map(|poll| Poll {
            observed: poll.observed.of_baseline(),
            ..poll
        });
        of_baseline.collect()
    }

    /// Counts polls that have new samples of the arms that are needed.
    fn count(&mut self, arms: [&ArmSamples; 2], now: i64, interval_ms: i64, pods: Pods<'_>, needed: Needed) -> Advance {
        let newest_sample = arms.iter().filter_map(|arm| arm.newest(now)).max();
        let nothing = Advance {
            newest_sample,
            ..Advance::default()
        };
        if now <= self.through {
            return nothing;
        }
        let arms = match Arms::of(arms) {
            Ok(arms) => arms,
            Err(problem) => {
                return Advance {
                    problem: Some(problem),
                    ..nothing
                };
            }
        };
        let limits = Limits {
            since: self.since,
            forgotten: self.through.saturating_sub(MEMORY_MS),
            now,
            until: now,
            pod_started: pods.started,
            pod_warm: pods.warm,
        };
        let advance = match arms {
            Arms::Value(matrix) => {
                let (polls, problem) = polls::value(matrix, self.through, now);
                Advance {
                    polls,
                    problem,
                    ..Advance::default()
                }
            }
            Arms::Ratio(arms) => self.ratio(arms, &limits),
            arms => self.counters(&arms, &limits, interval_ms, needed),
        };
        self.through = advance
            .polls
            .iter()
            .map(|poll| poll.through)
            .fold(self.through, i64::max);
        if self.waiting.is_some() {
            // What waits is entered already, so it need not be found again.
            self.through = self.through.max(newest_sample.unwrap_or(i64::MIN));
        }
        self.forget();
        Advance {
            newest_sample,
            ..advance
        }
    }

    /// Counts a share or a histogram, up to the last poll that closes.
    fn counters(&mut self, arms: &Arms<'_>, limits: &Limits<'_>, interval_ms: i64, needed: Needed) -> Advance {
        let (news, odd) = news::of(arms, self.books.clone(), limits);
        self.scrapes_ms = news.scrapes_ms.or(self.scrapes_ms);
        let grid = Grid::new(self.through, limits.now, interval_ms);
        let closing = Closing::new(grid, &news.times, needed, self.pace(interval_ms).patience());
        let mut advance = Advance {
            problem: odd.problem,
            unusable: odd.unusable,
            ..Advance::default()
        };
        if let Some(until) = closing.through() {
            let limits = Limits { until, ..*limits };
            let (polls, problem) = arms.polls(&mut self.books, &closing, &limits);
            advance.polls = polls;
            advance.problem = advance.problem.or(problem);
        }
        advance
    }

    /// Counts a ratio, whose counters wait for each other.
    fn ratio(&mut self, arms: [&ArmSamples; 2], limits: &Limits<'_>) -> Advance {
        let Books { ledger, falls, .. } = &mut self.books;
        let amounts = ratio::count(arms, &mut self.waiting, ledger, falls, limits);
        let poll = amounts.map(|[candidate, baseline]| Poll {
            from: self.through,
            through: limits.now,
            observed: Observed::Ratio { candidate, baseline },
        });
        Advance {
            polls: poll.into_iter().collect(),
            ..Advance::default()
        }
    }

    /// Forgets series that ended an hour ago; queries never reach back that far.
    fn forget(&mut self) {
        let until = self.through.saturating_sub(MEMORY_MS);
        let Books { ledger, natives, falls } = &mut self.books;
        ledger.retain(|_, &mut (at, _)| at >= until);
        natives.retain(|_, (at, _)| *at >= until);
        falls.forget(until);
    }
}

#[cfg(test)]
mod tests;
