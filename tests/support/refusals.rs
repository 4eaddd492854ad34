//! Models that are refused, or that guardbit cannot use: one change each of a good one. What the API server says of them and
//! what `guardbit lint` says of them is held against each other by using the same.

use serde_json::{Value, json};

/// The good model.
pub fn good() -> Value {
    serde_yaml_ng::from_str(include_str!("../testdata/fraud-scorer.yaml")).expect("valid YAML")
}

/// The good model under another name, with `change` at `pointer` (a JSON pointer; `null` removes).
pub fn changed(name: &str, pointer: &str, change: Value) -> Value {
    let mut model = good();
    model["metadata"]["name"] = json!(name);
    let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
    let parent = model
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer} is not in the good model"));
    match parent {
        Value::Array(items) if change.is_null() => drop(items.remove(key.parse::<usize>().unwrap())),
        Value::Array(items) if key == "-" => items.push(change),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = change,
        Value::Object(fields) if change.is_null() => drop(fields.remove(key)),
        Value::Object(fields) => drop(fields.insert(key.to_owned(), change)),
        _ => panic!("{pointer} does not lead into an object or a list"),
    }
    model
}

fn variant(name: &str, precision: &str, quantization: Value) -> Value {
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    json!({"name": name, "precision": precision, "weights": {"uri": "s3://x", "digest": digest}, "quantization": quantization})
}

/// A comparer whose golden set is this, with a digest.
fn comparer(golden: Value) -> Value {
    let mut golden = golden;
    golden["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    json!({"protocol": "OpenInference", "golden": golden})
}

/// Refused when applied: name, where, what.
pub fn malformed() -> Vec<(&'static str, &'static str, Value)> {
    let int8 = json!({"method": "WeightOnly", "weights": {"bits": 8, "type": "Int", "granularity": "PerTensor"}});
    vec![
        ("target-unknown", "/spec/target", json!("int2")),
        ("bootstrap-unknown", "/spec/rollout/bootstrap", json!("int2")),
        ("holdout-missing", "/spec/rollout/holdout", json!(0)),
        ("holdout-too-large", "/spec/rollout/holdout", json!(51)),
        ("no-variants", "/spec/variants", json!([])),
        ("bits-rise", "/spec/variants/-", variant("fp16", "FP16", Value::Null)),
        (
            "variant-twice",
            "/spec/variants/-",
            variant("int8", "INT4", int8.clone()),
        ),
        ("variant-name", "/spec/variants/1/name", json!("INT8")),
        ("precision-unknown", "/spec/variants/1/precision", json!("INT7")),
        ("quantization-missing", "/spec/variants/1/quantization", Value::Null),
        (
            "digest-differs",
            "/spec/variants/0/weights/uri",
            json!("oci://r/x@sha256:1111111111111111111111111111111111111111111111111111111111111111"),
        ),
        (
            "mount-image-without-digest",
            "/spec/variants/0/weights",
            json!({"uri": "oci://r/x:1", "digest": format!("sha256:{}", "0".repeat(64)), "mount": {"path": "/models"}}),
        ),
        (
            "mount-image-and-volume",
            "/spec/variants/0/weights/mount",
            json!({"path": "/models", "volume": "models"}),
        ),
        (
            "mount-relative",
            "/spec/variants/1/weights/mount",
            json!({"path": "models"}),
        ),
        (
            "mount-leads-up",
            "/spec/variants/1/weights/mount",
            json!({"path": "/models/../etc"}),
        ),
        ("digest-short", "/spec/variants/0/weights/digest", json!("sha256:abc")),
        (
            "group-size-missing",
            "/spec/variants/2/quantization/weights/groupSize",
            Value::Null,
        ),
        (
            "group-size-alone",
            "/spec/variants/1/quantization/weights/groupSize",
            json!(64),
        ),
        (
            "bits-out-of-range",
            "/spec/variants/1/quantization/weights/bits",
            json!(64),
        ),
        ("max-age-alone", "/spec/variants/1/calibration/completedAt", Value::Null),
        (
            "window-backwards",
            "/spec/variants/1/calibration/window/to",
            json!("2026-09-01T00:00:00Z"),
        ),
        (
            "drop-no-fraction",
            "/spec/variants/1/validation/metrics/0/maxDrop",
            json!("half"),
        ),
        ("traffic-none", "/spec/traffic", json!({})),
        ("traffic-both", "/spec/traffic/service", json!({})),
        (
            "pinned-without-gateway",
            "/spec/traffic",
            json!({"service": {}, "precisionRoutes": [{"name": "a", "headers": [{"name": "x", "value": "y"}], "serve": "Reference"}]}),
        ),
        (
            "pinned-without-header",
            "/spec/traffic/precisionRoutes/0/headers",
            json!([]),
        ),
        (
            "path-without-slash",
            "/spec/traffic/gateway/matches/0/path/value",
            json!("v1"),
        ),
        ("no-parent", "/spec/traffic/gateway/parentRefs", json!([])),
        ("url-no-url", "/spec/prometheus/url", json!("prometheus:9090")),
        ("arm-labels-missing", "/spec/prometheus/armMatchers", json!("Labels")),
        ("guard-of-no-kind", "/spec/guards/0/proportion", Value::Null),
        (
            "guard-of-two-kinds",
            "/spec/guards/0/fidelity",
            json!({"histogram": "x"}),
        ),
        (
            "proportion-bad-and-good",
            "/spec/guards/0/proportion/good",
            json!("clicks_total"),
        ),
        ("query-without-bound", "/spec/guards/3/query/max", Value::Null),
        ("query-window-too-small", "/spec/guards/3/query/of", json!(2)),
        (
            "ratio-window-too-small",
            "/spec/guards/-",
            json!({"name": "energy", "ratio": {"numerator": "joules_total", "denominator": "http_requests_total", "max": "1.0", "of": 2}}),
        ),
        (
            "ratio-without-bound",
            "/spec/guards/-",
            json!({"name": "energy", "ratio": {"numerator": "joules_total", "denominator": "http_requests_total"}}),
        ),
        ("no-guards", "/spec/guards", json!([])),
        ("preset-unknown", "/spec/preset", json!("Ollama")),
        ("preset-of-one-cluster", "/spec/preset", json!("EnvoyGateway")),
        (
            "steps-fall",
            "/spec/rollout/steps",
            json!([{"weight": 25, "hold": "1m"}, {"weight": 5, "hold": "1m"}]),
        ),
        ("step-of-100", "/spec/rollout/steps/2/weight", json!(100)),
        (
            "benefit-of-no-guard",
            "/spec/rollout/benefit",
            json!({"guard": "latencies", "atLeast": "5%"}),
        ),
        (
            "benefit-of-a-fidelity-guard",
            "/spec/rollout/benefit",
            json!({"guard": "drift", "atLeast": "5%"}),
        ),
        ("undecided-unknown", "/spec/rollout/onUndecided", json!("Ask")),
        ("hold-no-duration", "/spec/rollout/steps/0/hold", json!("5 minutes")),
        ("interval-number", "/spec/rollout/interval", json!(15)),
        ("port-out-of-range", "/spec/serving/port", json!(70000)),
        ("attempt-zero", "/spec/attempt", json!(0)),
        ("unknown-field", "/spec/rollout/holdOut", json!(5)),
        (
            "slowdown-and-ratio",
            "/spec/guards/1/latency/tolerance",
            json!({"slowdown": "1.25", "ratio": "1.5"}),
        ),
        (
            "shadow-without-agreement",
            "/spec/rollout/shadow",
            json!({"pairs": 500}),
        ),
        ("golden-set-nowhere", "/spec/comparer", comparer(json!({}))),
        (
            "golden-set-twice",
            "/spec/comparer",
            comparer(json!({"configMap": "golden", "image": "registry.example/golden:1"})),
        ),
        (
            "golden-key-of-an-image",
            "/spec/comparer",
            comparer(json!({"image": "registry.example/golden:1", "key": "golden.jsonl"})),
        ),
        (
            "golden-file-of-a-config-map",
            "/spec/comparer",
            comparer(json!({"configMap": "golden", "file": "golden.jsonl"})),
        ),
        (
            "golden-file-outside",
            "/spec/comparer",
            comparer(json!({"image": "registry.example/golden:1", "file": "../golden.jsonl"})),
        ),
        (
            "golden-digest-short",
            "/spec/comparer",
            json!({"golden": {"configMap": "golden", "digest": "sha256:abc"}}),
        ),
        (
            "comparer-without-golden-set",
            "/spec/comparer",
            json!({"protocol": "OpenAI"}),
        ),
        (
            "mirror-of-nothing",
            "/spec/comparer",
            json!({"protocol": "OpenAI", "mirror": {"percent": 0}}),
        ),
        (
            "mirror-of-more-than-all",
            "/spec/comparer",
            json!({"protocol": "OpenAI", "mirror": {"percent": 101}}),
        ),
        (
            "mirror-by-half-a-percent",
            "/spec/comparer",
            json!({"protocol": "OpenAI", "mirror": {"percent": "0.5%"}}),
        ),
        (
            "comparer-of-no-protocol",
            "/spec/comparer",
            json!({"protocol": "gRPC", "golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
        (
            "comparer-without-a-pair",
            "/spec/comparer",
            json!({"budget": {"pairs": 0}, "golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
    ]
}

/// Taken by the API server, found by guardbit: name, where, what.
pub fn stalled() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("coarse-steps", "/spec/traffic", json!({"service": {}})),
        (
            "tolerance-beyond-one",
            "/spec/guards/0/proportion/tolerance",
            json!({"ratio": "1", "absolute": "150%"}),
        ),
        (
            "ratio-beyond-range",
            "/spec/guards/0/proportion/tolerance",
            json!({"ratio": "1000", "absolute": "1%"}),
        ),
        (
            "slowdown-that-is-faster",
            "/spec/guards/1/latency/tolerance",
            json!({"slowdown": "0.9", "absolute": "1%"}),
        ),
        (
            "percentile-100",
            "/spec/guards/1/latency/budget/percentile",
            json!("100"),
        ),
        ("budget-zero", "/spec/guards/1/latency/budget/within", json!("0s")),
        (
            "variation-zero",
            "/spec/guards/2/fidelity/maxTotalVariation",
            json!("0"),
        ),
        (
            "ratio-of-nothing",
            "/spec/guards/-",
            json!({"name": "energy", "ratio": {"numerator": "joules_total", "denominator": "http_requests_total", "max": "0"}}),
        ),
        ("load-of-nothing", "/spec/guards/1/latency/atLoad", json!("0%")),
        ("interval-too-short", "/spec/rollout/interval", json!("10ms")),
        (
            "deadline-absurd",
            "/spec/rollout/deadline",
            json!("9999999999999999999h"),
        ),
        ("warm-up-beyond-the-deadline", "/spec/rollout/warmUp", json!("4h")),
        (
            "benefit-of-nothing",
            "/spec/rollout/benefit",
            json!({"guard": "latency", "atLeast": "0%"}),
        ),
        ("weights-leave-nothing", "/spec/rollout/steps/2/weight", json!(96)),
        ("risk-of-100", "/spec/rollout/falseRollback", json!("100%")),
        (
            "comparer-without-protocol",
            "/spec/comparer",
            json!({"golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
        (
            "comparer-at-no-rate",
            "/spec/comparer",
            json!({"protocol": "OpenAI", "rate": "0", "golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
        (
            "comparer-of-itself-alone",
            "/spec/comparer",
            json!({"protocol": "OpenAI", "control": "100%", "golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
        (
            "comparer-of-another-answer",
            "/spec/comparer",
            json!({"protocol": "OpenAI", "answer": {"pointer": "/x"}, "golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
        (
            "comparer-of-no-pointer",
            "/spec/comparer",
            json!({"protocol": "JSON", "golden": comparer(json!({"configMap": "golden"}))["golden"]}),
        ),
    ]
}
