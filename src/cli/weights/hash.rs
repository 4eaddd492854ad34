//! Hashes files: two at a time, in bounded memory.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::weights::{Difference, Sha};

use super::tree::{Found, told};

/// Bytes that are read at once, by each thread.
const BUFFER: usize = 1024 * 1024;

/// Time between two figures on a terminal.
const SHOWN: Duration = Duration::from_millis(200);

/// Why files are not hashed to the end.
#[derive(Debug)]
pub(super) enum Stop {
    /// A file is another one than what is wanted.
    Differs(Difference),
    /// A file cannot be read.
    Unreadable(String),
}

/// The digests of files, in their order. `differs` says whether one is another file than what is wanted. Of those that are, or
/// cannot be read, the first is told; those after it are not read to the end.
pub(super) fn all(files: &[Found], differs: impl Fn(&str, Sha) -> Option<Difference> + Sync) -> Result<Vec<Sha>, Stop> {
    let progress = Progress::of(files);
    let (next, stopped) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let work = || {
        let mut buffer = vec![0_u8; BUFFER];
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let is_in_vain = || at > stopped.load(Ordering::Relaxed);
            let Some(file) = files.get(at).filter(|_| !is_in_vain()) else {
                return done;
            };
            let hashed = match one(file, &mut buffer, &progress, is_in_vain) {
                Ok(Some(sha)) => differs(&file.name, sha).map_or(Ok(sha), |difference| Err(Stop::Differs(difference))),
                Ok(None) => return done,
                Err(why) => Err(Stop::Unreadable(why)),
            };
            if hashed.is_err() {
                stopped.fetch_min(at, Ordering::Relaxed);
            }
            done.push((at, hashed));
        }
    };
    let mut hashed = thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut hashed = work();
        hashed.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        hashed
    });
    progress.end();
    hashed.sort_by_key(|(at, _)| *at);
    hashed.into_iter().map(|(_, hashed)| hashed).collect()
}

/// The digest of a file; `None` where nobody wants it any more.
fn one(
    file: &Found,
    buffer: &mut [u8],
    progress: &Progress,
    is_in_vain: impl Fn() -> bool,
) -> Result<Option<Sha>, String> {
    let failed = |error: std::io::Error| told(&file.path, &error);
    let mut open = File::open(&file.path).map_err(failed)?;
    let before = open.metadata().map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    loop {
        if is_in_vain() {
            return Ok(None);
        }
        match open.read(buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
                progress.add(n as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let after = open.metadata().map_err(failed)?;
    let written = |of: &std::fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec());
    if written(&before) != written(&after) || bytes != before.len() || !before.is_file() {
        return Err(format!(
            "{} was written while it was read: hash weights when they are whole",
            file.path.display()
        ));
    }
    Ok(Some(Sha::end(hasher)))
}

/// How much was read, told on a terminal.
struct Progress {
    total: u64,
    read: AtomicU64,
    /// When it was told last; `None` where nobody looks.
    shown: Option<Mutex<Instant>>,
}

impl Progress {
    fn of(files: &[Found]) -> Self {
        let is_seen = std::io::stderr().is_terminal();
        Self {
            total: files.iter().map(|file| file.bytes).sum(),
            read: AtomicU64::new(0),
            shown: is_seen.then(|| Mutex::new(Instant::now())),
        }
    }

    fn add(&self, bytes: u64) {
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(mut shown) = self.shown.as_ref().and_then(Mutex::try_lock) else {
            return;
        };
        if shown.elapsed() >= SHOWN {
            *shown = Instant::now();
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            // What cannot be shown changes nothing.
            let _ = write!(
                std::io::stderr(),
                "\r{:.1} of {:.1} GB ",
                gigabytes(read),
                gigabytes(self.total)
            );
        }
    }

    /// Leaves nothing behind on the terminal.
    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}
