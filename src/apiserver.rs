//! Calls to the API server, each with a timeout.
//!
//! Owns the timeout of a call and what a failed one means. The libraries that list for watches and renew the lease wait
//! as long as the connection is open; behind a load balancer, or after a node was lost, a connection can stay open for
//! hours without an answer. Must not know what is asked for.

use std::time::Duration;

use kube::Client;
use kube::core::Status;

/// Longest time of one call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused.
    #[error("{what}: {}", words(source))]
    Api {
        /// What the call was to do.
        what: String,
        /// The error that kube returned.
        source: Box<kube::Error>,
    },
    /// The call took too long.
    #[error("{0}: no answer from the API server within {CALL_TIMEOUT:?}")]
    Timeout(String),
    /// Another client wrote the object since it was read.
    #[error("{0} was written by somebody else since it was read; evaluating again")]
    Conflict(String),
}

impl CallError {
    /// Whether the API server was unreachable or failing, so that the same call may succeed when it is tried again.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => status.code >= 500,
                source => matches!(source, kube::Error::Service(_) | kube::Error::HyperError(_)),
            },
            Self::Conflict(_) => false,
        }
    }

    /// What the API server answered, if it has.
    pub fn status(&self) -> Option<&Status> {
        let Self::Api { source, .. } = self else { return None };
        match &**source {
            kube::Error::Api(status) => Some(status.as_ref()),
            _ => None,
        }
    }

    /// What the API server says where it did not take an object: what is wrong with it, a quota, a webhook that refuses or
    /// does not answer. `None` where it might take it at the next moment.
    pub fn refusal(&self) -> Option<String> {
        let Self::Api { source, .. } = self else { return None };
        let status = self.status()?;
        let refuses = match status.code {
            429 => false,
            code if code < 500 => true,
            _ => status.message.contains("webhook"),
        };
        refuses.then(|| words(source))
    }
}

/// An error of a call in a sentence: the API server's own where it has answered.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        other => other.to_string(),
    }
}

/// Runs one call to the API server under its timeout.
pub async fn call<T>(what: impl Into<String>, future: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    let what = what.into();
    match tokio::time::timeout(CALL_TIMEOUT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(CallError::Conflict(what)),
        Ok(Err(source)) => Err(CallError::Api {
            what,
            source: Box::new(source),
        }),
        Err(_) => Err(CallError::Timeout(what)),
    }
}

/// Runs one call as [`call`] does, and returns `None` for an object that does not exist.
pub async fn call_opt<T>(
    what: impl Into<String>,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, CallError> {
    match call(what, future).await {
        Ok(value) => Ok(Some(value)),
        Err(CallError::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A client whose calls return within `limit`: either the answer has begun, or there is an error to retry. The events
/// of a watch that follow are not limited; the watcher itself ends a watch that has fallen silent.
pub fn limited(client: &Client, limit: Duration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let inner = client.clone();
    let service = tower::service_fn(move |request| {
        let inner = inner.clone();
        async move {
            let answer = tokio::time::timeout(limit, inner.send(request)).await;
            answer
                .map_err(|_| format!("no answer from the API server within {limit:?}"))?
                .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{Api, ListParams};
    use kube::client::Body;

    use super::*;

    /// An API server that answers lists and never anything else.
    fn server() -> Client {
        let service = tower::service_fn(|request: Request<Body>| async move {
            if request.uri().path().ends_with("/pods") {
                let list = r#"{"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []}"#;
                return Ok::<_, kube::Error>(Response::new(Body::from(list.as_bytes().to_vec())));
            }
            std::future::pending().await
        });
        Client::new(service, "risk")
    }

    #[test]
    fn a_refusal_is_told_from_an_api_server_that_is_busy_or_away() {
        let refusal = |code: u16, message: &str| {
            let mut status = kube::core::Status::failure(message, "Reason");
            status.code = code;
            let source = Box::new(kube::Error::Api(Box::new(status)));
            let what = "apply Deployment d".to_owned();
            CallError::Api { what, source }.refusal()
        };
        for (code, message) in [
            (422, "spec.replicas: Invalid value"),
            (403, "exceeded quota: gpus"),
            (500, "failed calling webhook \"policy.example\": connection refused"),
        ] {
            assert_eq!(refusal(code, message).as_deref(), Some(message), "{code}");
        }
        for (code, message) in [
            (429, "too many requests"),
            (503, "shutting down"),
            (500, "etcdserver: leader changed"),
        ] {
            assert_eq!(refusal(code, message), None, "{code}");
        }
    }

    #[tokio::test]
    async fn who_asks_hears_within_the_limit() {
        let limited = limited(&server(), Duration::from_millis(20));
        assert_eq!(limited.default_namespace(), "risk");
        let pods: Api<Pod> = Api::default_namespaced(limited);
        assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 0);
        let hangs = tokio::time::timeout(Duration::from_secs(10), pods.get("p")).await;
        let error = hangs.expect("an answer or an error").unwrap_err();
        assert!(
            format!("{error:?}").contains("no answer from the API server within 20ms"),
            "{error:?}"
        );
    }
}
