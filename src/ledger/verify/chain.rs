//! Whether the records of a model are a chain: numbers, links, model, time, and what is known of them from elsewhere.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::Action;

use super::super::link::Head;
use super::super::statement::Subject;
use super::finding::{Check, Finding};
use super::input::Anchor;
use super::open::Opened;

/// How far the time of a record may lie before that of the record before. Clocks of two nodes differ by less.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// The records of a model, as a chain.
pub(super) struct Walk {
    /// What was found, with the number of the record.
    pub(super) found: Vec<(u64, Finding)>,
    /// The number from which on no record is missing; `None` where one is.
    pub(super) complete_from: Option<u64>,
}

/// Walks the records of one model, which are in the order of their numbers.
pub(super) fn walk(records: &[Opened<'_>], anchors: &[&Anchor]) -> Walk {
    let mut found = Vec::new();
    if let Some(first) = records.first() {
        found.extend(beginning(first, records, anchors));
    }
    for (before, record) in records.iter().zip(records.iter().skip(1)) {
        found.extend(follows(record, before));
        found.extend(same_model(record, before));
        found.extend(later(record, before));
        found.extend(signed_alike(record, before));
    }
    found.extend(records.iter().filter_map(recovered));
    found.extend(records.iter().filter_map(created_when_it_says));
    found.extend(anchors.iter().filter_map(|anchor| attested(anchor, records)));
    let breaks = |finding: &Finding| matches!(finding.check, Check::Sequence | Check::Link) && finding.is_broken();
    let whole = !found.iter().any(|(_, finding)| breaks(finding));
    Walk {
        complete_from: records.first().filter(|_| whole).map(|first| first.head.sequence),
        found,
    }
}

/// The chain begins with the model, or where something attests what came before.
fn beginning(first: &Opened<'_>, records: &[Opened<'_>], anchors: &[&Anchor]) -> Option<(u64, Finding)> {
    let missing = match first.head.sequence {
        0 => return Some(first.broken(Check::Sequence, "numbers count from 1, and this is 0")),
        1 => return links_to(first, &Head::origin(&first.info.model.uid)),
        number => number - 1,
    };
    if anchors.iter().any(|anchor| anchor.head() == first.head) {
        return None;
    }
    // They are deleted one after the other, the oldest first. While that goes on, or after it was cut short, the newest of those
    // that are to go is still here, and everything from the first on leads to it.
    let mut pruned = records.iter().filter_map(|record| record.pruned.as_ref());
    if pruned.any(|newest| records.iter().any(|record| record.head == *newest)) {
        return None;
    }
    let pruned = records.iter().filter_map(|record| record.pruned.clone());
    let attested = anchors.iter().map(|anchor| anchor.head());
    let mut before = pruned.chain(attested).filter(|head| head.sequence == missing);
    match before.next() {
        Some(head) => links_to(first, &head),
        None => Some(first.broken(
            Check::Sequence,
            &format!("it is the first, and neither a later record nor an anchor attests the {missing} before it"),
        )),
    }
}

/// A record follows the one before, in number and by its digest.
fn follows(record: &Opened<'_>, before: &Opened<'_>) -> Option<(u64, Finding)> {
    let (number, last) = (record.head.sequence, before.head.sequence);
    // Records are in the order of their numbers.
    match number - last {
        0 => Some(record.broken(Check::Sequence, &format!("{} is record {number} as well", before.name))),
        1 => links_to(record, &before.head),
        _ => {
            let missing = match (last + 1, number - 1) {
                (from, through) if from == through => format!("record {from} is missing"),
                (from, through) => format!("records {from}…{through} are missing"),
            };
            Some(record.broken(Check::Sequence, &format!("it follows record {last}: {missing}")))
        }
    }
}

/// The first subject of a record is the record before.
fn links_to(record: &Opened<'_>, before: &Head) -> Option<(u64, Finding)> {
    let expected = Subject::record(before, &record.info.model);
    let told = |subject: &Subject| format!("{} sha256:{}", subject.name, subject.digest.sha256);
    (record.link.as_ref() != Some(&expected)).then(|| {
        let found = record.link.as_ref().map_or_else(|| "missing".to_owned(), told);
        record.broken(
            Check::Link,
            &format!("its first subject should be {}, and is {found}", told(&expected)),
        )
    })
}

/// A record is about the model of the one before. One that was made anew under the same name goes on with the chain, and says so.
fn same_model(record: &Opened<'_>, before: &Opened<'_>) -> Option<(u64, Finding)> {
    let (uid, former) = (&record.info.model.uid, &before.info.model.uid);
    if uid == former {
        return None;
    }
    let change = format!("the model has the uid {uid}, and had {former} before");
    Some(if record.recovered.is_some() {
        record.reservation(Check::Model, &format!("{change}: it was deleted and made anew"))
    } else {
        record.broken(
            Check::Model,
            &format!("{change}, and the record does not say that it was made anew"),
        )
    })
}

/// A record that goes on after status was lost names the record that it goes on from.
fn recovered(record: &Opened<'_>) -> Option<(u64, Finding)> {
    let recovered = record.recovered.as_ref()?;
    let named = Subject::record(recovered, &record.info.model);
    (record.link.as_ref() != Some(&named)).then(|| {
        record.broken(
            Check::Model,
            &format!(
                "it says that it goes on from record {} sha256:{}, and its first subject is another",
                recovered.sequence, recovered.digest
            ),
        )
    })
}

/// Time does not go back.
fn later(record: &Opened<'_>, before: &Opened<'_>) -> Option<(u64, Finding)> {
    let back = before.time.duration_since(record.time);
    (back > CLOCKS_DIFFER).then(|| {
        record.broken(
            Check::Time,
            &format!(
                "it was decided at {}, and the record before at {}",
                record.time, before.time
            ),
        )
    })
}

/// The API server created an object after it was decided what it records, and soon after.
fn created_when_it_says(record: &Opened<'_>) -> Option<(u64, Finding)> {
    let created = record.object?.metadata.creation_timestamp.as_ref()?.0;
    let late = created.duration_since(record.time);
    let told = || {
        format!(
            "it was decided at {}, and the API server created it at {created}",
            record.time
        )
    };
    if late < -CLOCKS_DIFFER {
        Some(record.broken(Check::Time, &told()))
    } else if late > CLOCKS_DIFFER {
        let frozen = raised_in_a_freeze(record, created).unwrap_or_default();
        let told = format!(
            "{}{frozen}: it was not taken for so long, or the clock of guardbit was wrong",
            told()
        );
        Some(record.reservation(Check::Time, &told))
    } else {
        None
    }
}

/// The freeze that held, by the rules of the record itself, when the API server created a record that lets something rise:
/// whoever puts the clock of guardbit back gets by a freeze.
fn raised_in_a_freeze(record: &Opened<'_>, created: Timestamp) -> Option<String> {
    let predicate = &record.statement.as_ref()?.predicate;
    let raises = predicate.decisions.iter().any(|decision| {
        let action = decision.action.known();
        matches!(
            action,
            Some(Action::Bootstrapped | Action::Started | Action::Raised | Action::Promoting | Action::Promoted)
        )
    });
    let frozen = predicate.look.seen.governance.governed()?.rules.frozen_at(created)?;
    raises.then(|| format!(", when the {frozen}"))
}

/// A record is signed where the one before is, and by the same key unless that one hands over.
fn signed_alike(record: &Opened<'_>, before: &Opened<'_>) -> Option<(u64, Finding)> {
    let former = before.keyid.as_ref()?;
    match &record.keyid {
        None => Some(record.reservation(Check::Signature, "it has no signature, and the record before has one")),
        // An exported file has no place for a second signature.
        Some(_) if record.object.is_none() => None,
        Some(keyid) if keyid == former || record.handed_over_by.as_ref() == Some(former) => None,
        Some(keyid) => Some(record.reservation(
            Check::Signature,
            &format!("{keyid} signed it, and {former} the record before, which did not sign that it hands over"),
        )),
    }
}

/// A record that is known from elsewhere is here, and the same.
fn attested(anchor: &Anchor, records: &[Opened<'_>]) -> Option<(u64, Finding)> {
    let known = anchor.head();
    let last = records.last()?;
    if let Some(record) = records.iter().find(|record| record.head.sequence == known.sequence) {
        return (record.head.digest != known.digest).then(|| {
            record.broken(
                Check::Anchor,
                &format!(
                    "its digest is sha256:{}, and sha256:{} is attested",
                    record.head.digest, known.digest
                ),
            )
        });
    }
    // Where one is missing in the middle, its number was found missing. Earlier ones are pruned.
    (known.sequence > last.head.sequence).then(|| {
        last.broken(
            Check::Anchor,
            &format!(
                "it is the newest, and record {} is attested: the end is missing",
                known.sequence
            ),
        )
    })
}
