//! Golden sets: requests in JSON lines, prepared once and then drawn *with replacement*.
//!
//! Only draws with replacement make pairs independent and alike, which is what the test of the agreement assumes. A set
//! is known by the digest of its bytes. Must not read files: bytes come in.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::protocol::{Prepared, Request, Skip};
use super::settings::Settings;

/// Largest set, in bytes: 64 MiB.
pub const LONGEST_SET: usize = 64 * 1024 * 1024;

/// Longest line, in bytes: 256 KiB.
pub const LONGEST_LINE: usize = 256 * 1024;

/// By fewer different questions nobody is shown to be healthy: draws repeat them, and a question that is repeated is
/// answered alike. Of 30 that all agree one learns that fewer than 9.5% of such questions differ (at 95%), of 3 only that
/// fewer than 63% do.
pub const FEW_QUESTIONS: usize = 30;

/// The mark that some editors write before a text (U+FEFF).
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Most lines that are not empty.
const MOST_LINES: usize = 100_000;

/// A golden set, as both arms are asked from it.
#[derive(Clone, Debug)]
pub struct Golden {
    questions: Vec<Question>,
    skipped: Vec<(usize, Skip)>,
    digest: String,
}

/// A line of the set that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its line in the file, from 1; empty lines count.
    pub line: usize,
    /// What both arms get.
    pub prepared: Prepared,
}

/// Why there is no golden set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoldenError {
    /// The file is too large.
    #[error("the golden set has more than 64 MiB: keep a part of it, with guardbit golden make --limit")]
    TooLarge,
    /// It has too many lines.
    #[error("the golden set has more than 100,000 lines: keep a part of it, with guardbit golden make --limit")]
    TooManyLines,
    /// A line is too long.
    #[error("line {line} has {bytes} bytes: a line may have 262,144; shorten the request or leave it out")]
    LineTooLong {
        /// Its number, from 1.
        line: usize,
        /// Its length.
        bytes: usize,
    },
    /// A line is no JSON.
    #[error("line {line}, column {column}: it is no JSON: {problem}; each line holds one request")]
    NotJson {
        /// Its number, from 1.
        line: usize,
        /// Where it ends to be JSON, in bytes from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A line is no request.
    #[error("line {line}: {problem}")]
    NotARequest {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are only empty lines.
    #[error("the golden set is empty: write one request a line, in JSON, or build it with guardbit golden make")]
    Empty,
    /// No line can be compared.
    #[error("none of its {lines} lines can be compared: line {line}: {why}")]
    NothingComparable {
        /// Lines that are not empty.
        lines: usize,
        /// The first of them.
        line: usize,
        /// The reason.
        why: Skip,
    },
}

impl Golden {
    /// Reads JSON lines and prepares them. A line is the body of a request, or an object of exactly `path` and `body`;
    /// empty lines are left out. Lines that cannot be compared are kept apart, each with its reason.
    ///
    /// Fails with the first line that is no request, or too long; when there are too many bytes or lines; and when
    /// nothing is left that can be compared.
    pub fn read(bytes: &[u8], settings: &Settings) -> Result<Self, GoldenError> {
        if bytes.len() > LONGEST_SET {
            return Err(GoldenError::TooLarge);
        }
        let (mut questions, mut skipped) = (Vec::new(), Vec::new());
        for (i, text) in without_mark(bytes).split(|byte| *byte == b'\n').enumerate() {
            let (line, text) = (i + 1, text.trim_ascii());
            if text.is_empty() {
                continue;
            }
            if text.len() > LONGEST_LINE {
                let bytes = text.len();
                return Err(GoldenError::LineTooLong { line, bytes });
            }
            if questions.len() + skipped.len() == MOST_LINES {
                return Err(GoldenError::TooManyLines);
            }
            let value = serde_json::from_slice(text).map_err(|error| not_json(line, &error))?;
            let request = Request::read(value).map_err(|problem| GoldenError::NotARequest { line, problem })?;
            match settings.prepare(&request) {
                Ok(prepared) => questions.push(Question { line, prepared }),
                Err(skip) => skipped.push((line, skip)),
            }
        }
        match (questions.is_empty(), skipped.first()) {
            (true, None) => Err(GoldenError::Empty),
            (true, Some((line, why))) => Err(GoldenError::NothingComparable {
                lines: skipped.len(),
                line: *line,
                why: *why,
            }),
            (false, _) => Ok(Self {
                questions,
                skipped,
                digest: digest(bytes),
            }),
        }
    }

    /// Lines that can be compared; at least one.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// How many different questions there are.
    pub fn distinct(&self) -> usize {
        let all = self.questions.iter().map(|question| &question.prepared);
        all.collect::<HashSet<_>>().len()
    }

    /// Lines that cannot be compared, with the reasons.
    pub fn skipped(&self) -> &[(usize, Skip)] {
        &self.skipped
    }

    /// `sha256:` and the digest of the bytes of the file, in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Draws a line, all alike, whatever was drawn before.
    pub fn draw(&self, random: &mut fastrand::Rng) -> &Question {
        &self.questions[random.usize(..self.questions.len())]
    }
}

/// A text without the mark at its beginning, if it has one.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// `sha256:` and the digest of a golden set, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn not_json(line: usize, error: &serde_json::Error) -> GoldenError {
    // It ends with where in the line it is, which is told anyway.
    let told = error.to_string();
    let problem = told.split(" at line ").next().unwrap_or_default().to_owned();
    GoldenError::NotJson {
        line,
        column: error.column(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::settings::Protocol;

    fn read(text: &str) -> Result<Golden, GoldenError> {
        Golden::read(text.as_bytes(), &Settings::new(Protocol::OpenAI))
    }

    #[test]
    fn lines_keep_their_numbers_and_empty_ones_are_left_out() {
        let text = "{\"prompt\":\"a\"}\r\n\n  \n{\"prompt\":[\"a\",\"b\"]}\n{\"path\":\"/x/completions\",\"body\":{\"prompt\":\"c\"}}";
        let golden = read(text).unwrap();
        let found: Vec<_> = golden
            .questions()
            .iter()
            .map(|q| (q.line, q.prepared.path.as_str()))
            .collect();
        assert_eq!(found, [(1, "/v1/completions"), (5, "/x/completions")]);
        assert_eq!(golden.skipped().iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4]);
        // printf 'abc' | sha256sum
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            (digest(b"abc"), golden.digest()),
            (abc.to_owned(), digest(text.as_bytes()).as_str())
        );
    }

    #[test]
    fn what_is_no_golden_set_is_told_with_its_line() {
        let long = format!("{{\"prompt\":\"{}\"}}", "a".repeat(LONGEST_LINE));
        let deep = format!("{{\"prompt\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for (text, told) in [
            ("", "is empty"),
            (" \n\n", "is empty"),
            ("{\"prompt\":\"a\"}\n{\"prompt\":", "it is no JSON: EOF while parsing"),
            ("{\"prompt\":\"a\"}\n{\"x\":NaN}", "line 2, column"),
            ("\u{1b}[31m", "line 1, column 1"),
            ("{\"prompt\":\"\u{1}\"}", "line 1, column"),
            ("[{\"prompt\":\"a\"}]", "line 1: it is no JSON object"),
            ("{\"path\":\"/a/../b\",\"body\":{}}", "line 1: its path holds . or .."),
            (
                "{}\n\n{\"input\":\"a\"}",
                "none of its 2 lines can be compared: line 1: it has neither",
            ),
            (&long, "line 1 has 262157 bytes"),
            (&deep, "line 1, column"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(
            read(&"{\"prompt\":\"a\"}\n".repeat(MOST_LINES + 1)).unwrap_err(),
            GoldenError::TooManyLines
        );
        assert_eq!(read(&"\n".repeat(LONGEST_SET + 1)).unwrap_err(), GoldenError::TooLarge);
        let no_text = Golden::read(b"{\"prompt\":\"\xff\"}", &Settings::new(Protocol::OpenAI));
        assert!(
            matches!(no_text, Err(GoldenError::NotJson { line: 1, .. })),
            "{no_text:?}"
        );
    }

    #[test]
    fn a_mark_at_the_beginning_is_no_part_of_the_first_line() {
        let text = "\u{feff}{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n{\"prompt\":\"a\",\"user\":\"u\"}\n";
        let golden = read(text).unwrap();
        assert_eq!((golden.questions().len(), golden.distinct()), (3, 2));
        assert_eq!(golden.digest(), digest(text.as_bytes()), "a digest is that of the file");
        assert!(read("{\"prompt\":\"a\"}\n\u{feff}{\"prompt\":\"b\"}").is_err());
        assert_eq!(read("\u{feff}\n").unwrap_err(), GoldenError::Empty);
    }

    #[test]
    fn draws_are_repeatable_and_reach_every_line() {
        let golden = read(&(0..8).map(|i| format!("{{\"prompt\":\"{i}\"}}\n")).collect::<String>()).unwrap();
        let draw = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..400).map(|_| golden.draw(&mut random).line).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for line in 1..=8 {
            let times = draw(7).iter().filter(|drawn| **drawn == line).count();
            // 50 are expected; five standard deviations.
            assert!((17..=83).contains(&times), "line {line} was drawn {times} times");
        }
    }
}
