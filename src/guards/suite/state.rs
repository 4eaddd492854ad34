//! The state that is kept for one guard.

use serde::{Deserialize, Serialize};

use crate::evidence::BucketForm;
use crate::guards::{Kind, Test};

/// Running state of one guard. It is stored by position, so the order of its fields must not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GuardState {
    pub(super) test: Test,
    /// Time through which evidence was counted, Unix milliseconds.
    pub(super) through: i64,
    /// When the current block of polls ends, Unix milliseconds.
    pub(super) block_until: i64,
    pub(super) polls: u64,
    /// Polls since the last raise.
    pub(super) step_polls: u64,
    pub(super) step_candidate: u64,
    pub(super) step_baseline: u64,
    /// The form of its histograms, once any were received.
    pub(super) form: Option<BucketForm>,
    /// What is odd about its latest data.
    pub(super) oddity: Option<String>,
}

impl GuardState {
    pub(super) fn new(kind: &Kind) -> Self {
        Self {
            test: Test::new(kind),
            through: i64::MIN,
            block_until: i64::MIN,
            polls: 0,
            step_polls: 0,
            step_candidate: 0,
            step_baseline: 0,
            form: None,
            oddity: None,
        }
    }
}
