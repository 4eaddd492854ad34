//! The invariants of records, checked on every event of a history: a candidate rises only after the record of its rise exists, and
//! the records that exist in the end are a whole chain, of which every decision can be made once more.

use std::collections::BTreeMap;

use guardbit::api::PrecisionDecision;
use guardbit::ledger::verify::{Item, Source, Trust, verify};
use kube::ResourceExt;

use crate::history::{Entry, Seen};

/// What is wrong with the records of a history.
pub fn violations(namespace: &str, entries: &[Entry]) -> Vec<String> {
    let mut found = Vec::new();
    let mut records: BTreeMap<i64, &PrecisionDecision> = BTreeMap::new();
    let mut rises: BTreeMap<i64, usize> = BTreeMap::new();
    let mut before = 0;
    for entry in entries {
        match &entry.seen {
            Seen::Record(record) => {
                if let Some(known) = records.insert(record.spec.sequence, record)
                    && known.spec != record.spec
                {
                    found.push(format!("record {} was changed", record.spec.sequence));
                }
            }
            Seen::Route(route) => {
                let of = route.weights.iter().find(|(name, _)| name.contains("-int8-"));
                let weight = of.map_or(0, |(_, weight)| *weight);
                if weight > before {
                    let rises = rises.entry(weight).or_default();
                    *rises += 1;
                    let told = format!("Raised int8 to {weight}%");
                    let on_record = records.values().filter(|record| record.spec.summary.contains(&told));
                    if weight < 100 && on_record.count() < *rises && !is_promoted(&records) {
                        found.push(format!(
                            "int8 rises to {weight}%, and that is not on record: {:?}",
                            told_by(&records)
                        ));
                    }
                }
                before = weight;
            }
            Seen::Model(_) | Seen::Deployment(..) | Seen::Endpoints(..) => {}
        }
    }
    let items = records.values().map(|record| Item {
        name: record.name_any(),
        source: Source::Object(Box::new((*record).clone())),
    });
    let trust = Trust {
        allow_unsigned: true,
        ..Trust::default()
    };
    let verified = verify(&items.collect::<Vec<_>>(), &trust);
    let broken = verified.findings().filter(|finding| finding.is_broken());
    found.extend(broken.map(|finding| format!("{namespace}: {finding}")));
    if records.is_empty() {
        found.push("there is no record".to_owned());
    }
    found
}

/// Whether the promotion is on record: from then on it rises as stable.
fn is_promoted(records: &BTreeMap<i64, &PrecisionDecision>) -> bool {
    records
        .values()
        .any(|record| record.spec.summary.contains("Promoted int8"))
}

fn told_by<'a>(records: &BTreeMap<i64, &'a PrecisionDecision>) -> Vec<&'a str> {
    records.values().map(|record| record.spec.summary.as_str()).collect()
}
