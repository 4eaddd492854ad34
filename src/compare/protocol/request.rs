//! Requests: as they were recorded, as they are sent, and why some cannot be compared.

use serde_json::{Map, Value};

/// The body of a request: a JSON object.
pub type Body = Map<String, Value>;

/// A recorded request, or a line of a golden set.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Path that it goes to, if it names one; begins with `/`.
    pub path: Option<String>,
    /// Its body.
    pub body: Body,
}

/// A request as both arms get it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepared {
    /// Path below the URL of an arm; begins with `/`.
    pub path: String,
    /// The body, in JSON.
    pub body: String,
}

/// Why a request cannot be compared. It holds nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub &'static str);

impl Request {
    /// Reads what a line of a golden set holds: the body itself, or an object of exactly `path` and `body`.
    ///
    /// Fails with what is wrong with it.
    pub fn read(value: Value) -> Result<Self, &'static str> {
        let Value::Object(mut object) = value else {
            return Err("it is no JSON object: write the body of a request, or {\"path\": \"/…\", \"body\": {…}}");
        };
        if object.len() != 2 || !object.contains_key("path") || !object.contains_key("body") {
            return Ok(Self {
                path: None,
                body: object,
            });
        }
        match (object.remove("path"), object.remove("body")) {
            (Some(Value::String(path)), Some(Value::Object(body))) => match path_problem(&path) {
                Some(problem) => Err(problem),
                None => Ok(Self { path: Some(path), body }),
            },
            _ => Err("its path is no text, or its body is no JSON object"),
        }
    }

    /// A request that a gateway mirrored: its path, and the JSON of its body.
    ///
    /// Fails with what is wrong with it.
    pub fn mirrored(path: &str, body: Value) -> Result<Self, &'static str> {
        let Value::Object(body) = body else {
            return Err("its body is no JSON object");
        };
        match path_problem(path) {
            Some(problem) => Err(problem),
            None => Ok(Self {
                path: Some(path.to_owned()),
                body,
            }),
        }
    }

    /// The request as a line of a golden set, without a line break.
    pub fn line(&self) -> String {
        let body = Value::Object(self.body.clone());
        match &self.path {
            Some(path) => format!("{{\"path\":{},\"body\":{body}}}", Value::from(path.as_str())),
            None => body.to_string(),
        }
    }
}

/// Why a text is no path of a request; `None` if it is one. A path must not lead elsewhere than below the URL of an
/// arm.
pub(super) fn path_problem(path: &str) -> Option<&'static str> {
    let may_hold = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@".contains(c);
    if !path.starts_with('/') {
        Some("its path does not begin with /")
    } else if path.len() > 1024 {
        Some("its path has more than 1,024 characters")
    } else if !path.chars().all(may_hold) {
        Some("its path holds a query, an escape, a space or another character that has no place in it")
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        Some("its path holds . or .. as a segment")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_a_body_or_a_path_with_a_body() {
        let body = json!({"prompt": "a", "path": "/x"});
        let read = Request::read(body.clone()).unwrap();
        assert_eq!((read.path.as_deref(), Value::Object(read.body.clone())), (None, body));
        let read = Request::read(json!({"path": "/v2/models/x/infer", "body": {"inputs": []}})).unwrap();
        assert_eq!(read.path.as_deref(), Some("/v2/models/x/infer"));
        assert_eq!(Value::Object(read.body.clone()), json!({"inputs": []}));
        for value in [
            json!([]),
            json!("x"),
            json!(null),
            json!({"path": 1, "body": {}}),
            json!({"path": "/x", "body": []}),
            json!({"path": "//evil.example/../x", "body": {}}),
        ] {
            assert!(Request::read(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_written_as_a_line_is_read_as_the_same() {
        for value in [
            json!({"prompt": "two\nlines \u{1b}[31m"}),
            json!({"path": "/v1/x:predict", "body": {"instances": [[1.5]]}}),
        ] {
            let request = Request::read(value).unwrap();
            let line = request.line();
            assert!(!line.contains(char::is_control), "{line}");
            assert_eq!(Request::read(serde_json::from_str(&line).unwrap()), Ok(request));
        }
    }

    #[test]
    fn no_path_leads_elsewhere() {
        for path in ["/v1/completions", "/v1/models/m:predict", "/", "//x"] {
            assert_eq!(path_problem(path), None, "{path}");
        }
        for path in [
            "",
            "v1",
            "http://evil.example/",
            "/a?b=c",
            "/a#b",
            "/a/../b",
            "/a/.",
            "/a%2e%2e/b",
            "/a\\b",
            "/a b",
            "/a\nHost: b",
            "/ä",
        ] {
            assert!(path_problem(path).is_some(), "{path}");
        }
        assert!(path_problem(&format!("/{}", "a".repeat(2000))).is_some());
    }
}
