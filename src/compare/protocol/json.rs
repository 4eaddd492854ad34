//! Any JSON answer: the value at a pointer is compared. KServe's V1 protocol is its main user: `POST
//! /v1/models/{name}:predict`, pointer `/predictions/0`.
//!
//! Nothing is known about a request, so it is sent as it stands: what must not be kept of it is left out by whoever
//! records it.

use crate::api::SpecProblem;
use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Unreadable, parse};
use super::dialect::Dialect;
use super::numbers;
use super::request::{Body, Skip};

/// The dialect.
pub(super) struct Json;

impl Dialect for Json {
    fn knows(&self) -> &'static [&'static str] {
        &["pointer", "margin", "threshold"]
    }

    fn check(&self, settings: &Settings) -> Option<SpecProblem> {
        let missing = "it must say where in an answer the compared value lies, such as /predictions/0/label";
        settings.pointer.is_none().then(|| SpecProblem::new("pointer", missing))
    }

    fn usual_path(&self, _: &Body) -> Option<&'static str> {
        None
    }

    fn fits(&self, _: &str, _: &Body) -> Result<(), Skip> {
        Ok(())
    }

    fn normalize(&self, body: &Body) -> Result<Body, Skip> {
        Ok(body.clone())
    }

    /// Without a pointer, which `check` refuses, it is the whole answer.
    fn read(&self, settings: &Settings, body: &[u8]) -> Result<Answer, Unreadable> {
        let value = parse(body)?;
        let found = value.pointer(settings.pointer.as_deref().unwrap_or_default());
        let found = found.ok_or(Unreadable::Form(
            "there is nothing where the pointer of the answer leads",
        ))?;
        numbers::read(found, None)
    }

    fn compare(&self, settings: &Settings, reference: &Answer, candidate: &Answer) -> Comparison {
        numbers::compare(settings, reference, candidate)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::protocol::Request;
    use crate::compare::settings::Protocol;

    /// What KServe's V1 protocol answers.
    const KSERVE: &str =
        r#"{"predictions":[{"label":"fraud","score":0.875,"box":[1,2]},{"label":"fine","score":0.25}]}"#;

    fn at(pointer: &str) -> Settings {
        Settings {
            pointer: Some(pointer.to_owned()),
            ..Settings::new(Protocol::Json)
        }
    }

    #[test]
    fn any_value_can_be_pointed_at() {
        for (pointer, answer) in [
            ("/predictions/0/label", Answer::Value(json!("fraud"))),
            ("/predictions/0/score", Answer::Numbers(vec![vec![0.875]])),
            ("/predictions/0/box", Answer::Numbers(vec![vec![1.0, 2.0]])),
            ("/predictions/1", Answer::Value(json!({"label": "fine", "score": 0.25}))),
        ] {
            assert_eq!(at(pointer).read(KSERVE.as_bytes()), Ok(answer), "{pointer}");
        }
        for pointer in [
            "/predictions/2",
            "/predictions/-1",
            "/predictions/00",
            "/error",
            "/predictions/0/label/0",
        ] {
            assert!(at(pointer).read(KSERVE.as_bytes()).is_err(), "{pointer}");
        }
        for body in ["", "{", "{\"predictions\":[null]}", "<html></html>", "\u{7f}"] {
            assert!(at("/predictions/0").read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn objects_are_equal_or_not() {
        let settings = at("");
        let read = |text: &str| settings.read(text.as_bytes()).unwrap();
        for (reference, candidate, agrees) in [
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"a":1}"#, true),
            (r#"{"a":1,"b":[2]}"#, r#"{"a":1,"b":[3]}"#, false),
            ("true", "true", true),
            ("true", "false", false),
            ("[]", "[]", true),
            ("[]", "[0.5]", false),
            ("1", "\"1\"", false),
        ] {
            let comparison = settings.compare(&read(reference), &read(candidate));
            let distance = Some(if agrees { 0.0 } else { 1.0 });
            assert_eq!(
                (comparison.agrees, comparison.distance),
                (agrees, distance),
                "{reference} {candidate}"
            );
        }
    }

    #[test]
    fn requests_are_sent_as_they_stand() {
        let body = json!({"instances": [[0.5, 1.5]], "anything": {"b": 1, "a": "x"}});
        let request = Request::read(json!({"path": "/v1/models/m:predict", "body": body})).unwrap();
        let prepared = at("/predictions").prepare(&request).unwrap();
        assert_eq!(prepared.path, "/v1/models/m:predict");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&prepared.body).unwrap(), body);
    }
}
