//! The way to the API server, on which no question waits for ever.
//!
//! Watches list, and the lease is renewed, by libraries that wait as long as the connection stands. Behind a load balancer,
//! or after a node was lost, a connection can stand for hours without an answer.

use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;

/// The same client, but whoever asks hears within `limit`: an answer has begun, or there is an error to be tried again. What
/// follows of a watch is not limited by it; the watcher itself leaves one that has fallen silent. And a watch that begins with
/// all there is begins with the newest of it.
pub(super) fn limited(client: &Client, limit: Duration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let inner = client.clone();
    let service = tower::service_fn(move |request| {
        let inner = inner.clone();
        async move {
            let answer = tokio::time::timeout(limit, inner.send(newest(request))).await;
            answer
                .map_err(|_| format!("no answer from the API server within {limit:?}"))?
                .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        }
    });
    Client::new(service, namespace)
}

/// The watcher lets the API server begin a watch with any state of the past that its cache may hold (`resourceVersion=0`).
/// Whoever acts on it would undo what was decided since, so it is asked for the newest: without a version.
fn newest(mut request: Request<Body>) -> Request<Body> {
    let streams_list = |query: &str| query.contains("sendInitialEvents=true");
    if request.uri().query().is_some_and(streams_list) {
        let uri = request.uri().to_string().replace("&resourceVersion=0", "");
        // What was a URI is one without a part of its query.
        if let Ok(uri) = uri.parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use http::Response;
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{Api, ListParams, WatchParams};

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

    #[tokio::test]
    async fn a_watch_that_begins_with_a_list_begins_with_the_newest_and_others_where_they_were() {
        let (asked, questions) = std::sync::mpsc::channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let _ = asked.send(request.uri().to_string());
            async { Ok::<_, kube::Error>(Response::new(Body::empty())) }
        });
        let pods: Api<Pod> = Api::default_namespaced(limited(&Client::new(service, "risk"), Duration::from_secs(10)));
        let streamed = WatchParams::default().labels("a=b").initial_events();
        for (params, version, from) in [
            (&streamed, "0", None),
            (&WatchParams::default(), "0", Some("resourceVersion=0")),
            (&WatchParams::default(), "07", Some("resourceVersion=07")),
        ] {
            drop(pods.watch(params, version).await.unwrap());
            let uri = questions.recv().unwrap();
            let mut parts = uri.split(['?', '&']);
            assert_eq!(parts.find(|part| part.starts_with("resourceVersion=")), from, "{uri}");
            assert_eq!(
                uri.contains("resourceVersionMatch=NotOlderThan"),
                from.is_none(),
                "{uri}"
            );
            assert_eq!(uri.contains("labelSelector=a%3Db"), from.is_none(), "{uri}");
        }
    }
}
