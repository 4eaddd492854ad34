//! Embeddings of OpenAI's API: `POST /v1/embeddings`, the direction of the vector is compared.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::api::SpecProblem;
use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Unreadable, parse};
use super::dialect::Dialect;
use super::request::{Body, Skip};

/// The dialect.
pub(super) struct Embeddings;

/// Least cosine of two embeddings that agree. They are then at most 8 degrees apart, which reorders near neighbours of
/// a search and seldom more.
const COSINE: f64 = 0.99;

/// What of a request decides the answer; `user` does not.
const KEPT: [&str; 7] = [
    "model",
    "input",
    "dimensions",
    "truncate",
    "truncate_prompt_tokens",
    "prompt_name",
    "input_type",
];

impl Dialect for Embeddings {
    fn knows(&self) -> &'static [&'static str] {
        &["threshold"]
    }

    fn check(&self, settings: &Settings) -> Option<SpecProblem> {
        let beyond = settings.threshold.filter(|cosine| !(*cosine > 0.0 && *cosine <= 1.0))?;
        let problem = format!("{beyond} is no cosine above 0 and up to 1: write one such as 0.99");
        beyond.is_finite().then(|| SpecProblem::new("threshold", problem))
    }

    fn usual_path(&self, _: &Body) -> Option<&'static str> {
        Some("/v1/embeddings")
    }

    fn fits(&self, path: &str, _: &Body) -> Result<(), Skip> {
        if path.ends_with("/embeddings") {
            Ok(())
        } else {
            Err(Skip("its path is not that of embeddings (/v1/embeddings)"))
        }
    }

    fn normalize(&self, body: &Body) -> Result<Body, Skip> {
        match body.get("input") {
            Some(Value::String(_)) => {}
            Some(Value::Array(list)) => match list.as_slice() {
                [Value::String(_)] | [Value::Array(_)] => {}
                // One text, as its tokens.
                [_, ..] if list.iter().all(Value::is_u64) => {}
                _ => return Err(Skip("it asks for none, or for more than one embedding")),
            },
            _ => return Err(Skip("it has no input")),
        }
        let kept = body.iter().filter(|(key, _)| KEPT.contains(&key.as_str()));
        let mut kept: Body = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        kept.insert("encoding_format".to_owned(), Value::from("float"));
        Ok(kept)
    }

    fn read(&self, _: &Settings, body: &[u8]) -> Result<Answer, Unreadable> {
        let value = parse(body)?;
        let vector = match value.pointer("/data/0/embedding") {
            Some(Value::Array(list)) => list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>(),
            Some(Value::String(text)) => decode(text),
            _ => return Err(Unreadable::Form("it has no data[0].embedding")),
        };
        let vector = vector.ok_or(Unreadable::Content("its embedding is no list of numbers"))?;
        let direction = direction(vector).ok_or(Unreadable::Content(
            "its embedding has no direction: it is empty, zero or not finite",
        ))?;
        Ok(Answer::Direction(direction))
    }

    fn compare(&self, settings: &Settings, reference: &Answer, candidate: &Answer) -> Comparison {
        let (Answer::Direction(reference), Answer::Direction(candidate)) = (reference, candidate) else {
            return Comparison::DIFFERENT;
        };
        if reference.len() != candidate.len() {
            return Comparison::DIFFERENT;
        }
        let cosine: f64 = reference.iter().zip(candidate).map(|(a, b)| a * b).sum();
        Comparison {
            // Two equal directions may miss a cosine of 1 by rounding.
            agrees: cosine + 1e-12 >= settings.threshold.unwrap_or(COSINE),
            distance: Some((1.0 - cosine).clamp(0.0, 2.0)),
        }
    }
}

/// Numbers of 32 bits, the least byte first, in base 64.
fn decode(text: &str) -> Option<Vec<f64>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers = numbers.iter().map(|number| f64::from(f32::from_le_bytes(*number)));
    rest.is_empty().then(|| numbers.collect())
}

/// The vector at length 1; `None` where it has no direction.
fn direction(mut vector: Vec<f64>) -> Option<Vec<f64>> {
    let largest = vector.iter().map(|x| x.abs()).fold(0.0, f64::max);
    // A maximum passes over NaN.
    if !largest.is_finite() || largest == 0.0 || vector.iter().any(|x| x.is_nan()) {
        return None;
    }
    // Squares of huge numbers would be beyond the range of a double.
    vector.iter_mut().for_each(|x| *x /= largest);
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    Some(vector)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::protocol::Request;
    use crate::compare::settings::Protocol;

    fn settings() -> Settings {
        Settings::new(Protocol::Embeddings)
    }

    fn read(embedding: &Value) -> Result<Answer, Unreadable> {
        let body = json!({
            "object": "list", "model": "e5", "usage": {"prompt_tokens": 4, "total_tokens": 4},
            "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
        });
        settings().read(body.to_string().as_bytes())
    }

    #[test]
    fn vectors_are_read_as_numbers_and_in_base_64() {
        let numbers = read(&json!([3.0, 4.0])).unwrap();
        assert_eq!(numbers, Answer::Direction(vec![0.6, 0.8]));
        let bytes: Vec<u8> = [3f32, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(read(&json!(BASE64_STANDARD.encode(bytes))), Ok(numbers));
        let nan = BASE64_STANDARD.encode(f32::NAN.to_le_bytes());
        for embedding in [
            json!(null),
            json!([]),
            json!([0, 0]),
            json!([1, null]),
            json!(["1"]),
            json!([[1]]),
            json!("AAA"),
            json!("not base 64"),
            json!(nan),
        ] {
            assert!(read(&embedding).is_err(), "{embedding}");
        }
    }

    #[test]
    fn vectors_agree_when_they_point_the_same_way() {
        let one = |x: f64, y: f64| read(&json!([x, y])).unwrap();
        let strict = Settings {
            threshold: Some(1.0),
            ..settings()
        };
        for (settings, reference, candidate, agrees, distance) in [
            (&settings(), one(1.0, 0.0), one(7.0, 0.0), true, 0.0),
            (&settings(), one(1.0, 0.0), one(1.0, 0.1), true, 0.00496),
            (&settings(), one(1.0, 0.0), one(1.0, 0.2), false, 0.01942),
            (&settings(), one(1.0, 0.0), one(-1.0, 0.0), false, 2.0),
            (&settings(), one(1e300, 1e300), one(1e-300, 1e-300), true, 0.0),
            (&strict, one(1.0, 3.0), one(2.0, 6.0), true, 0.0),
            (&strict, one(1.0, 3.0), one(2.0, 6.01), false, 0.0),
        ] {
            let comparison = settings.compare(&reference, &candidate);
            assert_eq!(comparison.agrees, agrees, "{reference:?} {candidate:?}");
            let found = comparison.distance.expect("a distance");
            assert!((found - distance).abs() < 1e-4, "{comparison:?}");
        }
        let three = read(&json!([1, 0, 0])).unwrap();
        assert_eq!(settings().compare(&one(1.0, 0.0), &three), Comparison::DIFFERENT);
    }

    #[test]
    fn one_embedding_is_asked_for_at_a_time_and_nobody_is_named() {
        let normalized = |body: Value| settings().normalize(&Request::read(body).unwrap());
        let body = json!({"model": "e5", "input": "query: cats", "user": "me", "encoding_format": "base64"});
        let kept = normalized(body).unwrap();
        let expected = json!({"model": "e5", "input": "query: cats", "encoding_format": "float"});
        assert_eq!(Value::Object(kept.body.clone()), expected);
        assert_eq!(settings().normalize(&kept), Ok(kept));
        for input in [json!(["one"]), json!([1, 2, 3]), json!([[1, 2, 3]])] {
            assert!(normalized(json!({"input": input})).is_ok(), "{input}");
        }
        for input in [
            json!(null),
            json!([]),
            json!(["one", "two"]),
            json!([[1], [2]]),
            json!({}),
            json!([1, "two"]),
        ] {
            assert!(normalized(json!({"input": input})).is_err(), "{input}");
        }
    }
}
