//! Counts in formats that people read: integers, and text beyond 2^53, because readers of JSON keep no larger integer
//! exactly. In binary formats they stay integers.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest integer that every reader of JSON keeps exactly.
const LARGEST: u64 = 1 << 53;

#[derive(Deserialize)]
#[serde(untagged)]
enum Whole {
    Integer(u64),
    Text(String),
}

pub(super) fn serialize<S: Serializer>(count: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() && *count > LARGEST {
        serializer.collect_str(count)
    } else {
        count.serialize(serializer)
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    if !deserializer.is_human_readable() {
        return u64::deserialize(deserializer);
    }
    match Whole::deserialize(deserializer)? {
        Whole::Integer(count) => Ok(count),
        Whole::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

/// The same encoding for a list of counts.
pub(super) mod list {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] u64);

    pub(in crate::evidence) fn serialize<S: Serializer>(counts: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(counts.iter().map(|count| One(*count)))
    }

    pub(in crate::evidence) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let counts = Vec::<One>::deserialize(deserializer)?;
        Ok(counts.into_iter().map(|One(count)| count).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::evidence::Counts;

    #[test]
    fn counts_are_integers_as_far_as_every_reader_keeps_them() {
        for (n, printed) in [
            (0, r#"{"n":0,"x":0}"#),
            (1 << 53, r#"{"n":9007199254740992,"x":0}"#),
            ((1 << 53) + 1, r#"{"n":"9007199254740993","x":0}"#),
            (u64::MAX, r#"{"n":"18446744073709551615","x":0}"#),
        ] {
            let counts = Counts { n, x: 0 };
            assert_eq!(serde_json::to_string(&counts).unwrap(), printed);
            assert_eq!(serde_json::from_str::<Counts>(printed).unwrap(), counts);
        }
        assert_eq!(postcard::to_stdvec(&Counts { n: 1, x: 0 }).unwrap(), [1, 0]);
    }
}
