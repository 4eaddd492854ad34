//! Without metrics nothing moves: Prometheus away, and Prometheus answering nonsense in every way it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use guardbit::api::{Action, QuantizedModelStatus};

use crate::prometheus::OwnPrometheus;
use crate::stage::{http, setting, shared_prometheus};

/// `EvidenceAvailable` as it stands: status, reason, message.
fn evidence(status: &QuantizedModelStatus) -> (String, String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == "EvidenceAvailable");
    found
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_away_for_a_minute_freezes_and_resumes() {
    let setting = setting("outage").variants(&["fp32", "int8"]);
    let mut prometheus = OwnPrometheus::start(setting.namespace()).await;
    let stage = setting.prometheus(&prometheus.url()).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    prometheus.stop();
    let blind = stage.until("blind", |s| evidence(s).1 == "Unreachable").await;
    assert_eq!(evidence(&blind).0, "False");
    let weights = stage.ledger.weights_of("int8");
    // The minute is the case itself: nothing is awaited but its end.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.ledger.weights_of("int8"), weights, "{}", stage.ledger.story());
    prometheus.resume().await;
    stage.until("sees again", |s| evidence(s).0 == "True").await;
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    assert!(stage.status().rejected.is_empty());
    assert_eq!(
        stage.ledger.weights_of("int8"),
        [0, 5, 25, 50, 90],
        "{}",
        stage.ledger.story()
    );
    stage.finish(2).await;
}

/// Ways to answer badly, and the reason that the condition must give.
const BAD: [(&str, &str); 6] = [
    ("401", "Unauthorized"),
    ("500", "ServerError"),
    ("HTML", "NotPrometheus"),
    ("truncated JSON", "Truncated"),
    ("NaN", "NoSamples"),
    ("hangs", "Timeout"),
];

/// What the proxy wants to see.
const TOKEN: &str = "a-token-of-the-test";

/// A proxy before the real Prometheus that wants a token, and answers badly when told to: 0 is well, n is `BAD[n - 1]`.
async fn proxy(mode: Arc<AtomicU8>) -> String {
    async fn answer(State(mode): State<Arc<AtomicU8>>, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        if parts
            .headers
            .get("authorization")
            .is_none_or(|a| a.as_bytes() != format!("Bearer {TOKEN}").as_bytes())
        {
            return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
        }
        let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a small question");
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut ask = http()
            .request(parts.method, format!("{}{path}", shared_prometheus()))
            .body(body);
        if let Some(kind) = parts.headers.get("content-type") {
            ask = ask.header("content-type", kind);
        }
        let text = ask
            .send()
            .await
            .expect("Prometheus answers")
            .text()
            .await
            .expect("text");
        let json = |text: String| ([("content-type", "application/json")], text).into_response();
        match mode.load(Ordering::Relaxed) {
            0 => json(text),
            1 => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
            2 => (StatusCode::INTERNAL_SERVER_ERROR, "out of memory").into_response(),
            3 => axum::response::Html("<html><body>Please log in</body></html>").into_response(),
            4 => json(text.chars().take(text.len() / 2).collect()),
            5 => {
                let mut answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                for series in answer["data"]["result"].as_array_mut().into_iter().flatten() {
                    for sample in series["values"].as_array_mut().into_iter().flatten() {
                        sample[1] = "NaN".into();
                    }
                }
                json(answer.to_string())
            }
            _ => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                json(text)
            }
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(answer).with_state(mode);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_answers_badly_moves_nothing_and_is_named() {
    let mode = Arc::new(AtomicU8::new(0));
    let url = proxy(Arc::clone(&mode)).await;
    let stage = setting("bad-metrics")
        .variants(&["fp32", "int8"])
        .with("/prometheus/url", url.clone().into())
        .with("/prometheus/secretRef", serde_json::json!({"name": "metrics"}))
        .flag("--allow-prometheus-url")
        .flag(&url)
        .flag("--prometheus-timeout=2")
        .start()
        .await;
    // Its rights end at the Secrets of a namespace, until somebody there lets it read them.
    stage.weights(&[("fp32", 95), ("int8", 5)]).await;
    stage
        .until("no right to read the Secret", |s| evidence(s).1 == "SecretUnreadable")
        .await;
    stage.create_secret("metrics", "token", TOKEN).await;
    stage.bind_secret_reader().await;
    stage.until("sees", |s| evidence(s).0 == "True").await;
    assert!(!stage.guardbit.log().contains(TOKEN), "a secret in the log");

    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let weights = stage.ledger.weights_of("int8");
    for (i, (name, reason)) in BAD.iter().enumerate() {
        mode.store(i as u8 + 1, Ordering::Relaxed);
        let status = stage
            .until(&format!("{name}: {reason}"), |s| evidence(s).1 == *reason)
            .await;
        let (truth, _, message) = evidence(&status);
        assert_eq!(truth, "False", "{name}");
        assert!(message.contains("guard "), "{name}: {message}");
        let since = status
            .conditions
            .iter()
            .find(|c| c.type_ == "EvidenceAvailable")
            .map(|c| c.last_transition_time.0);
        assert!(since.is_some());
    }
    // One that nobody has allowed is not even asked.
    stage
        .patch(serde_json::json!({"prometheus": {"url": "http://127.0.0.1:1"}}))
        .await;
    stage
        .until("a URL that is not allowed", |s| evidence(s).1 == "UrlNotAllowed")
        .await;
    assert_eq!(stage.ledger.weights_of("int8"), weights, "{}", stage.ledger.story());
    mode.store(0, Ordering::Relaxed);
    stage.patch(serde_json::json!({"prometheus": {"url": url}})).await;
    stage.until("sees again", |s| evidence(s).0 == "True").await;
    stage.decided(Action::Promoted, "int8").await;
    assert_eq!(stage.ledger.weights_of("int8")[..3], [0, 5, 25]);
    stage.finish(1).await;
}
