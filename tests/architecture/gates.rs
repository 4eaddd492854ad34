//! Weights rise through one gate.

use crate::modules::modules;

/// The function that a line is in, for every line of the rollout's code in which `says` holds; with its file.
fn functions_where(says: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, code) in modules().remove("rollout").expect("the rollout") {
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut function = String::new();
        for line in code.lines() {
            if let Some((_, rest)) = line.split_once("fn ") {
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                function = name.unwrap_or_default().to_owned();
            }
            if says(line) {
                found.push(format!("{file}::{function}"));
            }
        }
    }
    found.sort();
    found
}

/// Whether a line gives a field another value, alone or among others.
fn assigns(line: &str, field: &str) -> bool {
    let replaced = line.contains(&format!("{field}.replace("));
    let assigned = line.split_once(" = ").is_some_and(|(to, _)| {
        let mut places = to.split([' ', ',', '(', ')']);
        places.any(|place| place.ends_with(field))
    });
    replaced || assigned
}

#[test]
fn weights_rise_through_one_gate() {
    assert_eq!(
        functions_where(|line| line.contains(".may(Transition::")),
        [
            "climb::raise",
            "guarding::move_to",
            "guarding::start",
            "install::bootstrap",
            "promotion::decide_promotion",
            "promotion::promote"
        ],
        "every rise asks in one place"
    );
    assert_eq!(functions_where(|line| line.contains("may(")).len(), 7, "six ask one");
    assert_eq!(
        functions_where(|line| line.contains("Grant(())") && !line.contains("struct")),
        ["gate::may"]
    );
    let granted = functions_where(|line| line.contains("_: Grant"));
    assert_eq!(
        granted,
        [
            "climb::grant_weight",
            "guarding::put_on_trial",
            "install::install",
            "promotion::begin_promotion",
            "promotion::hand_over_to",
        ]
    );
    // Those that write the same without a grant lower a weight, or take it as it was found.
    for (field, without) in [
        ("rollout.weight", &["withdrawal::withdraw"][..]),
        ("status.rollout", &["install::resume"]),
        ("status.stable", &["guarding::hand_over", "install::recover"]),
    ] {
        let mut writes = functions_where(|line| assigns(line, field));
        writes.retain(|function| !granted.contains(function));
        assert_eq!(writes, without, "these write {field} and ask no gate");
    }
    // The parts of the gate are asked by it alone, and people grant in one place.
    for part in [".policy_gate(", ".freeze_gate(", ".slot_gate(", ".approval_gate("] {
        assert_eq!(functions_where(|line| line.contains(part)), ["gate::may"], "{part}");
    }
    for of_change in ["approved.first_traffic = Some", "approved.promotion = Some"] {
        assert_eq!(functions_where(|line| line.contains(of_change)), ["approval::grant"]);
    }
    let promotes = functions_where(|line| assigns(line, "rollout.promoting") && line.contains("true"));
    assert_eq!(promotes, ["promotion::begin_promotion"]);
}
