//! Takes the requests that a gateway mirrors.
//!
//! A gateway ignores what it is answered, and some of them hold up the user until there is an answer; so each request is
//! acknowledged as soon as it is read, and asked again later. Of a request nothing but its path and its JSON is kept, no
//! header of it. What does not fit, or comes faster than it can be asked, is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request as Mirrored, State};
use axum::http::{Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::export::Exported;
use super::golden::{LONGEST_LINE, Question};
use super::protocol::Request;
use super::settings::Settings;

/// Requests that may wait.
const WAITING: usize = 64;

/// What they may take in memory, in KiB.
const MEMORY_KIB: usize = 8 * 1024;

/// Requests that are read at once.
const READ_AT_ONCE: usize = 16;

/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that waits to be asked of both arms.
pub struct Waiting {
    /// What is to be asked. It is of no line of a golden set.
    pub question: Question,
    /// Its place in memory.
    pub room: OwnedSemaphorePermit,
}

/// Where requests arrive.
#[derive(Clone)]
pub struct Receiver {
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    settings: Arc<Settings>,
    exported: Arc<Exported>,
}

impl Receiver {
    /// A receiver, and the queue that it fills.
    pub fn new(settings: Arc<Settings>, exported: Arc<Exported>) -> (Self, mpsc::Receiver<Waiting>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let receiver = Self {
            queue,
            room: Arc::new(Semaphore::new(MEMORY_KIB)),
            readers: Arc::new(Semaphore::new(READ_AT_ONCE)),
            settings,
            exported,
        };
        (receiver, waiting)
    }

    async fn take(&self, request: Mirrored) -> Result<(), &'static str> {
        if request.method() != Method::POST {
            return Err("skipped");
        }
        let _reader = self.readers.try_acquire().map_err(|_| "queue")?;
        let path = request.uri().path().to_owned();
        let read = to_bytes(request.into_body(), LONGEST_LINE);
        let body = match tokio::time::timeout(PATIENCE, read).await {
            Err(_) => return Err("timeout"),
            Ok(Err(_)) => return Err("too_large"),
            Ok(Ok(body)) => body,
        };
        let kib = u32::try_from(body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(kib)
            .map_err(|_| "queue")?;
        let value = serde_json::from_slice(&body).map_err(|_| "unparsable")?;
        let request = Request::mirrored(&path, value).map_err(|_| "skipped")?;
        let prepared = self.settings.prepare(&request).map_err(|_| "skipped")?;
        let waiting = Waiting {
            question: Question { line: 0, prepared },
            room,
        };
        self.queue.try_send(waiting).map_err(|_| "queue")
    }
}

/// Takes a request, whatever it is.
pub async fn receive(State(receiver): State<Receiver>, request: Mirrored) -> StatusCode {
    if let Err(reason) = receiver.take(request).await {
        receiver.exported.dropped(reason);
    }
    StatusCode::ACCEPTED
}
