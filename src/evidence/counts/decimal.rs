//! Floating-point numbers as decimal text in formats that people read, because JSON has neither infinity nor NaN, and
//! its readers need not return exactly the number that was written. In binary formats they stay numbers.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.collect_str(value)
    } else {
        value.serialize(serializer)
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    if deserializer.is_human_readable() {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    } else {
        f64::deserialize(deserializer)
    }
}

/// The same encoding for a list of numbers.
pub(super) mod list {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] f64);

    pub(in crate::evidence) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| One(*value)))
    }

    pub(in crate::evidence) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<One>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|One(value)| value).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::evidence::{Amounts, Buckets, Observed};

    #[test]
    fn every_number_comes_back_from_json() {
        for value in [0.1 + 0.2, -0.0, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY] {
            let amounts = Amounts {
                numerator: value,
                denominator: 0.41,
            };
            let buckets = Buckets {
                bounds: vec![value],
                counts: vec![u64::MAX, 0],
                pods: 1,
            };
            for observed in [
                Observed::Value(value),
                Observed::Ratio {
                    candidate: amounts,
                    baseline: amounts,
                },
                Observed::Histogram {
                    candidate: buckets.clone(),
                    baseline: buckets.clone(),
                },
            ] {
                let text = serde_json::to_string(&observed).unwrap();
                assert_eq!(serde_json::from_str::<Observed>(&text).unwrap(), observed, "{text}");
            }
        }
        let text = serde_json::to_string(&Observed::Value(f64::NAN)).unwrap();
        assert_eq!(text, r#"{"value":"NaN"}"#);
        let Ok(Observed::Value(value)) = serde_json::from_str(&text) else {
            panic!("{text} is a value")
        };
        assert!(value.is_nan());
    }
}
