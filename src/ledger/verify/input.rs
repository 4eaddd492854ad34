//! What is verified, and what it is verified against. Data only.

use serde::Deserialize;

use crate::api::PrecisionDecision;

use super::super::key::PublicKey;
use super::super::link::Head;

/// One record, as a file or an object holds it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Name of the file or object, for people. The number of a record is also read from it where a file is named after one.
    pub name: String,
    /// What it holds.
    pub source: Source,
}

/// What a file or an object holds.
#[derive(Clone, Debug)]
pub enum Source {
    /// The bytes of an exported file.
    Bundle(Vec<u8>),
    /// An object of the API server.
    Object(Box<PrecisionDecision>),
}

/// What whoever verifies knows from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys that may have signed. Without any, signatures are not checked, and that is a reservation.
    pub keys: Vec<PublicKey>,
    /// Whether records without a signature are taken.
    pub allow_unsigned: bool,
    /// Records that something else than the chain attests.
    pub anchors: Vec<Anchor>,
    /// Number and digest of the newest record.
    pub expect: Option<(u64, String)>,
}

/// A record that something else than the chain attests: the log line of guardbit, in a store where nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Anchor {
    /// Namespace of the model.
    pub namespace: String,
    /// Name of the model.
    pub name: String,
    /// Number of the record.
    pub sequence: u64,
    /// SHA-256 of its statement, in hexadecimal digits; `sha256:` may come first.
    pub digest: String,
}

impl Anchor {
    /// The record that is attested.
    pub(super) fn head(&self) -> Head {
        Head {
            sequence: self.sequence,
            digest: digits(&self.digest).to_ascii_lowercase(),
        }
    }
}

/// A digest without the name of its algorithm.
pub(super) fn digits(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}
