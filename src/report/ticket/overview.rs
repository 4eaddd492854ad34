//! What a ticket says of the chain as a whole: its records, and the state at its end.

use crate::api::RevisionRef;
use crate::judge::text::number;
use crate::model::facts::listed;

use super::super::chain::{Chain, Report};
use super::super::document::Table;
use super::super::shares::in_words;
use super::super::side::{UNKNOWN, described};
use super::super::text::time;

/// The records: how many there are, who wrote them, and whether they hold.
pub(super) fn about(chain: &Chain, report: &Report) -> Table {
    let ((first, last), (began, newest)) = (chain.records, chain.times);
    let registered = &chain.registered;
    let mut rows = vec![
        ("Model", listed(registered)),
        ("UID", chain.model.uid.clone()),
        ("Records", format!("{first} to {last}, {}", chain.completeness())),
        ("Written", format!("{} to {}", time(began), time(newest))),
        (
            "Written by",
            format!("guardbit {}", Vec::from_iter(chain.releases.iter().cloned()).join(", ")),
        ),
        (
            "Head",
            format!("record {}, sha256:{}", chain.head.sequence, chain.head.digest),
        ),
    ];
    if let Some(pruned) = &chain.pruned {
        let text = format!(
            "records up to {}, whose head was sha256:{}",
            pruned.sequence, pruned.digest
        );
        rows.push(("Deleted by retention", text));
    }
    if let Some(recovered) = &chain.recovered {
        let text = format!(
            "the chain went on from record {}, because the status had been lost",
            recovered.sequence
        );
        rows.push(("Recovered", text));
    }
    if chain.unsigned > 0 {
        rows.push((
            "Without a signature",
            format!("{} records", number(chain.unsigned as u64)),
        ));
    }
    let verification = report.verification.clone();
    let unverified = "the records were not verified for this report: run guardbit verify".to_owned();
    rows.push(("Verification", verification.unwrap_or(unverified)));
    Table::listing("The records", rows)
}

/// What holds at the end of the chain.
pub(super) fn now(chain: &Chain) -> Table {
    let after = &chain.after;
    let named = |revision: &Option<RevisionRef>| {
        revision
            .as_ref()
            .map_or_else(|| UNKNOWN.to_owned(), RevisionRef::describe)
    };
    let mut rows = vec![
        ("As of", time(chain.times.1)),
        (
            "Phase",
            after
                .phase
                .as_ref()
                .map_or_else(|| UNKNOWN.to_owned(), ToString::to_string),
        ),
        ("Traffic", in_words(&chain.weights)),
        ("Stable", named(&after.stable)),
        ("Reference", named(&after.reference)),
    ];
    if let Some(rollout) = &after.rollout {
        let text = format!("{}, at {}%", rollout.candidate.describe(), rollout.weight);
        rows.push(("On trial", text));
    }
    let proven = after.proven.iter().map(|of| {
        format!(
            "{} by {} at {}",
            described(&of.variant, &of.revision),
            of.by,
            time(of.at.0)
        )
    });
    rows.push(("Proven", joined(proven.collect())));
    let rejected = after.rejected.iter();
    let rejected = rejected.map(|of| {
        format!(
            "{} at {}: {}",
            described(&of.variant, &of.revision),
            time(of.at.0),
            of.reason
        )
    });
    rows.push(("Rejected", joined(rejected.collect())));
    Table::listing("The state that the last record leaves behind", rows)
}

fn joined(all: Vec<String>) -> String {
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join("; ")
    }
}
