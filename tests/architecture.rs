//! The shape that `src/lib.rs` promises: the core is pure, and arrows point inward only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules, and which others each may name.
const MAY_NAME: [(&str, &[&str]); 15] = [
    ("api", &[]),
    ("apiserver", &[]),
    ("model", &["api"]),
    ("evidence", &["api"]),
    ("judge", &["api", "evidence"]),
    ("rollout", &["api", "model", "evidence", "judge"]),
    ("manifests", &["api", "model", "rollout"]),
    ("simulate", &["api", "model", "evidence", "judge", "rollout"]),
    ("foresight", &["api", "model", "evidence", "judge", "rollout"]),
    ("lint", &["api", "model", "evidence", "judge", "rollout", "foresight"]),
    ("telemetry", &["api"]),
    ("watch", &["api", "manifests", "rollout"]),
    (
        "prometheus",
        &["api", "apiserver", "model", "evidence", "rollout", "telemetry"],
    ),
    (
        "controller",
        &[
            "api",
            "apiserver",
            "model",
            "evidence",
            "rollout",
            "foresight",
            "manifests",
            "prometheus",
            "telemetry",
            "watch",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "controller",
            "evidence",
            "foresight",
            "lint",
            "model",
            "prometheus",
            "rollout",
            "simulate",
            "telemetry",
        ],
    ),
];

/// Modules that may not know what time it is, wait for anything, or reach anything.
const PURE: [&str; 9] = [
    "api",
    "model",
    "evidence",
    "judge",
    "rollout",
    "foresight",
    "lint",
    "manifests",
    "simulate",
];

/// What a pure module would need to be impure.
const IMPURE: [&str; 12] = [
    "kube::Client",
    "kube::runtime",
    "tokio",
    "reqwest",
    "SystemTime",
    "Instant",
    "now()",
    "async fn",
    ".await",
    "std::fs",
    "std::env",
    "tracing",
];

/// Lines of code of a file: without comments, and without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn files(path: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).expect("src can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, out);
        } else if path.file_name().is_some_and(|n| n != "tests.rs") {
            out.push(path);
        }
    }
}

/// All code, by module.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut modules: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for path in all {
        let inside = path.strip_prefix(&src).expect("inside src");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        modules.entry(module).or_default().push((path.clone(), code(&path)));
    }
    modules
}

#[test]
fn arrows_point_inward_only() {
    let modules = modules();
    let known: Vec<&str> = MAY_NAME.iter().map(|(module, _)| *module).collect();
    for module in modules.keys().filter(|m| !["lib", "main"].contains(&m.as_str())) {
        assert!(
            known.contains(&module.as_str()),
            "{module} is new: say here what it may name"
        );
    }
    for (module, may) in MAY_NAME {
        for (path, code) in &modules[module] {
            for other in known.iter().filter(|other| **other != module && !may.contains(other)) {
                let named = format!("crate::{other}");
                assert!(!code.contains(&named), "{} names {named}", path.display());
            }
        }
    }
}

#[test]
fn the_core_has_no_clock_and_no_io() {
    let modules = modules();
    for module in PURE {
        for (path, code) in &modules[module] {
            for impure in IMPURE {
                let found = code.match_indices(impure).any(|(at, _)| {
                    let next = code[at + impure.len()..].chars().next();
                    !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
                });
                assert!(!found, "{} contains {impure}", path.display());
            }
        }
    }
}

#[test]
fn no_file_outgrows_its_reader() {
    for (path, code) in modules().into_values().flatten() {
        let lines = code.lines().count();
        assert!(lines <= 600, "{} has {lines} lines of code: split it", path.display());
    }
}

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
            "guarding::start",
            "install::bootstrap",
            "promotion::decide_promotion",
            "promotion::promote"
        ],
        "every rise asks in one place"
    );
    assert_eq!(functions_where(|line| line.contains("may(")).len(), 6, "five ask one");
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
    let promotes = functions_where(|line| assigns(line, "rollout.promoting") && line.contains("true"));
    assert_eq!(promotes, ["promotion::begin_promotion"]);
}
