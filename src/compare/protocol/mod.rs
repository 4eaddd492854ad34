//! The protocols: one file for each, with all that is particular about it.
//!
//! Must not connect: requests and answers are bytes here.

mod answer;
mod dialect;
mod embeddings;
mod fingerprint;
mod inference;
mod json;
mod numbers;
mod openai;
mod request;

pub(super) use answer::tokens;
pub use answer::{Answer, Comparison, Output, Token, Unreadable};
pub use request::{Body, Prepared, Request, Skip};

use serde_json::Value;

use crate::api::SpecProblem;

use super::settings::{Protocol, Settings};
use dialect::Dialect;
use embeddings::Embeddings;
use inference::OpenInference;
use json::Json;
use openai::OpenAi;
use request::path_problem;

fn dialect(protocol: Protocol) -> &'static dyn Dialect {
    match protocol {
        Protocol::OpenAI => &OpenAi,
        Protocol::OpenInference => &OpenInference,
        Protocol::Json => &Json,
        Protocol::Embeddings => &Embeddings,
    }
}

impl Settings {
    /// What is wrong with the settings, by field, in words that say what to do.
    pub fn check(&self) -> Vec<SpecProblem> {
        let Self {
            protocol,
            path,
            pointer,
            margin,
            threshold,
        } = self;
        let dialect = dialect(*protocol);
        let mut problems = Vec::new();
        let given = [
            ("pointer", pointer.is_some()),
            ("margin", margin.is_some()),
            ("threshold", threshold.is_some()),
        ];
        for (field, _) in given
            .iter()
            .filter(|(field, given)| *given && !dialect.knows().contains(field))
        {
            problems.push(SpecProblem::new(
                *field,
                format!("it has no meaning for {protocol}: leave it out"),
            ));
        }
        if let Some(problem) = path.as_deref().and_then(path_problem) {
            problems.push(SpecProblem::new(
                "path",
                format!("{problem}: write it like /v2/models/fraud/infer"),
            ));
        }
        if pointer.as_deref().is_some_and(|pointer| !is_pointer(pointer)) {
            let example = "it is no JSON pointer (RFC 6901): write one like /outputs/0/data";
            problems.push(SpecProblem::new("pointer", example));
        }
        if margin.is_some_and(|margin| !margin.is_finite() || margin < 0.0) {
            problems.push(SpecProblem::new(
                "margin",
                "it must be a number of 0 or more, such as 0.05",
            ));
        }
        if threshold.is_some_and(|threshold| !threshold.is_finite()) {
            problems.push(SpecProblem::new("threshold", "it must be a number, such as 0.5"));
        }
        problems.extend(dialect.check(self));
        problems
    }

    /// A request without what makes answers incomparable, such as sampling and streams, and without what does not
    /// decide the answer, such as the ids of users. What is normalized already stays as it is.
    ///
    /// Fails with the reason where the request cannot be compared.
    pub fn normalize(&self, request: &Request) -> Result<Request, Skip> {
        let dialect = dialect(self.protocol);
        let body = dialect.normalize(&request.body)?;
        if let Some(path) = &request.path {
            dialect.fits(path, &body)?;
        }
        Ok(Request {
            path: request.path.clone(),
            body,
        })
    }

    /// A request as both arms get it: normalized, and with the path that it names itself, that of the settings, or the
    /// usual one.
    ///
    /// Fails with the reason where the request cannot be compared, or where nothing says which path it goes to.
    pub fn prepare(&self, request: &Request) -> Result<Prepared, Skip> {
        let dialect = dialect(self.protocol);
        let Request { path, body } = self.normalize(request)?;
        let path = match path.or_else(|| self.path.clone()) {
            Some(path) => {
                dialect.fits(&path, &body)?;
                path
            }
            None => {
                let usual = dialect.usual_path(&body);
                let none = Skip("nothing says which path it goes to: name one beside its body, or for all of them");
                usual.ok_or(none)?.to_owned()
            }
        };
        Ok(Prepared {
            path,
            body: Value::Object(body).to_string(),
        })
    }

    /// A question without what only makes a server tell more of its answer; `None` where there is nothing of the kind in it.
    pub(super) fn without_extras(&self, question: &Prepared) -> Option<Prepared> {
        let extras = dialect(self.protocol).extras();
        let Ok(Value::Object(mut body)) = serde_json::from_str(&question.body) else {
            return None;
        };
        let all = body.len();
        body.retain(|field, _| !extras.contains(&field.as_str()));
        (body.len() < all).then(|| Prepared {
            path: question.path.clone(),
            body: Value::Object(body).to_string(),
        })
    }

    /// Reads the body of an answer.
    ///
    /// Fails with the reason where it is no answer of the protocol, or holds a number that is not finite.
    pub fn read(&self, body: &[u8]) -> Result<Answer, Unreadable> {
        dialect(self.protocol).read(self, body)
    }

    /// Whether two answers, both read with these settings, are the same, and how far they are apart.
    pub fn compare(&self, reference: &Answer, candidate: &Answer) -> Comparison {
        dialect(self.protocol).compare(self, reference, candidate)
    }
}

/// Whether a text is an RFC 6901 pointer: empty, or `/` before every part, and `~` only as `~0` and `~1`.
fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    escapes && (text.is_empty() || text.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(protocol: Protocol, change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::new(protocol);
        change(&mut settings);
        settings
    }

    #[test]
    fn settings_that_cannot_work_are_told_with_the_field() {
        use Protocol::{Embeddings, Json, OpenAI, OpenInference};
        let pointer = |text: &str| Some(text.to_owned());
        for (settings, fields) in [
            (Settings::new(OpenAI), &[][..]),
            (Settings::new(OpenInference), &[]),
            (Settings::new(Embeddings), &[]),
            (Settings::new(Json), &["pointer"]),
            (settings(Json, |s| s.pointer = pointer("/predictions/0")), &[]),
            (settings(Json, |s| s.pointer = pointer("")), &[]),
            (settings(Json, |s| s.pointer = pointer("predictions")), &["pointer"]),
            (settings(Json, |s| s.pointer = pointer("/a~2b")), &["pointer"]),
            (settings(OpenAI, |s| s.pointer = pointer("/x")), &["pointer"]),
            (settings(OpenAI, |s| s.margin = Some(0.1)), &["margin"]),
            (settings(OpenAI, |s| s.threshold = Some(0.1)), &["threshold"]),
            (settings(OpenInference, |s| s.margin = Some(-0.1)), &["margin"]),
            (settings(OpenInference, |s| s.margin = Some(f64::NAN)), &["margin"]),
            (
                settings(OpenInference, |s| s.threshold = Some(f64::INFINITY)),
                &["threshold"],
            ),
            (settings(OpenInference, |s| s.path = pointer("/a?b")), &["path"]),
            (settings(Embeddings, |s| s.threshold = Some(0.999)), &[]),
            (settings(Embeddings, |s| s.threshold = Some(1.5)), &["threshold"]),
            (settings(Embeddings, |s| s.margin = Some(0.1)), &["margin"]),
        ] {
            let problems = settings.check();
            let found: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(found, fields, "{settings:?}: {problems:?}");
            assert!(
                problems.iter().all(|problem| !problem.problem.is_empty()),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn a_line_names_its_path_or_the_settings_do() {
        let body = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5]}]});
        let Value::Object(body) = body else { unreachable!() };
        let path = |own: Option<&str>, usual: Option<&str>| {
            let settings = settings(Protocol::OpenInference, |s| s.path = usual.map(str::to_owned));
            let path = own.map(str::to_owned);
            settings
                .prepare(&Request {
                    path,
                    body: body.clone(),
                })
                .map(|prepared| prepared.path)
        };
        let (a, b) = ("/v2/models/a/infer", "/v2/models/b/infer");
        assert_eq!(path(Some(a), Some(b)).as_deref(), Ok(a));
        assert_eq!(path(None, Some(b)).as_deref(), Ok(b));
        assert!(path(None, None).unwrap_err().to_string().contains("which path"));
        assert!(path(Some("/v2/models/a/ready"), Some(b)).is_err());
    }
}
