//! Serves scores: `GET /v1/score?id=N` (the N-th held-out transaction) or `POST /v1/score` with features. Exports requests
//! by code, a latency histogram and an output-score histogram. Faults can be switched on for tests.
//!
//! It speaks the Open Inference Protocol as well: `POST /v2/models/fraud-scorer/infer`. What is asked over it is counted
//! apart, so that questions of a comparer are told from requests of users.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::artifact::Model;
use crate::dataset::{FEATURES, HELD_OUT};
use crate::faults::Faults;
use crate::infer::{self, Questions};
use crate::numerics::{Random, sigmoid};
use crate::uses::Uses;

/// Most bytes of a question over the Open Inference Protocol. Tensors are large.
const LONGEST_QUESTION: usize = 16 * 1024 * 1024;

/// Flags of `model-server serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Weights file; `/weights/<GUARDBIT_VARIANT>.bin` when left out.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Name of the variant, echoed in responses.
    #[arg(long, env = "GUARDBIT_VARIANT", default_value = "fp32")]
    variant: String,
    /// Revision, echoed in responses.
    #[arg(long, env = "GUARDBIT_REVISION", default_value = "")]
    revision: String,
    /// Port to serve on.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Milliseconds of waiting added to each request, as a queue or a batch would: fixed part of a realistic latency.
    #[arg(long, env = "SERVICE_TIME_MS", default_value_t = 0)]
    service_time_ms: u64,
    /// Seconds to go on serving after SIGTERM, while gateways take this server out.
    #[arg(long, default_value_t = 5)]
    drain_seconds: u64,
    /// Accept `POST /faults`.
    #[arg(long)]
    enable_faults: bool,
    /// Share of requests that fail from the start.
    #[arg(long, env = "FAULT_ERROR_RATE", default_value_t = 0.0)]
    fault_error_rate: f64,
    /// Factor on the service time from the start.
    #[arg(long, env = "FAULT_LATENCY_FACTOR", default_value_t = 1.0)]
    fault_latency_factor: f64,
    /// Share of the inputs that are answered otherwise from the start.
    #[arg(long, env = "FAULT_OTHERWISE", default_value_t = 0.0)]
    fault_otherwise: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

struct Server {
    model: Model,
    variant: HeaderValue,
    revision: HeaderValue,
    pod: HeaderValue,
    service_time: Duration,
    faults: Mutex<Faults>,
    draining: AtomicBool,
    drawn: AtomicU64,
    registry: Registry,
    requests: Family<Code, Counter>,
    inferences: Family<Code, Counter>,
    duration: Histogram,
    score: Histogram,
    uses: Uses,
}

/// Serves until SIGTERM, then drains.
pub async fn serve(args: ServeArgs) -> Result<(), String> {
    let path = args
        .weights
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("/weights/{}.bin", args.variant)));
    let bytes =
        std::fs::read(&path).map_err(|e| format!("{}: {e}; make it with `model-server make`", path.display()))?;
    let model = Model::read(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    let server = Arc::new(Server::new(&args, model)?);
    let mut router = Router::new()
        .route("/v1/score", get(by_number).post(by_features))
        .route(
            "/v2/models/fraud-scorer/infer",
            post(infer).layer(DefaultBodyLimit::max(LONGEST_QUESTION)),
        )
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    if args.enable_faults {
        router = router.route("/faults", post(set_faults));
    }
    let address = SocketAddr::from(([0, 0, 0, 0], args.port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|e| format!("{address}: {e}"))?;
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let state = Arc::clone(&server);
    let drained = async move {
        term.recv().await;
        state.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(args.drain_seconds)).await;
    };
    axum::serve(listener, router.with_state(server))
        .with_graceful_shutdown(drained)
        .await
        .map_err(|e| e.to_string())
}

impl Server {
    fn new(args: &ServeArgs, model: Model) -> Result<Self, String> {
        let mut registry = Registry::default();
        let requests = Family::<Code, Counter>::default();
        // Both series exist from the start, so that the first error is a change and not a birth.
        for code in [200, 500] {
            drop(requests.get_or_create(&Code { code }));
        }
        registry.register("http_requests", "Requests, by code", requests.clone());
        let inferences = Family::<Code, Counter>::default();
        registry.register(
            "inference_requests",
            "Requests over the Open Inference Protocol, by code; they are not among the others",
            inferences.clone(),
        );
        let bounds = [
            0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 40.0, 60.0, 100.0, 250.0, 1000.0,
        ];
        let duration = Histogram::new(bounds.into_iter().map(|ms| ms / 1000.0));
        registry.register("http_request_duration_seconds", "Time to answer", duration.clone());
        let scores = || Histogram::new((-15..=15).map(|k| (sigmoid(f64::from(k) * 0.3) * 1e4).round() / 1e4));
        let score = scores();
        registry.register(
            "model_score",
            "Probabilities of fraud that were answered",
            score.clone(),
        );
        let uses = Uses::new(&mut registry, &args.variant, scores);
        let header = |text: &str| HeaderValue::from_str(text).map_err(|_| format!("{text:?} cannot be a header"));
        Ok(Self {
            model,
            variant: header(&args.variant)?,
            revision: header(&args.revision)?,
            pod: header(&std::env::var("HOSTNAME").unwrap_or_default())?,
            service_time: Duration::from_millis(args.service_time_ms),
            faults: Mutex::new(Faults {
                error_rate: args.fault_error_rate,
                latency_factor: args.fault_latency_factor,
                otherwise: args.fault_otherwise,
                infer: None,
            }),
            draining: AtomicBool::new(false),
            drawn: AtomicU64::new(0),
            registry,
            requests,
            inferences,
            duration,
            score,
            uses,
        })
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, features: &[f32]) -> Response {
        let begun = Instant::now();
        let faults = self.faults();
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut random = Random::for_item(0x6661_756c, number);
        // A queue is never quite the same: an exponential part of a quarter of the service time.
        let jitter = 1.0 - 0.25 * (1.0 - random.uniform()).max(1e-9).ln();
        tokio::time::sleep(self.service_time.mul_f64(faults.latency_factor.max(0.0) * jitter)).await;
        let failed = random.uniform() < faults.error_rate;
        let mut response = if failed {
            (StatusCode::INTERNAL_SERVER_ERROR, "injected fault\n").into_response()
        } else {
            let score = faults.answered(features, self.model.score(features));
            self.score.observe(score);
            self.uses.count(number, score);
            Json(serde_json::json!({"score": score})).into_response()
        };
        self.requests
            .get_or_create(&Code {
                code: response.status().as_u16(),
            })
            .inc();
        self.duration.observe(begun.elapsed().as_secs_f64());
        let headers = response.headers_mut();
        headers.insert("x-variant", self.variant.clone());
        headers.insert("x-revision", self.revision.clone());
        headers.insert("x-pod", self.pod.clone());
        if failed {
            headers.insert("x-injected-fault", HeaderValue::from_static("true"));
        }
        if self.draining.load(Ordering::Relaxed) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn infer(&self, questions: &Questions) -> Response {
        let faults = self.faults();
        tokio::time::sleep(self.service_time.mul_f64(faults.latency_factor.max(0.0))).await;
        let response = match (faults.infer, questions.numbers()) {
            (Some(broken), _) => broken.response(),
            (None, None) => (StatusCode::BAD_REQUEST, "there is no input \"id\"\n").into_response(),
            (None, Some(numbers)) => {
                let score = |number: &u64| {
                    let features = HELD_OUT.transaction(*number).features;
                    faults.answered(&features, self.model.score(&features))
                };
                let scores: Vec<f64> = numbers.iter().map(score).collect();
                Json(infer::answer(&scores)).into_response()
            }
        };
        let code = response.status().as_u16();
        self.inferences.get_or_create(&Code { code }).inc();
        response
    }
}

#[derive(Deserialize)]
struct Number {
    #[serde(default)]
    id: u64,
}

#[derive(Deserialize)]
struct Features {
    features: Vec<f32>,
}

async fn by_number(State(server): State<Arc<Server>>, Query(Number { id }): Query<Number>) -> Response {
    server.answer(&HELD_OUT.transaction(id).features).await
}

async fn by_features(State(server): State<Arc<Server>>, Json(Features { features }): Json<Features>) -> Response {
    if features.len() != FEATURES {
        return (
            StatusCode::BAD_REQUEST,
            format!("{} features, and {FEATURES} are needed\n", features.len()),
        )
            .into_response();
    }
    server.answer(&features).await
}

async fn infer(State(server): State<Arc<Server>>, Json(questions): Json<Questions>) -> Response {
    server.infer(&questions).await
}

async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, &'static str) {
    if server.draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> (HeaderMap, String) {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut out, &server.registry);
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    (HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]), out)
}

async fn set_faults(State(server): State<Arc<Server>>, Json(faults): Json<Faults>) -> Json<Faults> {
    *server.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    Json(faults)
}
