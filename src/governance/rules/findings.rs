//! Collects where a model falls short.

use std::collections::BTreeSet;

use crate::api::PolicyFinding;

/// Findings of rules that are enforced, or of rules that are not.
pub(in crate::governance) struct Findings {
    enforced: bool,
    found: Vec<PolicyFinding>,
}

impl Findings {
    /// None yet.
    pub(in crate::governance) fn new(enforced: bool) -> Self {
        Self {
            enforced,
            found: Vec::new(),
        }
    }

    /// Adds one of a rule of these policies.
    pub(in crate::governance) fn add(&mut self, by: &BTreeSet<String>, rule: impl Into<String>, message: String) {
        let by: Vec<_> = by.iter().map(String::as_str).collect();
        self.found.push(PolicyFinding {
            policy: by.join(", "),
            rule: rule.into(),
            message,
            enforced: self.enforced,
        });
    }

    /// All of them.
    pub(in crate::governance) fn all(self) -> Vec<PolicyFinding> {
        self.found
    }
}

/// A length of time as people write it: "1h30m".
pub(super) fn length(millis: i64) -> String {
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest, mut told) = (millis.max(0), String::new());
    for (unit, size) in units {
        if rest >= size {
            told += &format!("{}{unit}", rest / size);
            rest %= size;
        }
    }
    if told.is_empty() { "0s".to_owned() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Duration;

    #[test]
    fn a_length_is_told_as_it_can_be_written() {
        for (millis, told) in [
            (0, "0s"),
            (-5, "0s"),
            (250, "250ms"),
            (90_000, "1m30s"),
            (300_000, "5m"),
            (5_400_250, "1h30m250ms"),
            (720 * 3_600_000, "720h"),
        ] {
            assert_eq!(length(millis), told);
            assert_eq!(Duration::from(told).millis().unwrap(), millis.max(0));
        }
    }
}
