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
