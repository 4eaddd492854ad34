//! Bounded load: an open loop of requests over connections of its own, and exact counts of what came back. Failures are
//! counted apart from faults that the server says it injected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// Flags of `model-server load`.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// `http://address:port`.
    #[arg(long)]
    pub url: String,
    /// Host header.
    #[arg(long)]
    pub host: String,
    /// Requests a second.
    #[arg(long, default_value_t = 200.0)]
    pub rps: f64,
    /// Seconds after which it ends.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 24)]
    pub connections: usize,
    /// Requests on one connection before another is opened; 0 for no limit. A Service splits by connection: 1 for those.
    #[arg(long, default_value_t = 0)]
    pub requests_per_connection: u64,
    /// Every n-th request is pinned by header; 0 for none.
    #[arg(long, default_value_t = 20)]
    pub pin_every: u64,
    /// Header of a pinned request, `name:value`.
    #[arg(long, default_value = "x-decision-impact:high")]
    pub pin_header: String,
    /// Print a line of counts every second.
    #[arg(long)]
    pub live: bool,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Answered well.
    pub ok: u64,
    /// Faults that the server injected.
    pub injected: u64,
    /// All others: refused, cut off, late, or with another status.
    pub failed: u64,
    /// Answers by variant, without pinned ones.
    pub by_variant: BTreeMap<String, u64>,
    /// Answers by revision, without pinned ones.
    pub by_revision: BTreeMap<String, u64>,
    /// Answers to pinned requests, by variant.
    pub pinned_by_variant: BTreeMap<String, u64>,
    /// The first failures: when (seconds after the start) and what.
    pub failures: Vec<(f64, String)>,
    /// When the last one failed, in seconds after the start.
    pub last_failure: Option<f64>,
}

/// A load that runs, and can be asked and ended.
#[derive(Clone)]
pub struct Load {
    counts: Arc<Mutex<Counts>>,
    stop: Arc<AtomicBool>,
    tasks: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
}

const PATIENCE: Duration = Duration::from_secs(5);

impl Load {
    /// Starts to send.
    pub fn start(args: &LoadArgs) -> Result<Self, String> {
        let uri: Uri = args.url.parse().map_err(|e| format!("{}: {e}", args.url))?;
        let authority = uri.authority().ok_or_else(|| format!("{} has no address", args.url))?;
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let load = Self {
            counts: Arc::default(),
            stop: Arc::default(),
            tasks: Arc::default(),
        };
        let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let workers = (0..args.connections.clamp(1, 1000)).map(|_| {
            let worker = Worker {
                load: load.clone(),
                args: args.clone(),
                address: address.clone(),
                next: Arc::clone(&next),
                begun,
            };
            tokio::spawn(worker.run())
        });
        load.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(workers);
        Ok(load)
    }

    /// What came back so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it, when the requests that are under way have ended.
    pub async fn finish(&self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        self.wait().await
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Counts {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A worker that panicked has counted nothing more; the counts say so.
            let _ = task.await;
        }
        self.counts()
    }
}

struct Worker {
    load: Load,
    args: LoadArgs,
    address: String,
    next: Arc<AtomicU64>,
    begun: Instant,
}

impl Worker {
    async fn run(self) {
        let most = (self.args.rps * self.args.seconds as f64) as u64;
        let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
        let mut on_this = 0;
        while !self.load.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= most {
                return;
            }
            let due = self.begun + Duration::from_secs_f64(number as f64 / self.args.rps);
            tokio::time::sleep_until(due.into()).await;
            let pinned = self.args.pin_every > 0 && number.is_multiple_of(self.args.pin_every);
            let answer = tokio::time::timeout(PATIENCE, self.one(&mut connection, number, pinned)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
            on_this += 1;
            if answer.is_err() || on_this == self.args.requests_per_connection {
                (connection, on_this) = (None, 0);
            }
            self.count(pinned, answer);
        }
    }

    async fn one(
        &self,
        connection: &mut Option<SendRequest<Empty<Bytes>>>,
        number: u64,
        pinned: bool,
    ) -> Result<Response<()>, String> {
        if let Some(open) = connection
            && open.ready().await.is_err()
        {
            *connection = None;
        }
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.connect().await?),
        };
        let mut request = Request::get(format!("/v1/score?id={number}")).header("host", &self.args.host);
        if let Some((name, value)) = self.args.pin_header.split_once(':').filter(|_| pinned) {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new()).map_err(|e| e.to_string())?;
        let (head, body) = open
            .send_request(request)
            .await
            .map_err(|e| format!("cut off: {e}"))?
            .into_parts();
        body.collect()
            .await
            .map_err(|e| format!("cut off in the answer: {e}"))?;
        Ok(Response::from_parts(head, ()))
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let stream = tokio::net::TcpStream::connect(&self.address)
            .await
            .map_err(|e| format!("no connection: {e}"))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(async move {
            // Its end is told to the sender.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn count(&self, pinned: bool, answer: Result<Response<()>, String>) {
        let mut counts = self.load.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sent += 1;
        let failure = match &answer {
            Ok(response) if response.status().is_success() => {
                counts.ok += 1;
                None
            }
            Ok(response) if response.headers().contains_key("x-injected-fault") => {
                counts.injected += 1;
                None
            }
            Ok(response) => Some(format!("status {}", response.status())),
            Err(why) => Some(why.clone()),
        };
        if let Some(why) = failure {
            let at = self.begun.elapsed().as_secs_f64();
            counts.failed += 1;
            counts.last_failure = Some(at);
            if counts.failures.len() < 20 {
                counts.failures.push((at, why));
            }
        }
        let Ok(response) = answer else { return };
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or("none")
                .to_owned()
        };
        let counts = &mut *counts;
        let by = if pinned {
            &mut counts.pinned_by_variant
        } else {
            &mut counts.by_variant
        };
        *by.entry(header("x-variant")).or_default() += 1;
        if !pinned {
            *counts.by_revision.entry(header("x-revision")).or_default() += 1;
        }
    }
}

/// `model-server load`.
pub async fn command(args: LoadArgs) -> Result<(), String> {
    let load = Load::start(&args)?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let ended = load.wait();
    tokio::pin!(ended);
    let counts = loop {
        tokio::select! {
            counts = &mut ended => break counts,
            _ = int.recv() => break load.finish().await,
            _ = term.recv() => break load.finish().await,
            _ = tick.tick(), if args.live => println!("{}", serde_json::to_string(&load.counts()).unwrap_or_default()),
        }
    };
    println!("{}", serde_json::to_string(&counts).unwrap_or_default());
    if counts.failed == 0 {
        Ok(())
    } else {
        Err(format!("{} of {} requests failed", counts.failed, counts.sent))
    }
}
