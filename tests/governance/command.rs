//! `guardbit policy test` as people call it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::told::told;

const SAMPLE: &str = "config/samples/policies/high-risk.yaml";
const MODEL: &str = "config/samples/fraud-scorer.yaml";
const CASES: &str = "config/samples/policies/tests/high-risk.yaml";

/// Exit code, standard output and standard error, started in the root of the repository.
fn test(args: &[&str]) -> (i32, String, String) {
    let mut guardbit = Command::new(env!("CARGO_BIN_EXE_guardbit"));
    told(
        guardbit
            .args(["policy", "test"])
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )
}

/// A file that lasts as long as the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guardbit-policy-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn policy(name: &str, spec: &str) -> Temporary {
    let text = format!(
        "apiVersion: guardbit.dev/v1alpha1\nkind: PrecisionPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    );
    Temporary::new(&format!("{name}.yaml"), &text)
}

#[test]
fn the_table_numbers_what_is_asked_and_tells_each_once() {
    let (code, out, error) = test(&[SAMPLE, MODEL, "--at", "2026-11-25T10:00:00Z"]);
    assert_eq!(code, 1, "int4 is refused: {error}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        &lines[..10],
        [
            "risk/fraud-scorer at 2026-11-25T10:00:00Z, by high-risk",
            "  fp32  install at 100%      may",
            "  int8  first traffic at 5%  waits    1",
            "  int8  raise to 25%         may",
            "  int8  raise to 50%         may",
            "  int8  promotion            may",
            "  int4  first traffic at 5%  refused  2 3",
            "  int4  raise to 25%         refused  2",
            "  int4  raise to 50%         refused  2",
            "  int4  promotion            refused  2",
        ],
        "{out}"
    );
    assert_eq!(lines.len(), 13, "{out}");
    for (line, begin) in lines[10..].iter().zip([
        "  1  high-risk: approvals: 2 people without a hand in the change must approve the first traffic of int8; one more",
        "  2  high-risk: floor.minBits: int4 has 4 bits by its precision, and 8 are the least",
        "  3  high-risk: approvals: 2 people without a hand in the change must approve the first traffic of int4",
    ]) {
        assert!(line.starts_with(begin), "{line}");
    }
}

#[test]
fn the_exit_code_tells_a_refusal_from_what_waits_and_from_what_could_not_be_tested() {
    let waits = policy("waits", "approvals: [{before: FirstTraffic}]");
    let labels = policy(
        "labels",
        "appliesTo: {namespaces: {matchLabels: {data: customer}}}, floor: {minBits: 16}",
    );
    let unreadable = policy("unreadable", "floor: {minBits: 64}");
    let no_key = policy(
        "no-key",
        &format!("weights: {{require: Verified, publicKeys: [{}]}}", "k".repeat(64)),
    );
    let short_key = policy("short-key", "weights: {require: Verified, publicKeys: [key]}");
    let broken = Temporary::new("broken.yaml", "a: [\n");
    let twin = Temporary::new("twin.yaml", &std::fs::read_to_string(waits.path()).expect("written"));
    let friday = "2026-11-27T10:00:00+01:00";
    for (args, expected, part) in [
        (&[waits.path(), MODEL][..], 0, "waits"),
        (
            &[SAMPLE, "config/samples/content-moderation.yaml", "--at", friday],
            0,
            "freezes[fridays]",
        ),
        (
            &[SAMPLE, "config/samples/recommendations.yaml", "--at", friday],
            0,
            "no policy is about it",
        ),
        (&[SAMPLE, MODEL, "--at", friday], 1, "floor.minBits"),
        (
            &[labels.path(), MODEL, "--namespace-labels", "data=customer"],
            1,
            "refused",
        ),
        (
            &[labels.path(), MODEL, "--namespace-labels", ""],
            0,
            "no policy is about it",
        ),
        (&[labels.path(), MODEL], 2, "labels of the namespace of fraud-scorer"),
        (&[SAMPLE], 0, "high-risk can be read"),
        (&[MODEL], 2, "there is no PrecisionPolicy"),
        (&[unreadable.path(), MODEL], 2, "unreadable.yaml:4:16: error: "),
        (
            &[no_key.path(), MODEL],
            2,
            "no-key: spec.weights.publicKeys has a text that is no public key",
        ),
        (&[short_key.path()], 2, "has 3 characters, and must have 64 or more"),
        (&[broken.path(), SAMPLE], 2, "broken.yaml:"),
        (&[waits.path(), twin.path(), MODEL], 2, "a policy has a name of its own"),
        (&[SAMPLE, MODEL, "--at", "Friday"], 2, "is no time"),
        (&[SAMPLE, MODEL, "--cases", CASES], 2, "the cases name their models"),
        (&[SAMPLE, "--cases", CASES, "--at", friday], 2, "--at"),
        (&[], 2, "FILE"),
    ] {
        let (code, out, error) = test(args);
        assert_eq!(code, expected, "{args:?}: {out}{error}");
        assert!(out.contains(part) || error.contains(part), "{args:?}: {out}{error}");
    }
    let (_, _, error) = test(&[broken.path(), SAMPLE]);
    assert_eq!(
        error.matches("error: ").count(),
        1,
        "both readers find it, and it is told once: {error}"
    );
}

#[test]
fn a_namespace_among_the_files_brings_its_labels() {
    let files = Temporary::new(
        "namespaced.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: risk, labels: {data: customer}}\n---\n\
         apiVersion: guardbit.dev/v1alpha1\nkind: PrecisionPolicy\nmetadata: {name: customers}\n\
         spec: {appliesTo: {namespaces: {matchLabels: {data: customer}}}, floor: {minBits: 16}}\n",
    );
    let (code, out, _) = test(&[files.path(), MODEL]);
    assert!(code == 1 && out.contains("by customers"), "{out}");
}

#[test]
fn json_has_what_the_table_has() {
    let (code, out, _) = test(&[SAMPLE, MODEL, "--at", "2026-11-25T10:00:00Z", "-o", "json"]);
    assert_eq!(code, 1);
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["at"], "2026-11-25T10:00:00Z");
    let model = &document["models"][0];
    assert_eq!(
        (&model["name"], &model["policies"][0]),
        (&"fraud-scorer".into(), &"high-risk".into())
    );
    let passages = model["passages"].as_array().expect("passages");
    assert_eq!(passages.len(), 9);
    let (first, last) = (&passages[1], &passages[8]);
    assert_eq!(
        (&first["variant"], &first["passage"], &first["weight"]),
        (&"int8".into(), &"FirstTraffic".into(), &5.into())
    );
    assert_eq!(first["answer"], "Waits");
    assert_eq!(
        (&last["passage"], &last["answer"], &last["weight"]),
        (&"Promotion".into(), &"Refused".into(), &Value::Null)
    );
    let condition = &last["conditions"][0];
    assert_eq!(
        (&condition["rule"], &condition["enforced"]),
        (&"floor.minBits".into(), &true.into())
    );
}

#[test]
fn the_cases_of_the_sample_are_as_expected() {
    let (code, out, error) = test(&[SAMPLE, "--cases", CASES]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.ends_with("5 of 5 cases as expected\n"), "{out}");
    assert_eq!(
        out.lines().filter(|line| line.starts_with("ok      ")).count(),
        5,
        "{out}"
    );
}

#[test]
fn a_case_that_is_not_as_expected_is_told_with_what_was_found() {
    let root = env!("CARGO_MANIFEST_DIR");
    let case = |name: &str, lines: &str| {
        let text = format!("- case: a case\n  model: {root}/{MODEL}\n  at: \"2026-11-25T10:00:00Z\"\n{lines}\n");
        Temporary::new(name, &text)
    };
    let milder = case("milder.yaml", "  variant: int4\n  expect: {FirstTraffic: May}");
    let (code, out, _) = test(&[SAMPLE, "--cases", milder.path()]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("FirstTraffic of int4 is Refused and not May; what is asked for: floor.minBits, approvals"),
        "{out}"
    );
    assert!(out.ends_with("0 of 1 cases as expected\n"), "{out}");
    // The target is int4.
    let other_rule = case("rule.yaml", "  expect: {Raise: Refused, rule: calibration.maxAge}");
    let (code, out, _) = test(&[SAMPLE, "--cases", other_rule.path(), "-o", "json"]);
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &document["failed"]), (1, &1.into()));
    assert_eq!(
        document["cases"][0]["problems"][0],
        "calibration.maxAge is not asked for"
    );

    for (name, lines, part) in [
        ("nothing.yaml", "  expect: {}", "names none of Install"),
        ("only-rule.yaml", "  expect: {rule: approvals}", "names none of Install"),
        ("unknown.yaml", "  expect: {FirstRaise: May}", "FirstRaise"),
        ("answer.yaml", "  expect: {Raise: Perhaps}", "Perhaps"),
        (
            "variant.yaml",
            "  variant: int2\n  expect: {Raise: May}",
            "int2 has no passage Raise",
        ),
    ] {
        let wrong = case(name, lines);
        let (code, _, error) = test(&[SAMPLE, "--cases", wrong.path()]);
        assert!(
            code == 2 && error.contains(part) && error.contains(name),
            "{name}: {error}"
        );
    }
    let labelled = policy(
        "labelled",
        "appliesTo: {namespaces: {matchLabels: {data: customer}}}, floor: {minBits: 16}",
    );
    let with_labels = case(
        "with.yaml",
        "  namespaceLabels: {data: customer}\n  expect: {FirstTraffic: Refused}",
    );
    let (code, out, error) = test(&[labelled.path(), "--cases", with_labels.path()]);
    assert_eq!(code, 0, "{out}{error}");
}
