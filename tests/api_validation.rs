//! The CRD on a real API server: what it takes, what it fills in, what it refuses and in which words.
//!
//! Needs `KUBECONFIG`; `tests/cluster/run-tests.sh` starts a control plane and sets it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::ApiResource;
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, CustomResourceExt, Resource, ResourceExt};
use serde_json::{Value, json};

use guardbit::api::{QuantizedModel, validate};

/// Longest time a condition may take to come true.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

async fn client() -> Client {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "this test needs an API server: run tests/cluster/run-tests.sh, or set KUBECONFIG"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.expect("a usable KUBECONFIG");
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.patch(
        QuantizedModel::crd_name(),
        &PatchParams::apply("tests").force(),
        &Patch::Apply(QuantizedModel::crd()),
    )
    .await
    .expect("the API server takes the CRD");
    let established = await_condition(crds, QuantizedModel::crd_name(), conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established)
        .await
        .expect("established in time")
        .expect("watch works");
    client
}

fn good() -> Value {
    serde_yaml_ng::from_str(include_str!("testdata/fraud-scorer.yaml")).expect("valid YAML")
}

fn untyped(client: Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client, &ApiResource::erase::<QuantizedModel>(&()))
}

/// Applies `change` to the good model at `pointer` (a JSON pointer; `null` removes) and gives what the API server says.
async fn apply(api: &Api<DynamicObject>, name: &str, pointer: &str, change: Value) -> Result<DynamicObject, String> {
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
    let mut params = PatchParams::apply("tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    match api.patch(name, &params, &Patch::Apply(model)).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("{name}: {other}"),
    }
}

fn variant(name: &str, precision: &str, quantization: Value) -> Value {
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    json!({"name": name, "precision": precision, "weights": {"uri": "s3://x", "digest": digest}, "quantization": quantization})
}

/// Refused when applied: name, where, what.
fn malformed() -> Vec<(&'static str, &'static str, Value)> {
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
    ]
}

/// Taken by the API server, found by guardbit: name, where, what.
fn stalled() -> Vec<(&'static str, &'static str, Value)> {
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
    ]
}

#[tokio::test]
async fn malformed_models_are_refused_with_the_field_and_the_remedy() {
    let api = untyped(client().await);
    let mut messages = Vec::new();
    for (name, pointer, change) in malformed() {
        let refused = apply(&api, name, pointer, change).await;
        let error = refused.err().unwrap_or_else(|| panic!("{name} was taken"));
        messages.push(format!("{name}: {error}"));
    }
    assert!(messages.len() >= 25);
    insta::assert_snapshot!("refused", messages.join("\n"));
}

#[tokio::test]
async fn what_the_api_server_cannot_see_is_named_with_field_value_and_remedy() {
    let api = untyped(client().await);
    let mut messages = Vec::new();
    for (name, pointer, change) in stalled() {
        let taken = apply(&api, name, pointer, change)
            .await
            .unwrap_or_else(|e| panic!("{name}: {}", e));
        let model: QuantizedModel = taken.try_parse().expect("parses");
        let problems = validate::problems(&model.spec);
        assert!(!problems.is_empty(), "{name} was found good");
        messages.extend(problems.iter().map(|p| format!("{name}: {p}")));
        api.delete(name, &Default::default()).await.expect("deleted");
    }
    insta::assert_snapshot!("stalled", messages.join("\n"));
}

#[tokio::test]
async fn the_samples_are_taken() {
    let api = untyped(client().await);
    let mut params = PatchParams::apply("tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples");
    let mut taken = 0;
    for entry in std::fs::read_dir(samples).expect("config/samples") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut model: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let name = format!("sample-{taken}");
        model["metadata"] = json!({"name": name});
        let object = api.patch(&name, &params, &Patch::Apply(model)).await;
        let object = object.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let typed: QuantizedModel = object.try_parse().expect("parses");
        assert_eq!(validate::problems(&typed.spec), [], "{}", path.display());
        taken += 1;
    }
    assert!(taken > 0);
}

#[tokio::test]
async fn a_good_model_is_taken_and_its_defaults_are_filled_in() {
    let client = client().await;
    let api = untyped(client.clone());
    let mut model = good();
    model["metadata"]["name"] = json!("good");
    model["spec"].as_object_mut().unwrap().remove("rollout");
    let mut params = PatchParams::apply("tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    let taken = api.patch("good", &params, &Patch::Apply(model)).await.expect("taken");
    let typed: QuantizedModel = taken.clone().try_parse().expect("parses");
    assert!(validate::problems(&typed.spec).is_empty());
    insta::assert_json_snapshot!(
        "defaults",
        json!({
            "rollout": taken.data["spec"]["rollout"],
            "attempt": taken.data["spec"]["attempt"],
            "deletionPolicy": taken.data["spec"]["deletionPolicy"],
            "errors": taken.data["spec"]["guards"][0],
        })
    );
    assert_eq!(typed.spec.target_index(), 2);
    api.delete("good", &Default::default()).await.expect("deleted");
}

#[tokio::test]
async fn a_status_write_is_never_refused_because_of_the_spec() {
    let client = client().await;
    let api: Api<QuantizedModel> = Api::default_namespaced(client.clone());
    let mut model = good();
    model["metadata"]["name"] = json!("written");
    let created: QuantizedModel = serde_json::from_value(model).expect("parses");
    let created = api.create(&PostParams::default(), &created).await.expect("created");
    let status = json!({"status": {"phase": "Guarding", "observedGeneration": created.metadata.generation,
        "stable": {"variant": "gone", "revision": "v1:0"}, "evidence": "v1:opaque"}});
    let written = api
        .patch_status("written", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("written");
    assert_eq!(
        written.status.and_then(|s| s.stable).map(|s| s.variant),
        Some("gone".to_owned())
    );
    api.delete("written", &Default::default()).await.expect("deleted");
}

#[tokio::test]
async fn people_find_their_way_with_kubectl_explain_and_get() {
    let client = client().await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = crds.get(QuantizedModel::crd_name()).await.expect("installed");
    let version = &crd.spec.versions[0];
    let columns: Vec<_> = version
        .additional_printer_columns
        .iter()
        .flatten()
        .map(|c| (c.name.as_str(), c.priority.unwrap_or(0)))
        .collect();
    assert_eq!(
        columns,
        [
            ("Phase", 0),
            ("Stable", 0),
            ("Candidate", 0),
            ("Weight", 0),
            ("Age", 0),
            ("Target", 1),
            ("Step", 1),
            ("Ready", 1),
            ("Message", 1)
        ]
    );
    assert_eq!(
        crd.spec.names.short_names,
        Some(vec!["qm".to_owned(), "qms".to_owned()])
    );
    let schema = serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap();
    let mut undocumented = Vec::new();
    find_undocumented("", &schema["properties"]["spec"], &mut undocumented);
    find_undocumented("", &schema["properties"]["status"], &mut undocumented);
    assert_eq!(
        undocumented,
        Vec::<String>::new(),
        "fields without a text for kubectl explain"
    );
    assert_eq!(QuantizedModel::kind(&()), crd.spec.names.kind);
    assert_eq!(crd.name_any(), "quantizedmodels.guardbit.dev");
}

fn find_undocumented(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        find_undocumented(&path, field, found);
        find_undocumented(&path, &field["items"], found);
    }
}
