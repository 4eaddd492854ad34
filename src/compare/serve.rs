//! The comparer as a server: it asks pairs at its own pace, for as long as it runs, and serves what it has counted.

mod listen;
mod log;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::ask::Failure;
use super::export::{Exported, Source};
use super::golden::{Golden, Question};
use super::pace::{Allowance, Pace, Turn};
use super::pair::{Arms, Order, Pair, Role, ask};
use super::receive::{Receiver, Waiting, receive};
use super::settings::Settings;
use listen::{Bounds, listen};
use log::Log;

/// Pairs that are asked at once, at the most.
const AT_ONCE: usize = 16;

/// What who connects may take: 16 MiB in all. Prometheus asks every 15 seconds, most often, and need not connect anew for it.
const BOUNDS: Bounds = Bounds {
    connections: 128,
    buffer: 64 * 1024,
    head: Duration::from_secs(20),
    life: Duration::from_secs(600),
};

/// What a comparer does.
pub struct Comparer {
    /// Who is asked.
    pub arms: Arms,
    /// What is compared.
    pub settings: Arc<Settings>,
    /// Questions of its own, if it has any.
    pub golden: Option<Golden>,
    /// Whether it takes requests that a gateway mirrors.
    pub mirror: bool,
    /// How many pairs it may ask.
    pub allowance: Allowance,
    /// Share of the pairs that ask the reference twice; in `[0, 1)`.
    pub control: f64,
    /// What it reports.
    pub exported: Arc<Exported>,
}

/// Listens, and asks pairs until the process ends. Fails where it cannot listen.
///
/// The first pair is asked once `/metrics` has been read for the first time: Prometheus cannot count what happened before its
/// first sample of a series.
pub async fn serve(comparer: Comparer, address: SocketAddr) -> std::io::Result<Infallible> {
    let listener = TcpListener::bind(address).await?;
    let content_type = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    let exported = Arc::clone(&comparer.exported);
    let read = Arc::new(Notify::new());
    let metrics = {
        let read = Arc::clone(&read);
        move || async move {
            read.notify_one();
            (content_type, exported.text())
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }));
    let (router, waiting) = if comparer.mirror {
        let (receiver, waiting) = Receiver::new(Arc::clone(&comparer.settings), Arc::clone(&comparer.exported));
        (
            router.merge(Router::new().fallback(receive).with_state(receiver)),
            Some(waiting),
        )
    } else {
        (router, None)
    };
    tokio::select! {
        never = listen(listener, router, BOUNDS) => Ok(never),
        never = work(comparer, waiting, &read) => Ok(never),
    }
}

/// A question that is asked next.
struct Next {
    question: Question,
    source: Source,
    /// Its place in memory, until the pair is done.
    _room: Option<OwnedSemaphorePermit>,
}

/// Asks pairs for ever, from when the zeros have been `read`.
async fn work(comparer: Comparer, mut waiting: Option<mpsc::Receiver<Waiting>>, read: &Notify) -> Infallible {
    let Comparer {
        arms,
        settings,
        golden,
        mirror,
        allowance,
        control,
        exported,
    } = comparer;
    tracing::info!(
        reference = arms.reference.url(),
        candidate = arms.candidate.url(),
        protocol = %settings.protocol,
        questions = golden.as_ref().map_or(0, |golden| golden.questions().len()),
        left_out = golden.as_ref().map_or(0, |golden| golden.skipped().len()),
        digest = golden.as_ref().map(Golden::digest),
        mirror,
        rate = allowance.rate,
        "pairs are asked once /metrics has been read"
    );
    read.notified().await;
    let log = Arc::new(Log::default());
    let (begun, slots) = (Instant::now(), Arc::new(Semaphore::new(AT_ONCE)));
    let pace = Arc::new(Mutex::new(Pace::new(allowance)));
    let mut random = fastrand::Rng::new();
    loop {
        let Some(next) = next(golden.as_ref(), &mut waiting, &mut random).await else {
            return std::future::pending().await;
        };
        loop {
            let turn = pace.lock().take(begun.elapsed().as_secs_f64());
            match turn {
                Turn::Now => break,
                Turn::In(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
                Turn::Never(spent) => {
                    exported.spent(spent);
                    log::spent(spent);
                    return std::future::pending().await;
                }
            }
        }
        let (against, order) = (Role::drawn(&mut random, control), Order::drawn(&mut random));
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await;
        let (arms, settings) = (arms.clone(), Arc::clone(&settings));
        let (exported, pace, log) = (Arc::clone(&exported), Arc::clone(&pace), Arc::clone(&log));
        tokio::spawn(async move {
            let pair = ask(&arms, &settings, &next.question, against, order).await;
            record(&exported, &pace, &log, against, next.source, &pair);
            drop((slot, next));
        });
    }
}

/// The next question: of the golden set or of a user, in turn by chance where both are there. `None` where there are no
/// questions, and never will be.
async fn next(
    golden: Option<&Golden>,
    waiting: &mut Option<mpsc::Receiver<Waiting>>,
    random: &mut fastrand::Rng,
) -> Option<Next> {
    let mirrored = |waiting: Waiting| Next {
        question: waiting.question,
        source: Source::Mirror,
        _room: Some(waiting.room),
    };
    let own = |golden: &Golden, random: &mut fastrand::Rng| Next {
        question: golden.draw(random).clone(),
        source: Source::Golden,
        _room: None,
    };
    match (golden, waiting) {
        (Some(golden), Some(waiting)) if random.bool() => {
            let mirrored = waiting.try_recv().ok().map(mirrored);
            Some(mirrored.unwrap_or_else(|| own(golden, random)))
        }
        (Some(golden), _) => Some(own(golden, random)),
        (None, Some(waiting)) => waiting.recv().await.map(mirrored),
        (None, None) => None,
    }
}

/// Counts what a pair came to.
fn record(exported: &Exported, pace: &Mutex<Pace>, log: &Log, with: Role, source: Source, pair: &Pair) {
    match pair {
        Pair::Compared {
            line,
            agrees,
            distance,
            answer,
            tokens,
        } => {
            exported.pair(with, source, *agrees, *distance);
            if exported.answer(*answer) {
                log::one_answer();
            }
            let [of_reference, of_other] = *tokens;
            exported.tokens(Role::Reference, of_reference);
            exported.tokens(with, of_other);
            pace.lock().answered(of_reference.saturating_add(of_other));
            if !agrees && source == Source::Golden && with == Role::Candidate {
                exported.example(*line);
            }
        }
        Pair::CandidateFailed { line, arm, failure } => {
            exported.pair(with, source, false, None);
            log.failure(*arm, failure);
            exported.failure(with, source, *arm, failure.reason());
            // It had room to fail, so it is asked no less.
            pace.lock().answered(0);
            if source == Source::Golden && with == Role::Candidate {
                exported.example(*line);
            }
        }
        Pair::Failed { arm, failure } => {
            log.failure(*arm, failure);
            exported.failure(with, source, *arm, failure.reason());
            if Failure::is_busy(failure) {
                pace.lock().was_busy();
            }
        }
    }
}
