//! The client of one arm: one request, one answer, and nothing that an arm can do costs more than its limits.
//!
//! Owns how long is waited, how much is read, and what is sent: a content type, and a bearer token where one is given.
//! Redirects are not followed and proxies of the environment are not used, so that a request reaches the arm or nobody.
//! Nothing is asked twice. Must not know what an answer means.

use std::error::Error as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect;
use url::{Host, Position, Url};

use crate::api::plain;

use super::protocol::{Prepared, Unreadable};

/// Longest cause of a failed connection that is kept, in characters.
const LONGEST_CAUSE: usize = 200;

/// Limits of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time until the connection stands.
    pub connect: Duration,
    /// Time from the connection to the last byte of the answer.
    pub total: Duration,
    /// Largest answer, in bytes.
    pub longest: usize,
}

impl Default for Limits {
    /// 5 s for the connection, 30 s in all, 256 KiB: sixteen pairs at once must not fill the memory of a small pod.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(30),
            longest: 256 * 1024,
        }
    }
}

/// Why an arm gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// It took too long.
    #[error("it did not answer in time")]
    Timeout,
    /// It answered with another status than 2xx.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Its answer is none of the protocol.
    #[error("its answer cannot be read: {0}")]
    Unreadable(Unreadable),
    /// Its answer is longer than the limit.
    #[error("its answer is too long")]
    TooLarge,
    /// It ended the connection before its answer.
    #[error("it broke off: {0}")]
    BrokeOff(String),
    /// No connection was made.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

impl Failure {
    /// The reason, as metrics name it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::Unreadable(_) => "unparsable",
            Self::TooLarge => "too_large",
            Self::BrokeOff(_) => "broke_off",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Whether it says that the arm has no capacity now, or is not there, and nothing about how it answers: it answered
    /// 429 or 503, ran out of time, or took no connection. Whoever asks should wait before asking again.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Timeout | Self::Status(429 | 503) | Self::Unreachable(_))
    }

    /// Whether the arm did not take the question as it was written (400, 422, 501).
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(400 | 422 | 501))
    }
}

/// Why there is no client of an arm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// The URL cannot be used.
    #[error("{0:?} is no URL of a model server: {1}; write it like http://fraud-int8.ml:8080")]
    Url(String, &'static str),
    /// The token cannot stand in a header.
    #[error("the bearer token holds a line break or a control character: write it on one line of its file")]
    Token,
    /// The client cannot be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

/// One arm, and how it is asked. Cheap to clone; connections are shared between clones.
#[derive(Clone, Debug)]
pub struct Arm {
    client: reqwest::Client,
    url: String,
    longest: usize,
}

impl Arm {
    /// The arm at an http(s) URL, whose path, if it has one, comes before that of every request; a `/v1` at its end and one
    /// at the beginning of the request's path are the same. It connects only when it is asked. `token` is sent as a bearer token.
    pub fn new(url: &str, token: Option<&str>, limits: Limits) -> Result<Self, ArmError> {
        let url = base(url)?;
        // Without a provider reqwest panics; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            let header = HeaderValue::try_from(format!("Bearer {}", token.trim()));
            let mut header = header.map_err(|_| ArmError::Token)?;
            header.set_sensitive(true);
            headers.insert(AUTHORIZATION, header);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits.connect)
            .timeout(limits.total);
        if url.starts_with("http:") {
            // There is nothing to verify, and an image without the system's certificates must not fail here.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| ArmError::Client(cause(&error)))?;
        Ok(Self {
            client,
            url,
            longest: limits.longest,
        })
    }

    /// The URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether another arm has a URL of the same server, however the two are written.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.url == other.url || server(&self.url).is_some_and(|one| server(&other.url) == Some(one))
    }

    /// Posts a request. Gives the body of the answer, at most as many bytes as the limit allows.
    pub async fn ask(&self, prepared: &Prepared) -> Result<Vec<u8>, Failure> {
        let url = address(&self.url, &prepared.path);
        let answer = self.client.post(url).body(prepared.body.clone()).send().await;
        let mut answer = answer.map_err(|error| failure(&error))?;
        if !answer.status().is_success() {
            return Err(Failure::Status(answer.status().as_u16()));
        }
        // In chunks, so that nothing beyond the limit is kept in memory, whatever the headers say.
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > self.longest {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        // One that timed out on its way has not asked anything; what follows from it is the same.
        Failure::Timeout
    } else if error.is_connect() || error.is_builder() {
        Failure::Unreachable(cause(error))
    } else {
        Failure::BrokeOff(cause(error))
    }
}

/// The innermost cause, because the outer ones say "error sending request" and repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let told = causes
        .last()
        .map_or_else(|| "no cause given".to_owned(), ToString::to_string);
    plain(&told, LONGEST_CAUSE)
}

/// Where a request goes. Clients of OpenAI's API are given URLs that end in `/v1`, and so are we.
fn address(base: &str, path: &str) -> String {
    let base = match base.strip_suffix("/v1") {
        Some(root) if path.starts_with("/v1/") && !root.ends_with('/') => root,
        _ => base,
    };
    format!("{base}{path}")
}

/// Scheme, host, port and path of a server, the same for all ways to write them: with a `/v1` at the end or without,
/// and the machine itself by name or by address.
fn server(url: &str) -> Option<(String, String, Option<u16>, String)> {
    let url = Url::parse(url).ok()?;
    let host = url.host()?;
    let is_here = match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address == Ipv4Addr::LOCALHOST,
        Host::Ipv6(address) => address == Ipv6Addr::LOCALHOST,
    };
    let host = if is_here {
        "localhost".to_owned()
    } else {
        host.to_string()
    };
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/');
    Some((
        url.scheme().to_owned(),
        host,
        url.port_or_known_default(),
        path.to_owned(),
    ))
}

/// A URL that all readers understand alike, without a slash at its end.
fn base(text: &str) -> Result<String, ArmError> {
    let refused = |why| Err(ArmError::Url(plain(text, LONGEST_CAUSE), why));
    let Ok(url) = Url::parse(text.trim()) else {
        return refused("it cannot be read");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refused("its scheme is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text would show them.
        return Err(ArmError::Url("<hidden>".to_owned(), "it holds a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() || url.path().contains(['%', '\\']) {
        return refused("it has a query, a fragment or escapes");
    }
    Ok(url[..Position::AfterPath].trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_arms() {
        for (text, url) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            (" http://arm.ml:80/ ", "http://arm.ml"),
            ("https://arm.ml/openai/", "https://arm.ml/openai"),
            ("http://[::1]:9000/a/../b", "http://[::1]:9000/b"),
        ] {
            assert_eq!(base(text).as_deref(), Ok(url), "{text}");
        }
        for text in [
            "",
            "arm:8080",
            "/v1",
            "ftp://arm.ml",
            "file:///etc/passwd",
            "http://user:secret@arm.ml",
            "http://arm.ml?token=x",
            "http://arm.ml/#x",
            "http://arm.ml/a%2fb",
        ] {
            let error = base(text).unwrap_err().to_string();
            assert!(error.contains("write it like http://"), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn one_server_is_known_however_its_url_is_written() {
        let arm = |url| Arm::new(url, None, Limits::default()).unwrap();
        for (one, other, same) in [
            ("http://a:8000", "http://a:8000", true),
            ("http://a:8000/", "http://A:8000", true),
            ("http://a:8000/v1", "http://a:8000", true),
            ("http://a:8000/v1/", "http://a:8000/", true),
            ("http://a:80", "http://a", true),
            ("http://localhost:8000", "http://127.0.0.1:8000/v1", true),
            ("http://LOCALHOST:8000", "http://[::1]:8000", true),
            ("http://a:8000", "http://a:8001", false),
            ("http://a", "http://b", false),
            ("http://a", "http://a:443", false),
            ("http://a/int8", "http://a/fp16", false),
            ("http://127.0.0.1:8000", "http://127.0.0.2:8000", false),
        ] {
            assert_eq!(arm(one).is_same_server(&arm(other)), same, "{one} {other}");
        }
    }

    #[test]
    fn a_version_is_not_written_twice() {
        for (base, path, url) in [
            ("http://a", "/v1/completions", "http://a/v1/completions"),
            ("http://a/v1", "/v1/completions", "http://a/v1/completions"),
            (
                "http://a/openai/v1",
                "/v1/chat/completions",
                "http://a/openai/v1/chat/completions",
            ),
            ("http://a/v1", "/v2/models/m/infer", "http://a/v1/v2/models/m/infer"),
            ("http://a/v1", "/completions", "http://a/v1/completions"),
            ("http://a/xv1", "/v1/completions", "http://a/xv1/v1/completions"),
            ("http://v1", "/v1/completions", "http://v1/v1/completions"),
        ] {
            assert_eq!(address(base, path), url);
        }
    }

    #[test]
    fn tokens_stand_in_a_header_and_are_not_shown() {
        let arm = Arm::new("http://arm.ml", Some("s3cret\n"), Limits::default()).unwrap();
        assert!(!format!("{arm:?}").contains("s3cret"), "{arm:?}");
        let broken = Arm::new("http://arm.ml", Some("a\nb"), Limits::default());
        assert_eq!(broken.unwrap_err(), ArmError::Token);
    }

    #[test]
    fn what_says_nothing_about_answers_is_told_from_what_does() {
        let busy = [
            Failure::Timeout,
            Failure::Status(429),
            Failure::Status(503),
            Failure::Unreachable(String::new()),
        ];
        let answers = [
            Failure::Status(500),
            Failure::Status(400),
            Failure::Status(302),
            Failure::TooLarge,
            Failure::BrokeOff(String::new()),
            Failure::Unreadable(Unreadable::Form("it is no JSON")),
        ];
        assert!(busy.iter().all(Failure::is_busy));
        assert!(!answers.iter().any(Failure::is_busy));
    }
}
