//! The command itself.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::trace::{Truth, good, recording};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guardbit-simulate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn simulate(args: &[&str]) -> Output {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples/fraud-scorer.yaml");
    Command::new(env!("CARGO_BIN_EXE_guardbit"))
        .args(["simulate", "-f", model])
        .args(args)
        .output()
        .expect("guardbit runs")
}

#[test]
fn a_directory_gives_one_line_of_json_a_trace_in_the_order_of_names() {
    let folder = Folder::new("lines");
    let arms = |candidate: Truth| [("stable", good(60.0)), ("candidate", candidate)];
    let bad = Truth {
        errors: 0.2,
        ..good(20.0)
    };
    folder.write("b-bad.om", &recording(1, 10, &arms(bad), |_| false));
    folder.write("a-good.om", &recording(2, 40, &arms(good(60.0)), |_| false));
    folder.write("c-broken.om", "m{a=\"1\"} 1 1\nm{a=\"1\" 2 2\n");
    folder.write("notes.txt", "not a trace");
    let output = simulate(&["--metrics", folder.0.to_str().unwrap(), "-o", "json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(
        (&lines[0]["trace"], &lines[0]["outcome"]),
        (&"a-good".into(), &"Promoted".into())
    );
    assert_eq!(lines[0]["guard"], Value::Null);
    assert_eq!(
        (&lines[1]["trace"], &lines[1]["outcome"]),
        (&"b-bad".into(), &"RolledBack".into())
    );
    assert_eq!(lines[1]["guard"], "errors");
    assert!(lines[1]["atSeconds"].as_f64().unwrap() <= 120.0);
    assert!(lines[1]["why"].as_str().unwrap().contains("errors: "));
    assert_eq!(lines[1]["guards"].as_array().unwrap().len(), 3);
    assert_eq!(lines[1]["decisions"][2]["action"], "Raised");
    assert_eq!(lines[2]["trace"], "c-broken");
    assert!(
        lines[2]["error"].as_str().unwrap().contains("line 2: the braces"),
        "{text}"
    );
    // A trace that was not replayed must not pass for one that was.
    assert!(!output.status.success());
}

#[test]
fn a_person_reads_a_timeline_with_the_evidence_over_time() {
    let folder = Folder::new("table");
    let labelled = recording(
        3,
        20,
        &[
            ("a", good(60.0)),
            (
                "b",
                Truth {
                    errors: 0.02,
                    ..good(30.0)
                },
            ),
        ],
        |_| false,
    );
    folder.write("one.om", &labelled);
    let file = folder.0.join("one.om");
    let output = simulate(&[
        "--metrics",
        file.to_str().unwrap(),
        "--arm",
        "stable={arm=\"a\"}",
        "--arm",
        "candidate={arm=~\"b|c\"}",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("one: int8 against fp32: RolledBack at 0:0"), "{text}");
    assert!(text.contains("  0:00:00    5%  Raised int8: to 5%"), "{text}");
    let harm = text
        .lines()
        .find(|l| l.trim_start().starts_with("errors"))
        .expect("the guard");
    assert!(harm.contains("▕") && harm.contains('▁'), "{harm}");
}

#[test]
fn arguments_that_cannot_be_right_are_refused_with_an_example() {
    let folder = Folder::new("wrong");
    let here = folder.0.to_str().unwrap();
    for (args, part) in [
        (vec!["--metrics", here], "no *.om files"),
        (vec!["--metrics", "/nowhere.om"], "No such file"),
        (
            vec!["--metrics", here, "--arm", "canary={a=\"b\"}"],
            "use stable, candidate or reference",
        ),
        (vec!["--metrics", here, "--arm", "stable=blue"], "write it as {arm="),
        (vec!["--metrics", here, "--arm", "stable"], "write NAME={MATCHERS}"),
    ] {
        let output = simulate(&args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(part), "{args:?}: {text}");
    }
}
