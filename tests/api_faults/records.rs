//! The invariants of records, checked on every event of a history: a status says first what a record holds, nothing rises before
//! the record of it exists, and the records that exist in the end are a whole chain of all that was decided, of which every
//! decision can be made once more.

use std::collections::BTreeMap;

use guardbit::api::{PrecisionDecision, QuantizedModelStatus};
use guardbit::ledger::verify::{Item, Source, Trust, verify};
use guardbit::ledger::{LARGEST_STATEMENT, unpack};
use kube::ResourceExt;
use serde_json::Value;

use crate::history::{Entry, Route, Seen};

/// What is wrong with the order of events, and what is missing in the end.
pub fn disorder(entries: &[Entry]) -> Vec<String> {
    let mut check = Check::default();
    for entry in entries {
        match &entry.seen {
            Seen::Model(status) => check.status(status),
            Seen::Record(record) => check.record(record),
            Seen::Route(route) => check.route(route),
            Seen::Deployment(..) | Seen::Endpoints(..) | Seen::Authors(_) | Seen::Act(..) => {}
        }
    }
    check.end();
    check.found
}

/// What is wrong with the chain that the records of a history are.
pub fn breaks(namespace: &str, entries: &[Entry]) -> Vec<String> {
    let records = entries.iter().filter_map(|entry| match &entry.seen {
        Seen::Record(record) => Some((record.spec.sequence, record)),
        _ => None,
    });
    let records: BTreeMap<i64, _> = records.collect();
    let items = records.into_values().map(|record| Item {
        name: record.name_any(),
        source: Source::Object(record.clone()),
    });
    let trust = Trust {
        allow_unsigned: true,
        ..Trust::default()
    };
    let verified = verify(&items.collect::<Vec<_>>(), &trust);
    let broken = verified.findings().filter(|finding| finding.is_broken());
    broken.map(|finding| format!("{namespace}: {finding}")).collect()
}

#[derive(Default)]
struct Check<'a> {
    status: Option<&'a QuantizedModelStatus>,
    /// Digests of records, by their numbers, as statuses have said them.
    said: BTreeMap<i64, String>,
    records: BTreeMap<i64, &'a PrecisionDecision>,
    weight: i64,
    /// How often the candidate rose to a weight.
    rises: BTreeMap<i64, usize>,
    found: Vec<String>,
}

impl<'a> Check<'a> {
    fn status(&mut self, status: &'a QuantizedModelStatus) {
        let newest = |of: &QuantizedModelStatus| of.ledger.as_ref().map_or(0, |ledger| ledger.sequence);
        let (before, now) = (self.status.map_or(0, newest), newest(status));
        if now < before {
            self.found
                .push(format!("status went back from record {before} to {now}"));
        }
        if let Some(ledger) = &status.ledger {
            let pending = ledger.pending.iter();
            let pending = pending.map(|record| (record.sequence, record.payload_digest.clone()));
            for (number, digest) in pending.chain([(ledger.sequence, format!("sha256:{}", ledger.head))]) {
                let known = self.said.entry(number).or_insert_with(|| digest.clone());
                if *known != digest {
                    self.found.push(format!("the chain forks at record {number}"));
                }
            }
        }
        self.status = Some(status);
    }

    fn record(&mut self, record: &'a PrecisionDecision) {
        let number = record.spec.sequence;
        if self.said.get(&number) != Some(&record.spec.payload_digest) {
            self.found
                .push(format!("record {number} is another than a status had said before"));
        }
        if let Some(known) = self.records.insert(number, record)
            && known.spec != record.spec
        {
            self.found.push(format!("record {number} was changed"));
        }
    }

    fn route(&mut self, route: &Route) {
        if self.records.is_empty() && route.weights.values().any(|weight| *weight > 0) {
            self.found.push("there is traffic, and no record".to_owned());
        }
        let weight = route.of_candidate();
        if weight > self.weight {
            let rises = self.rises.entry(weight).or_default();
            *rises += 1;
            let rises = *rises;
            let told = format!("Raised int8 to {weight}%");
            let on_record = self.summaries().filter(|summary| summary.contains(&told)).count();
            // From its promotion on it rises as stable.
            let is_promoted = self.summaries().any(|summary| summary.contains("Promoted int8"));
            if weight < 100 && on_record < rises && !is_promoted {
                let all: Vec<_> = self.summaries().collect();
                let what = format!("int8 rises to {weight}%, and that is not on record: {all:?}");
                self.found.push(what);
            }
        }
        self.weight = weight;
    }

    fn end(&mut self) {
        let Some(status) = self.status else { return };
        for number in self.said.keys().filter(|number| !self.records.contains_key(*number)) {
            self.found.push(format!("record {number} is lost"));
        }
        let known = status.decisions.iter();
        let known: Vec<String> = known
            .map(|decision| line(&decision.action.to_string(), &decision.variant, &decision.why))
            .collect();
        let told: Vec<String> = self.records.values().copied().flat_map(decisions).collect();
        // A status keeps the last ones.
        if known.is_empty() || !told.ends_with(&known) {
            self.found
                .push(format!("decided was {known:?}, and on record is {told:?}"));
        }
    }

    fn summaries(&self) -> impl Iterator<Item = &str> {
        self.records.values().map(|record| record.spec.summary.as_str())
    }
}

/// The decisions in a record.
fn decisions(record: &PrecisionDecision) -> Vec<String> {
    let statement = unpack(&record.spec.payload, LARGEST_STATEMENT).unwrap_or_default();
    let statement: Value = serde_json::from_slice(&statement).unwrap_or_default();
    let decisions = statement["predicate"]["decisions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let told = |decision: &Value| {
        let text = |field: &str| decision[field].as_str().unwrap_or_default();
        line(text("action"), text("variant"), text("why"))
    };
    decisions.iter().map(told).collect()
}

fn line(action: &str, variant: &str, why: &str) -> String {
    format!("{action} {variant}: {why}")
}
