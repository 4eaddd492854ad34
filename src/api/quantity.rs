//! Quantities that the API writes as strings: fractions, durations, decimals.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why a quantity could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct QuantityError {
    value: String,
    expected: &'static str,
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $max:literal, $description:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "maxLength": $max, "description": $description})
            }
        }
    };
}

quantity!(
    /// A share between 0 and 1, written `"0.5%"` or `"0.005"`.
    Fraction, r"^[0-9]+(\.[0-9]+)?%?$", 16, "A share, written \"0.5%\" or \"0.005\"."
);
quantity!(
    /// A length of time, written as in Go: `"90s"`, `"1h30m"`, `"250ms"`.
    Duration, r"^([0-9]+(ms|s|m|h))+$", 24, "A length of time, written \"90s\", \"1h30m\" or \"250ms\"."
);
quantity!(
    /// A decimal number written as a string, so that it stays exact in signed records.
    Decimal, r"^-?[0-9]+(\.[0-9]+)?$", 32, "A decimal number written as a string, such as \"0.941\"."
);

impl Fraction {
    /// The share as a number in `[0, 1]`.
    pub fn value(&self) -> Result<f64, QuantityError> {
        let error = || QuantityError {
            value: self.0.clone(),
            expected: "a share between 0 and 1, such as \"0.5%\" or \"0.005\"",
        };
        let (digits, scale) = match self.0.strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (self.0.as_str(), 1.0),
        };
        let value = digits.parse::<f64>().map_err(|_| error())? / scale;
        if (0.0..=1.0).contains(&value) {
            Ok(value)
        } else {
            Err(error())
        }
    }
}

impl Decimal {
    /// The number.
    pub fn value(&self) -> Result<f64, QuantityError> {
        match self.0.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(QuantityError {
                value: self.0.clone(),
                expected: "a decimal number such as \"0.941\"",
            }),
        }
    }
}

impl Duration {
    /// The length in milliseconds; at most a thousand years. It is parsed by hand, because kube's own `Duration` panics
    /// on a length beyond its range, and jiff takes units in descending order only.
    pub fn millis(&self) -> Result<i64, QuantityError> {
        const LONGEST: i64 = 1000 * 366 * 24 * 3_600_000;
        let error = || QuantityError {
            value: self.0.clone(),
            expected: "a length of time such as \"90s\" or \"1h30m\"",
        };
        let mut rest = self.0.as_str();
        let mut total: i64 = 0;
        if rest.is_empty() {
            return Err(error());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let unit = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(error()),
            };
            let part = number
                .parse::<i64>()
                .ok()
                .and_then(|n| n.checked_mul(unit))
                .ok_or_else(error)?;
            total = total.checked_add(part).filter(|t| *t <= LONGEST).ok_or_else(error)?;
            rest = tail;
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_read_as_percent_or_plain_and_refused_beyond_one() {
        for (text, value) in [
            ("0.5%", Some(0.005)),
            ("0.005", Some(0.005)),
            ("100%", Some(1.0)),
            ("0", Some(0.0)),
            ("101%", None),
            ("2", None),
            ("", None),
            ("%", None),
            ("nan", None),
        ] {
            assert_eq!(Fraction::from(text).value().ok(), value, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("90s", Some(90_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("5", None),
            ("s", None),
            ("", None),
            ("1d", None),
            ("99999999999999999999h", None),
            ("9999999999h", None),
        ] {
            assert_eq!(Duration::from(text).millis().ok(), millis, "{text}");
        }
    }

    #[test]
    fn an_unreadable_quantity_says_what_would_be_right() {
        assert_eq!(
            Fraction::from("2").value().unwrap_err().to_string(),
            "\"2\" is not a share between 0 and 1, such as \"0.5%\" or \"0.005\""
        );
    }
}
