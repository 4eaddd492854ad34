//! What could not be written of the last plan of each model, for the evaluation that comes next.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::rollout::Refused;
use crate::watch::hash;

/// What could not be written, by model.
#[derive(Default)]
pub(in crate::controller) struct Refusals(Mutex<HashMap<u64, Vec<Refused>>>);

impl Refusals {
    /// What could not be written of the last plan; `None` where none was carried out.
    pub(in crate::controller) fn last(&self, uid: &str) -> Option<Vec<Refused>> {
        self.0.lock().get(&hash(uid)).cloned()
    }

    /// Notes what could not be written.
    pub(in crate::controller) fn note(&self, uid: &str, refused: Vec<Refused>) {
        self.0.lock().insert(hash(uid), refused);
    }

    /// Forgets a model that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.0.lock().remove(&hash(uid));
    }
}
