//! Sentences with counts, for people.

use crate::evidence::Counts;

/// 12,345.
pub(super) fn number(n: u64) -> String {
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
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 {
        format!("{percent:.0}%")
    } else if percent >= 1.0 || percent == 0.0 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.2}%")
    }
}

/// The share of bad events.
pub(super) fn share(counts: Counts) -> String {
    if counts.n == 0 {
        "none".to_owned()
    } else {
        percent(counts.x as f64 / counts.n as f64)
    }
}

/// "41 of 2,310 (1.8%)".
pub(super) fn of(counts: Counts) -> String {
    format!("{} of {} ({})", number(counts.x), number(counts.n), share(counts))
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
