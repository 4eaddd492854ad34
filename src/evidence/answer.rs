//! What Prometheus answered for a guard: the samples of each arm, by the role of the selector that found them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::native::NativeMatrix;
use super::role::{Form, Role};
use super::sample::{Matrix, Series};

pub use comparable::{Part, incomparable, lacks_part, look_alike};

mod comparable;

/// How many lines of the golden set are named whose answers differ, at the most.
pub const MOST_LINES: usize = 3;

/// Numbers of lines: above 0, and small enough for any reader of the status.
const LINES: std::ops::Range<f64> = 1.0..2_147_483_648.0;

/// What Prometheus answered for one guard, on both arms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardSamples {
    /// The arm on trial.
    pub candidate: ArmSamples,
    /// The arm it is judged against.
    pub baseline: ArmSamples,
}

/// How a histogram is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketForm {
    /// A counter for each bucket: `name_bucket{le="…"}`.
    Classic,
    /// Samples that are whole histograms.
    Native,
}

impl BucketForm {
    /// The other form.
    pub fn other(self) -> Self {
        match self {
            Self::Classic => Self::Native,
            Self::Native => Self::Classic,
        }
    }
}

impl GuardSamples {
    /// The form of the histograms, if there are any series. Arms in different forms are not counted.
    pub fn form(&self) -> Option<BucketForm> {
        self.candidate.form().or(self.baseline.form())
    }
}

/// Gauges of a comparer that are shown to people, and decide nothing: their names, or what was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shown<T> {
    /// Values are lines of the golden set: examples of what was counted.
    pub lines: T,
    /// Its value is 1 once a budget is used up, and nothing more will be counted.
    pub spent: T,
}

/// What Prometheus answered for one guard on one arm; it has no role if nothing was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmSamples {
    matrices: BTreeMap<Role, Matrix>,
    native: Option<NativeMatrix>,
    /// Gauges that are shown and never counted.
    shown: Shown<Matrix>,
}

impl From<NativeMatrix> for ArmSamples {
    /// The answer to the selector of a native histogram alone.
    fn from(matrix: NativeMatrix) -> Self {
        Self {
            native: Some(matrix),
            ..Self::default()
        }
    }
}

impl ArmSamples {
    /// Answers to selectors of these roles, all asked for the same time.
    pub fn of(answers: impl IntoIterator<Item = (Role, Matrix)>) -> Self {
        Self {
            matrices: answers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes the answer to a selector of this role.
    pub fn insert(&mut self, role: Role, matrix: Matrix) {
        self.matrices.insert(role, matrix);
    }

    /// Takes the answer to a selector of a histogram, asked for in its native form.
    pub fn insert_native(&mut self, matrix: NativeMatrix) {
        self.native = Some(matrix);
    }

    /// Takes gauges that are shown, and are no evidence.
    pub fn show(&mut self, shown: Shown<Matrix>) {
        self.shown = shown;
    }

    /// Whether a budget was shown as used up after a time (Unix ms).
    pub fn is_spent(&self, after: i64) -> bool {
        let mut newest = self
            .shown
            .spent
            .series
            .iter()
            .filter_map(|series| newest(series, after));
        newest.any(|value| value == 1.0)
    }

    /// Lines of the golden set that were shown after a time (Unix ms), in their order and three at the most. What is no
    /// number of a line is left out.
    pub fn lines(&self, after: i64) -> Vec<u32> {
        let series = self.shown.lines.series.iter();
        let lines = series.filter_map(|series| newest(series, after));
        let lines = lines.filter(|line| line.fract() == 0.0 && LINES.contains(line));
        let lines: BTreeSet<u32> = lines.map(|line| line as u32).collect();
        lines.into_iter().take(MOST_LINES).collect()
    }

    /// The same answer with only the series of counters and buckets that are `meant`.
    pub fn only(&self, meant: impl Fn(&Labels) -> bool) -> Self {
        let meant = |matrix: &Matrix| Matrix {
            series: matrix.series.iter().filter(|s| meant(&s.labels)).cloned().collect(),
        };
        Self::of(self.matrices.iter().map(|(role, matrix)| (*role, meant(matrix))))
    }

    /// The series of a role, where it was asked for.
    pub fn get(&self, role: Role) -> Option<&Matrix> {
        self.matrices.get(&role)
    }

    /// The native histogram, where it was asked for.
    pub fn natives(&self) -> Option<&NativeMatrix> {
        self.native.as_ref()
    }

    /// The roles that were asked for.
    pub(super) fn roles(&self) -> impl Iterator<Item = Role> {
        let native = self.native.iter().map(|_| Role::Native);
        self.matrices.keys().copied().chain(native)
    }

    /// Whether it is a histogram, in either form; an answer without roles counts as one without series.
    pub(super) fn is_histogram(&self) -> bool {
        self.roles().all(|role| role.form() == Form::Histogram)
    }

    /// The form of the histogram, if it is one and has any series.
    pub fn form(&self) -> Option<BucketForm> {
        let classic = self.get(Role::Buckets).is_some_and(|matrix| !matrix.series.is_empty());
        let native = self.natives().is_some_and(|matrix| !matrix.series.is_empty());
        match (classic, native) {
            (true, _) => Some(BucketForm::Classic),
            (false, true) => Some(BucketForm::Native),
            (false, false) => None,
        }
    }

    /// Labels and times (Unix ms) of all series whose samples are counted. A value is not counted, but used as it is.
    pub fn counted(&self) -> impl Iterator<Item = (&Labels, Vec<i64>)> {
        let counted = self.matrices.iter().filter(|(role, _)| **role != Role::Value);
        let matrices = counted.flat_map(|(_, matrix)| &matrix.series);
        let matrices = matrices.map(|s| (&s.labels, s.samples.iter().map(|(at, _)| *at).collect()));
        let native = self.native.iter().flat_map(|matrix| &matrix.series);
        matrices.chain(native.map(|s| (&s.labels, s.samples.iter().map(|(at, _)| *at).collect())))
    }

    /// Removes samples before `from` (Unix ms) from the series that are `meant`, where samples are counted.
    pub fn leave_out(&mut self, from: i64, meant: impl Fn(&Labels) -> bool) {
        let counted = self.matrices.iter_mut().filter(|(role, _)| **role != Role::Value);
        let series = counted.flat_map(|(_, matrix)| &mut matrix.series);
        for series in series.filter(|s| meant(&s.labels)) {
            series.samples.retain(|(at, _)| *at >= from);
        }
        let native = self.native.iter_mut().flat_map(|matrix| &mut matrix.series);
        for series in native.filter(|s| meant(&s.labels)) {
            series.samples.retain(|(at, _)| *at >= from);
        }
    }

    /// Time of the newest sample up to `now` (Unix ms).
    pub(super) fn newest(&self, now: i64) -> Option<i64> {
        let matrices = self.matrices.values().filter_map(|matrix| matrix.newest(now)).max();
        let native = self.native.iter().flat_map(|matrix| &matrix.series);
        let native = native.flat_map(|series| &series.samples).map(|(at, _)| *at);
        matrices.max(native.filter(|at| *at <= now).max())
    }

    /// An answer with the same roles and without any series.
    pub(super) fn nothing(&self) -> Self {
        Self {
            matrices: self.matrices.keys().map(|role| (*role, Matrix::default())).collect(),
            native: self.native.as_ref().map(|_| NativeMatrix::default()),
            shown: Shown::default(),
        }
    }
}

/// The newest value of a series after a time (Unix ms).
fn newest(series: &Series, after: i64) -> Option<f64> {
    let samples = series.samples.iter().filter(|(at, _)| *at > after);
    samples.max_by_key(|(at, _)| *at).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Samples<'a> = &'a [(i64, f64)];

    fn gauge(samples: Samples<'_>) -> Series {
        Series {
            labels: Labels::default(),
            samples: samples.to_vec(),
        }
    }

    #[test]
    fn lines_that_are_shown_are_numbers_of_lines_and_three_at_the_most() {
        let shown = |gauges: &[Samples<'_>]| {
            let mut arm = ArmSamples::default();
            let lines = Matrix {
                series: gauges.iter().map(|samples| gauge(samples)).collect(),
            };
            arm.show(Shown {
                lines,
                ..Shown::default()
            });
            arm.lines(1_000)
        };
        let cases: [(&str, &[Samples], &[u32]); 9] = [
            ("none", &[], &[]),
            ("no sample yet", &[&[]], &[]),
            (
                "as a comparer exports them",
                &[&[(2_000, 230.0)], &[(2_000, 17.0)]],
                &[17, 230],
            ),
            ("the newest counts", &[&[(3_000, 9.0), (2_000, 8.0)]], &[9]),
            ("from before the evidence began", &[&[(1_000, 8.0)]], &[]),
            (
                "the same line of two comparers",
                &[&[(2_000, 8.0)], &[(2_000, 8.0)]],
                &[8],
            ),
            (
                "more than three",
                &[&[(2_000, 4.0)], &[(2_000, 3.0)], &[(2_000, 2.0)], &[(2_000, 1.0)]],
                &[1, 2, 3],
            ),
            (
                "no lines",
                &[
                    &[(2_000, 0.0)],
                    &[(2_000, -3.0)],
                    &[(2_000, 1.5)],
                    &[(2_000, 2_147_483_648.0)],
                    &[(2_000, f64::INFINITY)],
                    &[(2_000, f64::NAN)],
                ],
                &[],
            ),
            ("the last line", &[&[(2_000, 2_147_483_647.0)]], &[2_147_483_647]),
        ];
        for (name, gauges, lines) in cases {
            assert_eq!(shown(gauges), lines, "{name}");
        }
    }

    #[test]
    fn what_is_shown_is_never_counted() {
        let mut arm = ArmSamples::of([(Role::Total, Matrix::default())]);
        let matrix = |value| Matrix {
            series: vec![gauge(&[(2_000, value)])],
        };
        arm.show(Shown {
            lines: matrix(17.0),
            spent: matrix(1.0),
        });
        assert_eq!((arm.is_spent(1_999), arm.is_spent(2_000)), (true, false));
        assert_eq!(arm.roles().collect::<Vec<_>>(), [Role::Total]);
        assert_eq!((arm.counted().count(), arm.newest(3_000)), (0, None));
    }
}
