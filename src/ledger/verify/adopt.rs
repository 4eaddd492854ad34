//! One record that exists already, from which its chain is to go on: after status was lost, or where it is older than the
//! records.

use crate::api::PrecisionDecision;

use super::super::key::PublicKey;
use super::super::link::Head;
use super::super::statement::{After, Subject};
use super::input::{Item, Source, Trust};
use super::open::open;

/// A record from which a chain can go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// Its number and digest.
    pub head: Head,
    /// SHA-256 of the record before it, in hexadecimal digits.
    pub before: String,
    /// Uid of the model that it is about.
    pub uid: String,
    /// What it says that holds; `None` where another core wrote it.
    pub after: Option<After>,
}

/// Reads a record of a model, which one of the keys must have signed. Without keys there is nothing to check that with, and it
/// is taken as it is. An error says why the chain cannot go on from it.
pub fn adopt(
    object: PrecisionDecision,
    (namespace, name): (&str, &str),
    keys: &[PublicKey],
) -> Result<Adopted, String> {
    let item = Item {
        name: object.metadata.name.clone().unwrap_or_default(),
        source: Source::Object(Box::new(object)),
    };
    let trust = Trust {
        keys: keys.to_vec(),
        allow_unsigned: keys.is_empty(),
        ..Trust::default()
    };
    let opened = open(&item, &trust).map_err(|finding| finding.to_string())?;
    let model = &opened.info.model;
    if (model.namespace.as_str(), model.name.as_str()) != (namespace, name) {
        return Err(format!(
            "{} is a record of {}/{}, and not of {namespace}/{name}",
            item.name, model.namespace, model.name
        ));
    }
    let before = opened.link.as_ref().map(|Subject { digest, .. }| digest.sha256.clone());
    Ok(Adopted {
        before: before.unwrap_or_default(),
        uid: model.uid.clone(),
        head: opened.head,
        after: opened.statement.map(|statement| statement.predicate.after),
    })
}
