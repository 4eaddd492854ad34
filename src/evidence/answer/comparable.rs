//! Whether the arms can be compared at all, by the labels and bounds of their series.
//!
//! A candidate's image may name a label differently, write other values into it, or measure in another unit. What is
//! counted then is not what happened: "0 errors" of a counter that the selector can never match. Owns those findings,
//! in sentences that say what differs. Must not look at what the samples count.

use std::collections::BTreeSet;

use crate::evidence::histogram::{NO_COMMON_BOUND, common_bounds, is_thousandfold};
use crate::evidence::promql::{Written, written};
use crate::evidence::role::{Arm, Role};
use crate::evidence::sample::Matrix;

use super::{ArmSamples, GuardSamples};

/// How the bad or the good events of a share are selected from all events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    role: Role,
    /// The selector of the part, as it is written.
    text: String,
    metric: String,
    /// Labels that select the part and not all events.
    labels: Vec<String>,
    /// Whether all events are counted by the same metric.
    is_of_total: bool,
}

impl Part {
    /// How the selector of a part relates to the one of all events. `None` where it does not name one metric.
    pub fn of(role: Role, part: &str, total: &str) -> Option<Self> {
        let one = |text: &str| -> Option<Written> { written(text).ok()?.pop() };
        let (selects, all) = (one(part)?, one(total)?);
        let metric = selects.metric?;
        Some(Self {
            role,
            text: part.to_owned(),
            is_of_total: all.metric.as_ref() == Some(&metric),
            labels: selects
                .labels
                .into_iter()
                .filter(|label| !all.labels.contains(label))
                .collect(),
            metric,
        })
    }
}

/// Whether the series of two arms have the same labels and the part has some on both: its selector then tells nothing new.
pub fn look_alike(samples: &GuardSamples) -> bool {
    let arms = [&samples.candidate, &samples.baseline];
    let parts = [Role::Bad, Role::Good].map(|role| arms.map(|arm| arm.get(role)));
    let matched = |part: Option<&Matrix>| part.is_none_or(|matrix| !matrix.series.is_empty());
    let [candidate, baseline] = arms.map(|arm| {
        let series = arm.get(Role::Total).map(|matrix| matrix.series.as_slice());
        let labels = series.unwrap_or_default().iter().flat_map(|s| s.labels.iter());
        labels.map(|(name, _)| name).collect::<BTreeSet<_>>()
    });
    candidate == baseline && parts.into_iter().flatten().all(matched)
}

/// Why the series of two arms cannot be compared, and what to do; `None` if they can be, or one arm has none.
pub fn incomparable(samples: &GuardSamples, part: Option<&Part>) -> Option<String> {
    let arms = [&samples.candidate, &samples.baseline];
    part.and_then(|part| of_share(arms, part))
        .or_else(|| part.and_then(|part| of_good(samples, part)))
        .or_else(|| of_buckets(arms))
}

/// Without its good events all events of a candidate would seem to be bad ones.
fn of_good(samples: &GuardSamples, part: &Part) -> Option<String> {
    let Part { text, metric, .. } = part;
    (part.role == Role::Good && lacks_part(samples, part)).then(|| {
        format!(
            "`{text}` matches nothing on the candidate, while its baseline has {metric}: see whether the candidate's image \
             exports it, or let it start at 0"
        )
    })
}

/// Whether the candidate has no series at all of the part, which a metric of its own counts, while the baseline has.
pub fn lacks_part(samples: &GuardSamples, part: &Part) -> bool {
    let has = |arm: &ArmSamples| arm.get(part.role).is_some_and(|matrix| !matrix.series.is_empty());
    !part.is_of_total && !has(&samples.candidate) && has(&samples.baseline)
}

fn name(arm: Arm) -> &'static str {
    match arm {
        Arm::Candidate => "the candidate",
        Arm::Baseline => "its baseline",
    }
}

fn of_share(arms: [&ArmSamples; 2], part: &Part) -> Option<String> {
    let Part { text, metric, .. } = part;
    if !part.is_of_total {
        return None;
    }
    let totals = arms.map(|arm| arm.get(Role::Total).map(|m| m.series.as_slice()).unwrap_or_default());
    let [candidate, baseline] = totals;
    if candidate.is_empty() || baseline.is_empty() {
        return None;
    }
    let values = |label: &str| {
        totals.map(|series| {
            let values = series.iter().filter_map(|s| s.labels.get(label));
            values.collect::<BTreeSet<_>>()
        })
    };
    for label in &part.labels {
        let values = values(label);
        let lacking = Arm::BOTH.into_iter().filter(|arm| values[*arm as usize].is_empty());
        match lacking.collect::<Vec<_>>().as_slice() {
            [] => {}
            [arm] => {
                let has: BTreeSet<_> = totals[*arm as usize]
                    .iter()
                    .flat_map(|series| series.labels.iter().map(|(name, _)| name))
                    .filter(|name| *name != "__name__")
                    .collect();
                return Some(format!(
                    "`{text}` selects by the label {label}, which no series of {metric} of {} has (its labels are {}), while \
                     those of the other arm have it: the arms cannot be compared; let both export it, or write a selector \
                     that matches on both",
                    name(*arm),
                    list(has)
                ));
            }
            _ => {
                return Some(format!(
                    "`{text}` selects by the label {label}, which no series of {metric} has: it can never match; name a label \
                     that they have"
                ));
            }
        }
    }
    let matches = arms.map(|arm| arm.get(part.role).is_some_and(|matrix| !matrix.series.is_empty()));
    let [label] = part.labels.as_slice() else {
        return None;
    };
    let [candidate, baseline] = values(label);
    (matches == [false, true] && candidate.is_disjoint(&baseline)).then(|| {
        format!(
            "`{text}` has never matched on the candidate, whose {metric} has other values of {label} ({}) than its \
             baseline's ({}): the arms cannot be compared; let both export the same values, or write a selector that \
             matches on both",
            list(candidate),
            list(baseline)
        )
    })
}

fn of_buckets(arms: [&ArmSamples; 2]) -> Option<String> {
    let [candidate, baseline] = arms.map(|arm| arm.get(Role::Buckets));
    let arms = [candidate?, baseline?];
    if arms.iter().any(|matrix| matrix.series.is_empty()) {
        return None;
    }
    let (common, _) = common_bounds(arms);
    if let Some(more) = is_thousandfold(arms, common.len()) {
        return Some(format!(
            "the bucket bounds of {} are those of the other arm times 1000: one of them seems to count in milliseconds and \
             the other in seconds; let both count in the same unit",
            name(more)
        ));
    }
    common.is_empty().then(|| NO_COMMON_BOUND.to_owned())
}

/// At most five words.
fn list(words: BTreeSet<&str>) -> String {
    let more = words.len().saturating_sub(5);
    let shown = words.into_iter().take(5).collect::<Vec<_>>().join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Series;

    fn series(labels: &[(&str, &str)]) -> Series {
        Series {
            labels: labels.iter().copied().collect(),
            samples: vec![(0, 1.0)],
        }
    }

    fn by(label: &str, values: &[&str]) -> Matrix {
        let each = values.iter().map(|value| series(&[("pod", "a"), (label, value)]));
        Matrix { series: each.collect() }
    }

    fn none() -> Matrix {
        Matrix::default()
    }

    fn arms(candidate: (Matrix, Matrix), baseline: (Matrix, Matrix)) -> GuardSamples {
        let arm = |(total, bad)| ArmSamples::of([(Role::Total, total), (Role::Bad, bad)]);
        GuardSamples {
            candidate: arm(candidate),
            baseline: arm(baseline),
        }
    }

    #[test]
    fn arms_whose_labels_differ_are_not_compared_and_the_label_is_named() {
        let part = Part::of(Role::Bad, r#"requests{code=~"5.."}"#, "requests").unwrap();
        let both = || (by("code", &["200", "500"]), by("code", &["500"]));
        let says = |candidate, baseline, word: &str| {
            let why = incomparable(&arms(candidate, baseline), Some(&part));
            why.is_some_and(|why| why.contains(word))
        };
        assert!(says(
            (by("status_code", &["200"]), none()),
            both(),
            "of the candidate has (its labels are pod, status_code)"
        ));
        assert!(says(both(), (by("status", &["200"]), none()), "of its baseline has"));
        assert!(says(
            (by("a", &["x"]), none()),
            (by("b", &["x"]), none()),
            "it can never match"
        ));
        assert!(says((by("code", &["OK"]), none()), both(), "other values of code (OK)"));
        let fine = [
            ((by("code", &["200"]), none()), both()),
            (
                (by("code", &["500"]), by("code", &["500"])),
                (by("code", &["200"]), none()),
            ),
            (both(), both()),
            ((none(), none()), both()),
        ];
        for (candidate, baseline) in fine {
            assert_eq!(incomparable(&arms(candidate, baseline), Some(&part)), None);
        }
        // A label that selects all events as well is not that of the part.
        let narrow = Part::of(Role::Bad, r#"r{code="5",path="/v1"}"#, r#"r{path="/v1"}"#).unwrap();
        assert_eq!(narrow.labels, ["code"]);
    }

    #[test]
    fn a_metric_of_its_own_may_be_missing_on_the_candidate() {
        let part = Part::of(Role::Bad, "failures", "requests").unwrap();
        let samples = arms((by("a", &["x"]), none()), (by("a", &["x"]), by("a", &["x"])));
        assert_eq!(incomparable(&samples, Some(&part)), None);
        assert!(lacks_part(&samples, &part));
        let of_total = Part::of(Role::Bad, r#"requests{code="5"}"#, "requests").unwrap();
        assert!(!lacks_part(&samples, &of_total));
    }

    #[test]
    fn other_units_and_buckets_without_a_common_bound_are_no_evidence() {
        let buckets = |pod: &str, bounds: &[&str]| {
            let series = bounds
                .iter()
                .chain(&["+Inf"])
                .map(|le| series(&[("pod", pod), ("le", le)]));
            ArmSamples::of([(
                Role::Buckets,
                Matrix {
                    series: series.collect(),
                },
            )])
        };
        let why = |candidate: &[&str], baseline: &[&str]| {
            let samples = GuardSamples {
                candidate: buckets("a", candidate),
                baseline: buckets("b", baseline),
            };
            incomparable(&samples, None).unwrap_or_default()
        };
        let seconds = ["0.005", "0.01", "0.1", "1", "5", "10"];
        let millis = ["5", "10", "100", "1000", "5000", "10000"];
        assert!(why(&millis, &seconds).starts_with("the bucket bounds of the candidate are those"));
        assert!(why(&seconds, &millis).starts_with("the bucket bounds of its baseline are those"));
        assert!(why(&["0.3"], &["0.4"]).contains("no finite bucket bound in common"));
        assert_eq!(why(&["0.1", "1"], &seconds), "");
    }
}
