//! Why there is no evidence, as the rollout hears of it.

use crate::api::{LONGEST_MESSAGE, plain};
use crate::evidence::PromqlError;
use crate::rollout::{EvidenceProblem, EvidenceReason};

use super::PrometheusError;

/// Of a server that gave no answer.
pub(super) fn problem(error: PrometheusError) -> EvidenceProblem {
    EvidenceProblem {
        reason: error.reason(),
        message: plain(&error.to_string(), LONGEST_MESSAGE),
    }
}

/// Of a question that cannot be put.
pub(super) fn bad_query(error: PromqlError) -> EvidenceProblem {
    EvidenceProblem {
        reason: EvidenceReason::BadQuery,
        message: plain(&error.to_string(), LONGEST_MESSAGE),
    }
}
