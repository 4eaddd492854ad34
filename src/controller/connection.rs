//! The way to the API server, on which no question waits for ever.
//!
//! Watches list, and the lease is renewed, by libraries that wait as long as the connection stands. Behind a load balancer,
//! or after a node was lost, a connection can stand for hours without an answer.

use std::time::Duration;

use kube::Client;

/// The same client, but whoever asks hears within `limit`: an answer has begun, or there is an error to be tried again. What
/// follows of a watch is not limited by it; the watcher itself leaves one that has fallen silent.
pub(super) fn limited(client: &Client, limit: Duration) -> Client {
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
