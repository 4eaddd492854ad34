//! Findings as SARIF 2.1.0, the format in which code review takes what tools have found
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/>).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::report::Located;
use super::rule::{ALL, Rule};

/// One run with all rules and findings.
pub fn sarif(findings: &[Located]) -> Result<String, serde_json::Error> {
    let mut twins: BTreeMap<String, u32> = BTreeMap::new();
    let results: Vec<Value> = findings
        .iter()
        .map(|Located { file, finding }| {
            let index = ALL.iter().position(|rule| *rule == finding.rule);
            let uri = uri(file);
            // The line is left out, so that the finding stays the same while lines come and go above it.
            let of = format!("{}\n{uri}\n{}\n{}", finding.rule.id, finding.field, finding.message);
            let twin = twins.entry(of.clone()).and_modify(|n| *n += 1).or_default();
            let print = hex::encode(Sha256::digest(format!("{of}\n{twin}")));
            json!({
                "ruleId": finding.rule.id,
                "ruleIndex": index,
                "level": finding.severity.as_str(),
                "message": {"text": finding.message},
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri},
                        "region": {"startLine": finding.line, "startColumn": finding.column},
                    },
                    "logicalLocations": [{"fullyQualifiedName": finding.field, "kind": "member"}],
                }],
                "partialFingerprints": {"guardbit/v1": print},
            })
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "guardbit",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": ALL.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
                }
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log)
}

fn descriptor(rule: &Rule) -> Value {
    let help = rule.help();
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.summary},
        "help": {"text": help.replace(['`', '*'], ""), "markdown": help},
        "defaultConfiguration": {"level": rule.severity.as_str()},
    })
}

/// A path as a relative URI reference, or as a `file` URI where it is absolute.
fn uri(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = path.strip_prefix("./").unwrap_or(&path);
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if plain {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uri_references() {
        for (path, expected) in [
            ("./models/fraud scorer.yaml", "models/fraud%20scorer.yaml"),
            ("models\\a.yaml", "models/a.yaml"),
            ("/tmp/é.yaml", "file:///tmp/%C3%A9.yaml"),
            ("a:b.yaml", "a%3Ab.yaml"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}
