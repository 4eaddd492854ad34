//! Answers: what is kept of them, and what it means that two differ.

use serde::Deserialize;
use serde_json::Value;

/// Most tokens that one answer is believed to have cost. A server may tell any number; the sum of these stays one.
const MOST_TOKENS: u64 = 1_000_000_000;

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The next token of a text.
    Token(Token),
    /// Finite numbers, a row for each thing that was asked about.
    Numbers(Vec<Vec<f64>>),
    /// Integers in such rows, at least one of them beyond those that a double tells apart.
    Integers(Vec<Vec<i128>>),
    /// Labels, flags and whatever else is equal or not.
    Value(Value),
    /// The direction of an embedding: a vector of length 1.
    Direction(Vec<f64>),
    /// All tensors of an answer; at least one, and the first can be read.
    Outputs(Vec<Output>),
}

/// One of the tensors of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What is in it; `None` where that cannot be read.
    pub answer: Option<Answer>,
}

/// The next token of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its name: its text; its bytes or its id where the text does not tell it from others.
    pub name: String,
    /// Whether the text ends here.
    pub ends: bool,
    /// Natural logarithm of its probability, in `[-9999, 0]`; `None` where the server gives none.
    pub log_probability: Option<f64>,
    /// The most probable tokens, by name, with the logarithms of their probabilities.
    pub alternatives: Vec<(String, f64)>,
}

/// What two answers came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Whether they count as the same answer.
    pub agrees: bool,
    /// How far they are apart, in the unit of the protocol; finite, 0 or more. `None` where that is not known.
    pub distance: Option<f64>,
}

/// Why an answer cannot be read. It holds nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unreadable {
    /// It has not the form of the protocol, as where a proxy or another server answers.
    #[error("{0}")]
    Form(&'static str),
    /// It has the form, and what the model computed cannot be compared, such as NaN.
    #[error("{0}")]
    Content(&'static str),
}

impl Comparison {
    /// Answers between which there is no difference.
    pub(super) const SAME: Self = Self {
        agrees: true,
        distance: Some(0.0),
    };

    /// Answers between which no difference can be formed, such as two labels or two lists of unequal length: they are
    /// at distance 1.
    pub(super) const DIFFERENT: Self = Self {
        agrees: false,
        distance: Some(1.0),
    };
}

/// Tokens that an answer has cost, as servers of language models tell them; 0 where it does not tell.
pub(in crate::compare) fn tokens(body: &[u8]) -> u64 {
    #[derive(Default, Deserialize)]
    struct Usage {
        #[serde(default)]
        total_tokens: u64,
    }
    #[derive(Default, Deserialize)]
    struct Told {
        usage: Option<Usage>,
    }
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    told.usage.unwrap_or_default().total_tokens.min(MOST_TOKENS)
}

/// Reads JSON. What is nested deeper than 127 levels, or holds a bare `NaN` or `Infinity` or a number beyond the range
/// of a double, is none.
pub(super) fn parse(body: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice(body).map_err(|_| match body.trim_ascii().first() {
        None => Unreadable::Form("it is empty"),
        Some(b'<') => Unreadable::Form("it is a page (HTML or XML), and no JSON"),
        // Many servers write NaN as it is, which JSON does not know.
        Some(b'{') => Unreadable::Content("it is broken JSON, as with NaN in it, or without its end"),
        Some(_) => Unreadable::Form("it is no JSON"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_a_server_tells_within_reason() {
        for (told, expected) in [
            ("12", 12),
            ("18446744073709551615", MOST_TOKENS),
            ("18446744073709551616", 0),
            ("1e400", 0),
            ("-1", 0),
            ("\"12\"", 0),
            ("12}, \"usage\": {\"total_tokens\": 13", 0),
        ] {
            let body = format!("{{\"usage\": {{\"total_tokens\": {told}}}}}");
            assert_eq!(tokens(body.as_bytes()), expected, "{body}");
        }
    }
}
