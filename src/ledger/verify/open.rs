//! One record alone: read strictly, its signature checked before anything in it is believed.

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use crate::RELEASE;
use crate::api::{DecisionSignature, PrecisionDecision};
use crate::rollout::TestState;

use super::super::RULES;
use super::super::bundle::Bundle;
use super::super::entry::summary;
use super::super::envelope::Signature;
use super::super::link::{Head, object_name};
use super::super::packed::{LARGEST_STATEMENT, unpack};
use super::super::statement::{RecordInfo, Signing, Statement, StatementError, Subject};
use super::finding::{Check, Finding};
use super::input::{Item, Source, Trust};

/// Endings of the names of exported files. Before them stands the number of the record.
const EXPORTED: [&str; 2] = [".sigstore.json", ".unsigned.json"];

/// A record that could be read and whose signature holds.
pub(super) struct Opened<'a> {
    /// Name of the file or object.
    pub(super) name: &'a str,
    /// Which record it says that it is.
    pub(super) info: RecordInfo,
    /// When it says that it was decided.
    pub(super) time: Timestamp,
    /// Its number, and the digest of its statement.
    pub(super) head: Head,
    /// Its first subject.
    pub(super) link: Option<Subject>,
    /// Records that are deleted after it.
    pub(super) pruned: Option<Head>,
    /// The record that it goes on from, where status was lost.
    pub(super) recovered: Option<Head>,
    /// The whole of it; `None` where another core wrote it, so that its decision cannot be made again.
    pub(super) statement: Option<Statement>,
    /// The key that signed it, whether or not a key was given to check that.
    pub(super) keyid: Option<String>,
    /// Whether its signature was checked.
    pub(super) is_checked: bool,
    /// The key that signed before, where it signed this record as well.
    pub(super) handed_over_by: Option<String>,
    /// The object that holds it.
    pub(super) object: Option<&'a PrecisionDecision>,
}

impl Opened<'_> {
    /// Something of it that does not hold.
    pub(super) fn broken(&self, check: Check, message: &str) -> (u64, Finding) {
        (self.head.sequence, Finding::broken(self.name, check, message))
    }

    /// Something of it that cannot be known.
    pub(super) fn reservation(&self, check: Check, message: &str) -> (u64, Finding) {
        (self.head.sequence, Finding::reservation(self.name, check, message))
    }
}

/// Reads one record.
pub(super) fn open<'a>(item: &'a Item, trust: &Trust) -> Result<Opened<'a>, Finding> {
    let broken = |check: Check, why: &str| Finding::broken(&item.name, check, why);
    let Held {
        payload,
        signature,
        former,
        object,
    } = held(item)?;
    let signed =
        |signature: &Signature| signed(signature, &payload, trust).map_err(|why| broken(Check::Signature, &why));
    let is_checked = match &signature {
        Some(signature) => signed(signature)?,
        None if trust.allow_unsigned => false,
        None => {
            let why = "it has no signature; --allow-unsigned takes records that guardbit wrote without a key";
            return Err(broken(Check::Signature, why));
        }
    };
    // Whether a key that nobody knows any more has agreed cannot be told, and the record is signed without it.
    let is_known = |former: &&Signature| trust.keys.iter().any(|key| key.keyid() == former.keyid);
    let handed_over = former.as_ref().filter(is_known).map(signed).transpose()?;
    let Frame { subject, predicate } = frame(&payload).map_err(|why| broken(Check::Form, &why))?;
    let FramePredicate {
        record: info,
        documents,
    } = predicate;
    if info.signing == Signing::Key && signature.is_none() {
        return Err(broken(
            Check::Signature,
            "guardbit signed it, and the signature is gone",
        ));
    }
    let statement = statement(&info, &payload).map_err(|why| match why {
        StatementError::NotCanonical => broken(Check::Canonical, &why.to_string()),
        StatementError::Unreadable(_) | StatementError::OtherType(_) => broken(Check::Form, &why.to_string()),
    })?;
    let time = info.time.parse::<Timestamp>();
    let time = time.map_err(|why| broken(Check::Form, &format!("its time {:?} is none: {why}", info.time)))?;
    let opened = Opened {
        name: &item.name,
        time,
        head: Head::of(info.sequence, &payload),
        info,
        link: subject.into_iter().next(),
        pruned: documents.pruned,
        recovered: documents.recovered,
        statement,
        keyid: signature.map(|signature| signature.keyid),
        is_checked,
        handed_over_by: former.filter(|_| handed_over == Some(true)).map(|former| former.keyid),
        object,
    };
    match beside(&opened, item) {
        Some(why) => Err(broken(Check::Beside, &why)),
        None => Ok(opened),
    }
}

/// What a file or an object holds.
struct Held<'a> {
    payload: Vec<u8>,
    signature: Option<Signature>,
    /// The signature by the key that signed before.
    former: Option<Signature>,
    object: Option<&'a PrecisionDecision>,
}

fn held(item: &Item) -> Result<Held<'_>, Finding> {
    let unreadable = |why: String| Finding::broken(&item.name, Check::Form, &why);
    match &item.source {
        Source::Bundle(bytes) => {
            let bundle = Bundle::parse(bytes).map_err(|why| unreadable(why.to_string()))?;
            Ok(Held {
                payload: bundle.payload,
                signature: bundle.signature,
                former: None,
                object: None,
            })
        }
        Source::Object(object) => {
            let spec = &object.spec;
            let of = |signature: &DecisionSignature| Signature::from(signature.clone());
            Ok(Held {
                payload: unpack(&spec.payload, LARGEST_STATEMENT).map_err(|why| unreadable(why.to_string()))?,
                signature: spec.signature.as_ref().map(of),
                former: spec.rotated_from.as_ref().map(of),
                object: Some(object),
            })
        }
    }
}

/// Whether a signature was checked, which takes a key. An error says why it does not hold.
fn signed(signature: &Signature, payload: &[u8], trust: &Trust) -> Result<bool, String> {
    if trust.keys.is_empty() {
        return Ok(false);
    }
    let Some(key) = trust.keys.iter().find(|key| key.keyid() == signature.keyid) else {
        return Err(format!(
            "the key {} signed it, which is none of those given",
            signature.keyid
        ));
    };
    if key.verifies(payload, signature) {
        Ok(true)
    } else {
        Err(format!(
            "its signature is not over this statement by the key {}",
            signature.keyid
        ))
    }
}

/// What every release of guardbit can read of a record.
#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    subject: Vec<Subject>,
    predicate: FramePredicate,
}

#[derive(Deserialize)]
struct FramePredicate {
    record: RecordInfo,
    #[serde(default)]
    documents: FrameDocuments,
}

#[derive(Default, Deserialize)]
struct FrameDocuments {
    #[serde(default)]
    pruned: Option<Head>,
    #[serde(default)]
    recovered: Option<Head>,
}

fn frame(payload: &[u8]) -> Result<Frame, String> {
    serde_json::from_slice(payload).map_err(|why| format!("it cannot be read: {why}"))
}

/// The whole statement, if this core wrote it. That of another core must be canonical as well, and so must that of another release
/// which says more than this one can read.
fn statement(info: &RecordInfo, payload: &[u8]) -> Result<Option<Statement>, StatementError> {
    if info.core.rules == RULES && info.core.state == TestState::version() {
        match Statement::parse(payload) {
            Err(StatementError::Unreadable(_) | StatementError::NotCanonical) if info.core.guardbit != RELEASE => {}
            read => return read.map(Some),
        }
    }
    let value: serde_json::Value = serde_json::from_slice(payload)?;
    let canonical = serde_json_canonicalizer::to_vec(&value)?;
    if canonical == payload {
        Ok(None)
    } else {
        Err(StatementError::NotCanonical)
    }
}

/// What stands beside the statement, in the object or in the name of the file, and says something else.
fn beside(opened: &Opened<'_>, item: &Item) -> Option<String> {
    let RecordInfo {
        sequence, model, time, ..
    } = &opened.info;
    let Some(object) = opened.object else {
        let named = number_in(&item.name)?;
        return (named != *sequence).then(|| format!("it is named after record {named}, and holds record {sequence}"));
    };
    let (spec, metadata) = (&object.spec, &object.metadata);
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    // The object may have its time in whole seconds.
    let second = |told: &str| told.parse::<Timestamp>().map(Timestamp::as_second).ok();
    let is_same_time = second(&spec.time) == Some(opened.time.as_second());
    // How another core tells it is not known.
    let told = opened.statement.as_ref().map(|statement| summary(&statement.predicate));
    let fields = [
        ("spec.sequence", spec.sequence.to_string(), sequence.to_string()),
        (
            "spec.payloadDigest",
            spec.payload_digest.clone(),
            format!("sha256:{}", opened.head.digest),
        ),
        (
            "spec.time",
            if is_same_time { time.clone() } else { spec.time.clone() },
            time.clone(),
        ),
        (
            "spec.summary",
            spec.summary.clone(),
            told.unwrap_or_else(|| spec.summary.clone()),
        ),
        ("name", text(&metadata.name), object_name(&model.name, *sequence)),
        ("namespace", text(&metadata.namespace), model.namespace.clone()),
    ];
    let (field, found, expected) = fields.into_iter().find(|(_, found, expected)| found != expected)?;
    Some(format!("its {field} is {found:?}, and the statement says {expected:?}"))
}

/// The number of the record in the name of an exported file; `None` where a file is not named so.
fn number_in(name: &str) -> Option<u64> {
    let name = name.rsplit(['/', '\\']).next()?;
    EXPORTED
        .iter()
        .find_map(|ending| name.strip_suffix(ending))?
        .parse()
        .ok()
}
