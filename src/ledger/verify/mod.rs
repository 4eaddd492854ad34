//! Verification: whether records are what guardbit wrote, whether any is missing, and whether their decisions follow from
//! what was counted.
//!
//! It goes from what costs little to what costs much, and stops a chain where something does not hold: each record is read
//! and its signature checked (`open`), then the chain is walked (`chain`), then every decision is made once more (`decision`).
//! Nothing of a record is believed before its signature. The rules of policies, acts, authors and
//! slots are part of what an evaluation saw, so approvals, freezes and floors are counted again with each decision.

mod adopt;
mod chain;
mod decision;
mod finding;
mod input;
mod open;

use std::collections::BTreeMap;

pub use adopt::{Adopted, adopt};
pub use finding::{Check, Finding, NotReplayed, Outcome, Report, Severity, Verified};
pub use input::{Anchor, Item, Source, Trust};

use super::link::Head;
use super::statement::ModelName;
use chain::{Walk, walk};
use decision::{Again, Made, decide_again};
use input::digits;
use open::{Opened, open};

/// Verifies records of one model or of several, in any order. Every model has a chain of its own.
pub fn verify(items: &[Item], trust: &Trust) -> Verified {
    let mut verified = Verified::default();
    let mut models: BTreeMap<(String, String), Vec<Opened<'_>>> = BTreeMap::new();
    for item in items {
        match open(item, trust) {
            Ok(opened) => {
                let ModelName { namespace, name, .. } = &opened.info.model;
                let model = (namespace.clone(), name.clone());
                models.entry(model).or_default().push(opened);
            }
            Err(finding) => verified.apart.push(finding),
        }
    }
    let chains = models.into_iter().map(|(model, records)| report(model, records, trust));
    verified.chains = chains.collect();
    verified.apart.extend(elsewhere(&verified.chains, trust));
    verified
}

/// Verifies the records of one model. There is at least one.
fn report((namespace, name): (String, String), mut records: Vec<Opened<'_>>, trust: &Trust) -> Report {
    records.sort_by_key(|record| record.head.sequence);
    let is_here = |anchor: &&Anchor| anchor.namespace == namespace && anchor.name == name;
    let anchors: Vec<_> = trust.anchors.iter().filter(is_here).collect();
    let Walk {
        mut found,
        complete_from,
    } = walk(&records, &anchors);
    let (mut replayed, mut from_state, mut not_replayed) = (0, 0, Vec::new());
    if !found.iter().any(|(_, finding)| finding.is_broken()) {
        let mut before = None;
        for record in &records {
            let Again { made, found: more, end } = decide_again(record, before.as_ref());
            match made {
                Made::FromCounts => replayed += 1,
                Made::FromState => from_state += 1,
                Made::Differs => {}
                Made::Not(why) => not_replayed.push(NotReplayed {
                    sequence: record.head.sequence,
                    why,
                }),
            }
            found.extend(more);
            before = Some(end);
        }
    }
    found.sort_by_key(|(sequence, finding)| (*sequence, finding.check));
    let mut findings: Vec<_> = found.into_iter().map(|(_, finding)| finding).collect();
    findings.extend(unchecked(&format!("{namespace}/{name}"), &records, &not_replayed));
    Report {
        records: records.len(),
        findings,
        replayed,
        from_state,
        not_replayed,
        signed: records.iter().filter(|record| record.is_checked).count(),
        complete_from,
        head: records
            .last()
            .map_or_else(|| Head::origin(""), |newest| newest.head.clone()),
        namespace,
        name,
    }
}

/// What was left out for all records of a model.
fn unchecked(model: &str, records: &[Opened<'_>], not_replayed: &[NotReplayed]) -> Vec<Finding> {
    let signed = records
        .iter()
        .filter(|record| record.keyid.is_some() && !record.is_checked)
        .count();
    let unsigned = records.iter().filter(|record| record.keyid.is_none()).count();
    let others = not_replayed.len();
    let all = [
        (
            signed,
            Check::Signature,
            "no key was given, so the signatures of these records are not checked",
        ),
        (
            unsigned,
            Check::Signature,
            "these records have no signature: whoever can write may have written them",
        ),
        (
            others,
            Check::Decision,
            "the decisions of these records are not made again",
        ),
    ];
    let some = all.into_iter().filter(|(count, ..)| *count > 0);
    some.map(|(count, check, why)| Finding::reservation(model, check, &format!("{why} ({count} of {})", records.len())))
        .collect()
}

/// What is known from elsewhere of records that are not here.
fn elsewhere(chains: &[Report], trust: &Trust) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some((sequence, digest)) = &trust.expect {
        let digest = digits(digest).to_ascii_lowercase();
        let is_expected = |chain: &Report| chain.head.sequence == *sequence && chain.head.digest == digest;
        if !chains.iter().any(is_expected) {
            let heads: Vec<_> = chains
                .iter()
                .map(|chain| format!("{} sha256:{}", chain.head.sequence, chain.head.digest))
                .collect();
            let heads = if heads.is_empty() {
                "none".to_owned()
            } else {
                heads.join(", ")
            };
            let message = format!("record {sequence} sha256:{digest} is expected, and it is {heads}");
            found.push(Finding::broken("the newest record", Check::Anchor, &message));
        }
    }
    let is_known = |anchor: &Anchor| {
        chains
            .iter()
            .any(|chain| chain.namespace == anchor.namespace && chain.name == anchor.name)
    };
    let absent = trust.anchors.iter().filter(|anchor| !is_known(anchor));
    let mut absent: Vec<_> = absent
        .map(|anchor| format!("{}/{}", anchor.namespace, anchor.name))
        .collect();
    absent.sort();
    absent.dedup();
    let reserve =
        |model: &String| Finding::reservation(model, Check::Anchor, "records of it are attested, and none is here");
    found.extend(absent.iter().map(reserve));
    found
}
