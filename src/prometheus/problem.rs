//! Why there is no evidence, in the form that the rollout reads.

use crate::api::{LONGEST_MESSAGE, plain};
use crate::evidence::PromqlError;
use crate::rollout::{EvidenceProblem, EvidenceReason};

use super::PrometheusError;

/// The problem of a server that gave no answer.
pub(super) fn problem(error: PrometheusError) -> EvidenceProblem {
    EvidenceProblem {
        reason: error.reason(),
        message: plain(&error.to_string(), LONGEST_MESSAGE),
    }
}

/// The problem of a question that cannot be asked.
pub(super) fn bad_query(error: PromqlError) -> EvidenceProblem {
    EvidenceProblem {
        reason: EvidenceReason::BadQuery,
        message: plain(&error.to_string(), LONGEST_MESSAGE),
    }
}
