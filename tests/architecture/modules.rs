//! The shape that `src/lib.rs` promises: the core is pure, and arrows point inward only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules, and which others each may name.
const MAY_NAME: [(&str, &[&str]); 21] = [
    ("api", &[]),
    ("apiserver", &[]),
    ("model", &["api", "compare", "guards"]),
    ("evidence", &[]),
    ("weights", &["api"]),
    ("judge", &["api", "evidence"]),
    ("guards", &["api", "evidence", "judge"]),
    ("compare", &["api", "evidence", "judge"]),
    ("governance", &["api", "model", "guards"]),
    (
        "rollout",
        &["api", "model", "evidence", "judge", "guards", "governance"],
    ),
    (
        "ledger",
        &["api", "model", "evidence", "judge", "guards", "rollout", "weights"],
    ),
    ("manifests", &["api", "model", "rollout"]),
    ("simulate", &["api", "model", "evidence", "guards", "rollout"]),
    ("foresight", &["api", "model", "evidence", "guards", "rollout"]),
    (
        "lint",
        &[
            "api",
            "model",
            "evidence",
            "judge",
            "guards",
            "governance",
            "rollout",
            "foresight",
        ],
    ),
    (
        "report",
        &["api", "evidence", "governance", "guards", "judge", "ledger", "model"],
    ),
    ("telemetry", &["api", "guards"]),
    ("watch", &["api", "governance", "manifests", "model", "rollout"]),
    (
        "prometheus",
        &[
            "api",
            "apiserver",
            "model",
            "evidence",
            "governance",
            "guards",
            "rollout",
            "telemetry",
        ],
    ),
    (
        "controller",
        &[
            "api",
            "apiserver",
            "model",
            "evidence",
            "governance",
            "rollout",
            "foresight",
            "ledger",
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
            "apiserver",
            "compare",
            "controller",
            "evidence",
            "foresight",
            "governance",
            "guards",
            "judge",
            "ledger",
            "lint",
            "manifests",
            "model",
            "prometheus",
            "report",
            "rollout",
            "simulate",
            "telemetry",
            "weights",
        ],
    ),
];

/// Modules that may not know what time it is, wait for anything, or reach anything.
const PURE: [&str; 14] = [
    "api",
    "model",
    "evidence",
    "judge",
    "guards",
    "rollout",
    "ledger",
    "foresight",
    "governance",
    "lint",
    "manifests",
    "report",
    "simulate",
    "weights",
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
pub fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
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
