//! A Prometheus that has counted exactly the requests which the weights on the route stand for. No noise: what differs
//! between two runs is the fault.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::calls::plain;
use crate::history::History;

/// Requests a second, over all arms.
const RPS: f64 = 4_000.0;

/// Milliseconds between two scrapes.
const SCRAPE: i64 = 250;

/// How long it is away when it is: a few evaluations.
const BLIND: Duration = Duration::from_secs(4);

/// Which share of the requests fails: of a variant, at its weight.
pub type Badness = fn(&str, i64) -> f64;

/// One world's metrics.
pub struct Metrics {
    history: Arc<History>,
    badness: Badness,
    begun: i64,
    blind_until: Mutex<Option<Instant>>,
}

impl Metrics {
    /// Serves on loopback; gives the URL as well, and the server to end.
    pub async fn serve(history: Arc<History>, badness: Badness) -> (Arc<Self>, String, AbortHandle) {
        let metrics = Arc::new(Self {
            history,
            badness,
            begun: Timestamp::now().as_millisecond(),
            blind_until: Mutex::new(None),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let query = async |State(metrics): State<Arc<Self>>, RawQuery(query): RawQuery, body: String| {
            let blind = metrics
                .blind_until
                .lock()
                .unwrap()
                .is_some_and(|until| Instant::now() < until);
            if blind {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            // In the URL, or as a form.
            axum::Json(metrics.answer(&format!("{}&{body}", query.unwrap_or_default()))).into_response()
        };
        let router = axum::Router::new().fallback(query).with_state(Arc::clone(&metrics));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        (metrics, url, server.abort_handle())
    }

    /// Nobody gets an answer for a while.
    pub fn go_blind(&self) {
        *self.blind_until.lock().unwrap() = Some(Instant::now() + BLIND);
    }

    fn answer(&self, form: &str) -> Value {
        let field = |key: &str| {
            url::form_urlencoded::parse(form.as_bytes())
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.into_owned())
        };
        let (query, time) = (field("query").expect("a query"), field("time").expect("a time"));
        let at = (time.parse::<f64>().expect("seconds") * 1000.0) as i64;
        // http_requests_total{code=~"5..",namespace="…",pod=~"(?:<deployment>|<deployment>)-[a-z0-9]+-[a-z0-9]{5}"}[5s]
        let namespace = between(&query, "namespace=\"", "\"").expect("a namespace");
        let window = milliseconds(between(&query, "}[", "]").expect("a range"));
        let bad = query.contains("code=~");
        let first = (at - window).max(self.begun).div_euclid(SCRAPE) + 1;
        let result: Vec<Value> = deployments(&query)
            .map(|deployment| {
                let times = (first..=at.div_euclid(SCRAPE)).map(|i| i * SCRAPE);
                let value = |t| json!([t as f64 / 1000.0, self.counted(deployment, bad, t).to_string()]);
                let pod = format!("{deployment}-metrics-count");
                let labels = json!({"__name__": "http_requests_total", "namespace": namespace, "pod": pod});
                json!({"metric": labels, "values": times.map(value).collect::<Vec<_>>()})
            })
            .collect();
        json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
    }

    /// What the counter of an arm stands at.
    fn counted(&self, deployment: &str, bad: bool, at: i64) -> u64 {
        let variant = plain(deployment).rsplit('-').next().unwrap_or_default();
        let share = |weight| if bad { (self.badness)(variant, weight) } else { 1.0 };
        served(&self.history.weights_of(deployment), at, share)
    }
}

/// Requests of an arm until then, of those that have this share of all at a weight.
pub fn served(weights: &[(i64, i64)], at: i64, share: impl Fn(i64) -> f64) -> u64 {
    let ends = weights.iter().skip(1).map(|(t, _)| *t).chain([i64::MAX]);
    let stretches = weights.iter().zip(ends).map(|((from, weight), to)| {
        let millis = (to.min(at) - from).max(0) as f64;
        millis / 1000.0 * RPS * *weight as f64 / 100.0 * share(*weight)
    });
    stretches.sum::<f64>() as u64
}

/// The Deployments whose pods a query asks for.
fn deployments(query: &str) -> impl Iterator<Item = &str> {
    let names = query
        .split_once("-[a-z0-9]+-[a-z0-9]{5}")
        .map(|(before, _)| before.trim_end_matches(')'));
    let names = names.and_then(|names| names.rsplit(['"', ':']).next());
    names.into_iter().flat_map(|names| names.split('|'))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// A duration of PromQL, such as `1m30s` or `5s250ms`.
fn milliseconds(text: &str) -> i64 {
    let mut sum = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("a unit");
        let number: i64 = rest[..digits].parse().expect("a number");
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        sum += number
            * match &rest[..unit] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                other => panic!("{text}: {other} is no unit"),
            };
        rest = &rest[unit..];
    }
    sum
}
