//! Which Prometheus servers may be asked, and with which credentials.
//!
//! Owns the comparison of URLs and the hiding of secrets. Must not connect.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderValue;
use url::Url;

use crate::governance::{Asked, lies_below};

use super::error::PrometheusError;

/// URLs that may be queried, as prefixes from the operator's flags. Without a prefix none may be.
#[derive(Clone, Debug, Default)]
pub struct AllowedUrls(Vec<Url>);

impl AllowedUrls {
    /// Reads the prefixes, such as `http://prometheus.monitoring:9090` or `https://metrics.example/tenants/a`.
    ///
    /// Fails on the first that is not a plain http(s) URL.
    pub fn parse<S: AsRef<str>>(prefixes: impl IntoIterator<Item = S>) -> Result<Self, PrometheusError> {
        prefixes
            .into_iter()
            .map(|prefix| plain_url(prefix.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The URL, if it may be queried: scheme, host and port must be equal to those of a prefix, and the path must lie
    /// at or below that of the prefix.
    pub fn check(&self, url: &str) -> Result<Url, PrometheusError> {
        let url = plain_url(url)?;
        if self.0.iter().any(|prefix| lies_below(&url, prefix)) {
            return Ok(url);
        }
        let url = shown(&url);
        let why = format!(
            "it lies below none of the allowed URLs; ask the owner of the operator to add --allow-prometheus-url={url}"
        );
        Err(PrometheusError::UrlNotAllowed { url, why })
    }
}

/// Base URLs of which policies let servers be asked: one of each set, or one below it. They narrow the operator's flags.
pub type Permitted = BTreeSet<Asked<BTreeSet<String>>>;

/// Fails on the first set of the policies that a URL lies below none of.
pub(super) fn check_permitted(url: &str, permitted: &Permitted) -> Result<(), PrometheusError> {
    let url = plain_url(url)?;
    let lies = |prefix: &String| Url::parse(prefix).is_ok_and(|prefix| lies_below(&url, &prefix));
    let Some(Asked { what, by }) = permitted.iter().find(|of| !of.what.iter().any(lies)) else {
        return Ok(());
    };
    let list = |texts: &BTreeSet<String>| texts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let why = format!(
        "the policy {} lets only servers at {} be asked; write one of them as spec.prometheus.url, or have the policy changed",
        list(by),
        list(what)
    );
    Err(PrometheusError::UrlNotAllowed { url: shown(&url), why })
}

/// A URL that all readers understand alike, without a slash at the end.
fn plain_url(text: &str) -> Result<Url, PrometheusError> {
    let refused = |url: String, why: &str| PrometheusError::UrlNotAllowed { url, why: why.into() };
    let mut url = Url::parse(text.trim()).map_err(|_| refused("<not a URL>".into(), "it is not a URL"))?;
    let why = if !matches!(url.scheme(), "http" | "https") {
        Some("its scheme is neither http nor https")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("it holds a user name or password; put them in the Secret that prometheus.secretRef names")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("it has a query or a fragment")
    } else if url.path().contains(['%', '\\']) {
        // A proxy may decode %2e%2e%2f after the prefix was compared.
        Some("its path holds escapes")
    } else {
        None
    };
    if let Some(why) = why {
        return Err(refused(shown(&url), why));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The URL without what may be secret.
pub(super) fn shown(url: &Url) -> String {
    format!(
        "{}://{}{}",
        url.scheme(),
        &url[url::Position::BeforeHost..url::Position::AfterPort],
        url.path().trim_end_matches('/')
    )
}

/// Credentials for Prometheus, from a Secret.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The header to send.
    pub authorization: Option<Authorization>,
    /// Tenant whose series are asked for, if the server keeps those of several.
    pub tenant: Option<String>,
    /// Certificates in PEM of the authority that signed the server's; the system's when left out.
    pub ca_pem: Option<Vec<u8>>,
}

/// Content of the `Authorization` header.
#[derive(Clone)]
pub enum Authorization {
    /// A bearer token.
    Bearer(String),
    /// User name and password.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
}

impl Credentials {
    /// The value of the tenant's header.
    pub(super) fn tenant_header(&self) -> Result<Option<HeaderValue>, PrometheusError> {
        let header = |tenant: &String| {
            let tenant = tenant.trim();
            let text = HeaderValue::try_from(tenant).ok().filter(|_| !tenant.is_empty());
            text.ok_or_else(|| {
                PrometheusError::InvalidCredentials(format!(
                    "the tenant {tenant:?} cannot stand in a header: write it in letters, digits and -_.|"
                ))
            })
        };
        self.tenant.as_ref().map(header).transpose()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            authorization,
            tenant,
            ca_pem,
        } = self;
        let ca_pem = ca_pem.as_ref().map(|pem| format!("{} bytes", pem.len()));
        f.debug_struct("Credentials")
            .field("authorization", authorization)
            .field("tenant", tenant)
            .field("ca_pem", &ca_pem)
            .finish()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer(hidden)",
            Self::Basic { .. } => "Basic(hidden)",
        })
    }
}

impl Authorization {
    pub(super) fn header(&self) -> Result<HeaderValue, PrometheusError> {
        let text = match self {
            // Secrets written with an editor end in a line break.
            Self::Bearer(token) => format!("Bearer {}", token.trim()),
            Self::Basic { user, password } => format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))),
        };
        let mut header = HeaderValue::try_from(text).map_err(|_| {
            PrometheusError::InvalidCredentials("the bearer token holds a line break or a control character".into())
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, PrometheusClient};
    use super::*;

    #[test]
    fn only_urls_at_or_below_an_allowed_one_may_be_queried() {
        let allowed =
            AllowedUrls::parse(["http://prom.monitoring:9090", "https://metrics.example/tenants/a/"]).unwrap();
        let cases = [
            ("http://prom.monitoring:9090", Some("http://prom.monitoring:9090")),
            ("http://prom.monitoring:9090/", Some("http://prom.monitoring:9090")),
            (
                "http://PROM.monitoring:9090/sub/path/",
                Some("http://prom.monitoring:9090/sub/path"),
            ),
            (
                "https://metrics.example:443/tenants/a",
                Some("https://metrics.example/tenants/a"),
            ),
            (
                "https://metrics.example/tenants/a/b",
                Some("https://metrics.example/tenants/a/b"),
            ),
            ("https://prom.monitoring:9090", None),
            ("http://prom.monitoring", None),
            ("http://prom.monitoring:9090.evil.example", None),
            ("http://prom.monitoring.evil.example:9090", None),
            ("http://prom.monitoring:9090@evil.example", None),
            ("http://evil.example#@prom.monitoring:9090", None),
            ("http://user@prom.monitoring:9090", None),
            ("https://metrics.example/tenants/ab", None),
            ("https://metrics.example/tenants/a/../b", None),
            ("https://metrics.example/tenants/a/%2e%2e/b", None),
            ("https://metrics.example/tenants/a/..%2fb", None),
            ("https://metrics.example/tenants/a\\..\\b", None),
            ("https://metrics.example/tenants/a?x=/", None),
            ("https://metrics.example/tenants", None),
            ("file:///etc/passwd", None),
            ("prom.monitoring:9090", None),
            ("", None),
        ];
        for (url, expected) in cases {
            assert_eq!(
                allowed.check(url).ok().as_ref().map(shown).as_deref(),
                expected,
                "{url}"
            );
        }
        assert!(
            AllowedUrls::default().check("http://prom.monitoring:9090").is_err(),
            "none allowed: none may"
        );
    }

    #[test]
    fn a_server_is_asked_where_it_lies_below_one_url_of_each_policy() {
        let of = |policy: &str, urls: &[&str]| Asked {
            what: urls.iter().map(|url| (*url).to_owned()).collect(),
            by: [policy.to_owned()].into(),
        };
        let both: Permitted = [
            of("bank", &["http://prometheus:9090", "https://metrics.example"]),
            of("risk", &["https://metrics.example/risk/"]),
        ]
        .into();
        assert!(check_permitted("https://metrics.example/risk/eu", &both).is_ok());
        assert!(check_permitted("http://anywhere", &Permitted::new()).is_ok());
        for (url, policy) in [
            ("http://prometheus:9090", "the policy risk lets"),
            ("https://metrics.example/risky", "the policy risk lets"),
            ("http://localhost:9090", "the policy bank lets"),
            ("https://u:hunter2@metrics.example/risk", "user name or password"),
            ("prometheus", "it is not a URL"),
        ] {
            let error = check_permitted(url, &both).expect_err(url);
            assert_eq!(error.reason().to_string(), "UrlNotAllowed");
            let text = error.to_string();
            assert!(text.contains(policy) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_url_and_the_flag_but_no_password() {
        let error = AllowedUrls::default()
            .check("http://u:hunter2@evil.example/x")
            .unwrap_err();
        assert_eq!(error.reason().to_string(), "UrlNotAllowed");
        let text = error.to_string();
        assert!(text.contains("may not query http://evil.example/x"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let text = AllowedUrls::default()
            .check("http://evil.example/x")
            .unwrap_err()
            .to_string();
        assert!(text.contains("--allow-prometheus-url=http://evil.example/x"), "{text}");
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        for authorization in [
            Authorization::Bearer("s3cret".into()),
            Authorization::Basic {
                user: "s3cret".into(),
                password: "s3cret".into(),
            },
        ] {
            assert!(!format!("{:?}", authorization.header().unwrap()).contains("s3cret"));
            let credentials = Credentials {
                authorization: Some(authorization),
                tenant: None,
                ca_pem: Some(b"s3cret".to_vec()),
            };
            let allowed = AllowedUrls::parse(["http://p"]).unwrap();
            let text = format!("{credentials:?}");
            assert!(!text.contains("s3cret") && text.contains("hidden"), "{text}");
            let error = PrometheusClient::new("http://p", &allowed, &credentials, Limits::default()).unwrap_err();
            assert_eq!(error.reason().to_string(), "InvalidCredentials", "{error}");
        }
    }
}
