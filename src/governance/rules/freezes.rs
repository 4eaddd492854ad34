//! Freezes: times in which nothing rises, by the clocks of a zone, and when the next opening is.
//!
//! A weekly freeze begins and ends by what clocks show: one from Friday noon for 68 hours ends on Monday at eight, also when
//! clocks are changed on Sunday. A time that clocks skip is when they skip it; of one that they show twice the first begins
//! a freeze and the second ends it. Zones are those of the bundled database, so that all machines agree.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::jiff::civil::{DateTime, Time};
use k8s_openapi::jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use k8s_openapi::jiff::{SignedDuration, Span, Timestamp, civil};
use serde::{Deserialize, Serialize};

use crate::api::Weekday;

use super::asked::Asked;

/// Freezes that follow each other without a gap: a chain of more of them has no opening that is worth waiting for.
const LONGEST_CHAIN: usize = 100;

/// Days around a day on which a freeze may have begun that holds on it: a week and a day, and one more on both sides for zones
/// that skip a day or have one twice.
const NEAR: std::ops::RangeInclusive<i64> = -9..=1;

/// A time in which nothing rises.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// Its name.
    pub name: String,
    /// When it holds.
    pub when: When,
}

/// When a freeze holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum When {
    /// Each week.
    Weekly {
        /// Days on which it begins.
        days: BTreeSet<Weekday>,
        /// When it begins on such a day.
        from: Time,
        /// How long it lasts by the clocks, in milliseconds; a week at the most.
        lasts: i64,
        /// Name of the zone of the clocks.
        time_zone: String,
    },
    /// Once.
    Between {
        /// Start, inclusive.
        from: Timestamp,
        /// End, exclusive.
        to: Timestamp,
    },
}

/// A zone of the bundled database.
pub(in crate::governance) fn zone(name: &str) -> Option<TimeZone> {
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    (!zone.is_unknown()).then_some(zone)
}

impl Freeze {
    /// The end, exclusive, of the freeze that holds at an instant; `None` outside. One in a zone that this release does not know
    /// holds always.
    fn end(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Between { from, to } => (*from <= at && at < *to).then_some(*to),
            When::Weekly {
                days,
                from,
                lasts,
                time_zone,
            } => {
                let Some(zone) = zone(time_zone) else {
                    return Some(Timestamp::MAX);
                };
                let today = zone.to_datetime(at).date();
                let ends = NEAR.filter_map(|days_on| {
                    let day = today.checked_add(Span::new().days(days_on)).ok()?;
                    if !days.contains(&weekday(day.weekday())) {
                        return None;
                    }
                    let begins = day.to_datetime(*from);
                    let ends = begins.checked_add(SignedDuration::from_millis(*lasts)).ok()?;
                    let (begins, ends) = (first(&zone, begins)?, last(&zone, ends)?);
                    (begins <= at && at < ends).then_some(ends)
                });
                ends.max()
            }
        }
    }

    fn time_zone(&self) -> Option<&str> {
        match &self.when {
            When::Weekly { time_zone, .. } => Some(time_zone),
            When::Between { .. } => None,
        }
    }
}

/// The first instant at which clocks show a time.
fn first(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let at = zone.to_ambiguous_timestamp(shown);
    match at.offset() {
        AmbiguousOffset::Gap { .. } => leap(zone, shown),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => at.earlier().ok(),
    }
}

/// The last instant at which clocks show a time.
fn last(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let at = zone.to_ambiguous_timestamp(shown);
    match at.offset() {
        AmbiguousOffset::Gap { .. } => leap(zone, shown),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => at.later().ok(),
    }
}

/// The instant at which clocks are put forward over a time.
fn leap(zone: &TimeZone, skipped: DateTime) -> Option<Timestamp> {
    let before = zone.to_ambiguous_timestamp(skipped).earlier().ok()?;
    let change = zone.following(before).next()?;
    Some(change.timestamp())
}

fn weekday(day: civil::Weekday) -> Weekday {
    match day {
        civil::Weekday::Monday => Weekday::Monday,
        civil::Weekday::Tuesday => Weekday::Tuesday,
        civil::Weekday::Wednesday => Weekday::Wednesday,
        civil::Weekday::Thursday => Weekday::Thursday,
        civil::Weekday::Friday => Weekday::Friday,
        civil::Weekday::Saturday => Weekday::Saturday,
        civil::Weekday::Sunday => Weekday::Sunday,
    }
}

/// A freeze that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Its name; where several hold, that of the one which ends last.
    pub name: String,
    /// Names of the policies that ask for it.
    pub by: BTreeSet<String>,
    /// The zone whose clocks it goes by.
    pub time_zone: Option<String>,
    /// The first instant that is outside of all freezes; `None` where there is none in sight.
    pub until: Option<Timestamp>,
}

/// The freeze that holds at an instant, if one does.
pub fn frozen_at(freezes: &BTreeSet<Asked<Freeze>>, now: Timestamp) -> Option<Frozen> {
    let holding = |at: Timestamp| {
        let all = freezes.iter().filter_map(|asked| Some((asked.what.end(at)?, asked)));
        all.max_by_key(|(end, _)| *end)
    };
    let (mut opening, Asked { what: freeze, by }) = holding(now)?;
    let mut chain = std::iter::from_fn(|| {
        let (end, _) = holding(opening)?;
        opening = end;
        Some(end)
    });
    let goes_on = chain.nth(LONGEST_CHAIN).is_some();
    Some(Frozen {
        name: freeze.name.clone(),
        by: by.clone(),
        time_zone: freeze.time_zone().map(str::to_owned),
        until: (!goes_on).then_some(opening),
    })
}

/// "freeze weekend of high-risk holds until 2026-12-07T07:00:00Z, which is Monday 08:00 in Europe/Berlin".
impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by: Vec<_> = self.by.iter().map(String::as_str).collect();
        write!(f, "freeze {} of {} holds ", self.name, by.join(", "))?;
        let Some(until) = self.until else {
            return f.write_str("with no end in sight");
        };
        write!(f, "until {until}")?;
        let local = self.time_zone.as_deref().and_then(|name| Some((name, zone(name)?)));
        match local {
            Some((name, zone)) => {
                let shown = zone.to_datetime(until);
                let (day, time) = (weekday(shown.weekday()), shown.strftime("%H:%M"));
                write!(f, ", which is {day} {time} in {name}")
            }
            None => Ok(()),
        }
    }
}
