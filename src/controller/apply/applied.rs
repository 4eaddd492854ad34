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
}

impl Applied {
    /// Hash of what was last wanted of an object, and its digest after that.
    pub(super) fn last(&self, uid: &str, of: u64) -> Option<(u64, u64)> {
        let applied = self.0.lock();
        let document = applied.get(&hash(uid))?.iter().find(|document| document.of == of)?;
        Some((document.wants, document.gave))
    }

    /// Whether an object, named by field manager, kind and name, is no longer what it was when it was applied last;
    /// `live` is its digest now.
    pub(super) fn is_touched(&self, uid: &str, (manager, kind, name): (&str, Kind, &str), live: Option<u64>) -> bool {
        let last = self.last(uid, hash((manager, kind, name)));
        last.is_some_and(|(_, gave)| Some(gave) != live)
    }

    pub(super) fn note(&self, uid: &str, of: u64, wants: u64, gave: u64) {
        let mut applied = self.0.lock();
        let documents = applied.entry(hash(uid)).or_default();
        documents.retain(|document| document.of != of);
        documents.push(Hashes { of, wants, gave });
    }

    /// Forgets a model that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        let mut applied = self.0.lock();
        applied.remove(&hash(uid));
    }
}
