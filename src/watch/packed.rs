//! Values that are kept for long and read rarely, as compressed JSON.

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
    /// Packs a value whose JSON form reads back as a `T`.
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

/// JSON form of a value of the API; such values always have one.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
