//! Whether the invariants would be missed: a history in which all is well, and one broken history for each of them.

use std::collections::BTreeMap;

use guardbit::model::identity::{Purpose, object_name};
use serde_json::{Value, json};

use crate::history::{Deployment, Entry, Route, Seen};
use crate::invariants::{MODEL, lowered_after, violations};

const NAMESPACE: &str = "risk";

/// Events by a name, in the order in which they were written, a second apart.
pub type Tape = Vec<(&'static str, Seen)>;

fn revision(variant: &str) -> Value {
    json!({"variant": variant, "revision": digest(variant)})
}

fn digest(variant: &str) -> String {
    variant.bytes().cycle().take(32).map(|b| format!("{b:02x}")).collect()
}

fn backend(variant: &str, purpose: Purpose) -> String {
    object_name(NAMESPACE, MODEL, variant, &digest(variant), purpose)
}

fn serving(variant: &str) -> String {
    backend(variant, Purpose::Serving)
}

/// All but pinned requests, which reach the pinned pods of the reference.
pub fn route(weights: &[(&str, i64)]) -> Seen {
    Seen::Route(Route {
        weights: weights.iter().map(|(v, w)| (serving(v), *w)).collect(),
        pinned: vec![backend("fp32", Purpose::Pinned)],
    })
}

fn pinned_to(name: String) -> Seen {
    let Seen::Route(route) = route(&[("fp32", 80), ("int8", 20)]) else {
        unreachable!()
    };
    Seen::Route(Route {
        pinned: vec![name],
        ..route
    })
}

fn endpoints(variant: &str, ready: usize) -> Seen {
    Seen::Endpoints(serving(variant), ready)
}

fn deployment(variant: &str, replicas: i64) -> Seen {
    let marks = Vec::new();
    Seen::Deployment(serving(variant), Some(Deployment { replicas, marks }))
}

/// A status with these decisions of `int8`; `rollout` is the weight on record, `counted` what the guard has counted.
pub fn status(decisions: &[(&str, &str)], rollout: Option<i32>, counted: i64, verdict: &str) -> Value {
    let time = "2026-11-10T00:00:00Z";
    let decision = |(i, (action, why)): (usize, &(&str, &str))| json!({"time": format!("2026-11-10T00:00:{i:02}Z"), "action": action, "variant": "int8", "revision": digest("int8"), "why": why});
    let mut status = json!({
        "stable": revision("fp32"), "reference": revision("fp32"),
        "decisions": decisions.iter().enumerate().map(decision).collect::<Vec<_>>(),
        "guards": [{"name": "errors", "verdict": verdict, "evidence": "1", "threshold": "20", "health": "1", "healthThreshold": "20",
            "candidate": {"total": counted, "bad": 0}, "baseline": {"total": counted, "bad": 0}, "estimate": "", "message": ""}],
    });
    if let Some(weight) = rollout {
        status["rollout"] = json!({"kind": "Climb", "candidate": revision("int8"), "planDigest": "p", "startedAt": time,
            "step": 0, "weight": weight});
    }
    status
}

pub fn seen(status: &Value) -> Seen {
    Seen::Model(Box::new(serde_json::from_value(status.clone()).expect("a status")))
}

fn rejected(mut status: Value) -> Value {
    status["rejected"] = json!([{"variant": "int8", "revision": digest("int8"), "guard": "errors", "reason": "", "at": "2026-11-10T00:01:00Z"}]);
    status
}

const RECORD: [(&str, &str); 5] = [
    ("Started", "the next variant"),
    ("Raised", "to 20%: the gates are open"),
    ("Raised", "to 50%: 20% was held"),
    ("Promoting", "every guard is healthy"),
    ("RolledBack", "errors: too many"),
];

/// Raised twice, about to be promoted, and then rolled back all the same.
fn history() -> Tape {
    let rolled_back = rejected(status(&RECORD, None, 5_000, "Harmful"));
    vec![
        ("stable runs", deployment("fp32", 2)),
        ("stable is ready", endpoints("fp32", 2)),
        ("bootstrapped", seen(&status(&[], None, 0, "NoData"))),
        ("all to stable", route(&[("fp32", 100)])),
        ("started", seen(&status(&RECORD[..1], Some(0), 0, "NoData"))),
        ("candidate runs", deployment("int8", 2)),
        ("candidate is ready", endpoints("int8", 2)),
        ("listed", route(&[("fp32", 100), ("int8", 0)])),
        ("20 on record", seen(&status(&RECORD[..2], Some(20), 0, "NoData"))),
        ("20", route(&[("fp32", 80), ("int8", 20)])),
        ("20 counted", seen(&status(&RECORD[..2], Some(20), 500, "Undecided"))),
        (
            "50 on record",
            seen(&status(&RECORD[..3], Some(50), 1_000, "Undecided")),
        ),
        ("50", route(&[("fp32", 50), ("int8", 50)])),
        ("promoting", seen(&status(&RECORD[..4], Some(50), 4_000, "Healthy"))),
        ("lowered", route(&[("fp32", 100), ("int8", 0)])),
        ("rolled back", seen(&rolled_back)),
        ("gone", route(&[("fp32", 100)])),
    ]
}

pub fn entries(tape: Tape) -> Vec<Entry> {
    let number = 1..;
    let entry = |(i, (_, seen)): (i64, (&str, Seen))| Entry {
        version: i.unsigned_abs(),
        at: i * 1_000,
        seen,
    };
    number.zip(tape).map(entry).collect()
}

fn found(tape: Tape) -> Vec<String> {
    violations(NAMESPACE, &entries(tape), &BTreeMap::from([("fp32", 2), ("int8", 2)]))
}

fn at(tape: &Tape, name: &str) -> usize {
    tape.iter()
        .position(|(n, _)| *n == name)
        .expect("an event of that name")
}

/// Something else happens instead.
pub fn instead(tape: &mut Tape, name: &str, seen: Seen) {
    let at = at(tape, name);
    tape[at].1 = seen;
}

/// Something happens right after.
pub fn after(tape: &mut Tape, name: &str, seen: Seen) {
    let at = at(tape, name);
    tape.insert(at + 1, ("", seen));
}

/// Two events in the other order.
pub fn swapped(tape: &mut Tape, one: &str, other: &str) {
    let (one, other) = (at(tape, one), at(tape, other));
    tape.swap(one, other);
}

#[test]
fn a_history_in_which_all_is_well_breaks_nothing() {
    assert_eq!(found(history()), Vec::<String>::new());
    assert_eq!(lowered_after(&entries(history())), Some(2_000));
}

/// What goes wrong, how, and what is said of it.
pub type Breakage = (&'static str, fn(&mut Tape), &'static str);

#[test]
fn a_broken_history_is_found_by_each_check() {
    let broken: [Breakage; 18] = [
        (
            "weights that are not 100",
            |t| instead(t, "20", route(&[("fp32", 79), ("int8", 20)])),
            "weights sum to 99",
        ),
        (
            "a rise before its record",
            |t| swapped(t, "20 on record", "20"),
            "m-int8-HASH rises from 0 to 20, which no recorded decision allows",
        ),
        (
            "a rise beyond its record",
            |t| instead(t, "20", route(&[("fp32", 70), ("int8", 30)])),
            "m-int8-HASH rises from 0 to 30, which no recorded decision allows",
        ),
        (
            "a rise that was used up",
            |t| {
                after(t, "20", route(&[("fp32", 80), ("int8", 20)]));
                after(t, "20", route(&[("fp32", 100), ("int8", 0)]));
            },
            "m-int8-HASH rises from 0 to 20, which no recorded decision allows",
        ),
        (
            "a rise of nobody's candidate",
            |t| instead(t, "20", route(&[("fp32", 80), ("int4", 20)])),
            "m-int4-HASH rises from 0 to 20, which no recorded decision allows",
        ),
        (
            "a rise without endpoints",
            |t| after(t, "20 on record", endpoints("int8", 0)),
            "m-int8-HASH rises to 20 without a ready endpoint",
        ),
        (
            "two candidates",
            |t| {
                after(t, "20", route(&[("fp32", 80), ("int8", 19), ("int4", 1)]));
            },
            "more than one candidate has weight",
        ),
        (
            "a rise of what was rejected",
            |t| after(t, "rolled back", route(&[("fp32", 80), ("int8", 20)])),
            "int8 rises to 20 although it was rejected",
        ),
        (
            "a record of harm before traffic was taken",
            |t| swapped(t, "lowered", "rolled back"),
            "int8 was recorded as harmful while it had 50%",
        ),
        (
            "pinned requests at the candidate",
            |t| instead(t, "20", pinned_to(serving("int8"))),
            "pinned requests reach m-int8-HASH",
        ),
        (
            "a decision that is lost",
            |t| after(t, "20 counted", seen(&status(&RECORD[..1], Some(20), 500, "Undecided"))),
            "a recorded decision is lost",
        ),
        (
            "evidence that is lost",
            |t| after(t, "20 counted", seen(&status(&RECORD[..2], Some(20), 499, "Undecided"))),
            "evidence was forgotten: 500 requests, then 499",
        ),
        (
            "evidence that is counted twice",
            |t| instead(t, "20 counted", seen(&status(&RECORD[..2], Some(20), 801, "Undecided"))),
            "801 requests were counted, and 800 were served",
        ),
        (
            "a rise without evidence",
            |t| {
                instead(t, "20 counted", seen(&status(&RECORD[..2], Some(20), 0, "NoData")));
                instead(t, "50 on record", seen(&status(&RECORD[..3], Some(50), 0, "NoData")));
            },
            "raised without evidence since the last rise",
        ),
        (
            "a promotion in doubt",
            |t| {
                instead(
                    t,
                    "promoting",
                    seen(&status(&RECORD[..4], Some(50), 4_000, "Undecided")),
                )
            },
            "a promotion without health",
        ),
        (
            "a promotion without guards",
            |t| {
                let mut blind = status(&RECORD[..4], Some(50), 4_000, "Healthy");
                blind["guards"] = json!([]);
                instead(t, "promoting", seen(&blind));
            },
            "a promotion without health",
        ),
        (
            "a rollback that rejects nobody",
            |t| instead(t, "rolled back", seen(&status(&RECORD, None, 5_000, "Harmful"))),
            "a rollback without a rejection",
        ),
        (
            "a fallback that is scaled down",
            |t| after(t, "20", deployment("fp32", 1)),
            "fp32 has 1 of 2 replicas while the candidate has 20%",
        ),
    ];
    for (name, mutate, wanted) in broken {
        let mut tape = history();
        mutate(&mut tape);
        let found = found(tape);
        let names = ["int8", "int4"].map(|v| (serving(v), format!("m-{v}-HASH")));
        let plain = |line: &String| {
            names
                .iter()
                .fold(line.clone(), |line, (name, plain)| line.replace(name, plain))
        };
        let found: Vec<String> = found.iter().map(plain).collect();
        assert!(found.iter().any(|line| line.contains(wanted)), "{name}: {found:#?}");
    }
}
