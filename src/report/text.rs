//! Times and lengths as people read them.

use k8s_openapi::jiff::Timestamp;

use crate::api::visible;

/// Text on one line, without characters that are obeyed instead of shown. What is markup in it stays.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// A time, to the second.
pub(super) fn time(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// A time in Unix milliseconds, to the second.
pub(super) fn time_of(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), time)
}

/// How long it is from one time to another.
pub(super) fn between(from: Timestamp, until: Timestamp) -> String {
    length(until.as_millisecond().saturating_sub(from.as_millisecond()))
}

/// A length of time in its two largest units.
pub(super) fn length(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// At most `most` of all, spread evenly, with the first and the last.
pub(super) fn thin<T>(all: &[T], most: usize) -> Vec<&T> {
    if all.len() <= most || most < 2 {
        return all.iter().collect();
    }
    (0..most).map(|at| &all[at * (all.len() - 1) / (most - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units() {
        for (millis, text) in [
            (-5, "0 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(length(millis), text);
        }
    }

    #[test]
    fn thinning_keeps_both_ends() {
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(thin(&all, 4), [&0, &33, &66, &99]);
        assert_eq!(thin(&all[..3], 4).len(), 3);
    }
}
