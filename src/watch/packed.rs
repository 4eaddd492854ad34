//! Values that are kept for long and read now and then: as compressed JSON.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

/// A `T`, packed.
#[derive(Clone, Debug, Deserialize)]
pub struct Packed<T> {
    bytes: Box<[u8]>,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Packed<T> {
    /// Packs what has a JSON form that reads back as a `T`.
    pub fn of(value: &impl Serialize) -> Self {
        Self::json(&json(value))
    }

    /// Packs the JSON form of a `T`.
    pub fn json(text: &[u8]) -> Self {
        Self {
            bytes: lz4_flex::compress_prepend_size(text).into(),
            of: PhantomData,
        }
    }

    /// The value.
    pub fn read(&self) -> Result<T, serde_json::Error> {
        let text = lz4_flex::decompress_size_prepended(&self.bytes).map_err(serde_json::Error::custom)?;
        serde_json::from_slice(&text)
    }
}

/// Types of the API always have a JSON form.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
