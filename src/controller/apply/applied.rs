//! What was applied last, so that an object that has not been touched since is not applied again.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::manifests::Kind;
use crate::watch::hash;

/// What was applied last, by model.
#[derive(Default)]
pub(in crate::controller) struct Applied(Mutex<HashMap<u64, Vec<Hashes>>>);

/// A document that was applied, in hashes.
struct Hashes {
    /// Hash of the field manager and the object.
    of: u64,
    /// Hash of what the document wants.
    wants: u64,
    /// Digest of the object after it was applied.
    gave: u64,
    /// Digest of the object as the watch showed it before; none where it showed none.
    before: Option<u64>,
}

/// What became of a document that was applied.
#[derive(Clone, Copy)]
pub(super) struct Last {
    /// Hash of what it wanted.
    pub(super) wants: u64,
    /// Digest of the object after it was applied.
    pub(super) gave: u64,
    /// Digest of the object as the watch showed it before. The watch lags, and may show it still.
    pub(super) before: Option<u64>,
}

impl Applied {
    /// What was last wanted of an object, and what became of it.
    pub(super) fn last(&self, uid: &str, of: u64) -> Option<Last> {
        let applied = self.0.lock();
        let document = applied.get(&hash(uid))?.iter().find(|document| document.of == of)?;
        Some(Last {
            wants: document.wants,
            gave: document.gave,
            before: document.before,
        })
    }

    /// Whether an object, named by field manager, kind and name, is no longer what it was when it was applied last;
    /// `live` is its digest now.
    pub(super) fn is_touched(&self, uid: &str, (manager, kind, name): (&str, Kind, &str), live: Option<u64>) -> bool {
        let last = self.last(uid, hash((manager, kind, name)));
        last.is_some_and(|last| Some(last.gave) != live)
    }

    pub(super) fn note(&self, uid: &str, of: u64, Last { wants, gave, before }: Last) {
        let mut applied = self.0.lock();
        let documents = applied.entry(hash(uid)).or_default();
        documents.retain(|document| document.of != of);
        documents.push(Hashes {
            of,
            wants,
            gave,
            before,
        });
    }

    /// Forgets some documents of a model, named by the hashes of their managers and objects.
    pub(super) fn forget_documents(&self, uid: &str, forgotten: &[u64]) {
        if let Some(documents) = self.0.lock().get_mut(&hash(uid)) {
            documents.retain(|document| !forgotten.contains(&document.of));
        }
    }

    /// Forgets a model that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        let mut applied = self.0.lock();
        applied.remove(&hash(uid));
    }
}
