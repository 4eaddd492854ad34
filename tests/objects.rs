//! What guardbit writes for the sample, object by object, and the rules that hold for all of them.

use std::collections::BTreeMap;

use guardbit::api::{QuantizedModel, QuantizedModelStatus, RevisionRef, Role};
use guardbit::manifests::{self, Owner};
use guardbit::model::identity::{self, Purpose};
use guardbit::rollout::{Joined, Marks, RoutePlan, Template, WorkloadKey, WorkloadPlan};
use serde_json::{Value, json};

fn sample() -> QuantizedModel {
    serde_yaml_ng::from_str(include_str!("../config/samples/fraud-scorer.yaml")).expect("the sample is a model")
}

fn key(model: &QuantizedModel, variant: &str, purpose: Purpose) -> WorkloadKey {
    let found = model
        .spec
        .variants
        .iter()
        .find(|v| v.name == variant)
        .expect("a variant");
    let revision = identity::revision(&model.spec, found);
    WorkloadKey {
        revision: RevisionRef {
            variant: variant.to_owned(),
            revision,
        },
        purpose,
    }
}

/// The sample with int8 at 25%.
fn status(model: &QuantizedModel) -> QuantizedModelStatus {
    let revision = |variant: &str| json!(key(model, variant, Purpose::Serving).revision);
    let int8 = revision("int8");
    let decision = json!({"time": "2026-11-23T10:00:00Z", "action": "Raised", "variant": "int8", "revision": int8["revision"], "why": "to 25%: 5% was held for 10s and no guard found harm"});
    serde_json::from_value(json!({
        "stable": revision("fp32"),
        "reference": revision("fp32"),
        "rollout": {"kind": "Climb", "candidate": int8, "planDigest": "0".repeat(64), "startedAt": "2026-11-23T09:59:00Z", "step": 1, "weight": 25},
        "decisions": [decision],
    }))
    .expect("a status")
}

fn with_owner<T>(model: &QuantizedModel, f: impl FnOnce(&Owner) -> T) -> T {
    let status = status(model);
    f(&Owner {
        namespace: "risk",
        name: "fraud-scorer",
        uid: "8d5c1f0e-0000-4000-8000-000000000000",
        spec: &model.spec,
        digests: &manifests::Digests::of(&model.spec),
        status: &status,
    })
}

fn yaml(documents: &[Value]) -> String {
    let texts: Vec<String> = documents
        .iter()
        .map(|d| serde_yaml_ng::to_string(d).expect("YAML"))
        .collect();
    texts.join("---\n")
}

#[test]
fn objects_of_the_sample() {
    let model = sample();
    let (int8, pinned) = (
        key(&model, "int8", Purpose::Serving),
        key(&model, "fp32", Purpose::Pinned),
    );
    let plan = WorkloadPlan {
        role: Role::Candidate,
        replicas: Some(1),
        template: Template::InSpec,
        joined: Joined::All,
        marks: Marks::default(),
    };
    let fp32 = key(&model, "fp32", Purpose::Serving).revision;
    let route = RoutePlan {
        weights: vec![(fp32, 75), (int8.revision.clone(), 25)],
        pinned: Some(pinned.clone()),
    };
    let gateway = model.spec.traffic.gateway.as_ref().expect("a gateway");
    let documents = with_owner(&model, |owner| {
        [
            manifests::deployment(owner, &int8).expect("a Deployment"),
            manifests::scale(owner, &int8, 1),
            manifests::facts(owner, &int8, &plan),
            manifests::service(owner, &int8),
            manifests::service(owner, &pinned),
            manifests::route(owner, gateway, &route),
            manifests::model_annotations(owner),
        ]
    });
    insta::assert_snapshot!(yaml(&documents));
}

#[test]
fn a_variants_template_is_merged_by_the_names_of_containers_and_variables() {
    let mut model = sample();
    let own = json!({"spec": {"containers": [
        {"name": "server", "image": "other:1", "env": [{"name": "THREADS", "value": "2"}, {"name": "GUARDBIT_VARIANT", "value": "lies"}]},
        {"name": "sidecar", "image": "sidecar:1"},
    ]}});
    let Value::Object(own) = own else { unreachable!() };
    model.spec.variants[1].template = Some(guardbit::api::PodTemplate(own));
    let int8 = key(&model, "int8", Purpose::Serving);
    let deployment = with_owner(&model, |owner| {
        manifests::deployment(owner, &int8).expect("a Deployment")
    });
    let containers = deployment["spec"]["template"]["spec"]["containers"]
        .as_array()
        .expect("containers");
    assert_eq!(containers.len(), 2);
    let server = &containers[0];
    assert_eq!(
        (&server["image"], &server["args"][0]),
        (&json!("other:1"), &json!("serve"))
    );
    let env: BTreeMap<_, _> = server["env"]
        .as_array()
        .expect("env")
        .iter()
        .map(|e| (e["name"].as_str().unwrap(), &e["value"]))
        .collect();
    assert_eq!(env["THREADS"], "2");
    assert_eq!(
        env["GUARDBIT_VARIANT"], "int8",
        "what guardbit says of itself cannot be overridden"
    );
}

#[test]
fn a_template_that_is_none_is_named() {
    let mut model = sample();
    let Value::Object(wrong) = json!({"spec": {"containers": "server"}}) else {
        unreachable!()
    };
    model.spec.variants[1].template = Some(guardbit::api::PodTemplate(wrong));
    let int8 = key(&model, "int8", Purpose::Serving);
    let error = with_owner(&model, |owner| manifests::deployment(owner, &int8)).expect_err("containers is a list");
    assert!(
        error
            .to_string()
            .starts_with("spec.variants[int8].template is no pod template: "),
        "{error}"
    );
}

/// A decision must never restart a pod: templates are the same whatever the status says.
#[test]
fn nothing_that_a_decision_changes_stands_on_a_pod_template() {
    let model = sample();
    let int8 = key(&model, "int8", Purpose::Serving);
    let now = with_owner(&model, |owner| manifests::deployment(owner, &int8)).expect("a Deployment");
    let nothing = QuantizedModelStatus::default();
    let owner = Owner {
        namespace: "risk",
        name: "fraud-scorer",
        uid: "8d5c1f0e-0000-4000-8000-000000000000",
        spec: &model.spec,
        digests: &manifests::Digests::of(&model.spec),
        status: &nothing,
    };
    assert_eq!(now, manifests::deployment(&owner, &int8).expect("a Deployment"));
    // Nor what the spec may change without another identity.
    let mut edited = model.clone();
    edited.spec.rollout.holdout = 20;
    edited.spec.guards.pop();
    edited.spec.paused = true;
    edited.spec.attempt = 7;
    let edited = with_owner(&edited, |owner| manifests::deployment(owner, &int8)).expect("a Deployment");
    assert_eq!(now["spec"]["template"], edited["spec"]["template"]);
}

/// The status keeps whole seconds. What is written must not know more, or everything is written twice for each decision.
#[test]
fn a_decision_is_written_the_same_before_and_after_it_was_stored_and_can_be_read_back() {
    let model = sample();
    let stored = status(&model);
    let mut fresh = stored.clone();
    fresh.decisions[0].time.0 += k8s_openapi::jiff::SignedDuration::from_millis(731);
    let annotations = |status: &QuantizedModelStatus| {
        let owner = Owner {
            namespace: "risk",
            name: "fraud-scorer",
            uid: "8d5c1f0e-0000-4000-8000-000000000000",
            spec: &model.spec,
            digests: &manifests::Digests::of(&model.spec),
            status,
        };
        manifests::model_annotations(&owner)["metadata"]["annotations"].clone()
    };
    assert_eq!(annotations(&fresh), annotations(&stored));
    let read = manifests::decision(&serde_json::from_value(annotations(&fresh)).expect("texts")).expect("a decision");
    let kept = &stored.decisions[0];
    assert_eq!((read.time, Some(read.action)), (kept.time.0, kept.action.known()));
    assert_eq!((&read.variant, &read.why), (&kept.variant, &kept.why));
    for text in [
        "",
        "yesterday Raised int8: why",
        "2026-11-23T10:00:00Z Guessed int8: why",
        "2026-11-23T10:00:00Z Raised",
    ] {
        let annotations = [("guardbit.dev/decision".to_owned(), text.to_owned())].into();
        assert_eq!(manifests::decision(&annotations), None, "{text}");
    }
}

#[test]
fn what_is_written_on_a_deployment_can_be_read_back() {
    let model = sample();
    for purpose in [Purpose::Serving, Purpose::Pinned] {
        let key = key(&model, "int8", purpose);
        let marks = Marks {
            stable: true,
            proven: true,
            reference: false,
            rejected: Some(("errors".to_owned(), "errors: 41 of 2,310: beyond".to_owned())),
        };
        let plan = WorkloadPlan {
            role: Role::Stable,
            replicas: None,
            template: Template::InSpec,
            joined: Joined::All,
            marks: marks.clone(),
        };
        let (deployment, facts) = with_owner(&model, |owner| {
            (
                manifests::deployment(owner, &key).expect("a Deployment"),
                manifests::facts(owner, &key, &plan),
            )
        });
        let texts = |value: &Value| serde_json::from_value::<BTreeMap<String, String>>(value.clone()).expect("texts");
        let labels = texts(&deployment["metadata"]["labels"]);
        let annotations = texts(&facts["metadata"]["annotations"]);
        assert_eq!(manifests::key_of(&labels, &annotations).as_ref(), Some(&key));
        assert_eq!(manifests::marks(&annotations), marks);
    }
}

/// The digests in the sample are those of the weights that the model server's image carries.
#[test]
fn the_samples_digests_are_those_of_the_real_weights() {
    let out = std::env::temp_dir().join(format!("guardbit-weights-{}", std::process::id()));
    let cards = model_server::artifact::make(&out).expect("weights");
    std::fs::remove_dir_all(out).expect("removed");
    for (variant, card) in sample().spec.variants.iter().zip(&cards) {
        assert_eq!(variant.name, card.variant);
        assert_eq!(variant.weights.digest, format!("sha256:{}", card.weights_digest));
        let calibration = variant.calibration.as_ref().map(|c| c.dataset.digest.clone());
        assert_eq!(
            calibration,
            card.calibration_digest.as_ref().map(|d| format!("sha256:{d}"))
        );
    }
}
