//! Requests, how they are answered, and what Prometheus shows of it. Traffic is so heavy that half a minute of it decides every
//! guard: states stay few. Pairs of the comparer are counted in the same way as requests.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use guardbit::api::RevisionRef;
use guardbit::evidence::{ArmSamples, Matrix, Role, Series};
use guardbit::guards::Selector;

use crate::world::{millis, pod};

/// Seconds between two scrapes.
pub const SCRAPE: i64 = 10;
/// Requests between two scrapes, of all arms together.
const REQUESTS: u64 = 1_000_000;

/// How a variant answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mood {
    #[default]
    Healthy,
    /// Half of its answers are errors; a pair with one of them differs.
    Failing,
    /// Its outputs lean to one side.
    Drifting,
}

/// What Prometheus does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metrics {
    #[default]
    Answers,
    Away,
    /// It answers, and knows no series.
    Empty,
}

/// The counters of an arm at a scrape.
#[derive(Clone, Copy, Debug, Default)]
struct Scrape {
    at: i64,
    total: u64,
    bad: u64,
    low: u64,
}

/// The counters of all arms, as they were scraped.
#[derive(Clone, Default)]
pub struct Traffic(BTreeMap<RevisionRef, Arc<Vec<Scrape>>>);

impl Traffic {
    /// What a revision answers from one scrape to the next, with `weight` percent of all requests.
    pub fn serve(&mut self, revision: &RevisionRef, weight: i32, mood: Mood, at: i64) {
        let scrapes = Arc::make_mut(self.0.entry(revision.clone()).or_default());
        let n = REQUESTS * u64::from(weight.unsigned_abs()) / 100;
        let last = scrapes.last().copied().unwrap_or_default();
        scrapes.push(Scrape {
            at,
            total: last.total + n,
            bad: last.bad + if mood == Mood::Failing { n / 2 } else { 0 },
            low: last.low + if mood == Mood::Drifting { n / 10 } else { n / 2 },
        });
    }

    pub fn forget(&mut self, revision: &RevisionRef) {
        self.0.remove(revision);
    }

    /// What Prometheus shows of a revision in a range of times (milliseconds).
    pub fn samples(&self, asks: &[Selector], revision: &RevisionRef, range: RangeInclusive<i64>) -> ArmSamples {
        let history = self.0.get(revision).map_or(&[][..], |scrapes| scrapes.as_slice());
        let series = |label: &str, value: &str, of: fn(&Scrape) -> u64| {
            let samples: Vec<_> = history
                .iter()
                .map(|scrape| (millis(scrape.at), of(scrape) as f64))
                .filter(|(at, _)| range.contains(at))
                .collect();
            let labels = [(label.to_owned(), value.to_owned()), ("pod".to_owned(), pod(revision))];
            (!samples.is_empty()).then(|| Series {
                labels: labels.into(),
                samples,
            })
        };
        let matrix = |series: Vec<Option<Series>>| Matrix {
            series: series.into_iter().flatten().collect(),
        };
        let of_role = |role: Role| {
            matrix(match role {
                Role::Total => vec![
                    series("code", "200", |s| s.total - s.bad),
                    series("code", "500", |s| s.bad),
                ],
                Role::Bad | Role::Good => vec![series("code", "500", |s| s.bad)],
                Role::Buckets | Role::Native => vec![series("le", "0.5", |s| s.low), series("le", "+Inf", |s| s.total)],
                Role::Numerator | Role::Denominator | Role::Value => Vec::new(),
            })
        };
        ArmSamples::of(asks.iter().map(|asked| (asked.role, of_role(asked.role))))
    }

    /// Requests that a revision has answered since a time (seconds).
    pub fn served(&self, revision: &RevisionRef, since: i64) -> u64 {
        let scrapes = self.0.get(revision).map_or(&[][..], |scrapes| scrapes.as_slice());
        let before = scrapes.iter().rev().find(|scrape| scrape.at <= since);
        let total = |scrape: Option<&Scrape>| scrape.map_or(0, |scrape| scrape.total);
        total(scrapes.last()) - total(before)
    }

    /// What was scraped of a revision after `since` (seconds): how long before `now`, and by how much its counters rose.
    pub fn unread(&self, revision: &RevisionRef, since: i64, now: i64) -> Vec<[i64; 4]> {
        let Some(scrapes) = self.0.get(revision) else {
            return Vec::new();
        };
        let rises = scrapes.windows(2).filter(|pair| pair[1].at > since);
        let by = |new: u64, old: u64| i64::try_from(new - old).unwrap_or(i64::MAX);
        rises
            .map(|pair| {
                [
                    now - pair[1].at,
                    by(pair[1].total, pair[0].total),
                    by(pair[1].bad, pair[0].bad),
                    by(pair[1].low, pair[0].low),
                ]
            })
            .collect()
    }
}
