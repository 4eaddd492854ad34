//! Stands between one guardbit and the API server, names and counts the calls, and lets one fault happen at one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use http::{Request, StatusCode, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::calls::{Call, Kind};
use crate::metrics::Metrics;
use crate::people::LAPSED;
use crate::process::Process;

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// guardbit is killed before the API server has heard of the call.
    KilledBefore,
    /// guardbit is killed when the API server has done it, before the answer.
    KilledAfter,
    /// The same, and the next guardbit finds no Prometheus at first.
    KilledBlind,
    /// The API server answers 409 Conflict and does nothing; 410 Expired to who reads.
    Conflict,
    /// The API server answers 500 and does nothing.
    ServerError,
    /// The API server does it, and no answer ever comes.
    NoAnswer,
    /// It is done and answered, but for a while the watch of that kind is one event late: it shows each one when the next has
    /// come, and the last one in the end.
    StaleWatch,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::KilledBefore,
        Self::KilledAfter,
        Self::KilledBlind,
        Self::Conflict,
        Self::ServerError,
        Self::NoAnswer,
        Self::StaleWatch,
    ];

    /// What a table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::KilledBefore => "killed before",
            Self::KilledAfter => "killed after",
            Self::KilledBlind => "killed after, no metrics",
            Self::Conflict => "409 or 410",
            Self::ServerError => "500",
            Self::NoAnswer => "done, no answer",
            Self::StaleWatch => "watch one event late",
        }
    }

    /// Whether it can happen at such a call: there must be a watch to be stale.
    pub fn can_strike(self, call: &Call) -> bool {
        let watched = !matches!(call.resource.as_str(), "events" | "leases" | "precisiondecisions");
        self != Self::StaleWatch || (call.kind != Kind::Read && watched)
    }
}

/// Where which fault happens.
#[derive(Clone, Debug)]
pub struct Strike {
    /// What.
    pub fault: Fault,
    /// Name of the call.
    pub call: String,
    /// The how-manieth of that name, from 1.
    pub nth: usize,
}

/// How long a stale watch is late: guardbit evaluates at least twice meanwhile.
const STALE: Duration = Duration::from_millis(2_500);

/// Longest time that guardbit may wait for an answer that does not come.
const PATIENCE: Duration = Duration::from_secs(45);

/// What one guardbit has called.
#[derive(Default)]
pub struct Log {
    /// The calls, in order, each with the how-manieth of its name it is.
    pub calls: Vec<(Call, usize)>,
    counts: HashMap<String, usize>,
    /// When something was last written.
    pub written: Option<Instant>,
    /// The strike happened.
    pub struck: bool,
    /// What guardbit should not have done.
    pub complaints: Vec<String>,
    /// Until when the watch of a resource is late.
    stale: HashMap<String, Instant>,
}

/// The proxy of one guardbit.
#[derive(Clone)]
pub struct Proxy {
    client: kube::Client,
    process: Arc<Process>,
    metrics: Arc<Metrics>,
    strike: Option<Strike>,
    log: Arc<Mutex<Log>>,
}

impl Proxy {
    /// Serves on loopback; gives the URL, and the server to end.
    pub async fn start(
        client: kube::Client,
        process: Arc<Process>,
        metrics: Arc<Metrics>,
        strike: Option<Strike>,
    ) -> (Self, String, AbortHandle) {
        let proxy = Self {
            client,
            process,
            metrics,
            strike,
            log: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().fallback(answer).with_state(proxy.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        (proxy, url, server.abort_handle())
    }

    /// Reads what has been called.
    pub fn log<T>(&self, read: impl FnOnce(&mut Log) -> T) -> T {
        read(&mut self.log.lock().unwrap())
    }

    /// Writes the call down; the fault that it meets, if any.
    fn note(&self, call: &Call) -> Option<Fault> {
        self.log(|log| {
            let nth = log.counts.entry(call.name.clone()).or_default();
            *nth += 1;
            let nth = *nth;
            log.calls.push((call.clone(), nth));
            if call.kind == Kind::Write {
                log.written = Some(Instant::now());
            }
            let strike = self
                .strike
                .as_ref()
                .filter(|s| !log.struck && s.call == call.name && s.nth == nth)?;
            log.struck = true;
            if strike.fault == Fault::StaleWatch {
                log.stale.insert(call.resource.clone(), Instant::now() + STALE);
            }
            Some(strike.fault)
        })
    }

    async fn forward(&self, request: Request<Vec<u8>>) -> Response {
        let (mut parts, body) = request.into_parts();
        for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
            parts.headers.remove(name);
        }
        match self
            .client
            .send(Request::from_parts(parts, kube::client::Body::from(body)))
            .await
        {
            Ok(answer) => answer.map(Body::new),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    /// A watch, one event late while its resource is stale.
    fn follow(&self, resource: String, answer: Response) -> Response {
        let proxy = self.clone();
        let until = move || proxy.log(|log| log.stale.get(&resource).copied());
        answer.map(|body| Body::from_stream(late(body.into_data_stream(), until)))
    }
}

/// The lines of a stream. Until then, each waits for the next one.
fn late<E: Send + 'static>(
    stream: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    until: impl Fn() -> Option<Instant> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, E>> {
    let (out, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        tokio::select! {
            // Nobody reads it any more.
            () = out.closed() => {}
            () = delay(stream, until, &out) => {}
        }
    });
    stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)))
}

async fn delay<E>(
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    until: impl Fn() -> Option<Instant>,
    out: &mpsc::UnboundedSender<Result<Bytes, E>>,
) {
    let tell = |line: Option<Vec<u8>>| {
        if let Some(line) = line {
            let _ = out.send(Ok(line.into()));
        }
    };
    let (mut rest, mut held) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let next = match until().filter(|_| held.is_some()) {
            Some(until) => tokio::time::timeout_at(until.into(), stream.next()).await,
            None => Ok(stream.next().await),
        };
        match next {
            Ok(Some(Ok(chunk))) => rest.extend_from_slice(&chunk),
            Ok(end) => {
                tell(held.take());
                if let Some(error) = end {
                    let _ = out.send(error);
                }
                return;
            }
            // It is late no more.
            Err(_) => tell(held.take()),
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            tell(held.replace(rest.drain(..=end).collect()));
        }
        if until().is_none_or(|until| until <= Instant::now()) {
            tell(held.take());
        }
    }
}

async fn answer(State(proxy): State<Proxy>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 16 << 20).await.unwrap_or_default();
    let call = Call::of(
        &parts.method,
        parts.uri.path(),
        parts.uri.query().unwrap_or_default(),
        &body,
    );
    let fault = proxy.note(&call);
    if fault == Some(Fault::KilledBefore) {
        proxy.process.kill_and_restart();
        return gone();
    }
    match fault {
        Some(Fault::Conflict) if call.kind == Kind::Write => return refusal(409, "Conflict"),
        Some(Fault::Conflict) => return refusal(410, "Expired"),
        Some(Fault::ServerError) => return refusal(500, "InternalError"),
        _ => {}
    }
    let answer = proxy.forward(Request::from_parts(parts, body.to_vec())).await;
    match fault {
        Some(fault @ (Fault::KilledAfter | Fault::KilledBlind)) => {
            if fault == Fault::KilledBlind {
                proxy.metrics.go_blind();
            }
            proxy.process.kill_and_restart();
            gone()
        }
        Some(Fault::NoAnswer) => {
            // This ends when guardbit closes the connection.
            tokio::time::sleep(PATIENCE).await;
            proxy.log(|log| {
                log.complaints
                    .push(format!("waited {PATIENCE:?} for an answer to: {}", call.name))
            });
            gone()
        }
        _ if call.kind == Kind::Watch => proxy.follow(call.resource, answer),
        _ if call.kind == Kind::Read && call.resource == "precisionactions" => dated_back(answer).await,
        _ => answer,
    }
}

/// A list of actions in which one was created two days ago, for nobody can make the API server say so.
async fn dated_back(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap_or_default();
    let Ok(mut list) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    let items = list["items"].as_array_mut().into_iter().flatten();
    for act in items.filter(|act| act["metadata"]["name"] == LAPSED) {
        act["metadata"]["creationTimestamp"] = json!(Time(Timestamp::now() - SignedDuration::from_hours(48)));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(list.to_string()))
}

/// Nobody hears it.
fn gone() -> Response {
    StatusCode::GATEWAY_TIMEOUT.into_response()
}

fn refusal(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": "the test wants it so"});
    let code = StatusCode::from_u16(code).expect("a status");
    (code, [(header::CONTENT_TYPE, "application/json")], status.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_late_watch_shows_each_event_when_the_next_has_come_and_the_last_in_the_end() {
        let (watch, events) = mpsc::unbounded_channel::<Result<Bytes, Infallible>>();
        let send = |text: &'static str| watch.send(Ok(text.into())).unwrap();
        let stale = Arc::new(Mutex::new(None));
        let until = Arc::clone(&stale);
        let events = stream::unfold(events, async |mut events| Some((events.recv().await?, events)));
        let mut seen = Box::pin(late(Box::pin(events), move || *until.lock().unwrap()));
        send("1\n");
        assert_eq!(seen.next().await, Some(Ok("1\n".into())), "in time");
        *stale.lock().unwrap() = Some(Instant::now() + Duration::from_secs(3_600));
        send("2");
        send("\n");
        send("3\n4\n");
        assert_eq!(seen.next().await, Some(Ok("2\n".into())));
        assert_eq!(seen.next().await, Some(Ok("3\n".into())));
        assert!(
            seen.next().now_or_never().is_none(),
            "there is no event after the fourth"
        );
        *stale.lock().unwrap() = Some(Instant::now());
        send("5\n");
        assert_eq!(seen.next().await, Some(Ok("4\n".into())));
        assert_eq!(seen.next().await, Some(Ok("5\n".into())), "late no more");
        *stale.lock().unwrap() = Some(Instant::now() + Duration::from_millis(50));
        send("6\n");
        assert_eq!(seen.next().await, Some(Ok("6\n".into())), "in the end");
    }
}
