//! The reader of manifests: never panics, and every finding has a place in the file. Rules hold for whatever it lets through.

use guardbit::lint::{Schema, Surroundings, check, read, read_policies};
use proptest::prelude::*;

use crate::campaign::campaign;

const MODEL: &str = include_str!("../testdata/fraud-scorer.yaml");

/// Parts of YAML, whole and broken.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "a: ", "- ", "\n", "  ", "\t", "? ", ": ", "---\n", "...\n", "%YAML 1.1\n", "%TAG ! x:\n", "&a ", "*a", "<<: *a\n", "!!str ", "!x ", "| \n",
            ">-\n", "\"", "'", "\\x", "\"\\u00\"", "{", "}", "[", "]", ",", "#", "\u{feff}", "\0", "\u{85}", "\u{2028}", "yes", "0x", "1e999", "-", ".inf",
            "9223372036854775808", "apiVersion: guardbit.dev/v1alpha1\n", "kind: QuantizedModel\n", "kind: PrecisionPolicy\n", "kind: List\n", "items:\n", "spec:\n", "spec: {}\n",
        ]).prop_map(str::to_owned),
        2 => Just(MODEL.to_owned()),
        1 => any::<String>(),
        1 => (0usize..400).prop_map(|n| "[".repeat(n)),
        1 => (0usize..400).prop_map(|n| "- ".repeat(n)),
    ]
}

/// The good model with some of its text replaced: most of it is still read, and gets as far as the rules.
fn damaged() -> impl Strategy<Value = String> {
    let values = prop::sample::select(vec![
        "0",
        "\"0\"",
        "100",
        "-1",
        "\"0%\"",
        "\"100%\"",
        "0s",
        "99999h",
        "null",
        "{}",
        "[]",
        "x",
        "\"\"",
        "2147483647",
        "1.5",
        "true",
        "FP32",
        "INT2",
        "\"rate(x[5m])\"",
        "up",
        "Labels",
        "Revision",
        "\"1970-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59Z\"",
    ]);
    prop::collection::vec((any::<prop::sample::Index>(), values), 0..4).prop_map(|changes| {
        let mut lines: Vec<String> = MODEL.lines().map(str::to_owned).collect();
        for (at, value) in changes {
            let line = at.index(lines.len());
            // The value of some key of the line: up to what ends it.
            if let Some(colon) = lines[line].rfind(": ") {
                let rest = lines[line].split_off(colon + 2);
                let end = rest.find([',', '}', ']']).unwrap_or(rest.len());
                lines[line].push_str(value);
                lines[line].push_str(&rest[end..]);
            }
        }
        lines.join("\n")
    })
}

#[test]
fn manifests() {
    let bytes = prop_oneof![
        4 => prop::collection::vec(part(), 0..30).prop_map(|parts| parts.concat().into_bytes()),
        4 => damaged().prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..400),
    ];
    let (schema, of_policies) = (Schema::new(), Schema::of_policies());
    campaign("reader of manifests", bytes, |bytes| {
        let read = read(&bytes, &schema);
        let policies = read_policies(&bytes, &of_policies);
        let checked = read
            .models
            .iter()
            .flat_map(|model| check(model, &Surroundings::default()));
        let lines = String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|c| matches!(c, '\n' | '\r'))
            .count()
            + 1;
        for finding in read.findings.iter().cloned().chain(checked).chain(policies.findings) {
            prop_assert!(
                (1..=lines + 1).contains(&finding.line) && finding.column >= 1,
                "{finding:?}"
            );
            prop_assert!(!finding.message.is_empty());
        }
        prop_assert!(read.models.len() <= read.seen && policies.policies.len() <= policies.seen);
        Ok(())
    });
}
