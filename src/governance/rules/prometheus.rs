//! Prometheus: the servers that may be asked.

use std::collections::BTreeSet;

use url::Url;

use super::asked::Asked;
use super::findings::Findings;

/// Whether a URL lies at or below another: scheme, host and port are equal, and so is the beginning of the path.
pub fn lies_below(url: &Url, prefix: &Url) -> bool {
    let rest = url.path().strip_prefix(prefix.path().trim_end_matches('/'));
    url.origin() == prefix.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Holds the URL of the server that a model asks against those of each policy.
pub(super) fn check(permitted: &BTreeSet<Asked<BTreeSet<String>>>, asked: Option<&str>, findings: &mut Findings) {
    for Asked { what: urls, by } in permitted {
        let problem = match asked.map(Url::parse) {
            None => Some("no server is set: write one of them as spec.prometheus.url".to_owned()),
            Some(Err(error)) => Some(format!("spec.prometheus.url is no URL ({error}): correct it")),
            Some(Ok(url)) => {
                let mut prefixes = urls.iter().filter_map(|prefix| Url::parse(prefix).ok());
                let below = prefixes.any(|prefix| lies_below(&url, &prefix));
                (!below).then(|| {
                    format!(
                        "the model asks {}: write one of them as spec.prometheus.url, or have the policy changed",
                        shown(&url)
                    )
                })
            }
        };
        if let Some(problem) = problem {
            let urls: Vec<_> = urls.iter().map(String::as_str).collect();
            findings.add(
                by,
                "prometheus.urls",
                format!("only servers at {} may be asked, and {problem}", urls.join(", ")),
            );
        }
    }
}

/// The URL without a user name or a password.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
