//! Why a reconcile did not end well.

use std::time::Duration;

use crate::apiserver::CallError;

/// Why a reconcile did not end well. It is tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the API server did not succeed. After a conflict nothing more was applied.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An object cannot be built from the spec.
    #[error(transparent)]
    Build(#[from] crate::manifests::BuildError),
    /// Objects could not be written. What could be was, and the status says so.
    #[error("{0}")]
    Refused(String),
    /// An object of that name is not the model's.
    #[error(
        "{0} exists and is not of this model: rename one of them, or hand it over with the annotation guardbit.dev/adopt: \"true\" on it"
    )]
    NotOurs(String),
    /// A model cannot be read back.
    #[error("the model cannot be read: {0}; this is a fault of guardbit, please report it")]
    Unreadable(#[from] serde_json::Error),
    /// The gateway is taking in that a variant lost its endpoints; nothing more was applied.
    #[error("a variant with weight has lost its endpoints: the gateway has another {0:?} to take that in")]
    Disturbed(Duration),
    /// A record of what was decided does not exist.
    #[error("{0}")]
    NotRecorded(String),
    /// A watch has not delivered its first list yet.
    #[error("the watch of {0} has not delivered yet")]
    NotYet(&'static str),
    /// Leadership was lost.
    #[error("the lease was lost to another instance")]
    LeaseLost,
}

impl Error {
    /// Why an object could not be written, if that says nothing of the other objects.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::Call(error) => error.refusal(),
            Self::Build(error) => Some(error.to_string()),
            Self::NotOurs(_) => Some(self.to_string()),
            _ => None,
        }
    }

    /// Whether the API server was away or could not serve: the next try may well succeed, whatever came before.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_absence())
    }
}
