//! Why Prometheus gave no evidence, in words for the people who can do something about it.

use reqwest::StatusCode;

use crate::rollout::EvidenceReason;

/// Why Prometheus gave no evidence.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// The operator's flags do not allow the URL.
    #[error("guardbit may not query {url}: {why}")]
    UrlNotAllowed {
        /// The URL, without user and password.
        url: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// Something in the Secret cannot be used.
    #[error("the credentials for Prometheus cannot be used: {0}")]
    InvalidCredentials(String),
    /// 401 or 403.
    #[error("{url} refused the credentials ({status}): check the Secret that prometheus.secretRef names")]
    Unauthorized {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// Prometheus, or what stands before it, is in trouble.
    #[error("{url} answered {status}: {detail}")]
    ServerError {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
        /// Message of the server.
        detail: String,
    },
    /// Something other than Prometheus answers.
    #[error("{url} does not answer like Prometheus: {detail}")]
    NotPrometheus {
        /// The URL.
        url: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// The answer broke off.
    #[error("the answer of {url} broke off: {detail}")]
    Truncated {
        /// The URL.
        url: String,
        /// Where it broke off.
        detail: String,
    },
    /// No complete answer came in time.
    #[error("{url} gave no whole answer in time ({detail}): the query is too heavy, or Prometheus is overloaded")]
    Timeout {
        /// The URL.
        url: String,
        /// Whose limit was reached.
        detail: String,
    },
    /// There is no connection.
    #[error("{url} cannot be reached: {detail}")]
    Unreachable {
        /// The URL.
        url: String,
        /// The cause.
        detail: String,
    },
    /// Prometheus does not accept the query, or its result is of the wrong kind.
    #[error("query `{query}`: {detail}")]
    BadQuery {
        /// The query, with the arm's matchers.
        query: String,
        /// What is wrong.
        detail: String,
    },
    /// The answer is larger than the limit.
    #[error("query `{query}` gives more than {limit} bytes: narrow the selector, or aggregate in a recording rule")]
    TooLarge {
        /// The query.
        query: String,
        /// The limit.
        limit: usize,
    },
    /// There are more series than are taken into memory.
    #[error("query `{query}`: {detail}")]
    TooManySeries {
        /// The query.
        query: String,
        /// How many there are.
        detail: String,
    },
    /// Some data may be missing.
    #[error("query `{query}`: {detail}")]
    PartialData {
        /// The query.
        query: String,
        /// The warning.
        detail: String,
    },
}

impl PrometheusError {
    /// The reason for conditions.
    pub fn reason(&self) -> EvidenceReason {
        match self {
            Self::UrlNotAllowed { .. } => EvidenceReason::UrlNotAllowed,
            Self::InvalidCredentials(_) => EvidenceReason::InvalidCredentials,
            Self::Unauthorized { .. } => EvidenceReason::Unauthorized,
            Self::ServerError { .. } => EvidenceReason::ServerError,
            Self::NotPrometheus { .. } => EvidenceReason::NotPrometheus,
            Self::Truncated { .. } => EvidenceReason::Truncated,
            Self::Timeout { .. } => EvidenceReason::Timeout,
            Self::Unreachable { .. } => EvidenceReason::Unreachable,
            Self::BadQuery { .. } => EvidenceReason::BadQuery,
            Self::TooLarge { .. } | Self::TooManySeries { .. } => EvidenceReason::TooLarge,
            Self::PartialData { .. } => EvidenceReason::PartialData,
        }
    }
}
