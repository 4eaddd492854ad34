//! Freezes by the clocks of their zones, also where clocks are changed.

use std::collections::BTreeSet;

use guardbit::api::Weekday;
use guardbit::governance::{Asked, Freeze, When, frozen_at};
use k8s_openapi::jiff::civil::{DateTime, Time};
use k8s_openapi::jiff::tz::{TimeZone, TimeZoneDatabase};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::scene::{at, policy};

/// The freezes of a policy.
fn freezes(yaml: &str) -> BTreeSet<Asked<Freeze>> {
    let policy = policy("high-risk", &format!("freezes: [{yaml}]"));
    policy
        .rules
        .unwrap_or_else(|problems| panic!("{yaml}: {problems:?}"))
        .freezes
}

fn weekly(days: &str, from: &str, lasts: &str, zone: &str) -> String {
    format!("{{name: weekly, days: [{days}], from: '{from}', for: {lasts}, timeZone: {zone}}}")
}

/// The freeze holds from the first instant on, and the second is the next opening.
fn holds(freezes: &BTreeSet<Asked<Freeze>>, from: &str, until: &str) {
    let (from, until) = (at(from), at(until));
    let least = SignedDuration::from_nanos(1);
    assert_eq!(frozen_at(freezes, from - least), None, "before {from}");
    for inside in [from, from + least, until - least] {
        let frozen = frozen_at(freezes, inside).unwrap_or_else(|| panic!("{inside} is open"));
        assert_eq!(frozen.until, Some(until), "at {inside}");
    }
    assert_eq!(frozen_at(freezes, until), None, "at {until}");
}

#[test]
fn a_weekend_lasts_by_the_clocks_also_when_they_are_changed() {
    let berlin = freezes(&weekly("Friday", "12:00", "68h", "Europe/Berlin"));
    holds(&berlin, "2026-11-27T11:00:00Z", "2026-11-30T07:00:00Z");
    // From Friday noon to Monday at eight, in an hour less and in an hour more.
    holds(&berlin, "2026-03-27T11:00:00Z", "2026-03-30T06:00:00Z");
    holds(&berlin, "2026-10-23T10:00:00Z", "2026-10-26T07:00:00Z");
    // Where clocks are put forward in spring, which is in October.
    let sydney = freezes(&weekly("Friday", "12:00", "68h", "Australia/Sydney"));
    holds(&sydney, "2026-10-02T02:00:00Z", "2026-10-04T21:00:00Z");
    holds(&sydney, "2026-04-03T01:00:00Z", "2026-04-05T22:00:00Z");
}

#[test]
fn a_time_that_clocks_skip_is_when_they_skip_it() {
    let sunday = |from, lasts| freezes(&weekly("Sunday", from, lasts, "Europe/Berlin"));
    holds(&sunday("02:30", "1h"), "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z");
    holds(&sunday("01:30", "1h"), "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z");
    // Clocks never show any of it.
    let skipped = sunday("02:10", "20m");
    for minute in 0..180 {
        let now = at("2026-03-29T00:00:00Z") + SignedDuration::from_mins(minute);
        assert_eq!(frozen_at(&skipped, now), None, "{now}");
    }
    // A whole day: there was no 30 December 2011 in Samoa.
    let friday = freezes(&weekly("Friday", "12:00", "24h", "Pacific/Apia"));
    holds(&friday, "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z");
}

#[test]
fn of_a_time_that_clocks_show_twice_the_first_begins_and_the_second_ends_it() {
    let sunday = freezes(&weekly("Sunday", "02:30", "15m", "Europe/Berlin"));
    holds(&sunday, "2026-10-25T00:30:00Z", "2026-10-25T01:45:00Z");
}

#[test]
fn freezes_that_follow_each_other_have_one_opening() {
    let chain = freezes(concat!(
        "{name: weekend, days: [Friday], from: '12:00', for: 68h, timeZone: Europe/Berlin}, ",
        "{name: year-end, between: {from: '2026-12-21T08:00:00+01:00', to: '2027-01-04T08:00:00+01:00'}}"
    ));
    holds(&chain, "2026-12-18T11:00:00Z", "2027-01-04T07:00:00Z");
    let weekend = frozen_at(&chain, at("2026-12-19T00:00:00Z")).expect("a freeze");
    assert_eq!(
        weekend.to_string(),
        "freeze weekend of high-risk holds until 2027-01-04T07:00:00Z, which is Monday 08:00 in Europe/Berlin"
    );
    let christmas = frozen_at(&chain, at("2026-12-24T18:00:00Z")).expect("a freeze");
    assert_eq!(
        christmas.to_string(),
        "freeze year-end of high-risk holds until 2027-01-04T07:00:00Z"
    );
}

#[test]
fn freezes_without_an_opening_are_told_as_such() {
    let days = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday";
    let always = freezes(&weekly(days, "00:00", "24h", "Asia/Kolkata"));
    let frozen = frozen_at(&always, at("2026-12-19T00:00:00Z")).expect("a freeze");
    assert_eq!(frozen.until, None);
    assert!(frozen.to_string().ends_with("holds with no end in sight"), "{frozen}");
}

#[test]
fn a_zone_that_this_release_does_not_know_is_frozen() {
    let what = Freeze {
        name: "weekly".to_owned(),
        when: When::Weekly {
            days: BTreeSet::new(),
            from: Time::midnight(),
            lasts: 1,
            time_zone: "Mars/Olympus".to_owned(),
        },
    };
    let by = BTreeSet::from(["high-risk".to_owned()]);
    let frozen = frozen_at(&BTreeSet::from([Asked { what, by }]), at("2026-12-19T00:00:00Z"));
    assert_eq!(frozen.expect("a freeze").until, None);
}

/// All days, in the order of jiff's numbers.
const DAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn zones() -> Vec<String> {
    let zones = TimeZoneDatabase::bundled();
    let mut names: Vec<String> = zones.available().map(|name| name.as_str().to_owned()).collect();
    names.retain(|name| zones.get(name).is_ok_and(|zone| !zone.is_unknown()));
    names.sort();
    assert!(names.len() > 300, "{} zones", names.len());
    names
}

fn get(zone: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(zone).expect("a zone")
}

prop_compose! {
    fn weekly_freeze()(
        days in proptest::sample::subsequence(DAYS.to_vec(), 1..=7),
        (hour, minute) in (0i8..24, 0i8..60),
        lasts in prop_oneof![1i64..300, 300i64..=10_080],
        zone in proptest::sample::select(zones()),
    ) -> Freeze {
        Freeze {
            name: "weekly".to_owned(),
            when: When::Weekly {
                days: days.into_iter().collect(),
                from: Time::constant(hour, minute, 0, 0),
                lasts: lasts * 60_000,
                time_zone: zone,
            },
        }
    }
}

/// An instant, often near a change of the clocks of a zone.
fn instant(zone: &TimeZone, seconds: i64, near: Option<i64>) -> Timestamp {
    let any = Timestamp::from_second(seconds).expect("an instant");
    let change = zone.following(any).next().map(|change| change.timestamp());
    match (near, change) {
        (Some(seconds), Some(change)) => change + SignedDuration::from_secs(seconds),
        _ => any,
    }
}

/// Whether clocks show a time of the freeze.
fn shows(freeze: &Freeze, shown: DateTime) -> bool {
    let When::Weekly { days, from, lasts, .. } = &freeze.when else {
        panic!("a weekly freeze");
    };
    let mut day = shown.date();
    for _ in 0..=8 {
        let begins = day.to_datetime(*from);
        let ends = begins + SignedDuration::from_millis(*lasts);
        let weekday = DAYS[usize::try_from(day.weekday().to_monday_zero_offset()).expect("a day")];
        if days.contains(&weekday) && begins <= shown && shown < ends {
            return true;
        }
        day = day.yesterday().expect("a day before");
    }
    false
}

/// Whether clocks were not changed around an instant.
fn is_calm(zone: &TimeZone, now: Timestamp) -> bool {
    let days = |n: i64| SignedDuration::from_hours(24 * n);
    let next = zone.following(now - days(10)).next();
    next.is_none_or(|change| change.timestamp() > now + days(2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_freeze_holds_while_clocks_show_it_and_at_no_other_time(
        freeze in weekly_freeze(),
        seconds in 1_700_000_000i64..2_000_000_000,
        near in proptest::option::of(-20_000i64..20_000),
    ) {
        let When::Weekly { time_zone, .. } = &freeze.when else { unreachable!() };
        let zone = get(time_zone);
        let now = instant(&zone, seconds, near);
        let shown = shows(&freeze, zone.to_datetime(now));
        let calm = is_calm(&zone, now);
        let by = BTreeSet::from(["p".to_owned()]);
        let frozen = frozen_at(&BTreeSet::from([Asked { what: freeze, by }]), now).is_some();
        prop_assert!(frozen || !shown, "open at {}", now);
        prop_assert!(shown || !frozen || !calm, "frozen at {}", now);
    }

    #[test]
    fn the_opening_is_the_first_instant_outside(
        freezes in proptest::collection::vec(weekly_freeze(), 1..4),
        seconds in 1_700_000_000i64..2_000_000_000,
        near in proptest::option::of(-200_000i64..20_000),
        parts in proptest::collection::vec(0.0f64..1.0, 4),
    ) {
        let When::Weekly { time_zone, .. } = &freezes[0].when else { unreachable!() };
        let now = instant(&get(time_zone), seconds, near);
        let by = BTreeSet::from(["p".to_owned()]);
        let freezes = freezes.into_iter().map(|what| Asked { what, by: by.clone() }).collect();
        if let Some(until) = frozen_at(&freezes, now).and_then(|frozen| frozen.until) {
            prop_assert!(until > now);
            prop_assert_eq!(frozen_at(&freezes, until), None);
            let least = SignedDuration::from_nanos(1);
            let within = until.duration_since(now);
            let inside = parts.into_iter().map(|part| (now + within.mul_f64(part)).min(until - least));
            for inside in inside.chain([until - least]) {
                let found = frozen_at(&freezes, inside).and_then(|frozen| frozen.until);
                prop_assert_eq!(found, Some(until), "at {}", inside);
            }
        }
    }
}
