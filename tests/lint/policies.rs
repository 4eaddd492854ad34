//! Rules on what policies ask: their findings stand at the field that is to blame, and say how bad it is.

use std::collections::BTreeMap;

use guardbit::governance::Policy;
use guardbit::lint::{ReadPolicies, Schema, Surroundings, read_policies};
use serde_json::Value;

use super::{CLEAN, Temporary, findings, found, lint, surroundings, with};

fn policy(name: &str, spec: &str) -> Policy {
    let spec: Value = serde_yaml_ng::from_str(spec).expect("YAML");
    let policy = Policy::read(name, 0, &spec);
    assert!(policy.rules.is_ok(), "{policy:?}");
    policy
}

/// A policy that holds, in a namespace without labels.
fn under(spec: &str) -> Surroundings {
    Surroundings {
        policies: vec![policy("strict", spec)],
        namespace: Some(BTreeMap::new()),
        ..surroundings()
    }
}

#[test]
fn each_rule_of_a_policy_finds_its_breach_at_the_field_that_is_to_blame() {
    for (spec, expected) in [
        ("floor: {minBits: 16}", &["12:5 error policy-floor"][..]),
        ("floor: {minBits: 8}", &[]),
        ("floor: {methods: [QuantizationAware]}", &["15:7 error policy-floor"]),
        ("rollout: {maxFirstStep: 4}", &["41:13 error policy-rollout"]),
        ("rollout: {maxStepRise: 44}", &["41:5 error policy-rollout"]),
        ("rollout: {minHold: 6m}", &["41:5 error policy-rollout"]),
        ("rollout: {minHoldout: 6}", &["42:5 error policy-rollout"]),
        ("rollout: {maxFalseRollback: 1%}", &["40:3 error policy-rollout"]),
        ("guards: [{name: pairs, agreement: {}}]", &["26:3 error policy-guards"]),
        ("calibration: {minSamples: 1}", &["17:5 error policy-calibration"]),
        ("calibration: {maxAge: 240h}", &["20:7 warning policy-calibration"]),
        (
            "validation: {metrics: [{name: f1, maxDrop: 1%}]}",
            &["23:7 error policy-validation"],
        ),
        (
            "prometheus: {urls: ['http://prometheus:9090']}",
            &["4:1 note policy-prometheus"],
        ),
        (
            "weights: {require: Verified, publicKeys: [key]}",
            &[
                "10:5 error policy-weights",
                "10:5 note policy-weights",
                "13:5 error policy-weights",
                "13:5 note policy-weights",
            ],
        ),
        ("approvals: [{before: FirstTraffic}]", &["40:3 note policy-waits"]),
        ("maxInProgress: 3", &["40:3 note policy-waits"]),
        (
            "freezes: [{name: now, between: {from: '2026-11-24T00:00:00Z', to: '2026-11-26T00:00:00Z'}}]",
            &["40:3 note policy-waits"],
        ),
        (
            "freezes: [{name: over, between: {from: '2026-11-23T00:00:00Z', to: '2026-11-24T00:00:00Z'}}]",
            &[],
        ),
    ] {
        assert_eq!(findings(CLEAN, &under(spec)), expected, "{spec}");
        // Only told, so nothing of it is worse than a note.
        let severities = findings(CLEAN, &under(&format!("mode: DryRun\n{spec}")));
        assert_eq!(severities.len(), expected.len(), "{spec}");
        assert!(severities.iter().all(|found| found.contains(" note policy-")), "{spec}");
    }
}

#[test]
fn a_model_that_says_more_is_asked_for_more() {
    for (text, spec, expected) in [
        // Sixteen bits, its author says, and quantized weights of eight.
        (
            with("precision: INT8", "precision: FP16"),
            "floor: {minBits: 16}",
            "14:5 error policy-floor",
        ),
        (
            with("    holdout: 5", "    bootstrap: int8\n    holdout: 5"),
            "rollout: {bootstrap: Reference}",
            "42:5 error policy-rollout",
        ),
        (
            with(
                "  rollout:\n",
                "  prometheus: {url: 'http://elsewhere:9090'}\n  rollout:\n",
            ),
            "prometheus: {urls: ['http://prometheus:9090']}",
            "40:16 error policy-prometheus",
        ),
        (
            with("      completedAt: \"2026-11-03T09:00:00Z\"\n      maxAge: 2160h\n", ""),
            "calibration: {maxAge: 2160h}",
            "17:5 error policy-calibration",
        ),
    ] {
        let all = findings(&text, &under(spec));
        assert!(all.iter().any(|found| found == expected), "{spec}: {all:?}");
    }
}

#[test]
fn a_finding_says_which_policies_ask_for_it_and_whether_they_hold() {
    let mut known = under("floor: {minBits: 16}");
    known
        .policies
        .push(policy("told", "mode: DryRun\nfloor: {minBits: 32}"));
    known.policies.push(policy("alike", "floor: {minBits: 16}"));
    let all = found(CLEAN.as_bytes(), &known);
    let messages: Vec<_> = all.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].ends_with("(alike, strict: floor.minBits)"), "{messages:?}");
    assert!(
        messages[1].ends_with("(told: floor.minBits, DryRun: nothing is held back)"),
        "{messages:?}"
    );
}

#[test]
fn a_policy_is_held_against_a_model_only_where_its_namespace_is_known_to_have_the_labels() {
    let spec = "appliesTo: {namespaces: {matchLabels: {data: customer}}}\nfloor: {minBits: 16}";
    let in_namespace = |namespace: Option<&[(&str, &str)]>| {
        let labels = namespace.map(|pairs| {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect::<BTreeMap<_, _>>()
        });
        let known = Surroundings {
            namespace: labels,
            ..under(spec)
        };
        findings(CLEAN, &known)
    };
    assert_eq!(in_namespace(None), ["3:26 warning policy-labels"]);
    assert_eq!(in_namespace(Some(&[])), [""; 0]);
    assert_eq!(in_namespace(Some(&[("data", "customer")])), ["12:5 error policy-floor"]);
}

fn read(text: &str) -> ReadPolicies {
    thread_local! {
        static SCHEMA: Schema = Schema::of_policies();
    }
    SCHEMA.with(|schema| read_policies(text.as_bytes(), schema))
}

#[test]
fn a_policy_that_cannot_be_read_is_an_error_at_its_field() {
    let head = "apiVersion: guardbit.dev/v1alpha1\nkind: PrecisionPolicy\nmetadata: {name: p}\nspec:\n";
    for (line, rule, at) in [
        ("floor: {minBits: 64}", "schema", "minBits"),
        ("floor: 8", "schema", "floor"),
        ("calibration: {maxAge: 30 days}", "schema", "maxAge"),
        ("quarantine: {}", "unknown-field", "quarantine"),
        ("floor: {onBreach: Report}", "api-rule", "floor"),
        ("freezes: [{name: f}]", "api-rule", "{name"),
        (
            "freezes: [{name: f, days: [Friday], from: '12:00', for: 169h, timeZone: Europe/Berlin}]",
            "api-rule",
            "{name",
        ),
        (
            "freezes: [{name: f, days: [Friday], from: '12:00', for: 1h, timeZone: Europe/Bonn}]",
            "unusable-value",
            "timeZone",
        ),
        (
            "guards: [{name: g, proportion: {bad: ['rate(a[1m])'], total: [a]}}]",
            "unusable-value",
            "bad",
        ),
    ] {
        let read = read(&format!("{head}  {line}\n"));
        let [finding] = read.findings.as_slice() else {
            panic!("{line}: {:?}", read.findings);
        };
        let column = line.find(at).expect("the field") + 3;
        assert_eq!(
            (finding.rule.id, finding.line, finding.column),
            (rule, 5, column),
            "{line}: {}",
            finding.message
        );
        assert_eq!((read.seen, read.policies.len()), (1, 0), "{line}");
    }
    let nameless = read(&head.replace("{name: p}", "{}").replace("spec:", "spec: {}"));
    assert!(
        nameless.findings[0].message.contains("give the policy a name"),
        "{nameless:?}"
    );
}

#[test]
fn policies_and_the_labels_of_namespaces_are_read_from_one_file() {
    let read = read(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: risk, labels: {data: customer}}}\n\
         - {apiVersion: guardbit.dev/v1alpha1, kind: PrecisionPolicy, metadata: {name: p}, spec: {floor: {minBits: 8}}}\n\
         ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    );
    assert_eq!((read.findings.len(), read.policies.len()), (0, 1), "{read:?}");
    assert_eq!(read.policies[0].policy.name, "p");
    assert_eq!(read.namespaces["risk"]["data"], "customer");
}

#[test]
fn the_command_holds_models_against_files_of_policies() {
    let model = Temporary::new("governed.yaml", CLEAN.as_bytes());
    let of = |name: &str, spec: &str| {
        let text = format!(
            "apiVersion: guardbit.dev/v1alpha1\nkind: PrecisionPolicy\nmetadata: {{name: {name}}}\nspec:\n  {}\n",
            spec.replace('\n', "\n  ")
        );
        Temporary::new(&format!("{name}.yaml"), text.as_bytes())
    };
    let floor = of("floor", "floor: {minBits: 16}");
    let customers = of(
        "customers",
        "appliesTo: {namespaces: {matchLabels: {data: customer}}}\nfloor: {minBits: 16}",
    );
    let named = of(
        "named",
        "appliesTo: {namespaces: {matchLabels: {kubernetes.io/metadata.name: risk}}}\nfloor: {minBits: 16}",
    );
    let unreadable = of("unreadable", "floor: {minBits: 64}");
    let twin = Temporary::new("twin.yaml", &std::fs::read(floor.path()).expect("written"));
    let none = Temporary::new("none.yaml", b"kind: ConfigMap\n");
    let run = |args: &[&str]| lint(&[&["-f", model.path()][..], args].concat());

    let (code, out, _) = run(&["--policy", floor.path()]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains(":12:5: error: int8 has 8 bits") && out.contains("(floor: floor.minBits) [policy-floor]"),
        "{out}"
    );

    for (labels, expected, part) in [
        (&[][..], 0, "[policy-labels]"),
        (&["--namespace-labels", "data=customer"], 1, "[policy-floor]"),
        (&["--namespace-labels", "data=public"], 0, "[policy-selects-nothing]"),
        (&["--namespace-labels", ""], 0, "[policy-selects-nothing]"),
    ] {
        let (code, out, _) = run(&[&["--policy", customers.path()][..], labels].concat());
        assert_eq!(code, expected, "{labels:?}: {out}");
        assert!(
            out.contains(part) && out.lines().filter(|line| line.contains("[policy-")).count() == 1,
            "{out}"
        );
    }
    let (code, out, _) = run(&["--policy", named.path(), "--namespace-labels", ""]);
    assert_eq!(code, 1, "the API server labels each namespace with its name: {out}");

    let (code, out, _) = run(&["--policy", unreadable.path(), "--policy", floor.path()]);
    assert_eq!(code, 1);
    assert!(
        out.contains("unreadable.yaml:5:11: error: ") && out.contains("[policy-floor]"),
        "{out}"
    );

    for (args, part) in [
        (
            &["--policy", floor.path(), "--policy", twin.path()][..],
            "a policy has a name of its own",
        ),
        (&["--policy", none.path()], "there is no PrecisionPolicy"),
        (&["--policy", "/no/such/file.yaml"], "/no/such/file.yaml"),
        (&["--namespace-labels", "a=b"], "--policy"),
        (
            &["--policy", floor.path(), "--namespace-labels", "a"],
            "write key=value",
        ),
    ] {
        let (code, _, error) = run(args);
        assert!(code == 2 && error.contains(part), "{args:?}: {error}");
    }
}

#[test]
fn the_sample_policy_refuses_what_it_says() {
    let (code, out, error) = lint(&["-f", "config/samples", "--policy", "config/samples/policies"]);
    assert_eq!(code, 1, "{out}{error}");
    let errors: Vec<_> = out.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("config/samples/fraud-scorer.yaml:"), "{errors:?}");
    assert!(
        errors[0].contains("int4 has 4 bits by its precision, and 8 are the least"),
        "{errors:?}"
    );
    assert!(
        out.contains("2 people without a hand in the change must approve the first traffic of int8"),
        "{out}"
    );
}
