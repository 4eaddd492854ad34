//! The ledger: what guardbit puts on record about each decision, so that a stranger can check it.
//!
//! A record is an in-toto statement with the counts that a decision rests on, all that guardbit saw besides, and what it
//! decided. Records of a model form a chain: each names the digest of the one before. From a record the decision can be
//! made once more, by the same code. Owns the form of a record, how records are linked, signed, packed and verified. Pure:
//! `controller` creates the objects and `cli` reads the files.

mod bundle;
mod entry;
mod envelope;
mod journal;
mod key;
mod link;
mod model_signature;
mod packed;
mod statement;
pub mod verify;

pub use bundle::{Bundle, BundleError};
pub use entry::{Entry, Written};
pub use envelope::{PAYLOAD_TYPE, Signature, pae};
pub use journal::Journal;
pub use key::{KeyError, PublicKey, SigningKey};
pub use link::{Head, object_name};
pub use model_signature::{ModelSignature, ModelSignatureError, signed_by};
pub use packed::{LARGEST_STATEMENT, PackError, pack, unpack};
pub use statement::{
    After, Core, Documents, Evidence, Look, ModelName, Predicate, RecordInfo, Signing, Statement, StatementError,
    Subject, SubjectDigest, Weights, linked_to,
};

/// Version of what `judge` and `rollout` answer: it rises with every change after which the same counts may lead to
/// another decision. Records of other rules are not decided again.
pub const RULES: u32 = 1;
