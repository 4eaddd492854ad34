//! A number for an answer, by which equal answers are counted without being kept.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::compare::settings::Settings;

use super::answer::Answer;
use super::numbers;

impl Settings {
    /// The fingerprint of an answer. It is of what decides: answers that never count as different have the same one, but
    /// for a margin and for directions, where the numbers themselves are taken.
    pub(in crate::compare) fn fingerprint(&self, answer: &Answer) -> u64 {
        let mut hasher = DefaultHasher::new();
        match answer {
            // Servers name the end of a text differently.
            Answer::Token(token) => (!token.ends).then_some(&token.name).hash(&mut hasher),
            Answer::Numbers(rows) => numbers::hash(self, rows, &mut hasher),
            Answer::Integers(rows) => numbers::hash(self, rows, &mut hasher),
            Answer::Value(value) => value.to_string().hash(&mut hasher),
            Answer::Direction(vector) => vector.iter().for_each(|x| x.to_bits().hash(&mut hasher)),
            Answer::Outputs(outputs) => {
                let first = outputs.first().and_then(|output| output.answer.as_ref());
                return first.map_or(0, |answer| self.fingerprint(answer));
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::protocol::{Output, Token};
    use crate::compare::settings::Protocol;

    #[test]
    fn equal_answers_have_one_fingerprint_and_others_another() {
        let plain = Settings::new(Protocol::OpenInference);
        let with = |margin, threshold| Settings {
            margin,
            threshold,
            ..plain.clone()
        };
        let (sides, margin) = (with(None, Some(0.5)), with(Some(0.1), None));
        let numbers = |row: &[f64]| Answer::Numbers(vec![row.to_vec()]);
        let token = |name: &str, ends| {
            Answer::Token(Token {
                name: name.to_owned(),
                ends,
                log_probability: Some(-0.5),
                alternatives: Vec::new(),
            })
        };
        let output = |answer| {
            Answer::Outputs(vec![Output {
                name: None,
                answer: Some(answer),
            }])
        };
        for (settings, one, other, equal) in [
            (&plain, token("a", false), token("a", false), true),
            (&plain, token("a", false), token("b", false), false),
            (&plain, token("", false), token("", true), false),
            (&plain, token("<end>", true), token("</s>", true), true),
            (&plain, numbers(&[0.1, 0.9]), numbers(&[0.2, 0.8]), true),
            (&plain, numbers(&[0.1, 0.9]), numbers(&[0.9, 0.1]), false),
            (&plain, numbers(&[0.1]), numbers(&[0.2]), false),
            (&plain, numbers(&[0.1]), numbers(&[0.1]), true),
            (&sides, numbers(&[0.1]), numbers(&[0.2]), true),
            (&sides, numbers(&[0.1]), numbers(&[0.6]), false),
            (&margin, numbers(&[0.1]), numbers(&[0.15]), false),
            (&margin, numbers(&[0.1, 0.9]), numbers(&[0.2, 0.8]), false),
            (
                &plain,
                Answer::Integers(vec![vec![1 << 60]]),
                Answer::Integers(vec![vec![(1 << 60) + 1]]),
                false,
            ),
            (&plain, Answer::Value(json!("cat")), Answer::Value(json!("dog")), false),
            (&plain, Answer::Value(json!([])), Answer::Value(json!([])), true),
            (
                &plain,
                Answer::Direction(vec![0.6, 0.8]),
                Answer::Direction(vec![0.8, 0.6]),
                false,
            ),
            (&plain, output(numbers(&[0.1, 0.9])), output(numbers(&[0.2, 0.8])), true),
            (&plain, output(numbers(&[0.1])), output(numbers(&[0.2])), false),
        ] {
            let same = settings.fingerprint(&one) == settings.fingerprint(&other);
            assert_eq!(same, equal, "{settings:?} {one:?} {other:?}");
        }
    }
}
