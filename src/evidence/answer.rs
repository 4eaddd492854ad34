//! What Prometheus answered for a guard: the samples of each arm, by the role of the selector that found them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::native::NativeMatrix;
use super::role::{Form, Role};
use super::sample::Matrix;

pub use comparable::{Part, incomparable, lacks_part, look_alike};

mod comparable;

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

/// What Prometheus answered for one guard on one arm; it has no role if nothing was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmSamples {
    matrices: BTreeMap<Role, Matrix>,
    native: Option<NativeMatrix>,
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
            native: None,
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
        }
    }
}
