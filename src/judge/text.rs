//! Sentences with counts, for people.

use crate::evidence::Counts;

/// A number with separators: "12,345".
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share in percent, with the digits that matter.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 {
        format!("{percent:.0}%")
    } else if percent >= 1.0 || percent == 0.0 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.2}%")
    }
}

/// A share from a spec, in percent as people write it: 5%, 2.5%.
pub(crate) fn whole_percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.1 {
        format!("{}%", rounded(percent))
    } else {
        format!("{}%", (percent * 100.0).round() / 100.0)
    }
}

/// A length of time with three digits that matter.
pub(crate) fn seconds(seconds: f64) -> String {
    let (value, unit) = if seconds >= 1.0 {
        (seconds, "s")
    } else {
        (seconds * 1000.0, "ms")
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// The share of bad events.
pub(crate) fn share(counts: Counts) -> String {
    if counts.n == 0 {
        "none".to_owned()
    } else {
        percent(counts.x as f64 / counts.n as f64)
    }
}

/// Bad events, all events and the share: "41 of 2,310 (1.8%)".
pub(crate) fn of(counts: Counts) -> String {
    format!("{} of {} ({})", number(counts.x), number(counts.n), share(counts))
}

/// A quantity of any size, in about three digits.
pub(crate) fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 2 - (value.abs().log10().floor().clamp(-12.0, 12.0) as i32);
    if digits < 0 {
        number(value.round() as u64)
    } else {
        format!("{value:.*}", digits.unsigned_abs() as usize)
    }
}

/// A number to three digits, without zeros at its end.
pub(crate) fn rounded(value: f64) -> f64 {
    let digits = 2 - value.abs().log10().floor().clamp(-12.0, 12.0) as i32;
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// Evidence, which grows without bound, in a few digits.
pub fn evidence(ln: f64) -> String {
    let value = ln.exp();
    if ln > 20.0 {
        format!("e^{ln:.0}")
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_from_a_spec_is_told_as_it_was_written() {
        for (share, text) in [
            (0.05, "5%"),
            (0.025, "2.5%"),
            (0.0125, "1.25%"),
            (0.001, "0.1%"),
            (0.000_75, "0.075%"),
            (0.000_01, "0.001%"),
            (0.0, "0%"),
            (1.0, "100%"),
        ] {
            assert_eq!(whole_percent(share), text);
        }
    }

    #[test]
    fn figures_keep_about_three_digits_at_any_size() {
        for (value, text) in [
            (0.0, "0"),
            (1.3195, "1.32"),
            (0.41, "0.410"),
            (0.000_412_3, "0.000412"),
            (41.25, "41.2"),
            (12_345.6, "12,346"),
            (f64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
