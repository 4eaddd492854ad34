//! What a policy limits of a guard, and the numbers that it is limited by.

use serde::{Deserialize, Serialize};

/// Largest number, which keeps billionths below 2^53: every reader of JSON reads them exactly.
const LARGEST: f64 = 1e6;

/// A share or a factor in billionths. Unlike fractions they have an order, and are the same whether somebody wrote 0.1% or
/// 0.001.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Billionths(i64);

impl Billionths {
    /// The nearest to a number.
    pub fn of(value: f64) -> Self {
        Self((value.clamp(-LARGEST, LARGEST) * 1e9).round() as i64)
    }

    /// As people write a share: "0.5%".
    pub fn percent(self) -> String {
        format!("{}%", self.0 as f64 / 1e7)
    }

    /// As people write a factor: "1.25".
    pub fn factor(self) -> String {
        (self.0 as f64 / 1e9).to_string()
    }
}

/// What a policy limits of a guard. Less is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// The share that is tolerated beside the baseline's.
    Absolute,
    /// The factor on the baseline's share.
    Ratio,
    /// The factor on the baseline's latencies.
    Slowdown,
    /// The distance between distributions of outputs.
    TotalVariation,
}

impl Limit {
    /// Where a guard of a model says it, below the field of its kind.
    pub fn field(self) -> &'static str {
        match self {
            Self::Absolute => "tolerance.absolute",
            Self::Ratio => "tolerance.ratio",
            Self::Slowdown => "tolerance.slowdown",
            Self::TotalVariation => "maxTotalVariation",
        }
    }

    /// An amount of it, as people write it.
    pub fn told(self, amount: Billionths) -> String {
        match self {
            Self::Absolute | Self::TotalVariation => amount.percent(),
            Self::Ratio | Self::Slowdown => amount.factor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_was_written() {
        for thousandths in 0..=1000u32 {
            let percent = f64::from(thousandths) / 10.0;
            let written = format!("{percent}").parse::<f64>().unwrap() / 100.0;
            let plain = format!("{}", f64::from(thousandths) / 1000.0).parse::<f64>().unwrap();
            assert_eq!(Billionths::of(written), Billionths::of(plain), "{percent}%");
            assert_eq!(Billionths::of(written).percent(), format!("{percent}%"));
        }
        assert_eq!(Billionths::of(1.25).factor(), "1.25");
        assert_eq!(Billionths::of(0.0).percent(), "0%");
        assert!(Billionths::of(f64::MAX) <= Billionths::of(1e6));
        assert_eq!(Billionths::of(f64::NAN), Billionths::of(0.0));
    }
}
