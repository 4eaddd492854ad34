//! Serves `/metrics`, `/healthz` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use super::Metrics;

/// Whether the process is ready. It is alive as long as it answers.
#[derive(Debug, Default)]
pub struct Health(AtomicBool);

impl Health {
    /// Makes `/readyz` succeed from now on.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the CRD is there and the watches have begun.
    pub fn ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves until the process ends. Binds before anything else happens, so that a standby answers its probes.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, health: Arc<Health>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let content_type = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    let ready = move || async move {
        if health.ready() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for the CRD\n")
        }
    };
    let router = Router::new()
        .route("/metrics", get(move || async move { (content_type, metrics.text()) }))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready));
    axum::serve(listener, router).await
}
