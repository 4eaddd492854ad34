//! Whether the invariants of records and of what people do would be missed: a history in which all is well, and one broken
//! history for each of them.

use guardbit::api::{PrecisionDecision, PrecisionDecisionSpec};
use guardbit::ledger::pack;
use serde_json::json;

use crate::broken::{Breakage, Tape, after, entries, instead, route, seen, status, swapped};
use crate::history::{Act, Seen};
use crate::people::{LAPSED, ROLL_BACK};
use crate::{people, records};

const DECIDED: [(&str, &str); 3] = [
    ("Started", "the next variant"),
    ("Raised", "to 20%: the gates are open"),
    ("TakenBack", "cid rolled back"),
];

fn digest(number: usize) -> String {
    format!("{number:064}")
}

/// A status with so many decisions, each on record, of which the last has this digest.
fn status_with(decided: usize, head: &str) -> Seen {
    let mut status = status(&DECIDED[..decided], None, 0, "NoData");
    status["ledger"] = json!({"sequence": decided, "head": head});
    seen(&status)
}

fn said(number: usize) -> Seen {
    status_with(number, &digest(number))
}

/// The record of this number, with the decision of another.
fn record_of(number: usize, decision: usize) -> Seen {
    let (action, why) = DECIDED[decision - 1];
    let statement = json!({"predicate": {"decisions": [{"action": action, "variant": "int8", "why": why}]}});
    let spec = PrecisionDecisionSpec {
        sequence: i64::try_from(number).expect("small"),
        time: String::new(),
        summary: format!("{action} int8 {why}"),
        payload_digest: format!("sha256:{}", digest(number)),
        payload: pack(statement.to_string().as_bytes()),
        signature: None,
        rotated_from: None,
    };
    Seen::Record(Box::new(PrecisionDecision::new(&format!("m-{number:06}"), spec)))
}

fn record(number: usize) -> Seen {
    record_of(number, number)
}

fn act(name: &str, action: &str, record: Option<&str>) -> Seen {
    let act = Act {
        action: action.to_owned(),
        state: "InForce".to_owned(),
        record: record.map(str::to_owned),
    };
    Seen::Act(name.to_owned(), Some(act))
}

fn gone(name: &str) -> Seen {
    Seen::Act(name.to_owned(), None)
}

/// Approved, raised, and taken back.
fn history() -> Tape {
    vec![
        ("started", said(1)),
        ("its record", record(1)),
        ("all to stable", route(&[("fp32", 100)])),
        ("swept", gone(LAPSED)),
        ("approved", act("approve", "Approve", None)),
        ("raised", said(2)),
        ("record of the rise", record(2)),
        ("20", route(&[("fp32", 80), ("int8", 20)])),
        ("rolled back", act(ROLL_BACK, "RollBack", None)),
        ("lowered", route(&[("fp32", 100), ("int8", 0)])),
        ("taken back", said(3)),
        ("record of the end", record(3)),
        ("told", act(ROLL_BACK, "RollBack", Some("m-000003"))),
    ]
}

fn found(tape: Tape) -> Vec<String> {
    let entries = entries(tape);
    let mut found = records::disorder(&entries);
    found.extend(people::violations(&entries));
    found
}

#[test]
fn a_history_on_record_in_which_all_is_well_breaks_nothing() {
    assert_eq!(found(history()), Vec::<String>::new());
}

#[test]
fn a_broken_history_of_records_and_people_is_found_by_each_check() {
    let broken: [Breakage; 12] = [
        (
            "traffic before there is a record",
            |t| swapped(t, "its record", "all to stable"),
            "there is traffic, and no record",
        ),
        (
            "a rise before its record",
            |t| swapped(t, "record of the rise", "20"),
            "int8 rises to 20%, and that is not on record",
        ),
        (
            "a record before its status",
            |t| swapped(t, "raised", "record of the rise"),
            "record 2 is another than a status had said before",
        ),
        (
            "a status that forgets a record",
            |t| after(t, "record of the rise", said(1)),
            "status went back from record 2 to 1",
        ),
        (
            "two statuses with another record of the same number",
            |t| after(t, "record of the rise", status_with(2, &digest(7))),
            "the chain forks at record 2",
        ),
        (
            "a record that is changed",
            |t| after(t, "record of the rise", record_of(2, 1)),
            "record 2 was changed",
        ),
        (
            "a record that is lost",
            |t| instead(t, "record of the end", gone(LAPSED)),
            "record 3 is lost",
        ),
        (
            "a record of something else",
            |t| instead(t, "record of the end", record_of(3, 2)),
            "and on record is",
        ),
        (
            "a rise that nobody approved",
            |t| instead(t, "approved", act("approve", "Reject", None)),
            "int8 rises to 20%, and nobody has approved",
        ),
        (
            "a rise after a rollback",
            |t| after(t, "told", route(&[("fp32", 80), ("int8", 20)])),
            "int8 rises to 20% after it was taken back",
        ),
        (
            "an action that is deleted",
            |t| after(t, "told", gone(ROLL_BACK)),
            "the action down is gone",
        ),
        (
            "an action with a record that there is not",
            |t| instead(t, "told", act(ROLL_BACK, "RollBack", Some("m-000004"))),
            "the action down names record m-000004, which is not there",
        ),
    ];
    for (name, mutate, wanted) in broken {
        let mut tape = history();
        mutate(&mut tape);
        let found = found(tape);
        assert!(found.iter().any(|line| line.contains(wanted)), "{name}: {found:#?}");
    }
}
