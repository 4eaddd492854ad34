//! How the running evidence is stored in `status.evidence`: versioned, opaque, compact.
//!
//! Every change of the layout, also of a type in `judge`, `guards` or `evidence` that is part of it, needs another [`VERSION`]:
//! postcard does not store types, so bytes of another layout can be read as something that was never counted.
//! `state/tests.rs` holds the bytes of each part.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::evidence::Cursor;
use crate::guards::{BenefitTest, Suite};
use crate::judge::SplitTest;

/// Version of the layout.
pub(super) const VERSION: &str = "v6:";

/// The running evidence of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::rollout) struct Running {
    /// Evidence of another epoch does not count.
    pub(super) epoch: String,
    /// Evidence from before this time, in Unix milliseconds, does not count.
    pub(super) since: i64,
    /// The tests of the guards, and those of their pairs by source.
    #[serde(with = "opaque")]
    pub(in crate::rollout) suite: Suite,
    /// How far the samples of each of them were counted.
    #[serde(with = "opaque")]
    cursors: BTreeMap<String, Cursor>,
    /// The test of the benefit, where one is asked for.
    #[serde(with = "opaque")]
    pub(super) benefit: Option<BenefitTest>,
    /// The test of the weights that are in force.
    #[serde(with = "opaque")]
    pub(super) split: Option<SplitTest>,
}

/// Why a stored state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(in crate::rollout) enum Unreadable {
    /// It has another layout.
    #[error("another version of guardbit wrote it")]
    OtherVersion,
    /// It does not decode to what was written.
    #[error("{0}")]
    Garbled(String),
    /// It has more bytes than this version reads, so its layout is another.
    #[error("bytes follow its end")]
    TrailingBytes,
}

impl Running {
    /// The state before anything was counted.
    pub(super) fn fresh(epoch: &str, since: Timestamp) -> Self {
        Self {
            epoch: epoch.to_owned(),
            since: since.as_millisecond(),
            suite: Suite::default(),
            cursors: BTreeMap::new(),
            benefit: None,
            split: None,
        }
    }

    /// Reads what [`Running::write`] wrote. A state of another epoch is dropped; one that cannot be read is dropped and
    /// reported.
    pub(in crate::rollout) fn read(stored: Option<&str>, epoch: &str, now: Timestamp) -> (Self, Option<Unreadable>) {
        match stored.map(Self::stored) {
            Some(Ok(running)) if running.epoch == epoch => (running, None),
            Some(Err(why)) => (Self::fresh(epoch, now), Some(why)),
            Some(Ok(_)) | None => (Self::fresh(epoch, now), None),
        }
    }

    /// Reads what [`Running::write`] wrote, of whatever epoch.
    pub(super) fn stored(stored: &str) -> Result<Self, Unreadable> {
        let body = stored.strip_prefix(VERSION).ok_or(Unreadable::OtherVersion)?;
        decode(body)
    }

    /// The state as one opaque, versioned string.
    pub(super) fn write(&self) -> String {
        format!("{VERSION}{}", encode(self))
    }

    /// How far the samples of a guard were counted.
    pub(in crate::rollout) fn cursor(&self, guard: &str, now: Timestamp) -> Cursor {
        self.cursors
            .get(guard)
            .cloned()
            .unwrap_or_else(|| Cursor::new(self.since.min(now.as_millisecond())))
    }

    pub(super) fn set_cursor(&mut self, guard: &str, cursor: Cursor) {
        self.cursors.insert(guard.to_owned(), cursor);
    }

    /// Begins a step. Earlier counts stay; the running interval is dropped, because it mixes two weights.
    pub(super) fn begin_step(&mut self, now: Timestamp) {
        self.pass_over(now);
        self.suite.mark_step();
        self.split = None;
    }

    /// Skips the time up to now. Earlier counts stay; what happened since then is not judged.
    pub(super) fn pass_over(&mut self, now: Timestamp) {
        self.since = now.as_millisecond();
        self.cursors
            .values_mut()
            .for_each(|cursor| cursor.skip_to(now.as_millisecond()));
    }
}

fn encode(value: &impl Serialize) -> String {
    // Serializing plain data into memory cannot fail; an empty string would be read as unreadable, and start afresh.
    let bytes = postcard::to_stdvec(value).unwrap_or_default();
    STANDARD_NO_PAD.encode(bytes)
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    let bytes = STANDARD_NO_PAD
        .decode(text)
        .map_err(|e| Unreadable::Garbled(e.to_string()))?;
    match postcard::take_from_bytes(&bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Unreadable::TrailingBytes),
        Err(error) => Err(Unreadable::Garbled(error.to_string())),
    }
}

/// Parts of the state in human-readable formats: each is one opaque string of the bytes that it has in the state.
pub(super) mod opaque {
    use serde::de::{DeserializeOwned, Error};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::rollout::evidence) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            super::encode(value).serialize(serializer)
        } else {
            value.serialize(serializer)
        }
    }

    pub(in crate::rollout::evidence) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        if deserializer.is_human_readable() {
            super::decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)
        } else {
            T::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests;
