//! What is compared, and how: the protocol of both arms, where the answer lies, and what counts as a difference.

pub use crate::api::Protocol;

/// What is compared, and how. `Settings::check` says what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The protocol of both arms.
    pub protocol: Protocol,
    /// Path that requests go to, below the URL of the arm, where a line of the golden set names none. It begins with
    /// `/`. OpenAI and Embeddings have usual paths; the other protocols have none.
    pub path: Option<String>,
    /// RFC 6901 pointer to the value that is compared. JSON needs one. OpenInference: when left out, the first output of
    /// the reference, which is found by its name in the answer of the candidate.
    pub pointer: Option<String>,
    /// Largest difference of two numbers that still agree; finite, 0 or more.
    pub margin: Option<f64>,
    /// The number that decides: a value below it is one answer, and any other value is another. Embeddings: least
    /// cosine of two vectors that agree, in `(0, 1]`; 0.99 when left out.
    pub threshold: Option<f64>,
}

impl Settings {
    /// A protocol with its usual settings.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            path: None,
            pointer: None,
            margin: None,
            threshold: None,
        }
    }
}
