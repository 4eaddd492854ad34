//! The CRD on a real API server: what it takes, what it fills in, what it refuses and in which words.
//!
//! Needs `KUBECONFIG`; `tests/cluster/run-tests.sh` starts a control plane and sets it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::ApiResource;
use kube::{Client, CustomResourceExt, Resource, ResourceExt};
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;
use guardbit::cli::crds;
use guardbit::model;

use control_plane::client;
use refusals::{changed, malformed, stalled};

#[path = "support/control_plane.rs"]
mod control_plane;
#[path = "support/refusals.rs"]
mod refusals;

fn good() -> Value {
    refusals::good()
}

fn untyped(client: Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client, &ApiResource::erase::<QuantizedModel>(&()))
}

/// Applies `change` to the good model at `pointer` (a JSON pointer; `null` removes) and gives what the API server says.
async fn apply(api: &Api<DynamicObject>, name: &str, pointer: &str, change: Value) -> Result<DynamicObject, String> {
    let model = changed(name, pointer, change);
    let mut params = PatchParams::apply("tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    match api.patch(name, &params, &Patch::Apply(model)).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("{name}: {other}"),
    }
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
        let problems = model::problems(&model.spec);
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
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut model: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let name = format!("sample-{taken}");
        model["metadata"] = json!({"name": name});
        let object = api.patch(&name, &params, &Patch::Apply(model)).await;
        let object = object.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let typed: QuantizedModel = object.try_parse().expect("parses");
        assert_eq!(model::problems(&typed.spec), [], "{}", path.display());
        taken += 1;
    }
    assert!(taken > 0);
}

/// Git owns the model, and a pipeline a part of it.
#[tokio::test]
async fn a_claim_about_a_variant_is_of_one_hand() {
    let api = untyped(client().await);
    let by = |manager: &str| PatchParams::apply(manager);
    let mut model = good();
    model["metadata"]["name"] = json!("hands");
    let validation = model["spec"]["variants"][1]
        .as_object_mut()
        .unwrap()
        .remove("validation");
    api.patch("hands", &by("git"), &Patch::Apply(&model))
        .await
        .expect("taken");
    let part = |claim: Value| {
        let mut int8 = json!({"name": "int8"});
        int8.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
        json!({"apiVersion": model["apiVersion"], "kind": model["kind"], "metadata": {"name": "hands"}, "spec": {"variants": [int8]}})
    };
    let says = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    };

    // What git does not speak of may be anybody's.
    let measured = part(json!({"validation": validation}));
    let both = api.patch("hands", &by("pipeline"), &Patch::Apply(&measured)).await;
    let both = both.expect("taken");
    assert_eq!(both.data["spec"]["variants"][1]["validation"], validation.unwrap());
    assert_eq!(
        both.data["spec"]["variants"][1]["weights"],
        model["spec"]["variants"][1]["weights"]
    );

    // A digest never comes to stand beside the URI of somebody else.
    let digest = format!("sha256:{}", "0".repeat(64));
    let half =
        part(json!({"weights": {"digest": digest}, "validation": measured["spec"]["variants"][0]["validation"]}));
    let refused = api.patch("hands", &by("pipeline"), &Patch::Apply(&half)).await;
    let refused = says(refused.expect_err("weights are git's"));
    assert!(
        refused.contains("conflict") && refused.contains(r#".spec.variants[name="int8"].weights"#),
        "{refused}"
    );
    let forced = api.patch("hands", &by("pipeline").force(), &Patch::Apply(&half)).await;
    let forced = says(forced.expect_err("half of the weights"));
    assert!(forced.contains("weights.uri: Required value"), "{forced}");
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
    assert!(model::problems(&typed.spec).is_empty());
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

/// An older release must be able to write back what a newer one has left.
#[tokio::test]
async fn a_status_may_hold_words_that_this_release_does_not_know() {
    let api = untyped(client().await);
    let mut model = good();
    model["metadata"]["name"] = json!("newer");
    let model: DynamicObject = serde_json::from_value(model).expect("parses");
    api.create(&PostParams::default(), &model).await.expect("created");
    let (at, of) = ("2026-11-10T00:00:00Z", ("int8", "v1:0"));
    let revision = json!({"variant": of.0, "revision": of.1});
    let with = |more: Value| {
        let mut item = revision.clone();
        let more = more.as_object().expect("an object").clone();
        item.as_object_mut().expect("an object").extend(more);
        item
    };
    let counts = json!({"total": 1, "bad": 0});
    let guard = json!({"name": "errors", "verdict": "Unheard", "evidence": "1.00", "threshold": "20.00", "health": "1.00",
        "healthThreshold": "20.00", "candidate": counts, "baseline": counts, "estimate": "", "message": ""});
    let status = json!({
        "phase": "Unheard",
        "arms": [with(json!({"role": "Unheard", "deployment": "d", "weight": 5, "readyReplicas": 1}))],
        "rollout": {"kind": "Unheard", "candidate": revision, "planDigest": "d", "startedAt": at, "step": 0, "weight": 5,
            "stoodStillMillis": 0, "promoting": false, "overdue": false},
        "retiring": [with(json!({"until": at, "reason": "Unheard"}))],
        "guards": [guard],
        "proven": [with(json!({"at": at, "by": "Unheard"}))],
        "decisions": [with(json!({"time": at, "action": "Unheard", "why": "w"}))],
    });
    let patch = Patch::Merge(json!({"status": status}));
    let written = api.patch_status("newer", &PatchParams::default(), &patch).await;
    let written = written.expect("written");
    assert_eq!(written.data["status"], status, "nothing is pruned");
    let read: QuantizedModel = written.try_parse().expect("a model");
    let again = serde_json::to_value(read.status).expect("JSON");
    assert_eq!(again, status, "and is written back as it is");
    // A word is a word, and no essay.
    let essay = Patch::Merge(json!({"status": {"phase": "U".repeat(65)}}));
    let refused = api.patch_status("newer", &PatchParams::default(), &essay).await;
    assert!(refused.is_err());
    api.delete("newer", &Default::default()).await.expect("deleted");
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
    assert_eq!(QuantizedModel::kind(&()), crd.spec.names.kind);
    assert_eq!(crd.name_any(), "quantizedmodels.guardbit.dev");
}

#[tokio::test]
async fn kubectl_explain_has_a_text_for_every_field_of_every_kind() {
    let api: Api<CustomResourceDefinition> = Api::all(client().await);
    let mut undocumented = Vec::new();
    for known in crds::all() {
        let crd = api.get(&known.name_any()).await.expect("installed");
        let version = serde_json::to_value(&crd.spec.versions[0]).expect("JSON");
        let schema = &version["schema"]["openAPIV3Schema"];
        assert!(schema["description"].is_string(), "{}", crd.name_any());
        for part in ["spec", "status"] {
            let path = format!("{}.{part}", crd.spec.names.plural);
            find_undocumented(&path, &schema["properties"][part], &mut undocumented);
        }
    }
    assert_eq!(
        undocumented,
        Vec::<String>::new(),
        "fields without a text for kubectl explain"
    );
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
