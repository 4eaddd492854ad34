//! Words on the wire: the names that serde gives to the members of enums.
//!
//! A status may hold words of a newer release, and must still hold them when that release is back. An enum that refused
//! them would make the whole object unreadable, and break the watch.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where [`Word`] notes in a schema which words this release knows, for [`list_known_words`].
const KNOWN_WORDS: &str = "x-guardbit-known-words";

/// A word of the status: a member of the enum `T`, or a word that this release does not know and writes back as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// A word that this release knows.
    Known(T),
    /// A word of a newer release.
    Unknown(String),
}

impl<T: Copy> Word<T> {
    /// The member of the enum; `None` for a word that this release does not know.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(member) => Some(*member),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(member: T) -> Self {
        Self::Known(member)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(member) if member == other)
    }
}

impl<T: std::fmt::Display> std::fmt::Display for Word<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(member) => member.fmt(f),
            Self::Unknown(word) => word.fmt(f),
        }
    }
}

/// The schema is a plain string, because one that lists the words would refuse those of a newer release.
impl<T: JsonSchema> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let members = T::json_schema(generator).to_value();
        let one_of = members["oneOf"].as_array().into_iter().flatten();
        let words: Vec<&Value> = one_of.map(|member| &member["const"]).collect();
        json_schema!({"type": "string", "maxLength": 64, KNOWN_WORDS: words})
    }
}

/// Says in the description of every word below `schema` which ones this release knows.
pub(super) fn list_known_words(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut list_known_words, schema);
    let Some(Value::Array(known)) = schema.remove(KNOWN_WORDS) else {
        return;
    };
    let known: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!(
        "{description} One of {}; a newer release may know more.",
        known.join(", ")
    );
    schema.insert("description".to_owned(), description.into());
}

/// Implements `Display` for enums as the name that serde gives to the member, so that labels, logs and JSON use the
/// same word.
macro_rules! words {
    ($($name:ty),+ $(,)?) => {
        $(impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        })+
    };
}
pub(crate) use words;
