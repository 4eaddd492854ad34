//! `guardbit lint`: what it finds and where, and that it finds nothing where nothing is wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use guardbit::lint::{Schema, Severity, Surroundings, check, read};
use refusals::{changed, malformed, stalled};
use serde_json::{Value, json};

#[path = "lint/pairs.rs"]
mod pairs;
#[path = "lint/policies.rs"]
mod policies;
#[path = "support/refusals.rs"]
mod refusals;
#[path = "support/told.rs"]
mod told;

use told::told;

/// A model with nothing to find in it. Tests change a line of it, so the others keep their numbers.
const CLEAN: &str = r#"apiVersion: guardbit.dev/v1alpha1
kind: QuantizedModel
metadata: {name: scorer, namespace: risk}
spec:
  model: {name: scorer}
  serving: {port: 8080, replicas: 4, template: {}}
  variants:
  - name: fp32
    precision: FP32
    weights: {uri: s3://m/fp32, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
  - name: int8
    precision: INT8
    weights: {uri: s3://m/int8, digest: "sha256:1111111111111111111111111111111111111111111111111111111111111111"}
    quantization:
      method: PostTrainingStatic
      weights: {bits: 8, type: Int, granularity: PerChannel}
    calibration:
      dataset: {uri: s3://d/1, digest: "sha256:2222222222222222222222222222222222222222222222222222222222222222"}
      window: {from: "2026-10-01T00:00:00Z", to: "2026-11-01T00:00:00Z"}
      completedAt: "2026-11-03T09:00:00Z"
      maxAge: 2160h
    validation:
      metrics: [{name: auc, reference: "0.94", measured: "0.94", maxDrop: "1%"}]
  traffic:
    gateway: {parentRefs: [{name: inference}]}
  guards:
  - name: errors
    proportion:
      bad: http_requests_total{code=~"5.."}
      total: http_requests_total
      tolerance: {ratio: "1", absolute: "0.5%"}
  - name: latency
    latency:
      histogram: http_request_duration_seconds
      budget: {percentile: "95", within: 60ms}
      atLoad: "80%"
  - name: drift
    fidelity:
      histogram: model_score
  rollout:
    steps: [{weight: 5, hold: 5m}, {weight: 50, hold: 10m}]
    holdout: 5
    deadline: 4h
"#;

fn surroundings() -> Surroundings {
    Surroundings {
        now: "2026-11-25T00:00:00Z".parse().expect("a time"),
        ..Surroundings::default()
    }
}

/// `line:column severity rule` of all findings.
fn findings(text: &str, known: &Surroundings) -> Vec<String> {
    found(text.as_bytes(), known)
        .iter()
        .map(|f| format!("{}:{} {} {}", f.line, f.column, f.severity.as_str(), f.rule.id))
        .collect()
}

fn found(bytes: &[u8], known: &Surroundings) -> Vec<guardbit::lint::Finding> {
    thread_local! {
        static SCHEMA: Schema = Schema::new();
    }
    let read = SCHEMA.with(|schema| read(bytes, schema));
    let mut all = read.findings;
    for model in &read.models {
        all.extend(check(model, known));
    }
    all
}

/// The clean model with one line changed: the line that contains `old`, in which it is replaced by `new`.
fn with(old: &str, new: &str) -> String {
    assert_eq!(CLEAN.matches(old).count(), 1, "{old:?} stands once in the clean model");
    CLEAN.replace(old, new)
}

/// The clean model with the weights of int8 on a volume; `how` is how else the server mounts it.
fn on_a_volume(how: &str) -> String {
    let template = format!(
        "template: {{spec: {{volumes: [{{name: models, emptyDir: {{}}}}], containers: [{{name: server, image: s, volumeMounts: [{{name: models, mountPath: /models{how}}}]}}]}}}}"
    );
    let mount = "s3://m/int8, mount: {path: /models}, digest";
    with("template: {}", &template).replace("s3://m/int8, digest", mount)
}

#[test]
fn a_clean_model_has_no_findings() {
    assert_eq!(findings(CLEAN, &surroundings()), [""; 0]);
}

#[test]
fn each_rule_finds_its_breach_at_the_field_that_is_to_blame() {
    let with_guard = |guard: &str| with("  rollout:\n", &format!("  - {{name: extra, {guard}}}\n  rollout:\n"));
    let digest = format!("sha256:{}", "0".repeat(64));
    let with_comparer = |comparer: &str| {
        let comparer = comparer.replace("DIGEST", &format!("digest: \"{digest}\""));
        with("  rollout:\n", &format!("  comparer: {{{comparer}}}\n  rollout:\n"))
    };
    let mut wrong = Vec::new();
    for (text, expected) in [
        (with("spec:\n", "spec:\n  model: {name: twice}\n"), "6:3 error yaml"),
        (with("port: 8080", "port: 808000"), "6:13 error schema"),
        (with("port: 8080, ", ""), "6:3 error schema"),
        (with("hold: 5m", "hold: 5 minutes"), "41:25 error schema"),
        (
            with("{name: scorer}", "{name: scorer, version: 2026.10}"),
            "5:25 error schema",
        ),
        (with("v1alpha1", "v1"), "1:1 error schema"),
        (with("{name: scorer, ", "{"), "3:1 error schema"),
        (with("holdout: 5", "holdOut: 5"), "42:5 error unknown-field"),
        (with("spec:\n", "specs: {}\nspec:\n"), "4:1 error unknown-field"),
        (
            with("precision: FP32", "precision: FP16").replace("precision: INT8", "precision: FP32"),
            "7:3 error api-rule",
        ),
        (
            with("  rollout:\n", "  target: int2\n  rollout:\n"),
            "40:3 error api-rule",
        ),
        (with("within: 60ms", "within: 0s"), "35:34 error unusable-value"),
        (
            with("deadline: 4h", "deadline: 4h\n    falseRollback: 100%"),
            "44:5 error unusable-value",
        ),
        (
            with("histogram: model_score", "histogram: rate(model_score[1m])"),
            "39:7 error promql",
        ),
        (
            with("total: http_requests_total\n", "total: http_requests_total{\n"),
            "30:7 error promql",
        ),
        (
            with(
                "total: http_requests_total\n",
                "total: 'http_requests_total{pod=\"a\"}'\n",
            ),
            "30:7 warning arm-label-in-selector",
        ),
        (
            with_guard("query: {promql: m, min: \"2\", max: \"1\"}"),
            "40:38 error never-healthy",
        ),
        (
            with_guard("armMatchers: Labels, armLabels: [{label: app, value: scorer}], query: {promql: m, max: \"1\"}"),
            "40:40 error arms-not-told-apart",
        ),
        (
            with(
                "  rollout:\n",
                "  prometheus: {armMatchers: Labels, armLabels: [{label: app, value: x}]}\n  rollout:\n",
            ),
            "40:37 error arms-not-told-apart",
        ),
        (
            with("bad: http_requests_total{code=~\"5..\"}", "bad: http_requests_total"),
            "29:7 error watches-nothing",
        ),
        (
            with_guard("query: {promql: 'min(up)', min: \"1\"}"),
            "40:27 warning watches-nothing",
        ),
        (
            with_guard("query: {promql: 'max(node_load1)', max: \"9\"}"),
            "40:27 warning watches-nothing",
        ),
        (
            with_guard("query: {promql: '1 + 1', max: \"9\"}"),
            "40:27 warning watches-nothing",
        ),
        (
            with_guard("ratio: {numerator: a_total, denominator: a_total, max: \"1\"}"),
            "40:27 error watches-nothing",
        ),
        (
            with("histogram: model_score", "histogram: model_score_sum"),
            "39:7 warning wrong-metric-type",
        ),
        (
            with_guard("ratio: {numerator: memory_bytes, denominator: a_total, max: \"1\"}"),
            "40:27 warning wrong-metric-type",
        ),
        (
            with("histogram: model_score", "histogram: 'model_score{le=\"0.5\"}'"),
            "39:7 warning wrong-metric-type",
        ),
        (
            with("http_request_duration_seconds", "http_request_duration_milliseconds"),
            "34:7 warning latency-unit",
        ),
        (
            with(
                "http_request_duration_seconds",
                "http_request_duration_seconds\n      unit: Milliseconds",
            ),
            "35:7 warning latency-unit",
        ),
        (
            with("http_request_duration_seconds", "request_predict_seconds"),
            "35:34 warning budget-between-bounds",
        ),
        (
            with("http_request_duration_seconds", "vllm:e2e_request_latency_seconds"),
            "35:34 error budget-between-bounds",
        ),
        (
            with("absolute: \"0.5%\"", "absolute: \"0\""),
            "31:7 error never-healthy",
        ),
        (with(", absolute: \"0.5%\"", ""), "31:7 error never-healthy"),
        (
            with("ratio: \"1\", absolute: \"0.5%\"", "ratio: \"0.9\""),
            "31:7 warning never-healthy",
        ),
        (
            with("absolute: \"0.5%\"", "absolute: 100%"),
            "31:31 error unusable-value",
        ),
        (with("      atLoad: \"80%\"\n", ""), "33:5 note at-load-missing"),
        (with("weight: 50", "weight: 10"), "36:7 error at-load-unreachable"),
        (
            with("  - name: drift\n    fidelity:\n      histogram: model_score\n", ""),
            "26:3 warning no-fidelity-guard",
        ),
        (with("holdout: 5", "holdout: 0"), "42:5 warning no-holdout"),
        (with("deadline: 4h", "deadline: 15m"), "43:5 error deadline-too-short"),
        (with("hold: 10m", "hold: 235m"), "43:5 error deadline-too-short"),
        (with("hold: 5m", "hold: 44s"), "41:25 note hold-shorter-than-looks"),
        (
            with("deadline: 4h", "onUndecided: Hold"),
            "43:5 warning hold-when-undecided",
        ),
        (
            with("deadline: 4h", "falsePromotion: 40%"),
            "43:5 warning lax-error-rate",
        ),
        (with("maxAge: 2160h", "maxAge: 240h"), "20:7 warning calibration-stale"),
        (
            with("completedAt: \"2026-11", "completedAt: \"2026-10"),
            "19:7 warning calibration-dates",
        ),
        (
            with("completedAt: \"2026", "completedAt: \"2027"),
            "20:7 warning calibration-dates",
        ),
        (
            with("measured: \"0.94\"", "measured: \"0.90\""),
            "23:7 error validation-gate",
        ),
        (with("bits: 8", "bits: 4"), "16:17 warning precision-mismatch"),
        (with("type: Int", "type: Float"), "16:26 warning precision-mismatch"),
        (
            with(
                "    precision: FP32\n",
                "    precision: FP16\n    quantization: {method: WeightOnly, weights: {bits: 16, type: Float, granularity: PerTensor}}\n",
            ),
            "8:5 warning quantized-reference",
        ),
        (
            CLEAN.replace(&"1".repeat(64), &"0".repeat(64)),
            "13:33 warning same-weights",
        ),
        (
            with("s3://m/int8, digest", "s3://m/int8, mount: {path: /models}, digest"),
            "13:33 error weights-not-mounted",
        ),
        (on_a_volume(""), "13:33 warning weights-writable"),
        (
            with_comparer("protocol: OpenAI, mirror: {percent: 5}, shareOfArm: \"5%\"")
                .replace(
                    "[{name: inference}]}",
                    "[{name: inference}], filters: [{type: RequestMirror}]}",
                )
                .replace(
                    "  - name: drift",
                    "  - {name: agreement, agreement: {}}\n  - name: drift",
                ),
            "25:58 warning several-mirrors",
        ),
        (
            with_comparer("protocol: OpenAI, mirror: {percent: 5}").replace(
                "gateway: {parentRefs: [{name: inference}]}",
                "service: {allowCoarseSteps: true}",
            ),
            "40:32 error api-rule",
        ),
        (with_comparer("protocol: OpenAI"), "40:3 error api-rule"),
        (
            with_comparer("golden: {configMap: golden, DIGEST}"),
            "40:3 error unusable-value",
        ),
        (
            with_comparer("protocol: OpenAI, rate: \"0\", golden: {configMap: golden, DIGEST}"),
            "40:32 error unusable-value",
        ),
        (
            with_comparer("protocol: OpenAI, golden: {DIGEST}"),
            "40:32 error api-rule",
        ),
        (
            with_comparer("protocol: OpenAI, golden: {configMap: golden}"),
            "40:32 error schema",
        ),
    ] {
        let all = findings(&text, &surroundings());
        if all != [expected] {
            wrong.push(format!("{all:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn weights_that_the_server_can_only_read_are_nothing_to_tell() {
    let by_mount = on_a_volume(", readOnly: true");
    let claim = "persistentVolumeClaim: {claimName: models, readOnly: true}";
    let by_volume = on_a_volume("").replace("emptyDir: {}", claim);
    for text in [by_mount, by_volume] {
        assert_eq!(findings(&text, &surroundings()), [""; 0], "{text}");
    }
}

#[test]
fn every_rule_is_tried_here() {
    let untried: Vec<_> = guardbit::lint::ALL
        .iter()
        .filter(|rule| {
            let expected = ["error", "warning", "note"].map(|severity| format!(" {severity} {}\"", rule.id));
            let told = format!("[{}]", rule.id);
            let source = concat!(
                include_str!("lint.rs"),
                include_str!("lint/pairs.rs"),
                include_str!("lint/policies.rs")
            );
            !expected.iter().any(|e| source.contains(e)) && !source.contains(&told)
        })
        .map(|rule| rule.id)
        .collect();
    assert_eq!(untried, [""; 0]);
}

#[test]
fn calibrated_methods_without_calibration_are_told_of() {
    let start = CLEAN.find("    calibration:").expect("there");
    let end = CLEAN.find("    validation:").expect("there");
    let without = format!("{}{}", &CLEAN[..start], &CLEAN[end..]);
    assert_eq!(
        findings(&without, &surroundings()),
        ["14:5 warning calibration-missing"]
    );
    let gptq = without.replace(
        "method: PostTrainingStatic",
        "method: WeightOnly\n      algorithm: GPTQ",
    );
    assert_eq!(findings(&gptq, &surroundings()), ["14:5 note calibration-missing"]);
    let dynamic = without.replace("PostTrainingStatic", "PostTrainingDynamic");
    assert_eq!(findings(&dynamic, &surroundings()), [""; 0]);
}

#[test]
fn guards_without_error_rates_alone_are_told_of() {
    let start = CLEAN.find("  - name: errors").expect("there");
    let end = CLEAN.find("  rollout:").expect("there");
    let text = format!(
        "{}  - {{name: energy, ratio: {{numerator: joules_total, denominator: requests_total, max: \"1\"}}}}\n{}",
        &CLEAN[..start],
        &CLEAN[end..]
    );
    assert_eq!(
        findings(&text, &surroundings()),
        ["26:3 warning no-fidelity-guard", "26:3 warning only-plain-rules"]
    );
}

#[test]
fn a_share_of_requests_needs_a_guard_that_counts_them() {
    let start = CLEAN.find("  - name: errors").expect("there");
    let end = CLEAN.find("  - name: drift").expect("there");
    let digest = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";
    let golden = format!("golden: {{configMap: golden, digest: \"sha256:{digest}\"}}");
    let comparer = format!(
        "  - {{name: agreement, agreement: {{}}}}\n  comparer: {{shareOfArm: \"5%\", protocol: OpenAI, {golden}}}\n  rollout:\n"
    );
    let counted = CLEAN.replace("  rollout:\n", &comparer);
    assert_eq!(findings(&counted, &surroundings()), [""; 0]);
    let uncounted = format!("{}{}", &CLEAN[..start], &CLEAN[end..]).replace("  rollout:\n", &comparer);
    assert_eq!(
        findings(&uncounted, &surroundings()),
        ["31:14 warning share-of-nothing"]
    );
}

/// What the API server refuses, and what the controller cannot use, is an error here; each change is one that
/// tests/api_validation.rs tries on a real API server.
#[test]
fn whatever_the_cluster_refuses_is_an_error() {
    for (name, pointer, change) in malformed().into_iter().chain(stalled()) {
        let model = serde_json::to_vec_pretty(&changed(name, pointer, change)).expect("JSON");
        let all = found(&model, &surroundings());
        let errors: Vec<_> = all.iter().filter(|f| f.severity == Severity::Error).collect();
        assert!(!errors.is_empty(), "{name} was found good");
        assert!(
            errors.iter().all(|f| f.line > 1 && !f.message.is_empty()),
            "{name}: {errors:?}"
        );
    }
}

#[test]
fn refusals_read_as_sentences_with_a_remedy() {
    let messages = malformed().into_iter().map(|(name, pointer, change)| {
        let model = serde_json::to_vec_pretty(&changed(name, pointer, change)).expect("JSON");
        let all = found(&model, &surroundings());
        let errors = all.iter().filter(|f| f.severity == Severity::Error);
        let told: Vec<_> = errors
            .map(|f| format!("{} [{}] {}", f.field, f.rule.id, f.message))
            .collect();
        format!("{name}: {}", told.join(" / "))
    });
    insta::assert_snapshot!("refused_by_lint", messages.collect::<Vec<_>>().join("\n"));
}

#[test]
fn documents_lists_and_json_are_read_and_other_kinds_passed_over() {
    let bad = with("holdout: 5", "holdOut: 5");
    let other = "apiVersion: v1\nkind: ConfigMap\ndata: {holdOut: x}\n";
    let lines = other.lines().count();
    assert_eq!(
        findings(&format!("{other}---\n{bad}---\n{CLEAN}"), &surroundings()),
        [format!("{}:5 error unknown-field", lines + 1 + 42)]
    );
    let item: Value = serde_yaml_ng::from_str(&bad).expect("YAML");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [item]}).to_string();
    let all = found(list.as_bytes(), &surroundings());
    assert_eq!((all.len(), all[0].rule.id, all[0].line), (1, "unknown-field", 1));
    assert!(list[all[0].column - 1..].starts_with("\"holdOut\""));
}

#[test]
fn what_comes_by_an_alias_is_shown_where_it_is_written() {
    let text = with("    calibration:\n", "    calibration: &c\n").replace(
        "  traffic:\n",
        "  - name: int4\n    precision: INT4\n    weights: {uri: s3://m/int4, digest: \"sha256:3333333333333333333333333333333333333333333333333333333333333333\"}\n    quantization: {method: PostTrainingStatic, weights: {bits: 4, type: Int, granularity: PerChannel}}\n    calibration: *c\n  traffic:\n",
    );
    assert_eq!(findings(&text, &surroundings()), [""; 0]);
    let stale = text.replace("maxAge: 2160h", "maxAge: 240h");
    assert_eq!(
        findings(&stale, &surroundings()),
        ["20:7 warning calibration-stale", "20:7 warning calibration-stale"]
    );
}

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// Exit code, standard output and standard error of the real thing, started in the root of the repository.
fn lint(args: &[&str]) -> (i32, String, String) {
    told(
        Command::new(env!("CARGO_BIN_EXE_guardbit"))
            .arg("lint")
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )
}

/// What users wrote, and found out too late: each is told with its place, or works.
#[test]
fn what_would_be_lost_or_refused_later_is_told_before() {
    for (file, expected) in [
        (
            "template-typos",
            &[
                ":9:23: error: spec.serving.template.spec has no field \"terminationGracePeriodSecond\": did you mean terminationGracePeriodSeconds?",
                ":9:122: error: spec.serving.template.spec.containers[0] has no field \"imagePullPolcy\": did you mean imagePullPolicy?",
                ":9:146: error: spec.serving.template.spec.containers[0] has no field \"lifecycel\": did you mean lifecycle?",
                ":9:192: error: spec.serving.template.spec.containers[0] has no field \"resource\": did you mean resources?",
            ][..],
        ),
        (
            "template-wrong",
            &[":9:23: error: spec.serving.template.spec.containers is the text \"none\", and must be a list"],
        ),
        ("exported-pod", &[":19:37: error: exported_pod holds names of pods"]),
        ("name-digit", &[]),
        ("name-dot-service", &[]),
        ("init", &[]),
    ] {
        let path = format!("tests/testdata/faults/{file}.yaml");
        let (code, out, _) = lint(&["-f", &path]);
        let errors: Vec<_> = out.lines().filter(|line| line.contains(": error: ")).collect();
        assert_eq!(
            (errors.len(), code),
            (expected.len(), i32::from(!expected.is_empty())),
            "{out}"
        );
        for (line, expected) in errors.iter().zip(expected) {
            assert!(line.contains(expected), "{line}");
        }
    }
    let (_, out, _) = lint(&["-f", "tests/testdata/faults/name-dot-service.yaml"]);
    assert!(
        out.contains("that of this model is llama-3-1-8b-") && out.contains("[service-name]"),
        "{out}"
    );
}

/// A file that lasts as long as the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("guardbit-lint-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("written");
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

#[test]
fn the_samples_have_neither_errors_nor_warnings() {
    let (code, out, error) = lint(&["-f", "config/samples", "--deny", "warnings"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(error.contains("4 models: 0 errors, 0 warnings"), "{error}");
}

#[test]
fn the_exit_code_tells_what_was_found_from_what_could_not_run() {
    let clean = Temporary::new("clean.yaml", CLEAN.as_bytes());
    let warned = Temporary::new("warned.yaml", with("holdout: 5", "holdout: 0").as_bytes());
    let broken = Temporary::new("broken.yaml", with("holdout: 5", "holdout: 51").as_bytes());
    let no_yaml = Temporary::new("no.yaml", b"a: [\n");
    let no_text = Temporary::new("bytes.yaml", b"a: 1\nb: \xff\n");
    let nothing = Temporary::new("nothing.yaml", b"kind: ConfigMap\n");
    for (args, code) in [
        (vec![clean.path()], 0),
        (vec![warned.path()], 0),
        (vec![warned.path(), "--deny", "warnings"], 1),
        (vec![clean.path(), broken.path()], 1),
        (vec![no_yaml.path()], 1),
        (vec![no_text.path()], 1),
        (vec![nothing.path()], 2),
        (vec![clean.path(), nothing.path()], 0),
        (vec!["/no/such/file.yaml"], 2),
        (vec![clean.path(), "--rps", "0"], 2),
    ] {
        let mut all = vec!["-f"];
        all.extend(&args);
        let (found, out, error) = lint(&all);
        assert_eq!(found, code, "{args:?}: {out}{error}");
    }
    let (_, out, _) = lint(&["-f", no_text.path()]);
    assert!(out.contains("bytes.yaml:2:4: error: this is not UTF-8"), "{out}");
    let (_, out, _) = lint(&["-f", broken.path()]);
    assert!(
        out.contains("broken.yaml:42:5: error: spec.rollout.holdout is 51") && out.ends_with("[schema]\n"),
        "{out}"
    );
}

#[test]
fn sarif_is_sarif() {
    let schema: Value =
        serde_json::from_str(include_str!("testdata/sarif/sarif-schema-2.1.0.json")).expect("the official schema");
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("sarif.json", schema).expect("a resource");
    let compiled = compiler.compile("sarif.json", &mut schemas).expect("it compiles");
    let broken = Temporary::new("sarif.yaml", with("port: 8080", "port: 80, x: 1").as_bytes());
    let (code, out, _) = lint(&["-f", "config/samples", broken.path(), "-o", "sarif"]);
    assert_eq!(code, 1);
    let log: Value = serde_json::from_str(&out).expect("JSON");
    if let Err(error) = schemas.validate(&log, compiled) {
        panic!("{error:#}");
    }
    let mut wrong = log.clone();
    wrong["runs"][0]["results"][0]["level"] = json!("fatal");
    assert!(
        schemas.validate(&wrong, compiled).is_err(),
        "the schema tells good from bad"
    );

    let run = &log["runs"][0];
    let results = run["results"].as_array().expect("results");
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    for result in results {
        let rule = &rules[result["ruleIndex"].as_u64().expect("an index") as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(rule["help"]["markdown"].as_str().expect("help").len() > 80);
    }
    let sample = results
        .iter()
        .find(|r| r["ruleId"] == "at-load-missing")
        .expect("the sample's note");
    let place = &sample["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "config/samples/fraud-scorer.yaml");
    let line = place["region"]["startLine"].as_u64().expect("a line") as usize;
    let text = std::fs::read_to_string(path("config/samples/fraud-scorer.yaml")).expect("the sample");
    assert_eq!(text.lines().nth(line - 1), Some("    latency:"));
}

#[test]
fn fingerprints_stay_while_lines_move() {
    let prints = |text: &str| {
        let file = Temporary::new("moved.yaml", text.as_bytes());
        let (_, out, _) = lint(&["-f", file.path(), "-o", "sarif"]);
        let log: Value = serde_json::from_str(&out).expect("JSON");
        let result = &log["runs"][0]["results"][0];
        let line = result["locations"][0]["physicalLocation"]["region"]["startLine"].clone();
        (line, result["partialFingerprints"].clone())
    };
    let text = with("holdout: 5", "holdout: 0");
    let (before, after) = (prints(&text), prints(&format!("# a new line\n{text}")));
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
}

#[test]
fn json_counts_what_it_lists() {
    let file = Temporary::new("counted.yaml", with("holdout: 5", "holdout: 0").as_bytes());
    let (_, out, _) = lint(&["-f", file.path(), "-o", "json"]);
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["warnings"], 1);
    assert_eq!(document["findings"][0]["rule"], "no-holdout");
    assert_eq!(document["findings"][0]["field"], "spec.rollout.holdout");
    assert_eq!(document["findings"][0]["line"], 42);
}

#[test]
fn with_traffic_a_rollout_that_is_too_slow_is_told_with_a_remedy() {
    let model = "tests/testdata/fraud-scorer.yaml";
    let (code, out, error) = lint(&["-f", model, "--rps", "0.05", "--seconds", "0.1"]);
    assert_eq!(code, 0, "{error}");
    let line = out
        .lines()
        .find(|l| l.contains("[slow-to-decide]"))
        .unwrap_or_else(|| panic!("{out}"));
    assert!(line.contains("the deadline is 4h"), "{line}");
    let fast = Temporary::new("fast.yaml", CLEAN.as_bytes());
    let (_, out, _) = lint(&["-f", fast.path(), "--rps", "500", "--seconds", "0.1"]);
    let told: Vec<_> = out.lines().map(|l| l.rsplit(" [").next()).collect();
    assert_eq!(told, [Some("latency-scale]")], "{out}");
    assert!(
        out.contains(":33:5: note: ") && out.contains("may take 1.26 × at 19 ms (p50)"),
        "{out}"
    );
}

/// Name, labels, and the values of every 30 s up to now.
type Recorded = (&'static str, Value, fn(u32) -> u32);

/// Answers queries as a Prometheus does that has these series.
fn prometheus(series: Vec<Recorded>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
            if reader.read_line(&mut line).is_err() {
                continue;
            }
            let mut rest = String::new();
            while reader.read_line(&mut rest).is_ok_and(|n| n > 2) {
                rest.clear();
            }
            let asked = line.split("query=").nth(1).unwrap_or_default();
            let name = asked
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default();
            let narrowed = asked.contains("code");
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_secs();
            let result: Vec<Value> = series
                .iter()
                .filter(|(metric, labels, _)| *metric == name && (!narrowed || labels["code"] == "500"))
                .map(|(metric, labels, value)| {
                    let mut labels = labels.clone();
                    labels["__name__"] = json!(metric);
                    let values: Vec<Value> = (0..100)
                        .map(|i| json!([now - 30 * u64::from(100 - i), value(i).to_string()]))
                        .collect();
                    json!({"metric": labels, "values": values})
                })
                .collect();
            let body = json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn with_prometheus_the_real_series_are_looked_at() {
    let url = prometheus(vec![
        ("http_requests_total", json!({"pod": "a", "code": "200"}), |i| 1_000 * i),
        ("http_requests_total", json!({"pod": "b", "code": "200"}), |i| 1_000 * i),
        ("http_request_duration_seconds_bucket", json!({"le": "0.05"}), |i| {
            1_800 * i
        }),
        ("http_request_duration_seconds_bucket", json!({"le": "0.1"}), |i| {
            1_900 * i
        }),
        ("http_request_duration_seconds_bucket", json!({"le": "+Inf"}), |i| {
            2_000 * i
        }),
        ("model_score", json!({"quantile": "0.5", "pod": "a"}), |i| i % 7),
    ]);
    let model = Temporary::new("measured.yaml", CLEAN.as_bytes());
    let (code, out, error) = lint(&[
        "-f",
        model.path(),
        "--prometheus",
        &url,
        "--seconds",
        "0.1",
        "-o",
        "json",
    ]);
    let document: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}"));
    let rows = document["findings"].as_array().expect("findings");
    let told: Vec<_> = rows
        .iter()
        .map(|f| {
            format!(
                "{} {} {}",
                f["line"],
                f["severity"].as_str().unwrap(),
                f["rule"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "29 warning no-series",
            "33 note latency-scale",
            "34 error arm-label-missing",
            "35 warning budget-between-bounds",
            "39 error wrong-metric-type",
            "40 note looks-without-scrapes",
        ],
        "{out}"
    );
    assert_eq!(code, 1);
}

#[test]
fn a_gauge_and_a_name_that_nothing_has_are_told_of() {
    let url = prometheus(vec![
        ("http_requests_total", json!({"pod": "a", "code": "500"}), |i| {
            500 + (i * 7919) % 83
        }),
        ("model_score_bucket", json!({"pod": "a", "le": "0.5"}), |i| 50 * i),
        ("model_score_bucket", json!({"pod": "a", "le": "+Inf"}), |i| 90 * i),
    ]);
    let model = Temporary::new("gauge.yaml", CLEAN.as_bytes());
    let (_, out, error) = lint(&["-f", model.path(), "--prometheus", &url, "--seconds", "0.1"]);
    assert!(
        out.contains(":30:7: error: this falls as often as it rises"),
        "{out}{error}"
    );
    assert!(
        out.contains(":34:7: error: Prometheus has had no series of it"),
        "{out}{error}"
    );
}

#[test]
fn a_prometheus_that_does_not_answer_is_no_finding() {
    let model = Temporary::new("unanswered.yaml", CLEAN.as_bytes());
    let unusable = Temporary::new(
        "unusable.yaml",
        with("histogram: model_score", "histogram: sum(model_score)").as_bytes(),
    );
    let (code, out, _) = lint(&["-f", unusable.path(), "--prometheus", "http://127.0.0.1:1"]);
    assert_eq!(code, 1, "what cannot be asked for is found without asking");
    assert!(out.contains("[promql]"), "{out}");

    let (code, out, error) = lint(&["-f", model.path(), "--prometheus", "http://127.0.0.1:1"]);
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert!(error.contains("scorer: guard errors"), "{error}");
}
