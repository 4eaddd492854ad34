//! The arms of a replay, and why nothing can be replayed.

use crate::api::SpecProblem;
use crate::evidence::ArmMatcher;

/// Which series of a recording belong to which arm.
#[derive(Clone, Debug, Default)]
pub struct Arms {
    /// The revision that carries the main traffic.
    pub stable: Vec<ArmMatcher>,
    /// The one on trial.
    pub candidate: Vec<ArmMatcher>,
    /// Full precision; one arm with stable where that is the reference.
    pub reference: Vec<ArmMatcher>,
}

/// Why nothing can be replayed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimulateError {
    /// The model cannot be used.
    #[error("{}", .0.iter().map(|p| format!("{}: {}", p.field, p.problem)).collect::<Vec<_>>().join("; "))]
    Spec(Vec<SpecProblem>),
    /// A candidate that cannot be one.
    #[error("{name} cannot be the candidate: {why}; the model has {}", .variants.join(", "))]
    Candidate {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
        /// What there is.
        variants: Vec<String>,
    },
    /// A selector or an expression that cannot be read.
    #[error("guard {guard}: {problem}")]
    Guard {
        /// Its name.
        guard: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A series that is in two arms.
    #[error(
        "{series} is in both the {} and the {} arm: an arm would be compared with itself; tell them apart with --arm", .arms[0], .arms[1]
    )]
    Overlap {
        /// Its labels.
        series: String,
        /// The arms.
        arms: [&'static str; 2],
    },
    /// Pairs of answers that cannot be drawn.
    #[error("no pairs of answers are drawn: {0}; leave --differs out")]
    Pairs(&'static str),
    /// Nothing to replay.
    #[error(
        "the recording has no samples that the guards ask for: check the names of the metrics, and tell the arms apart with --arm, such as --arm candidate='{{version=\"int8\"}}'"
    )]
    Nothing,
}
