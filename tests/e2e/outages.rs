//! Without metrics nothing moves: Prometheus away, and Prometheus answering nonsense in every way it can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use guardbit::api::{Action, QuantizedModelStatus};
use serde_json::Value;

use crate::acts::condition;
use crate::prometheus::OwnPrometheus;
use crate::stage::{http, setting, shared_prometheus};

/// `EvidenceAvailable` as it stands: status, reason, message.
fn evidence(status: &QuantizedModelStatus) -> (String, String, String) {
    condition(status, "EvidenceAvailable")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_away_for_a_minute_freezes_and_resumes() {
    freezes_and_resumes("outage", Duration::from_secs(60)).await;
}

/// Prometheus is taken away for so long.
pub async fn freezes_and_resumes(test: &str, away: Duration) {
    let setting = setting(test).variants(&["fp32", "int8"]);
    let mut prometheus = OwnPrometheus::start(setting.namespace()).await;
    let stage = setting.prometheus(&prometheus.url()).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    prometheus.stop();
    let blind = stage.until("blind", |s| evidence(s).1 == "Unreachable").await;
    assert_eq!(evidence(&blind).0, "False");
    let weights = stage.ledger.weights_of("int8");
    // The time is the case itself: nothing is awaited but its end.
    tokio::time::sleep(away).await;
    assert_eq!(stage.ledger.weights_of("int8"), weights, "{}", stage.ledger.story());
    prometheus.resume().await;
    stage.until("sees again", |s| evidence(s).0 == "True").await;
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    assert!(stage.status().rejected.is_empty());
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

/// How the proxy answers now, and how often it was asked.
#[derive(Default)]
pub struct Mode {
    way: Mutex<Way>,
    pub asked: AtomicUsize,
}

#[derive(Default, Clone, Copy)]
struct Way {
    name: &'static str,
    /// Since when, Unix seconds.
    since: f64,
}

impl Mode {
    /// From now on it answers in this way; any that it does not know is well.
    pub fn set(&self, name: &'static str) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .as_secs_f64();
        *self.way.lock().unwrap() = Way { name, since };
    }
}

/// A proxy before the real Prometheus that wants a token if told so, and answers badly when told to.
pub async fn proxy(mode: Arc<Mode>, token: Option<&'static str>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(answer).with_state((mode, token));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(State((mode, token)): State<(Arc<Mode>, Option<&'static str>)>, request: Request<Body>) -> Response {
    mode.asked.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let wanted = token.map(|token| format!("Bearer {token}"));
    let shown = parts.headers.get("authorization").map(|a| a.as_bytes().to_vec());
    if wanted.is_some_and(|wanted| shown.as_deref() != Some(wanted.as_bytes())) {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    let text = truth(&parts, body).await;
    let json = |text: String| ([("content-type", "application/json")], text).into_response();
    let way = *mode.way.lock().unwrap();
    match way.name {
        "401" => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
        "500" => (StatusCode::INTERNAL_SERVER_ERROR, "out of memory").into_response(),
        "HTML" => axum::response::Html("<html><body>Please log in</body></html>").into_response(),
        "truncated JSON" => json(text.chars().take(text.len() / 2).collect()),
        "hangs" => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            json(text)
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            json(text)
        }
        "NaN" => json(samples(&text, |_, sample| {
            sample[1] = "NaN".into();
            true
        })),
        // Nothing that is newer than the moment: a server whose scrapes have stopped.
        "stale" => json(samples(&text, |at, _| at <= way.since)),
        "empty" => json(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned()),
        "partial" => {
            let mut answer: Value = serde_json::from_str(&text).expect("JSON");
            answer["warnings"] = serde_json::json!(["store sidecar-2 did not answer in time"]);
            json(answer.to_string())
        }
        _ => json(text),
    }
}

/// What the real Prometheus answers.
async fn truth(parts: &axum::http::request::Parts, body: Body) -> String {
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a small question");
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let mut ask = http()
        .request(parts.method.clone(), format!("{}{path}", shared_prometheus()))
        .body(body);
    if let Some(kind) = parts.headers.get("content-type") {
        ask = ask.header("content-type", kind);
    }
    let answer = ask.send().await.expect("Prometheus answers");
    answer.text().await.expect("text")
}

/// An answer with the samples that `keep` leaves in it.
fn samples(text: &str, keep: impl Fn(f64, &mut Value) -> bool) -> String {
    let mut answer: Value = serde_json::from_str(text).expect("JSON");
    for series in answer["data"]["result"].as_array_mut().into_iter().flatten() {
        if let Some(values) = series["values"].as_array_mut() {
            values.retain_mut(|sample| keep(sample[0].as_f64().expect("a time"), sample));
        }
    }
    answer.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_answers_badly_moves_nothing_and_is_named() {
    let mode = Arc::new(Mode::default());
    let url = proxy(Arc::clone(&mode), Some(TOKEN)).await;
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
    for (name, reason) in BAD {
        mode.set(name);
        let status = stage
            .until(&format!("{name}: {reason}"), |s| evidence(s).1 == reason)
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
    mode.set("well");
    stage.patch(serde_json::json!({"prometheus": {"url": url}})).await;
    stage.until("sees again", |s| evidence(s).0 == "True").await;
    stage.decided(Action::Promoted, "int8").await;
    assert_eq!(stage.ledger.weights_of("int8")[..3], [0, 5, 25]);
    stage.finish(1).await;
}
