//! Every byte of an export counts.

use std::num::NonZero;
use std::thread;

use guardbit::ledger::verify::{Check, Item, Source, Trust, verify};

use crate::records::{bundle, exported, key, only, rollout, trust};

/// The changed forms of a file at one byte: lowest bit flipped, replaced by a space, deleted, a space before it.
fn changed(file: &[u8], at: usize) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let spliced = |len: usize, with: &[u8]| [&file[..at], with, &file[at + len..]].concat();
    let all = [
        ("flipped", spliced(1, &[file[at] ^ 1])),
        ("blanked", spliced(1, b" ")),
        ("deleted", spliced(1, b"")),
        ("inserted", spliced(0, b" ")),
    ];
    all.into_iter().filter(move |(_, bytes)| bytes.as_slice() != file)
}

/// What is found first in a file, if the file alone already shows that something is wrong with it.
fn first_found(name: &str, bytes: Vec<u8>, trust: &Trust) -> Option<Check> {
    let item = Item {
        name: name.to_owned(),
        source: Source::Bundle(bytes),
    };
    let verified = verify(&[item], trust);
    let found = verified.apart.first().filter(|finding| finding.is_broken())?;
    // A record that cannot be opened belongs to no chain.
    verified.chains.is_empty().then_some(found.check)
}

/// Changes of one file that are not found.
fn not_found(name: &str, file: &[u8], range: std::ops::Range<usize>) -> (usize, Vec<String>) {
    let (trust, mut tried, mut missed) = (trust(), 0, Vec::new());
    for at in range {
        for (how, bytes) in changed(file, at) {
            tried += 1;
            match first_found(name, bytes, &trust) {
                Some(Check::Form | Check::Signature | Check::Canonical) => {}
                found => missed.push(format!("{name}: byte {at} {how}: {found:?}")),
            }
        }
    }
    (tried, missed)
}

#[test]
fn every_single_byte_of_an_export_counts() {
    let records = rollout();
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let (mut tried, mut missed) = (0, Vec::new());
    for statement in &records {
        let name = format!("{:06}.sigstore.json", statement.predicate.record.sequence);
        let file = bundle(statement, &key());
        assert_eq!(first_found(&name, file.clone(), &trust()), None, "{name} itself");
        let part = file.len().div_ceil(threads);
        let parts: Vec<_> = (0..file.len())
            .step_by(part)
            .map(|from| from..(from + part).min(file.len()))
            .collect();
        let found = thread::scope(|scope| {
            let (name, file) = (&name, &file);
            let running: Vec<_> = parts
                .into_iter()
                .map(|range| scope.spawn(move || not_found(name, file, range)))
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("a result"))
                .collect::<Vec<_>>()
        });
        for (more, others) in found {
            tried += more;
            missed.extend(others);
        }
    }
    println!("{tried} changes of {} files", records.len());
    assert!(
        missed.is_empty(),
        "{} of {tried} changes were not found: {:#?}",
        missed.len(),
        &missed[..missed.len().min(20)]
    );
    assert!(tried > 100_000, "{tried}");
}

#[test]
fn a_changed_byte_is_found_among_all_records() {
    let records = rollout();
    let (whole, trust) = (exported(&records, &key()), trust());
    assert_eq!(only(&whole, &trust).findings, []);
    for (number, statement) in records.iter().enumerate() {
        let file = bundle(statement, &key());
        for at in (0..file.len()).step_by(file.len() / 7) {
            for (how, bytes) in changed(&file, at) {
                let mut items = whole.clone();
                items[number].source = Source::Bundle(bytes);
                let verified = verify(&items, &trust);
                let found = verified.apart.first();
                let found = found.filter(|finding| finding.is_broken() && finding.record == whole[number].name);
                assert!(found.is_some(), "{}: byte {at} {how}: {verified}", whole[number].name);
            }
        }
    }
}
