//! Attacks on what guardbit reads: PromQL that tries to leave its namespace, answers that are too large, and text that a
//! terminal, a log or an annotation would obey. Redirects, slow answers and URLs are in tests/prometheus_client.rs.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use guardbit::api::{QuantizedModel, QuantizedModelStatus, RevisionRef, SecretRef, plain, plain_lines, visible};
use guardbit::evidence::{
    ArmMatcher, MatcherOp, Matrix, NativeMatrix, arm_query, expression_query, histogram_query, native_histogram_query,
};
use guardbit::manifests::{self, Owner};
use guardbit::model::identity;
use guardbit::prometheus::{AllowedUrls, Credentials, Limits, PrometheusClient, PrometheusError};
use serde_json::{Value, json};

fn tenant() -> Vec<ArmMatcher> {
    vec![ArmMatcher {
        label: "namespace".into(),
        op: MatcherOp::Equal,
        value: "risk".into(),
    }]
}

/// Takes the strings, comments and matchers out of a query, so that what is left can be searched for selectors: a second
/// reader of the syntax, which shares nothing with the one under test.
fn names_without_braces(query: &str) -> Vec<String> {
    let chars: Vec<char> = query.chars().collect();
    let (mut bare, mut at) = (String::new(), 0);
    while at < chars.len() {
        match chars[at] {
            quote @ ('"' | '\'' | '`') => {
                at += 1;
                while chars[at] != quote {
                    at += 1 + usize::from(chars[at] == '\\' && quote != '`');
                }
                bare.push('_');
            }
            c => bare.push(c),
        }
        at += 1;
    }
    let words = bare.match_indices("secret").map(|(at, word)| &bare[at + word.len()..]);
    let open = words.filter(|rest| !rest.starts_with('{'));
    open.map(|rest| rest.chars().take(20).collect()).collect()
}

/// Every place of PromQL's grammar where a selector may stand, with `secret` as the metric of another namespace.
const ESCAPES: [&str; 46] = [
    "secret",
    "m or secret",
    "m and on () secret",
    "m unless ignoring (pod) secret",
    "m + on (pod) group_left (zone) secret",
    "secret * on () group_right () m",
    "m == bool secret",
    "m ^ secret",
    "m atan2 secret",
    "-secret",
    "+(-(secret))",
    "((((secret))))",
    "sum(secret)",
    "sum by (namespace) (secret)",
    "sum(secret) without (namespace)",
    "topk(scalar(secret), m)",
    "quantile(scalar(secret), secret)",
    "count_values(\"namespace\", secret)",
    "bottomk(1, m or secret)",
    "absent(secret)",
    "absent_over_time(secret[5m])",
    "rate(secret[5m])",
    "rate(secret[5m] offset 1h)",
    "secret offset -1h",
    "secret @ 1600000000",
    "secret @ start()",
    "secret @ end() offset 5m",
    "max_over_time(secret[1h:1m])",
    "max_over_time((m or secret)[1h:1m] @ 1600000000)",
    "max_over_time(max_over_time(secret[5m])[1h:1m])",
    "label_replace(secret, \"namespace\", \"risk\", \"\", \"\")",
    "label_replace(m, \"a\", \"}) or secret or (\", \"b\", \"c\") or secret",
    "label_join(secret, \"namespace\", \"\", \"job\")",
    "histogram_quantile(scalar(secret), secret)",
    "clamp(m, scalar(secret), 1)",
    "scalar(secret) + vector(scalar(secret))",
    "sort_desc(secret)",
    "timestamp(secret)",
    "m # } or nothing\n or secret",
    "m #\"\n or secret #\"",
    "m{a=\"\\\"} or nothing{b=\\\"\"} or secret",
    "m{a='\"} or nothing{b=\"'} or secret",
    "m{a=`\\`} or secret",
    "m{a=\"é\u{202e}\u{0}\"} or secret",
    "secret{namespace=\"other\"}",
    "secret{namespace=\"other\" or namespace=~\".*\"}",
];

#[test]
fn no_form_of_promql_reads_another_namespace() {
    let mut taken = 0;
    for expr in ESCAPES {
        let query = match expression_query(expr, &tenant()) {
            Ok(query) => query,
            // What the parser does not know is not asked; the error says which expression it is.
            Err(error) => {
                assert!(
                    error.to_string().contains("m") && !error.to_string().is_empty(),
                    "{expr}"
                );
                continue;
            }
        };
        taken += 1;
        assert_eq!(
            names_without_braces(&query),
            Vec::<String>::new(),
            "{expr} became {query}"
        );
        let selectors = query.matches("secret{").count();
        let tenants = query.matches("namespace=\"risk\"").count();
        assert!(selectors >= 1 && tenants >= selectors, "{expr} became {query}");
        for alternatives in query.split('{').skip(1).filter(|s| s.contains(" or namespace=~")) {
            let inside = alternatives.split('}').next().unwrap_or_default();
            assert!(
                inside.split(" or ").all(|one| one.contains("namespace=\"risk\"")),
                "{query}"
            );
        }
    }
    assert!(taken >= 40, "only {taken} were taken: the others would prove nothing");
}

#[test]
fn a_selector_of_a_guard_cannot_become_an_expression() {
    for selector in [
        "m or secret",
        "m} or secret{a=\"b\"",
        "m[5m]) or rate(secret",
        "m{a=\"b\"} offset 1h",
        "m, secret",
        "m\nsecret",
        "m; secret",
        "{__name__=\"m\"} or {__name__=\"secret\"}",
        "(secret)",
        "sum(secret)",
        "m{a=\"",
        "m{a=`",
        "\u{0}",
    ] {
        for query in [arm_query, histogram_query, native_histogram_query] {
            let error = query(selector, &tenant(), 60_000).unwrap_err().to_string();
            assert!(!error.is_empty(), "{selector}");
        }
    }
    for wide in [
        "{__name__=~\".+\"}",
        "{__name__!=\"\"}",
        "{job=~\".+\",namespace!=\"risk\"}",
    ] {
        let query = arm_query(wide, &tenant(), 60_000).unwrap();
        assert!(query.contains("namespace=\"risk\""), "{query}");
    }
}

#[test]
fn a_value_that_closes_its_quotes_stays_a_value() {
    for value in [
        "\"} or secret{a=\"",
        "\\",
        "\\\"",
        "'",
        "`",
        "}",
        "a\nb",
        "#",
        "\u{0}",
        "\u{202e}x",
        "{}",
    ] {
        let matchers = [ArmMatcher {
            label: "namespace".into(),
            op: MatcherOp::Equal,
            value: value.into(),
        }];
        let query = arm_query("m", &matchers, 60_000).unwrap();
        assert_eq!(names_without_braces(&query), Vec::<String>::new(), "{query}");
        let error = expression_query("m{", &matchers).unwrap_err();
        assert!(error.to_string().contains("`m{` is not valid PromQL"), "{error}");
    }
}

/// An answer as it arrives: `head`, `one` again and again, `tail`.
#[derive(Clone, Copy)]
struct Flood {
    head: &'static str,
    one: &'static str,
    times: usize,
    tail: &'static str,
}

const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}"#;
const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}"#;

/// Name, what comes, and the words that the error must hold; `None` where the answer may be taken.
const FLOODS: [(&str, Flood, Option<&str>); 7] = [
    (
        "more than 64 MB",
        Flood {
            head: MATRIX,
            one: r#",{"metric":{"pod":"a"},"values":[[1,"1"],[2,"2"],[3,"3"],[4,"4"]]}"#,
            times: 1_200_000,
            tail: "]}}",
        },
        Some("gives more than 16777216 bytes"),
    ),
    (
        "100,000 series",
        Flood {
            head: MATRIX,
            one: r#",{"metric":{"__name__":"m","pod":"a","namespace":"risk"},"values":[[1,"1"],[2,"2"]]}"#,
            times: 100_000,
            tail: "]}}",
        },
        Some("matches more than 65536 series"),
    ),
    (
        "as many series as fit",
        Flood {
            head: MATRIX,
            one: r#",{"metric":{}}"#,
            times: 1_100_000,
            tail: "]}}",
        },
        Some("matches more than 65536 series"),
    ),
    (
        "as many samples as fit",
        Flood {
            head: r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]"#,
            one: r#",[1,"1"]"#,
            times: 2_000_000,
            tail: "]}]}}",
        },
        None,
    ),
    (
        "as many values of an expression as fit",
        Flood {
            head: VECTOR,
            one: r#",{"metric":{},"value":[1,"1"]}"#,
            times: 500_000,
            tail: "]}}",
        },
        Some("matches more than 65536 series"),
    ),
    (
        "an error of 15 MB",
        Flood {
            head: r#"{"status":"error","errorType":"execution","error":""#,
            one: "boom \\u001b[31m",
            times: 1_000_000,
            tail: "\"}",
        },
        Some("Prometheus refused the query"),
    ),
    (
        "deep nesting",
        Flood {
            head: r#"{"status":"success","data":"#,
            one: "[",
            times: 1_000_000,
            tail: "",
        },
        Some("does not answer like Prometheus"),
    ),
];

const FLOODED: &str = "GUARDBIT_TEST_FLOODED";

/// Most memory that one answer may take beside what the process has, in KiB: the body, and what is read out of it.
const MOST: i64 = 160 * 1024;

/// A figure of /proc/self/status, in KiB.
fn memory(name: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn ask(flood: Flood) -> Result<Matrix, PrometheusError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        let block = flood.one.repeat(1000);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(flood.head.as_bytes());
        for _ in 0..flood.times / 1000 {
            if stream.write_all(block.as_bytes()).is_err() {
                return;
            }
        }
        let _ = stream.write_all(flood.tail.as_bytes());
    });
    let allowed = AllowedUrls::parse([&url]).unwrap();
    let client = PrometheusClient::new(&url, &allowed, &Credentials::default(), Limits::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(client.samples("m[90s]", 1_700_000_000_000))
}

/// Each flood has a process of its own, whose peak the kernel has counted.
#[test]
fn no_answer_takes_more_memory_than_the_limit_allows() {
    if let Ok(name) = std::env::var(FLOODED) {
        let (_, flood, wanted) = FLOODS.into_iter().find(|(n, ..)| *n == name).unwrap();
        let before = memory("VmRSS:");
        let answer = ask(flood);
        match (answer, wanted) {
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{:.300}", error.to_string()),
            (Ok(_), None) => {}
            (answer, _) => panic!("{name}: {:?}", answer.map(|matrix| matrix.series.len())),
        }
        println!("peak {}", memory("VmHWM:") - before);
        return;
    }
    for (name, ..) in FLOODS {
        let this = std::env::current_exe().unwrap();
        let child = Command::new(this)
            .args([
                "--exact",
                "no_answer_takes_more_memory_than_the_limit_allows",
                "--nocapture",
            ])
            .env(FLOODED, name)
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success(),
            "{name}: {out}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        let peak = out.lines().find_map(|line| line.split("peak ").nth(1)).unwrap();
        let peak: i64 = peak.trim().parse().unwrap();
        println!("{name}: {} MiB", peak / 1024);
        assert!(peak < MOST, "{name} took {peak} KiB");
    }
}

#[test]
fn series_of_native_histograms_and_of_expressions_are_limited_too() {
    let of = |kind: &str, one: &str| {
        let all = vec![one; 100_000].join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{all}]}}}}"#)
    };
    let natives = of("matrix", r#"{"metric":{},"histograms":[]}"#);
    let values = of("vector", r#"{"metric":{},"value":[1,"1"]}"#);
    for error in [
        NativeMatrix::parse(natives.as_bytes()).unwrap_err(),
        Matrix::parse_vector(values.as_bytes()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("more than 65536 series"), "{error}");
    }
}

/// Colours a terminal, rings, forges a line, turns the direction of writing, ends a string.
const HOSTILE: &str = "a\u{1b}[31mb\u{7}\r\nERROR forged\t\u{9b}2J\u{202e}c\u{2066}d\u{61c}\u{2028}e\u{feff}f\u{0}";

fn assert_plain(text: &str) {
    let obeyed: Vec<char> = text.chars().filter(|c| visible(*c) != *c).collect();
    assert_eq!(obeyed, Vec::<char>::new(), "{text:?}");
}

#[test]
fn text_of_others_is_on_one_line_visible_and_short() {
    assert_eq!(plain(HOSTILE, 200), "a [31mb   ERROR forged  2J c d  e f ");
    assert_eq!(plain(&"x".repeat(10_000), 4_000).len(), 4_000);
    assert_eq!(plain("naïve 模型 🙂 50% ≤ 1", 100), "naïve 模型 🙂 50% ≤ 1");
    assert_eq!(plain_lines("a\n\tb\u{1b}c\rd"), "a\n\tb c d");
}

#[test]
fn provenance_shows_no_character_that_is_obeyed() {
    let mut model: QuantizedModel =
        serde_yaml_ng::from_str(include_str!("../config/samples/fraud-scorer.yaml")).unwrap();
    model.spec.model.name = HOSTILE.into();
    let revision = |at: usize| {
        let variant = &model.spec.variants[at];
        RevisionRef {
            variant: variant.name.clone(),
            revision: identity::revision(&model.spec, variant),
        }
    };
    let why = format!("{HOSTILE}: total variation 0.5 {HOSTILE}; {}", "x".repeat(5_000));
    let stable = revision(0);
    let status: QuantizedModelStatus = serde_json::from_value(json!({
        "stable": stable, "reference": stable,
        "decisions": [{"time": "2026-11-23T10:00:00Z", "action": "RolledBack", "variant": "int8", "revision": revision(1).revision, "why": why, "drift": why}],
    }))
    .unwrap();
    let owner = Owner {
        namespace: "risk",
        name: "fraud-scorer",
        uid: "8d5c1f0e-0000-4000-8000-000000000000",
        spec: &model.spec,
        digests: &identity::Digests::of(&model.spec),
        status: &status,
    };
    let document = manifests::model_annotations(&owner).body;
    let annotations = document
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .unwrap();
    assert!(
        annotations["guardbit.dev/decision"]
            .as_str()
            .unwrap()
            .contains("ERROR forged")
    );
    for (key, value) in annotations {
        let value = value.as_str().unwrap();
        assert_plain(value);
        assert!(value.len() <= 1024, "{key} has {} bytes", value.len());
    }
}

#[test]
fn the_name_of_a_secret_is_no_path() {
    let is_name = |name: &str| SecretRef { name: name.into() }.is_name();
    for name in ["token", "a", "prometheus-token.v2", "0"] {
        assert!(is_name(name), "{name}");
    }
    for path in [
        "../../other/secrets/token",
        "other/token",
        "a%2fb",
        "..",
        ".",
        "",
        "a?b",
        "a#b",
        "A",
        "-a",
        "a\n",
    ] {
        assert!(!is_name(path), "{path:?}");
    }
}

/// A file with hostile text wherever a file can have text; every command that reads it prints to a terminal.
#[test]
fn the_command_line_prints_no_character_that_is_obeyed() {
    let dir = std::env::temp_dir().join(format!("guardbit-attacks-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let good: Value = serde_yaml_ng::from_str(include_str!("../config/samples/fraud-scorer.yaml")).unwrap();
    let mut files = Vec::new();
    for (n, pointer) in [
        "/metadata/name",
        "/spec/model/name",
        "/spec/model/version",
        "/spec/variants/1/name",
        "/spec/variants/1/precision",
        "/spec/guards/0/name",
        "/spec/guards/0/proportion/bad",
        "/spec/rollout/interval",
        "/spec/prometheus",
    ]
    .into_iter()
    .enumerate()
    {
        let mut model = good.clone();
        match model.pointer_mut(pointer) {
            Some(place) => *place = json!(HOSTILE),
            None => model["spec"]["prometheus"] = json!({"url": HOSTILE}),
        }
        // Escaped as JSON is, which is YAML.
        let path = dir.join(format!("model{n}.yaml"));
        std::fs::write(&path, model.to_string()).unwrap();
        files.push(path);
    }
    let path = dir.join("b\u{1b}[31m.yaml");
    std::fs::write(
        &path,
        format!("apiVersion: guardbit.dev/v1alpha1\nkind: QuantizedModel\nspec: {HOSTILE}"),
    )
    .unwrap();
    files.push(path);
    let trace = dir.join("trace.om");
    std::fs::write(&trace, format!("{HOSTILE}{{a=\"{HOSTILE}\"}} 1 1\n# EOF\n")).unwrap();
    for file in &files {
        for args in [
            vec!["lint", "-f"],
            vec!["plan", "--rps", "10", "--runs", "1", "-f"],
            vec![
                "simulate",
                "--metrics",
                trace.to_str().unwrap(),
                "--arm",
                "stable={a=\"b\"}",
                "-f",
            ],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_guardbit"))
                .args(&args)
                .arg(file)
                .output()
                .unwrap();
            for text in [output.stdout, output.stderr] {
                let text = String::from_utf8(text).unwrap();
                text.lines().for_each(|line| assert_plain(&line.replace('\t', " ")));
                assert!(
                    text.lines().all(|line| !line.starts_with("ERROR forged")),
                    "a line was forged: {text}"
                );
            }
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
