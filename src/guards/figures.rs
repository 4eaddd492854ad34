//! What a test has counted, for people: the parts of its sentence that depend on its kind.

use crate::evidence::Counts;
use crate::judge::{Rule, Tolerance, text};

/// What a test has counted, in words.
pub(super) struct Figures {
    pub(super) candidate: Counts,
    pub(super) baseline: Counts,
    /// The figures side by side.
    pub(super) estimate: String,
    /// What was observed.
    pub(super) seen: String,
    /// What it is compared with: "the tolerance of 0.50% + baseline".
    pub(super) against: String,
}

impl Figures {
    pub(super) fn of(candidate: Counts, baseline: Counts, seen: String, against: String) -> Self {
        Self {
            candidate,
            baseline,
            estimate: format!("{} vs {}", text::share(candidate), text::share(baseline)),
            seen,
            against,
        }
    }

    /// Figures without counts.
    pub(super) fn none(seen: String, against: String) -> Self {
        Self {
            candidate: Counts::default(),
            baseline: Counts::default(),
            estimate: String::new(),
            seen,
            against,
        }
    }
}

/// The tolerance in words: "the tolerance of 0.50% + 1.5 × baseline".
pub(super) fn tolerance_text(Tolerance { ratio, absolute }: Tolerance) -> String {
    let share = (absolute > 0.0 || ratio == 0.0).then(|| text::percent(absolute));
    let baseline = (ratio > 0.0).then(|| {
        if ratio == 1.0 {
            "baseline".to_owned()
        } else {
            format!("{ratio} × baseline")
        }
    });
    let parts: Vec<String> = share.into_iter().chain(baseline).collect();
    format!("the tolerance of {}", parts.join(" + "))
}

/// How a plain rule stands. The text says that it is a plain rule.
pub(super) fn rule_text(rule: &Rule, consecutive: u32, of: u32) -> String {
    format!(
        "out of bounds in {} of the last {} polls (plain rule: {consecutive} of {of})",
        rule.out_of(of),
        rule.counted(of)
    )
}
