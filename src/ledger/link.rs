//! How records are linked: numbers, names, and the digest of the record before.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The newest record of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number; counts from 1. 0 before the first record.
    pub sequence: u64,
    /// SHA-256 of its statement, in hexadecimal digits; of the model's uid before the first record.
    pub digest: String,
}

impl Head {
    /// What the first record of a model is linked to.
    pub fn origin(uid: &str) -> Self {
        Self {
            sequence: 0,
            digest: sha256(uid.as_bytes()),
        }
    }

    /// The head once a statement is on record.
    pub fn of(sequence: u64, statement: &[u8]) -> Self {
        Self {
            sequence,
            digest: sha256(statement),
        }
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Longest name that Kubernetes takes for an object.
const LONGEST_NAME: usize = 253;

/// Name of the object that holds a record.
pub fn object_name(model: &str, sequence: u64) -> String {
    let number = format!("-{sequence:06}");
    // Names of models are ASCII, so this cuts at a character.
    let model = model.get(..LONGEST_NAME - number.len()).unwrap_or(model);
    format!("{model}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_sort_by_their_names_and_long_names_are_valid() {
        assert_eq!(object_name("fraud-scorer", 31), "fraud-scorer-000031");
        assert!(object_name("m", 9) < object_name("m", 10));
        assert_eq!(object_name(&"m".repeat(253), 1_234_567).len(), 253);
    }
}
