//! The error rate that a suite of guards keeps.

/// Which error rate a suite of guards keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regime {
    /// One rollout: probabilities that a tolerable candidate is ever found harmful, and that a guard finds a candidate
    /// healthy that is beyond its tolerance in every poll. Both in `(0, 1)`.
    Rollout {
        /// For all guards, steps and evaluations together.
        false_rollback: f64,
        /// For one guard.
        false_promotion: f64,
    },
    /// The watch after promotion: polls between two false alarms, on average at least.
    Guarding {
        /// More than 1.
        polls_between_false_alarms: f64,
    },
}

impl Regime {
    /// Evidence of harm at which a candidate is harmful.
    pub fn threshold(self) -> f64 {
        match self {
            Self::Rollout { false_rollback, .. } => 1.0 / false_rollback,
            Self::Guarding {
                polls_between_false_alarms,
            } => polls_between_false_alarms,
        }
    }

    /// Probability of a false finding of health. After promotion health decides nothing, so 5% is enough there.
    pub(crate) fn false_promotion(self) -> f64 {
        match self {
            Self::Rollout { false_promotion, .. } => false_promotion,
            Self::Guarding { .. } => 0.05,
        }
    }
}
