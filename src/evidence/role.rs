//! Roles: what the series of a selector are to a guard, which determines how they are asked for and counted.

/// What the series that a selector finds are to the guard that asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The counter of all events of a proportion.
    Total,
    /// The counter of the bad events among them.
    Bad,
    /// The counter of the good events among them; the rest are bad.
    Good,
    /// A histogram. As an answer: the `_bucket` series of a classic one.
    Buckets,
    /// As an answer: the samples of a native histogram.
    Native,
    /// The counter of what is spent.
    Numerator,
    /// The counter of what it is spent on, which may come from another exporter.
    Denominator,
    /// The value of an expression.
    Value,
}

/// How the series of a role are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Raw samples of a counter, named by a plain selector.
    Counter,
    /// Raw samples of a histogram, named with or without `_bucket`.
    Histogram,
    /// One value, by any expression.
    Expression,
}

/// The arms of a comparison, in the order in which they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    Candidate,
    Baseline,
}

impl Arm {
    pub(super) const BOTH: [Self; 2] = [Self::Candidate, Self::Baseline];
}

impl Role {
    /// How series of this role are asked for.
    pub fn form(self) -> Form {
        match self {
            Self::Total | Self::Bad | Self::Good | Self::Numerator | Self::Denominator => Form::Counter,
            Self::Buckets | Self::Native => Form::Histogram,
            Self::Value => Form::Expression,
        }
    }

    /// A number that distinguishes the series of this role on one arm from others with the same labels. It is part of
    /// the fingerprints in stored states, so the meaning of a number must never change.
    pub(super) fn mark(self, arm: Arm) -> u8 {
        let (of_candidate, of_baseline) = match self {
            Self::Total => (0, 2),
            Self::Bad | Self::Good => (1, 3),
            Self::Buckets => (4, 5),
            Self::Native => (6, 7),
            Self::Numerator => (8, 10),
            Self::Denominator => (9, 11),
            // A value is not counted, so no fingerprint of it is stored.
            Self::Value => (12, 13),
        };
        match arm {
            Arm::Candidate => of_candidate,
            Arm::Baseline => of_baseline,
        }
    }
}

impl Arm {
    /// The mark of a target as a whole, which is of no role: for its restarts and falls.
    pub(super) fn mark(self) -> u8 {
        match self {
            Self::Candidate => u8::MAX,
            Self::Baseline => u8::MAX - 1,
        }
    }
}
