//! The client of Prometheus' query API.
//!
//! Owns which URLs may be queried, with which credentials, for how long, and how much is read. Reads raw responses, so
//! that warnings of partial data are seen. Must not count or judge: `evidence` and `judge` do.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, LOCATION};
use reqwest::{Certificate, Response, StatusCode, redirect};

use crate::evidence::{Matrix, NativeMatrix, SampleError};

mod access;
mod ask;
mod batch;
mod error;
mod problem;

use access::shown;
pub use access::{AllowedUrls, Authorization, Credentials, Permitted};
pub use ask::{Asker, Servers};
pub use error::PrometheusError;

/// Header in which Mimir and Cortex expect the tenant.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// How much of an error response is read, in bytes.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A query of more bytes is posted as a form.
const LONG_QUERY: usize = 1024;

/// Limits of one query.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// Largest answer, in bytes.
    pub max_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_body: 16 * 1024 * 1024,
        }
    }
}

/// A client of one Prometheus with one set of credentials. Cheap to clone; connections are shared between clones.
#[derive(Clone)]
pub struct PrometheusClient {
    http: prometheus_http_query::Client,
    url: String,
    limits: Limits,
}

impl fmt::Debug for PrometheusClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusClient")
            .field("url", &self.url)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl PrometheusClient {
    /// A client for `url`, if it is allowed. It connects only when it is asked.
    pub fn new(
        url: &str,
        allowed: &AllowedUrls,
        credentials: &Credentials,
        limits: Limits,
    ) -> Result<Self, PrometheusError> {
        let url = allowed.check(url)?;
        // Without a provider reqwest panics; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &credentials.authorization {
            headers.insert(AUTHORIZATION, authorization.header()?);
        }
        if let Some(tenant) = credentials.tenant_header()? {
            headers.insert(TENANT, tenant);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            // The allowed URL is the one that is asked; a redirect would carry the credentials elsewhere.
            .redirect(redirect::Policy::none())
            .timeout(limits.timeout)
            .connect_timeout(limits.timeout);
        if let Some(pem) = &credentials.ca_pem {
            let unusable = |why: String| {
                PrometheusError::InvalidCredentials(format!("the certificate authority is no PEM certificate: {why}"))
            };
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| unusable(root_cause(&error)))?;
            if certificates.is_empty() {
                return Err(unusable("it holds none".into()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if url.scheme() == "http" {
            // There is nothing to verify, and an image without the system's certificates must not fail here.
            builder = builder.tls_certs_only([]);
        }
        let invalid = |error: String| PrometheusError::InvalidCredentials(error);
        let client = builder.build().map_err(|error| invalid(root_cause(&error)))?;
        let url = shown(&url);
        let http = prometheus_http_query::Client::from(client, &url).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { http, url, limits })
    }

    /// Raw samples of a range selector such as `counter{…}[90s]`, as of `at_ms` (Unix ms).
    pub async fn samples(&self, query: &str, at_ms: i64) -> Result<Matrix, PrometheusError> {
        let body = self.ask(query, at_ms).await?;
        Matrix::parse(&body).map_err(|error| self.refused(query, StatusCode::OK, error))
    }

    /// Raw samples of the native histograms of a range selector such as `histogram{…}[90s]`, as of `at_ms` (Unix ms).
    pub async fn natives(&self, query: &str, at_ms: i64) -> Result<NativeMatrix, PrometheusError> {
        let body = self.ask(query, at_ms).await?;
        NativeMatrix::parse(&body).map_err(|error| self.refused(query, StatusCode::OK, error))
    }

    /// The value of a free expression as of `at_ms` (Unix ms).
    pub async fn value(&self, query: &str, at_ms: i64) -> Result<Matrix, PrometheusError> {
        let body = self.ask(query, at_ms).await?;
        Matrix::parse_vector(&body).map_err(|error| self.refused(query, StatusCode::OK, error))
    }

    async fn ask(&self, query: &str, at_ms: i64) -> Result<Vec<u8>, PrometheusError> {
        let question = self
            .http
            .query(query)
            .query(
                "time",
                format!("{}.{:03}", at_ms.div_euclid(1000), at_ms.rem_euclid(1000)),
            )
            .timeout(i64::try_from(self.limits.timeout.as_millis()).unwrap_or(i64::MAX))
            // Each parameter is known to one of the servers and ignored by the others (docs/prometheus.md). Thanos: all
            // stores or an error, raw samples. VictoriaMetrics: all nodes or an error, and the value of now instead of
            // half a minute ago.
            .query("partial_response", "false")
            .query("max_source_resolution", "0s")
            .query("deny_partial_response", "1")
            .query("nocache", "1");
        // Proxies in between often take no URL of more than 8 KiB, and some let nothing through but GET.
        let answer = if query.len() > LONG_QUERY {
            question.post_raw().await
        } else {
            question.get_raw().await
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(prometheus_http_query::Error::Client(error)) => return Err(self.unreachable(error.inner())),
            Err(_) => return Err(self.unreachable(None)),
        };
        if answer.status() == StatusCode::OK {
            return self.read(&mut answer, query).await;
        }
        Err(self.failed(answer, query).await)
    }

    /// Reads the body in chunks, so that nothing beyond the limit is kept in memory, whatever the headers say.
    async fn read(&self, answer: &mut Response, query: &str) -> Result<Vec<u8>, PrometheusError> {
        let limit = self.limits.max_body;
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| self.broke_off(&error, body.len()))?
        {
            if body.len() + chunk.len() > limit {
                return Err(PrometheusError::TooLarge {
                    query: query.into(),
                    limit,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What an answer other than 200 means.
    async fn failed(&self, mut answer: Response, query: &str) -> PrometheusError {
        let (url, status) = (self.url.clone(), answer.status());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return PrometheusError::Unauthorized { url, status };
        }
        if status.is_redirection() {
            let to = answer
                .headers()
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or("elsewhere");
            let detail = format!("it redirects to {to}, and redirects are not followed: set the final address");
            return PrometheusError::NotPrometheus { url, detail };
        }
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BODY
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            body.extend_from_slice(chunk.get(..MAX_ERROR_BODY).unwrap_or(&chunk));
        }
        match Matrix::parse(&body) {
            Err(error @ SampleError::Refused { .. }) => self.refused(query, status, error),
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let detail = String::from_utf8_lossy(&body).chars().take(200).collect();
                PrometheusError::ServerError { url, status, detail }
            }
            _ => PrometheusError::NotPrometheus {
                url,
                detail: format!("/api/v1/query answers {status}"),
            },
        }
    }

    fn refused(&self, query: &str, status: StatusCode, error: SampleError) -> PrometheusError {
        let (url, query, detail) = (self.url.clone(), query.to_owned(), error.to_string());
        match error {
            SampleError::Refused { kind, .. } => match kind.as_str() {
                "timeout" | "canceled" => PrometheusError::Timeout { url, detail },
                "bad_data" | "execution" => PrometheusError::BadQuery { query, detail },
                _ => PrometheusError::ServerError { url, status, detail },
            },
            SampleError::NotJson { .. } | SampleError::Malformed { .. } => {
                PrometheusError::NotPrometheus { url, detail }
            }
            SampleError::Truncated { .. } => PrometheusError::Truncated { url, detail },
            SampleError::WrongType { .. } | SampleError::NativeHistogram { .. } => {
                PrometheusError::BadQuery { query, detail }
            }
            SampleError::TooMany { .. } => PrometheusError::TooManySeries { query, detail },
            SampleError::Partial { .. } => PrometheusError::PartialData { query, detail },
        }
    }

    fn unreachable(&self, error: Option<&reqwest::Error>) -> PrometheusError {
        let url = self.url.clone();
        match error {
            Some(error) if error.is_timeout() => self.timed_out(),
            Some(error) => PrometheusError::Unreachable {
                url,
                detail: root_cause(error),
            },
            None => PrometheusError::Unreachable {
                url,
                detail: "no request could be made".into(),
            },
        }
    }

    fn broke_off(&self, error: &reqwest::Error, read: usize) -> PrometheusError {
        if error.is_timeout() {
            return self.timed_out();
        }
        let detail = format!("after {read} bytes: {}", root_cause(error));
        PrometheusError::Truncated {
            url: self.url.clone(),
            detail,
        }
    }

    fn timed_out(&self) -> PrometheusError {
        let detail = format!("guardbit waits {} ms", self.limits.timeout.as_millis());
        PrometheusError::Timeout {
            url: self.url.clone(),
            detail,
        }
    }
}

/// The innermost cause, because the outer ones say "error sending request" and repeat the URL with the query.
fn root_cause(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes
        .last()
        .map_or_else(|| "no cause given".into(), ToString::to_string)
}
