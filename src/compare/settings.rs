//! What is compared, and how: the protocol of both arms, where the answer lies, and what counts as a difference.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The protocol that both arms speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Completions and chat completions of OpenAI's API: vLLM, SGLang, llama.cpp. The next token is compared.
    OpenAI,
    /// The Open Inference Protocol (V2 REST): Triton, MLServer, KServe. An output tensor is compared.
    OpenInference,
    /// Any JSON answer, such as that of KServe's V1 protocol. The value at a pointer is compared.
    #[serde(rename = "JSON")]
    Json,
    /// Embeddings of OpenAI's API. The direction of the vector is compared.
    Embeddings,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 4] = [Self::OpenAI, Self::OpenInference, Self::Json, Self::Embeddings];

    /// The name, as specs and flags write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAI => "OpenAI",
            Self::OpenInference => "OpenInference",
            Self::Json => "JSON",
            Self::Embeddings => "Embeddings",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    /// Reads a name in any case. The error names all protocols.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("write one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What is compared, and how. `Settings::check` says what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The protocol of both arms.
    pub protocol: Protocol,
    /// Path that requests go to, below the URL of the arm, where a line of the golden set names none. It begins with
    /// `/`. OpenAI and Embeddings have usual paths; the other protocols have none.
    pub path: Option<String>,
    /// RFC 6901 pointer to the value that is compared. OpenInference: `/outputs/0/data` when left out. JSON needs one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_by_the_names_that_they_are_written_with() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse(), Ok(protocol));
            assert_eq!(protocol.name().to_lowercase().parse(), Ok(protocol));
            let written = serde_json::to_value(protocol).unwrap();
            assert_eq!(written, protocol.name());
            assert_eq!(serde_json::from_value::<Protocol>(written).unwrap(), protocol);
        }
        let error = "gRPC".parse::<Protocol>().unwrap_err();
        assert_eq!(error, "write one of OpenAI, OpenInference, JSON, Embeddings");
    }
}
