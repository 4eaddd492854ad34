//! What guardbit writes for the sample, object by object, and the rules that hold for all of them.

use std::collections::BTreeMap;

use clap::Parser;
use guardbit::api::{
    Action, ComparerSpec, QuantizedModel, QuantizedModelStatus, RevisionRef, Role, ServiceTraffic, WeightsProof,
    visible,
};
use guardbit::cli::Cli;
use guardbit::manifests::traffic::{self, Effect};
use guardbit::manifests::{self, Additions, Document, Environment, Kind, Owner, comparer, workload};
use guardbit::model::identity::{self, Purpose};
use guardbit::rollout::{
    ComparedArms, Joined, MirrorSeen, Order, Plan, Record, RecoveryMarks, Rejection, RouteHarm, RoutePlan, Scope,
    Template, WorkloadKey, WorkloadPlan,
};
use k8s_openapi::jiff::SignedDuration;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

/// The image of guardbit.
const IMAGE: &str = "registry.example/guardbit:1";

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
    with_status(model, &status(model), f)
}

fn with_status<T>(model: &QuantizedModel, status: &QuantizedModelStatus, f: impl FnOnce(&Owner) -> T) -> T {
    f(&Owner {
        namespace: "risk",
        name: "fraud-scorer",
        uid: "8d5c1f0e-0000-4000-8000-000000000000",
        spec: &model.spec,
        digests: &identity::Digests::of(&model.spec),
        status,
    })
}

/// A plan with these workloads and this split, and nothing else.
fn plan(workloads: BTreeMap<WorkloadKey, WorkloadPlan>, route: Option<RoutePlan>) -> Plan {
    Plan {
        scope: Scope::Apply,
        workloads,
        delete: Vec::new(),
        route,
        comparer: None,
        order: Order::RecordFirst,
        status: QuantizedModelStatus::default(),
        judged: Vec::new(),
        decisions: Vec::new(),
        acts: Vec::new(),
        events: Vec::new(),
        record: Record::Later,
        again: SignedDuration::ZERO,
    }
}

fn workload(role: Role, joined: Joined, marks: RecoveryMarks) -> WorkloadPlan {
    WorkloadPlan {
        role,
        replicas: Some(1),
        template: Template::InSpec,
        joined,
        marks,
    }
}

/// The one document of a split behind a gateway.
fn route(owner: &Owner, split: RoutePlan) -> Document {
    let traffic = traffic::provider(&owner.spec.traffic).expect("a provider");
    match traffic.split(owner, &plan(BTreeMap::new(), Some(split))).as_slice() {
        [Effect::Apply(document)] => document.clone(),
        other => panic!("{other:?}"),
    }
}

fn annotations(document: &Document) -> BTreeMap<String, String> {
    serde_json::from_value(document.body["metadata"]["annotations"].clone()).expect("texts")
}

fn deployment(owner: &Owner, key: &WorkloadKey) -> Value {
    workload::provider()
        .template(owner, key, None, Some(IMAGE))
        .expect("a Deployment")
        .body
}

fn yaml(documents: &[Document]) -> String {
    let texts: Vec<String> = documents
        .iter()
        .map(|d| serde_yaml_ng::to_string(&d.body).expect("YAML"))
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
    let candidate = workload(Role::Candidate, Joined::All, RecoveryMarks::default());
    let fp32 = key(&model, "fp32", Purpose::Serving).revision;
    let split = RoutePlan {
        weights: vec![(fp32, 75), (int8.revision.clone(), 25)],
        pinned: Some(pinned.clone()),
        mirror: None,
    };
    let documents = with_owner(&model, |owner| {
        let (workload, traffic) = (workload::provider(), traffic::provider(&owner.spec.traffic));
        let arm = |key| traffic.and_then(|t| t.arm_service(owner, key)).expect("a Service");
        [
            workload.template(owner, &int8, None, None).expect("a Deployment"),
            workload.scale(owner, &int8, 1),
            workload.facts(owner, &int8, &candidate),
            arm(&int8),
            arm(&pinned),
            route(owner, split),
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
    let deployment = with_owner(&model, |owner| deployment(owner, &int8));
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

/// The variables of a container, in their order.
fn variables(container: &Value) -> Vec<&str> {
    let env = container["env"].as_array().expect("env").iter();
    env.map(|e| e["name"].as_str().expect("a name")).collect()
}

#[test]
fn what_a_container_knows_of_its_revision_comes_before_what_refers_to_it_and_in_init_containers() {
    const OURS: [&str; 3] = ["GUARDBIT_VARIANT", "GUARDBIT_REVISION", "GUARDBIT_WEIGHTS_URI"];
    let mut model = sample();
    let int8 = key(&model, "int8", Purpose::Serving);
    // Where the order makes no difference it stays what earlier versions wrote.
    let plain = with_owner(&model, |owner| deployment(owner, &int8));
    assert_eq!(variables(&plain["spec"]["template"]["spec"]["containers"][0]), OURS);
    assert_eq!(
        plain["metadata"]["annotations"]["guardbit.dev/environment"],
        Value::Null
    );
    let own = json!({"spec": {
        "initContainers": [{"name": "fetch", "image": "fetch:1", "args": ["$(GUARDBIT_WEIGHTS_URI)"]}],
        "containers": [{"name": "server", "env": [{"name": "MODEL_NAME", "value": "chat-$(GUARDBIT_VARIANT)"}]}],
    }});
    let Value::Object(own) = own else { unreachable!() };
    model.spec.variants[1].template = Some(guardbit::api::PodTemplate(own));
    let int8 = key(&model, "int8", Purpose::Serving);
    let new = with_owner(&model, |owner| deployment(owner, &int8));
    let pod = &new["spec"]["template"]["spec"];
    assert_eq!(variables(&pod["initContainers"][0]), OURS);
    assert_eq!(variables(&pod["containers"][0]), [&OURS[..], &["MODEL_NAME"]].concat());
    assert_eq!(new["metadata"]["annotations"]["guardbit.dev/environment"], "first");
    // A Deployment that an earlier version made keeps its template, or its pods would restart.
    let live = with_owner(&model, |owner| {
        let live = Additions {
            environment: Environment::Last,
            verifier: None,
            weights: WeightsProof::Declared,
        };
        let template = workload::provider().template(owner, &int8, Some(&live), None);
        template.expect("a Deployment").body
    });
    let pod = &live["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"][0]["env"], Value::Null);
    assert_eq!(variables(&pod["containers"][0]), [&["MODEL_NAME"], &OURS[..]].concat());
}

/// The sample with int8 on a volume, and its weights there; `uri` is theirs.
fn mounted(uri: &str, mount: Value) -> QuantizedModel {
    let mut model = sample();
    let own = json!({"spec": {
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        "initContainers": [{"name": "fetch", "image": "fetch:1"}],
        "containers": [{"name": "server", "volumeMounts": [{"name": "models", "mountPath": "/models", "subPath": "int8"}]}],
    }});
    let Value::Object(own) = own else { unreachable!() };
    let int8 = &mut model.spec.variants[1];
    int8.template = Some(guardbit::api::PodTemplate(own));
    int8.weights.uri = uri.to_owned();
    int8.weights.mount = Some(serde_json::from_value(mount).expect("a mount"));
    model
}

/// The sample with the weights of int8 in an image.
fn in_an_image(mount: Value) -> QuantizedModel {
    let mut model = mounted("s3://models/fraud", mount);
    let weights = &mut model.spec.variants[1].weights;
    weights.uri = format!("oci://registry.example/fraud@{}", weights.digest);
    model
}

/// Container and mounts are by name.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut items = list.as_array().expect("a list").iter();
    items
        .find(|item| item["name"] == name)
        .unwrap_or_else(|| panic!("{name} in {list}"))
}

#[test]
fn weights_on_a_volume_are_hashed_where_the_server_reads_them_before_it_starts() {
    let model = mounted("s3://models/fraud", json!({"path": "/models/m"}));
    let digest = &model.spec.variants[1].weights.digest;
    let int8 = key(&model, "int8", Purpose::Serving);
    let deployment = with_owner(&model, |owner| deployment(owner, &int8));
    let pod = &deployment["spec"]["template"]["spec"];
    let inits: Vec<_> = pod["initContainers"]
        .as_array()
        .expect("init containers")
        .iter()
        .collect();
    assert_eq!(inits.len(), 2);
    assert_eq!(inits[0]["name"], "fetch", "what fetches the weights comes first");
    let verifier = inits[1];
    assert_eq!(
        verifier["args"],
        json!([
            "weights",
            "verify",
            "--path=/models/m",
            "--root=/models",
            format!("--digest={digest}")
        ])
    );
    assert_eq!(
        (&verifier["name"], &verifier["image"]),
        (&json!("guardbit-weights"), &json!(IMAGE))
    );
    let mount = json!({"name": "models", "mountPath": "/models", "subPath": "int8", "readOnly": true});
    assert_eq!(verifier["volumeMounts"], json!([mount]));
    assert_eq!(
        verifier["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    let server = named(&pod["containers"], "server");
    assert_eq!(verifier["resources"], server["resources"]);
    assert_eq!(verifier["terminationMessagePolicy"], "FallbackToLogsOnError");
    for container in [verifier, inits[0], &pod["containers"][0]] {
        assert_eq!(&variables(container)[..1], ["GUARDBIT_VARIANT"], "{container}");
    }
    // The server is not changed, and nobody else is told of it.
    assert_eq!(server["volumeMounts"].as_array().map(Vec::len), Some(1));
    let annotations = &deployment["metadata"]["annotations"];
    assert_eq!(annotations["guardbit.dev/weights-proof"], "Verified");
    assert_eq!(annotations["guardbit.dev/weights-verifier"], IMAGE);
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["annotations"]["guardbit.dev/weights-proof"],
        "Verified"
    );
}

/// A pod whose containers may have what they ask for gets CPUs of its own, and a quota may want a limit of each of them.
#[test]
fn what_verifies_weights_asks_for_what_the_server_does() {
    let of = |resources: Value| {
        let mut model = mounted("s3://models/fraud", json!({"path": "/models/m"}));
        let guardbit::api::PodTemplate(shared) = &mut model.spec.serving.template;
        shared["spec"]["containers"][0]["resources"] = resources;
        let int8 = key(&model, "int8", Purpose::Serving);
        let deployment = with_owner(&model, |owner| deployment(owner, &int8));
        named(
            &deployment["spec"]["template"]["spec"]["initContainers"],
            "guardbit-weights",
        )["resources"]
            .clone()
    };
    let all = json!({"cpu": "4", "memory": "16Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1"});
    let own = json!({"cpu": "4", "memory": "16Gi", "ephemeral-storage": "1Gi"});
    for (server, verifier) in [
        (
            json!({"requests": all, "limits": all}),
            json!({"requests": own, "limits": own}),
        ),
        (json!({"limits": all}), json!({"limits": own})),
        (
            json!({"limits": {"nvidia.com/gpu": "1"}}),
            json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}),
        ),
        (
            json!({"requests": {"cpu": "2"}}),
            json!({"requests": {"cpu": "2", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}),
        ),
    ] {
        assert_eq!(of(server.clone()), verifier, "{server}");
    }
}

/// The command that pods run is one that guardbit takes.
#[test]
fn the_arguments_of_the_verifier_are_those_of_the_command() {
    for model in [
        mounted("s3://models/fraud", json!({"path": "/models/m"})),
        in_an_image(json!({"path": "/weights"})),
    ] {
        let int8 = key(&model, "int8", Purpose::Serving);
        let deployment = with_owner(&model, |owner| deployment(owner, &int8));
        let verifier = named(
            &deployment["spec"]["template"]["spec"]["initContainers"],
            "guardbit-weights",
        );
        let args = verifier["args"].as_array().expect("args").iter();
        let args = args.map(|arg| arg.as_str().expect("a text"));
        Cli::try_parse_from(std::iter::once("guardbit").chain(args)).expect("guardbit takes them");
    }
}

#[test]
fn a_volume_that_is_named_is_mounted_for_the_server_and_never_writable() {
    let mut model = mounted("s3://models/fraud", json!({"path": "/weights", "volume": "models"}));
    let context = json!({"spec": {"securityContext": {"runAsUser": 0}, "containers": [
        {"name": "server", "securityContext": {"runAsUser": 1000}},
    ]}});
    let user = |model: &QuantizedModel| {
        let int8 = key(model, "int8", Purpose::Serving);
        let deployment = with_owner(model, |owner| deployment(owner, &int8));
        let pod = deployment["spec"]["template"]["spec"].clone();
        let verifier = named(&pod["initContainers"], "guardbit-weights").clone();
        (pod, verifier)
    };
    let (pod, verifier) = user(&model);
    let server = named(&pod["containers"], "server");
    let mount = json!({"name": "models", "mountPath": "/weights", "readOnly": true});
    assert!(
        server["volumeMounts"].as_array().expect("mounts").contains(&mount),
        "{server}"
    );
    assert_eq!(verifier["volumeMounts"], json!([mount]));
    // It reads as the server does, which may be the only one that can; but not as root.
    let Value::Object(context) = context else {
        unreachable!()
    };
    model.spec.serving.template = merged(&model, context);
    assert_eq!(user(&model).1["securityContext"]["runAsUser"], 1000);
    let own = model.spec.variants[1].template.as_mut().expect("a template");
    own.0["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 0});
    assert_eq!(user(&model).1["securityContext"]["runAsUser"], 65532);
}

/// The shared template with more in it.
fn merged(model: &QuantizedModel, more: serde_json::Map<String, Value>) -> guardbit::api::PodTemplate {
    let guardbit::api::PodTemplate(mut shared) = model.spec.serving.template.clone();
    let (into, more) = (&mut shared["spec"], &more["spec"]);
    into["securityContext"] = more["securityContext"].clone();
    into["containers"][0]["securityContext"] = more["containers"][0]["securityContext"].clone();
    guardbit::api::PodTemplate(shared)
}

#[test]
fn weights_in_an_image_are_mounted_by_its_digest_and_read_only() {
    let model = in_an_image(json!({"path": "/weights"}));
    let reference = model.spec.variants[1].weights.uri.trim_start_matches("oci://");
    let int8 = key(&model, "int8", Purpose::Serving);
    let deployment = with_owner(&model, |owner| deployment(owner, &int8));
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        named(&pod["volumes"], "guardbit-weights")["image"],
        json!({"reference": reference, "pullPolicy": "IfNotPresent"})
    );
    let mount = json!({"name": "guardbit-weights", "mountPath": "/weights", "readOnly": true});
    let server = named(&pod["containers"], "server");
    assert_eq!(*named(&server["volumeMounts"], "guardbit-weights"), mount);
    let annotations = &deployment["metadata"]["annotations"];
    assert_eq!(annotations["guardbit.dev/weights-proof"], "Verified");
    assert_eq!(annotations["guardbit.dev/weights-verifier"], IMAGE);
}

/// An API server with the feature gate off drops the volume and its mounts, and some runtimes leave it empty. Neither says so.
#[test]
fn a_server_whose_weights_are_in_an_image_does_not_start_before_it_is_seen_to_be_mounted() {
    let model = in_an_image(json!({"path": "/weights"}));
    let int8 = key(&model, "int8", Purpose::Serving);
    let deployment = with_owner(&model, |owner| deployment(owner, &int8));
    let inits = &deployment["spec"]["template"]["spec"]["initContainers"];
    let last = inits.as_array().and_then(|inits| inits.last()).expect("one");
    assert_eq!(last["name"], "guardbit-weights");
    assert_eq!(last["image"], IMAGE);
    let args = json!(["weights", "mounted", "--path=/weights"]);
    assert_eq!(last["args"], args, "nothing is hashed");
    assert_eq!(
        last["volumeMounts"],
        json!([{"name": "guardbit-weights", "mountPath": "/weights", "readOnly": true}])
    );
}

/// Another release has another image. A Deployment keeps what it was made with, or its pods would restart.
#[test]
fn an_upgrade_changes_the_verifier_of_no_deployment_that_exists() {
    let model = mounted("s3://models/fraud", json!({"path": "/models/m"}));
    let int8 = key(&model, "int8", Purpose::Serving);
    let template = |live: Option<&Additions>, image: Option<&str>| {
        with_owner(&model, |owner| workload::provider().template(owner, &int8, live, image))
    };
    let made = template(None, Some(IMAGE)).expect("a Deployment");
    let live = Additions::read(&annotations(&made));
    for image in [Some(IMAGE), Some("registry.example/guardbit:2"), None] {
        let again = template(Some(&live), image).expect("a Deployment");
        assert_eq!(again.body, made.body, "{image:?}");
    }
    let new = template(None, Some("registry.example/guardbit:2")).expect("a Deployment");
    assert_ne!(new.body["spec"]["template"], made.body["spec"]["template"]);
    // One of weights that are only declared gets none, whatever the image.
    let plain = sample();
    let int8 = key(&plain, "int8", Purpose::Serving);
    let of = |live: Option<&Additions>, image| {
        let template = with_owner(&plain, |owner| workload::provider().template(owner, &int8, live, image));
        template.expect("a Deployment")
    };
    let before = of(None, None);
    assert!(!before.body.to_string().contains("weights-"), "{}", before.body);
    let live = Additions::read(&annotations(&before));
    assert_eq!(of(Some(&live), Some(IMAGE)).body, before.body);
}

#[test]
fn weights_that_cannot_be_verified_make_no_deployment() {
    let refused = |model: &QuantizedModel, image: Option<&str>| {
        let int8 = key(model, "int8", Purpose::Serving);
        let template = with_owner(model, |owner| workload::provider().template(owner, &int8, None, image));
        template.expect_err("nothing verifies them").to_string()
    };
    let unknown = refused(&mounted("s3://m", json!({"path": "/models/m"})), None);
    assert!(
        unknown.contains("without --comparer-image") && unknown.contains("int8"),
        "{unknown}"
    );
    let unseen = refused(&in_an_image(json!({"path": "/weights"})), None);
    assert!(unseen.contains("without --comparer-image"), "{unseen}");
    let nowhere = refused(&mounted("s3://m", json!({"path": "/nowhere"})), Some(IMAGE));
    assert!(nowhere.starts_with("spec.variants[int8].template: "), "{nowhere}");
}

#[test]
fn a_template_that_is_none_is_named() {
    let mut model = sample();
    let Value::Object(wrong) = json!({"spec": {"containers": "server"}}) else {
        unreachable!()
    };
    model.spec.variants[1].template = Some(guardbit::api::PodTemplate(wrong));
    let int8 = key(&model, "int8", Purpose::Serving);
    let template = with_owner(&model, |owner| workload::provider().template(owner, &int8, None, None));
    let error = template.expect_err("containers is a list");
    assert!(
        error
            .to_string()
            .starts_with("spec.variants[int8].template.spec.containers: invalid type"),
        "{error}"
    );
}

/// A decision must never restart a pod: templates are the same whatever the status says.
#[test]
fn nothing_that_a_decision_changes_stands_on_a_pod_template() {
    let model = sample();
    let int8 = key(&model, "int8", Purpose::Serving);
    let now = with_owner(&model, |owner| deployment(owner, &int8));
    let nothing = QuantizedModelStatus::default();
    assert_eq!(now, with_status(&model, &nothing, |owner| deployment(owner, &int8)));
    // Nor what the spec may change without another identity.
    let mut edited = model.clone();
    edited.spec.rollout.holdout = 20;
    edited.spec.guards.pop();
    edited.spec.paused = true;
    edited.spec.attempt = 7;
    let edited = with_owner(&edited, |owner| deployment(owner, &int8));
    assert_eq!(now["spec"]["template"], edited["spec"]["template"]);
}

/// The status keeps whole seconds. What is written must not know more, or everything is written twice for each decision.
#[test]
fn a_decision_is_written_the_same_before_and_after_it_was_stored() {
    let model = sample();
    for stored in [status(&model), rejected(&model, "errors: 41 of 2,310: beyond")] {
        let mut fresh = stored.clone();
        fresh.decisions[0].time.0 += SignedDuration::from_millis(731);
        let written = |status| {
            with_status(&model, status, |owner| {
                [manifests::model_annotations(owner), route(owner, RoutePlan::default())]
            })
        };
        assert_eq!(written(&fresh), written(&stored));
    }
}

/// The sample with int8 rolled back, for this reason.
fn rejected(model: &QuantizedModel, reason: &str) -> QuantizedModelStatus {
    let mut status = status(model);
    let RevisionRef { variant, revision } = key(model, "int8", Purpose::Serving).revision;
    let decision = &mut status.decisions[0];
    decision.action = Action::RolledBack.into();
    decision.why = reason.to_owned();
    let record =
        json!({"variant": variant, "revision": revision, "guard": "errors", "reason": reason, "at": decision.time});
    status.rejected = vec![serde_json::from_value(record).expect("a rejection")];
    status
}

#[test]
fn harm_that_a_route_was_lowered_for_can_be_read_back_from_it() {
    let model = sample();
    let harm = |status: &QuantizedModelStatus| {
        let route = with_status(&model, status, |owner| route(owner, RoutePlan::default()));
        manifests::route_harm(&annotations(&route))
    };
    assert_eq!(harm(&status(&model)), None, "a rise is no harm");
    let mut lowered = rejected(&model, "errors: 41 of 2,310: beyond");
    lowered.decisions[0].drift = Some("TV 0.2".to_owned());
    let int8 = key(&model, "int8", Purpose::Serving).revision;
    let found = RouteHarm {
        time: lowered.decisions[0].time.0,
        action: Action::RolledBack,
        variant: int8.variant,
        revision: Some(int8.revision),
        guard: "errors".to_owned(),
        message: "errors: 41 of 2,310: beyond".to_owned(),
        drift: Some("TV 0.2".to_owned()),
    };
    assert_eq!(harm(&lowered), Some(found.clone()));
    // A fallback says first where traffic goes; what was found is the same.
    lowered.decisions[0].action = Action::FellBack.into();
    lowered.decisions[0].why = "traffic falls back to fp32 (0123456789ab): errors: 41 of 2,310: beyond".to_owned();
    let action = Action::FellBack;
    assert_eq!(harm(&lowered), Some(RouteHarm { action, ..found }));
}

#[test]
fn the_weights_of_a_route_are_written_beside_it_and_can_be_read_back() {
    let model = sample();
    let arms = ["fp32", "int8"].map(|variant| key(&model, variant, Purpose::Serving));
    let weights = arms.iter().zip([75, 25]);
    let split = RoutePlan {
        weights: weights
            .clone()
            .map(|(key, weight)| (key.revision.clone(), weight))
            .collect(),
        ..RoutePlan::default()
    };
    let (route, expected) = with_owner(&model, |owner| {
        let by_service = weights.map(|(key, weight)| (manifests::name(owner, key), weight));
        (route(owner, split), by_service.collect::<BTreeMap<_, _>>())
    });
    assert_eq!(manifests::written_weights(&annotations(&route)), Some(expected));
}

/// What people did to the whole model is no decision about a revision, and hides no harm.
#[test]
fn what_people_did_takes_no_decision_from_a_revision_and_no_harm_from_the_route() {
    let model = sample();
    let int8 = key(&model, "int8", Purpose::Serving);
    let before = rejected(&model, "errors: 41 of 2,310: beyond");
    let mut paused = before.clone();
    let mut pause = paused.decisions[0].clone();
    pause.action = Action::Paused.into();
    pause.why = "spec.paused is set".to_owned();
    paused.decisions.push(pause);
    let of_arm = |status: &QuantizedModelStatus| {
        let service = with_status(&model, status, |owner| {
            let traffic = traffic::provider(&owner.spec.traffic);
            traffic.and_then(|traffic| traffic.arm_service(owner, &int8))
        });
        annotations(&service.expect("a Service"))
    };
    assert_eq!(of_arm(&paused), of_arm(&before));
    let of_route = |status: &QuantizedModelStatus| {
        let route = with_status(&model, status, |owner| route(owner, RoutePlan::default()));
        annotations(&route)
    };
    let (before, paused) = (of_route(&before), of_route(&paused));
    assert_eq!(manifests::route_harm(&paused), manifests::route_harm(&before));
    assert!(
        paused["guardbit.dev/decision"].ends_with("Paused int8: spec.paused is set"),
        "{paused:?}"
    );
}

#[test]
fn a_long_message_of_harm_is_cut_and_its_annotation_is_whole() {
    let model = sample();
    for unit in ["x", "\"", "\\", "\r\n\u{7f}\u{202e}", "模", "🙂\""] {
        let status = rejected(&model, &unit.repeat(2_000));
        let route = with_status(&model, &status, |owner| route(owner, RoutePlan::default()));
        let annotations = annotations(&route);
        let text = &annotations["guardbit.dev/harm"];
        assert!((1_020..=1_024).contains(&text.len()), "{unit}: {} bytes", text.len());
        assert!(text.chars().all(|c| visible(c) == c), "{unit}: {text:?}");
        let harm = manifests::route_harm(&annotations).expect("whole JSON");
        assert!(harm.message.len() > 300, "{unit}: {}", harm.message);
    }
}

/// Release 0.1 wrote the sentence only. An upgrade may come between a lowering and its record.
#[test]
fn harm_that_release_0_1_lowered_a_route_for_can_be_read() {
    let read = |sentence: &str| {
        let annotations = [("guardbit.dev/decision".to_owned(), sentence.to_owned())].into();
        manifests::route_harm(&annotations)
    };
    let found = RouteHarm {
        time: "2026-11-23T10:00:00Z".parse().expect("a time"),
        action: Action::RolledBack,
        variant: "int8".to_owned(),
        revision: None,
        guard: "errors".to_owned(),
        message: "errors: 41 of 2,310: beyond".to_owned(),
        drift: None,
    };
    let sentence = "2026-11-23T10:00:00Z RolledBack int8: errors: 41 of 2,310: beyond";
    assert_eq!(read(sentence), Some(found.clone()));
    let sentence =
        "2026-11-23T10:00:00Z FellBack int8: traffic falls back to fp32 (0123456789ab): errors: 41 of 2,310: beyond";
    let action = Action::FellBack;
    assert_eq!(read(sentence), Some(RouteHarm { action, ..found }));
    for text in [
        "",
        "yesterday RolledBack int8: errors: why",
        "2026-11-23T10:00:00Z Guessed int8: errors: why",
        "2026-11-23T10:00:00Z Raised int8: to 25%: why",
        "2026-11-23T10:00:00Z RolledBack int8: why",
        "2026-11-23T10:00:00Z RolledBack",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn what_is_written_on_a_deployment_can_be_read_back() {
    let model = sample();
    for purpose in [Purpose::Serving, Purpose::Pinned, Purpose::Shadow] {
        let key = key(&model, "int8", purpose);
        let marks = RecoveryMarks {
            stable: true,
            proven: true,
            reference: false,
            rejected: Some(Rejection {
                guard: "errors".to_owned(),
                reason: "errors: 41 of 2,310: beyond".to_owned(),
            }),
        };
        let plan = workload(Role::Stable, Joined::All, marks.clone());
        let (deployment, facts) = with_owner(&model, |owner| {
            let facts = workload::provider().facts(owner, &key, &plan);
            (deployment(owner, &key), facts)
        });
        let labels = serde_json::from_value(deployment["metadata"]["labels"].clone()).expect("texts");
        let mut annotations = annotations(&facts);
        assert_eq!(manifests::key_of(&labels, &annotations).as_ref(), Some(&key));
        assert_eq!(manifests::marks(&annotations), marks);
        // Release 0.1 wrote the guard's name only at the beginning of its sentence.
        annotations.remove("guardbit.dev/rejected-by").expect("data");
        assert_eq!(manifests::marks(&annotations), marks);
    }
}

/// What lowers the candidate must not wait for anything that it can do without.
#[test]
fn behind_one_service_pods_leave_it_and_the_service_stays() {
    let mut model = sample();
    model.spec.traffic.gateway = None;
    model.spec.traffic.service = Some(ServiceTraffic::default());
    let (stable, int8) = (
        key(&model, "fp32", Purpose::Serving),
        key(&model, "int8", Purpose::Serving),
    );
    let pinned = key(&model, "fp32", Purpose::Pinned);
    let of = |role, joined| workload(role, joined, RecoveryMarks::default());
    let workloads = BTreeMap::from([
        (stable.clone(), of(Role::Stable, Joined::All)),
        (int8.clone(), of(Role::Retiring, Joined::Nobody)),
        (pinned, of(Role::Pinned, Joined::Nobody)),
    ]);
    let plan = plan(workloads, Some(RoutePlan::default()));
    let (lowering, all) = with_owner(&model, |owner| {
        let traffic = traffic::provider(&owner.spec.traffic).expect("a provider");
        assert!(traffic.arm_service(owner, &int8).is_none());
        assert_eq!(
            deployment(owner, &int8)["spec"]["template"]["metadata"]["labels"]["guardbit.dev/in-service"],
            "true"
        );
        (traffic.lower(owner, &plan), traffic.split(owner, &plan))
    });
    let joins = [Effect::Join(stable, Joined::All), Effect::Join(int8, Joined::Nobody)];
    assert_eq!(lowering, joins);
    let [Effect::Join(..), Effect::Join(..), Effect::Apply(service)] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!((service.kind, service.name.as_str()), (Kind::Service, "fraud-scorer"));
    let selector = json!({"guardbit.dev/model": "fraud-scorer", "guardbit.dev/in-service": "true"});
    assert_eq!(service.body["spec"]["selector"], selector);
}

#[test]
fn in_a_shadow_stage_behind_one_service_a_pod_that_is_no_endpoint_is_asked() {
    let (mut model, mut arms) = compared(json!({"configMap": "fraud-golden"}));
    model.spec.traffic.gateway = None;
    model.spec.traffic.service = Some(ServiceTraffic::default());
    arms.asked = Purpose::Shadow;
    let shadow = key(&model, "int8", Purpose::Shadow);
    let workloads = BTreeMap::from([(
        shadow.clone(),
        workload(Role::Candidate, Joined::Nobody, RecoveryMarks::default()),
    )]);
    let plan = plan(workloads, Some(RoutePlan::default()));
    let (deployment, lowering, services, asks) = with_owner(&model, |owner| {
        let traffic = traffic::provider(&owner.spec.traffic).expect("a provider");
        (
            deployment(owner, &shadow),
            traffic.lower(owner, &plan),
            comparer::arm_services(owner, &arms),
            comparer::deployment(owner, &arms, "guardbit:1").expect("a comparer"),
        )
    });
    let pods = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pods["guardbit.dev/in-service"], Value::Null);
    assert_eq!(lowering, [], "no pod of it joins later");
    let revision = format!("{}-shadow", identity::short(&shadow.revision.revision));
    assert_eq!(pods["guardbit.dev/revision"], revision);
    let [_, candidate] = services.as_slice() else {
        panic!("{services:?}");
    };
    assert_eq!(candidate.body["spec"]["selector"]["guardbit.dev/revision"], revision);
    let args = &asks.body["spec"]["template"]["spec"]["containers"][0]["args"];
    let url = format!(
        "--candidate=http://{}.risk.svc:{}",
        candidate.name, model.spec.serving.port
    );
    assert!(args.as_array().expect("args").contains(&json!(url)), "{args}");
    let short = format!("--candidate-revision={}", identity::short(&shadow.revision.revision));
    assert!(
        args.as_array().expect("args").contains(&json!(short)),
        "its pairs are those of the revision: {args}"
    );
    let found = comparer::compared_arms(&annotations(&asks));
    assert_eq!(found, Some(arms), "what it asks can be read back");
}

/// The sample with a comparer whose golden set is this, and the arms that it asks.
fn compared(golden: Value) -> (QuantizedModel, ComparedArms) {
    let mut model = sample();
    let mut golden = golden;
    golden["digest"] = json!(format!("sha256:{}", "a".repeat(64)));
    golden["path"] = json!("/v2/models/fraud/infer");
    let answer = json!({"pointer": "/outputs/0/$(HOME)", "threshold": "0.5"});
    let written = json!({"protocol": "OpenInference", "golden": golden, "rate": "0.5", "answer": answer});
    model.spec.comparer = Some(serde_json::from_value(written).expect("a comparer"));
    let of = |variant: &str| key(&model, variant, Purpose::Serving).revision;
    let arms = ComparedArms {
        reference: of("fp32"),
        candidate: of("int8"),
        asked: Purpose::Serving,
        halved: 0,
    };
    (model, arms)
}

#[test]
fn the_comparer_asks_the_services_of_both_arms_with_flags_that_guardbit_takes() {
    let (model, arms) = compared(json!({"configMap": "fraud-golden"}));
    let (document, services) = with_owner(&model, |owner| {
        let services = arms.keys().map(|key| manifests::name(owner, &key));
        (
            comparer::deployment(owner, &arms, "guardbit:1").expect("a comparer"),
            services,
        )
    });
    assert_eq!(
        (document.kind, document.name.as_str()),
        (Kind::Deployment, "fraud-scorer-comparer")
    );
    let pod = &document.body["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "guardbit:1");
    let args: Vec<&str> = container["args"]
        .as_array()
        .expect("args")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let port = model.spec.serving.port;
    let short = |of: &RevisionRef| identity::short(&of.revision).to_owned();
    let expected = [
        "compare".to_owned(),
        "--protocol=OpenInference".to_owned(),
        "--model=fraud-scorer".to_owned(),
        format!("--reference=http://{}.risk.svc:{port}", services[0]),
        format!("--candidate=http://{}.risk.svc:{port}", services[1]),
        format!("--reference-revision={}", short(&arms.reference)),
        format!("--candidate-revision={}", short(&arms.candidate)),
        "--golden=/golden/golden.jsonl".to_owned(),
        format!("--golden-digest=sha256:{}", "a".repeat(64)),
        "--rate=0.5".to_owned(),
        "--budget-pairs=5000".to_owned(),
        "--budget-tokens=5000000".to_owned(),
        "--control=0.1".to_owned(),
        "--path=/v2/models/fraud/infer".to_owned(),
        // Kubernetes takes two dollar signs for one, and would replace what one begins.
        "--pointer=/outputs/0/$$(HOME)".to_owned(),
        "--threshold=0.5".to_owned(),
    ];
    assert_eq!(args, expected);
    Cli::try_parse_from(std::iter::once("guardbit").chain(args)).expect("guardbit takes them");
    let found = comparer::compared_arms(&annotations(&document));
    assert_eq!(found.as_ref(), Some(&arms), "what it asks can be read back");
    assert_eq!(
        annotations(&document)["guardbit.dev/golden-digest"],
        format!("sha256:{}", "a".repeat(64))
    );
    let slower = ComparedArms {
        halved: 3,
        ..arms.clone()
    };
    let slower = with_owner(&model, |owner| comparer::deployment(owner, &slower, "guardbit:1")).expect("a comparer");
    let args = &slower.body["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(
        args.as_array().expect("args").contains(&json!("--rate=0.0625")),
        "{args}"
    );
    assert_eq!(
        comparer::compared_arms(&annotations(&slower)).map(|arms| arms.halved),
        Some(3)
    );
    // A decision must not restart it.
    let nothing = QuantizedModelStatus::default();
    let later = with_status(&model, &nothing, |owner| {
        comparer::deployment(owner, &arms, "guardbit:1")
    });
    assert_eq!(later.expect("a comparer").body["spec"], document.body["spec"]);
}

#[test]
fn no_name_and_no_field_leads_the_comparer_to_another_namespace() {
    let (model, arms) = compared(json!({"configMap": "fraud-golden"}));
    let (digests, status) = (identity::Digests::of(&model.spec), status(&model));
    // All of these are names of models that Kubernetes takes.
    for name in [
        "prometheus.monitoring",
        "a.other.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        "1",
        "a",
    ] {
        let owner = Owner {
            namespace: "risk",
            name,
            uid: "8d5c1f0e-0000-4000-8000-000000000000",
            spec: &model.spec,
            digests: &digests,
            status: &status,
        };
        let document = comparer::deployment(&owner, &arms, "guardbit:1").expect("a comparer");
        let args = document.body.pointer("/spec/template/spec/containers/0/args");
        let args: Vec<&str> = args
            .and_then(Value::as_array)
            .expect("args")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for flag in ["--reference=", "--candidate="] {
            let url = args.iter().find_map(|arg| arg.strip_prefix(flag)).expect("an arm");
            let url = url::Url::parse(url).expect("a URL");
            let host: Vec<&str> = url.host_str().expect("a host").split('.').collect();
            let [service, "risk", "svc"] = host[..] else {
                panic!("{name}: {url}");
            };
            let is_of_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(
                service.starts_with(|c: char| c.is_ascii_lowercase()) && service.chars().all(is_of_names),
                "{url}"
            );
            assert_eq!((url.scheme(), url.path(), url.query()), ("http", "/", None), "{url}");
        }
    }
    let good = json!(model.spec.comparer);
    for (within, field) in [
        ("", "reference"),
        ("", "candidate"),
        ("", "url"),
        ("", "namespace"),
        ("/golden", "namespace"),
        ("/golden", "url"),
        ("/answer", "url"),
    ] {
        let mut written = good.clone();
        written.pointer_mut(within).expect("an object")[field] = json!("other");
        let error = serde_json::from_value::<ComparerSpec>(written).expect_err(field);
        assert!(error.to_string().contains("unknown field"), "{within}/{field}: {error}");
    }
}

#[test]
fn the_comparer_has_no_rights_and_is_no_workload_of_a_revision() {
    let (model, arms) = compared(json!({"configMap": "fraud-golden", "key": "set.jsonl"}));
    let of = |model: &QuantizedModel| {
        let deployment = with_owner(model, |owner| comparer::deployment(owner, &arms, "guardbit:1"));
        deployment.expect("a comparer").body
    };
    let body = of(&model);
    let owner = &body["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&json!("QuantizedModel"), &json!("fraud-scorer"))
    );
    let labels = json!({
        "guardbit.dev/model": "fraud-scorer",
        "app.kubernetes.io/name": "fraud-scorer",
        "app.kubernetes.io/instance": "fraud-scorer-comparer",
        "app.kubernetes.io/component": "comparer",
        "app.kubernetes.io/managed-by": "guardbit",
    });
    assert_eq!(body["metadata"]["labels"], labels);
    assert_eq!(body["spec"]["template"]["metadata"]["labels"], labels);
    for (label, value) in body["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&labels[label], value, "{label}");
    }
    let read = |of: &Value| serde_json::from_value(of.clone()).expect("texts");
    let none = manifests::key_of(
        &read(&body["metadata"]["labels"]),
        &read(&body["metadata"]["annotations"]),
    );
    assert_eq!(none, None);

    let pod = &body["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    // The whole volume: with a subPath the file stays as it was when the pod began, and a set that is put right heals nothing.
    let mounts = json!([{"name": "golden", "mountPath": "/golden", "readOnly": true}]);
    assert_eq!(container["volumeMounts"], mounts);
    let items = json!([{"key": "set.jsonl", "path": "set.jsonl"}]);
    let volume = json!({"name": "golden", "configMap": {"name": "fraud-golden", "items": items}});
    assert_eq!(pod["volumes"], json!([volume]));

    let (model, _) = compared(json!({"image": "registry.example/golden:1", "file": "sets/fraud.jsonl"}));
    let body = of(&model);
    let pod = &body["spec"]["template"]["spec"];
    let volume =
        json!({"name": "golden", "image": {"reference": "registry.example/golden:1", "pullPolicy": "IfNotPresent"}});
    assert_eq!(pod["volumes"], json!([volume]));
    let args = pod["containers"][0]["args"].as_array().expect("args");
    assert!(args.contains(&json!("--golden=/golden/sets/fraud.jsonl")), "{args:?}");
}

#[test]
fn a_comparer_and_its_mirror_change_no_pod_of_an_arm() {
    let (mut model, _) = compared(json!({"configMap": "fraud-golden"}));
    let pods = |model: &QuantizedModel| {
        ["fp32", "int8"].map(|variant| {
            let key = key(model, variant, Purpose::Serving);
            with_owner(model, |owner| {
                (deployment(owner, &key)["spec"].clone(), key.revision.clone())
            })
        })
    };
    let with_golden = pods(&model);
    model.spec.comparer = mirrored(5).0.spec.comparer;
    let with_mirror = pods(&model);
    model.spec.comparer = None;
    assert_eq!((&with_golden, &with_mirror), (&pods(&model), &with_golden));
}

/// The sample with requests mirrored to its comparer, without a golden set, and the arms that it asks.
fn mirrored(percent: i32) -> (QuantizedModel, ComparedArms) {
    let (mut model, arms) = compared(json!({"configMap": "fraud-golden"}));
    let mirrored = json!({"protocol": "OpenAI", "mirror": {"percent": percent}});
    model.spec.comparer = Some(serde_json::from_value(mirrored).expect("a comparer"));
    (model, arms)
}

#[test]
fn a_comparer_without_a_golden_set_mounts_nothing_and_takes_what_is_mirrored() {
    let (model, arms) = mirrored(5);
    let (deployment, service) = with_owner(&model, |owner| {
        let deployment = comparer::deployment(owner, &arms, "guardbit:1").expect("a comparer");
        (deployment, comparer::service(owner).expect("a mirror"))
    });
    let pod = &deployment.body["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!((pod.get("volumes"), container.get("volumeMounts")), (None, None));
    assert_eq!(annotations(&deployment).get("guardbit.dev/golden-digest"), None);
    let args: Vec<&str> = container["args"]
        .as_array()
        .expect("args")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(args.contains(&"--mirror"), "{args:?}");
    assert!(!args.iter().any(|arg| arg.starts_with("--golden")), "{args:?}");
    Cli::try_parse_from(std::iter::once("guardbit").chain(args)).expect("guardbit takes them");

    assert_eq!(
        (service.kind, service.name.as_str()),
        (Kind::Service, "fraud-scorer-comparer")
    );
    let labels = &deployment.body["spec"]["template"]["metadata"]["labels"];
    for (label, value) in service.body["spec"]["selector"].as_object().expect("labels") {
        assert_eq!(&labels[label], value, "{label}");
    }
    let (of_pod, of_service) = (
        &container["ports"][0]["containerPort"],
        &service.body["spec"]["ports"][0],
    );
    assert_eq!((of_pod, of_pod), (&of_service["targetPort"], &of_service["port"]));

    let (model, _) = compared(json!({"configMap": "fraud-golden"}));
    assert_eq!(
        with_owner(&model, comparer::service),
        None,
        "only where requests are mirrored"
    );
}

#[test]
fn only_the_rule_with_the_split_mirrors_and_the_filters_of_the_user_stay() {
    let (mut model, _) = mirrored(5);
    let own = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit", "port": 80}}});
    let Value::Object(filter) = own.clone() else {
        unreachable!()
    };
    let gateway = model.spec.traffic.gateway.as_mut().expect("a gateway");
    gateway.filters = vec![guardbit::api::PodTemplate(filter)];
    let pinned = key(&model, "fp32", Purpose::Pinned);
    let rules = |percent| {
        let split = RoutePlan {
            pinned: Some(pinned.clone()),
            mirror: percent,
            ..RoutePlan::default()
        };
        let document = with_owner(&model, |owner| route(owner, split));
        document.body["spec"]["rules"].as_array().expect("rules").clone()
    };
    let mirror = |of: Value| {
        let mut mirror = of;
        mirror["backendRef"] = json!({"group": "", "kind": "Service", "name": "fraud-scorer-comparer", "port": 8080});
        json!({"type": "RequestMirror", "requestMirror": mirror})
    };
    for (percent, filters) in [
        (None, json!([own])),
        (Some(5), json!([own, mirror(json!({"percent": 5}))])),
        // What all gateways that mirror know, and older ones of the Gateway API.
        (Some(100), json!([own, mirror(json!({}))])),
    ] {
        let rules = rules(percent);
        let [pinned, split] = rules.as_slice() else {
            panic!("{rules:?}");
        };
        assert_eq!(pinned["filters"], json!([own]), "a pinned request is never mirrored");
        assert_eq!(split["filters"], filters);
    }
}

/// A route of the sample with this status of its only parent, and what is read of it.
fn read(percent: Option<i32>, conditions: Value) -> traffic::SplitInForce {
    let (model, _) = mirrored(5);
    let split = RoutePlan {
        weights: vec![(key(&model, "fp32", Purpose::Serving).revision, 100)],
        mirror: percent,
        ..RoutePlan::default()
    };
    let document = with_owner(&model, |owner| route(owner, split));
    let metadata = ObjectMeta {
        name: Some(document.name.clone()),
        generation: Some(7),
        ..ObjectMeta::default()
    };
    let status = json!({"parents": [{"conditions": conditions}]});
    (traffic::ROUTES[0].read)(&metadata, &document.body["spec"], &status)
}

#[test]
fn what_a_gateway_says_of_a_mirror_is_told_from_what_it_says_of_the_route() {
    let condition = |kind: &str, status: &str, reason: &str, generation: i64| json!({"type": kind, "status": status, "reason": reason, "message": "why", "observedGeneration": generation});
    let refused = |words: &str| MirrorSeen::Refused(words.to_owned());
    let words = "the gateway refuses the HTTPRoute: Accepted=False (UnsupportedValue): why";
    let partly = "the gateway refuses a part of the HTTPRoute: PartiallyInvalid=True (UnsupportedValue): why";
    for (conditions, mirror, is_refused) in [
        (json!([]), MirrorSeen::Written(5), false),
        (
            json!([condition("Accepted", "True", "Accepted", 7)]),
            MirrorSeen::Written(5),
            false,
        ),
        (
            json!([condition("Accepted", "False", "UnsupportedValue", 7)]),
            refused(words),
            true,
        ),
        // Of an earlier generation, which may have had no mirror.
        (
            json!([condition("Accepted", "False", "UnsupportedValue", 6)]),
            MirrorSeen::Written(5),
            false,
        ),
        (
            json!([
                condition("Accepted", "True", "Accepted", 6),
                condition("PartiallyInvalid", "True", "UnsupportedValue", 7)
            ]),
            refused(partly),
            true,
        ),
        (
            json!([condition("PartiallyInvalid", "False", "Valid", 7)]),
            MirrorSeen::Written(5),
            false,
        ),
        // The route would not be taken without the mirror either, or will be soon.
        (
            json!([condition("Accepted", "False", "NotAllowedByListeners", 7)]),
            MirrorSeen::Written(5),
            true,
        ),
        (
            json!([condition("ResolvedRefs", "False", "BackendNotFound", 7)]),
            MirrorSeen::Written(5),
            true,
        ),
        (
            json!([
                condition("ResolvedRefs", "False", "BackendNotFound", 7),
                condition("Accepted", "False", "UnsupportedValue", 7)
            ]),
            refused(words),
            true,
        ),
        // Envoy Gateway before 1.8, which answers users with 500 while no pod of a mirror is ready (gateway#8673).
        (
            json!([condition("ResolvedRefs", "False", "EndpointsNotFound", 7)]),
            refused("the gateway refuses the HTTPRoute: ResolvedRefs=False (EndpointsNotFound): why"),
            true,
        ),
        // Since 1.8 users are answered meanwhile: a pod that is away for a while is no refusal.
        (
            json!([condition("BackendsAvailable", "False", "EndpointsNotFound", 7)]),
            MirrorSeen::Written(5),
            false,
        ),
    ] {
        let with_mirror = read(Some(5), conditions.clone());
        assert_eq!(
            (&with_mirror.mirror, with_mirror.refused.is_some()),
            (&mirror, is_refused),
            "{conditions}"
        );
        let without = read(None, conditions.clone());
        assert_eq!(
            (without.mirror, without.refused.is_some()),
            (MirrorSeen::Absent, is_refused),
            "{conditions}"
        );
        assert_eq!(without.weights, with_mirror.weights, "the split is read as ever");
        assert_eq!(without.weights.len(), 1);
    }
}

#[test]
fn how_much_a_route_mirrors_is_read_back() {
    for percent in [1, 5, 99, 100] {
        assert_eq!(read(Some(percent), json!([])).mirror, MirrorSeen::Written(percent));
    }
}

#[test]
fn a_mirror_is_taken_out_of_a_route_and_nothing_else_is() {
    let (mut model, _) = mirrored(5);
    let Value::Object(own) = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit"}}})
    else {
        unreachable!()
    };
    model.spec.traffic.gateway.as_mut().expect("a gateway").filters = vec![guardbit::api::PodTemplate(own)];
    let spec = |mirror| {
        let split = RoutePlan {
            pinned: Some(key(&model, "fp32", Purpose::Pinned)),
            mirror,
            ..RoutePlan::default()
        };
        with_owner(&model, |owner| route(owner, split)).body["spec"].clone()
    };
    let mut left = spec(Some(5));
    (traffic::ROUTES[0].unmirror)("fraud-scorer", &mut left);
    assert_eq!(left, spec(None));
    let mut nothing = json!({"rules": [{"backendRefs": []}]});
    (traffic::ROUTES[0].unmirror)("fraud-scorer", &mut nothing);
    assert_eq!(nothing, json!({"rules": [{"backendRefs": []}]}));
}

#[test]
fn the_comparer_may_talk_to_names_and_to_the_pods_of_both_arms_and_to_nobody_else() {
    let (model, arms) = compared(json!({"configMap": "fraud-golden"}));
    let (policy, deployment, pods) = with_owner(&model, |owner| {
        let labels = |key: &WorkloadKey| deployment(owner, key)["spec"]["template"]["metadata"]["labels"].clone();
        (
            comparer::network_policy(owner, &arms),
            comparer::deployment(owner, &arms, "guardbit:1").expect("a comparer"),
            arms.keys().map(|key| labels(&key)),
        )
    });
    assert_eq!(
        (policy.kind, policy.name.as_str()),
        (Kind::NetworkPolicy, "fraud-scorer-comparer")
    );
    assert_eq!(policy.body["apiVersion"], "networking.k8s.io/v1");
    let spec = &policy.body["spec"];
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    let own = &deployment.body["spec"]["template"]["metadata"]["labels"];
    let selects = |selector: &Value, labels: &Value| {
        let wanted = selector["matchLabels"].as_object().expect("labels");
        !wanted.is_empty() && wanted.iter().all(|(label, value)| labels[label] == *value)
    };
    assert!(selects(&spec["podSelector"], own));
    assert!(
        pods.iter().all(|pod| !selects(&spec["podSelector"], pod)),
        "the arms are left alone"
    );
    assert_eq!(spec["ingress"], json!([{"ports": [{"protocol": "TCP", "port": 8080}]}]));
    let [names, arms] = spec["egress"].as_array().expect("egress").as_slice() else {
        panic!("{spec}");
    };
    let ports: Vec<_> = names["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|port| &port["port"])
        .collect();
    assert_eq!(ports, [53, 53, 5353, 5353]);
    assert_eq!(
        arms["ports"],
        json!([{"protocol": "TCP", "port": model.spec.serving.port}])
    );
    let to: Vec<_> = arms["to"]
        .as_array()
        .expect("peers")
        .iter()
        .map(|peer| &peer["podSelector"])
        .collect();
    assert_eq!(to.len(), 2);
    for (peer, pod) in to.into_iter().zip(&pods) {
        assert!(selects(peer, pod), "{peer} and {pod}");
        assert!(!selects(peer, own));
    }
}

/// Server-side apply is a patch, and makes what is not there.
#[test]
fn the_role_in_config_covers_every_kind_of_object_that_guardbit_writes() {
    use serde::Deserialize;
    let roles = serde_yaml_ng::Deserializer::from_str(include_str!("../config/rbac/controller.yaml"));
    let roles: Vec<Value> = roles.map(|role| Value::deserialize(role).expect("YAML")).collect();
    let rules = roles[0]["rules"].as_array().expect("rules");
    let has = |list: &Value, word: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one == word));
    let kinds = [workload::provider().kind(), Kind::NetworkPolicy];
    for kind in kinds.into_iter().chain(traffic::kinds()) {
        let resource = kind.resource();
        let rule = rules
            .iter()
            .find(|rule| has(&rule["apiGroups"], &resource.group) && has(&rule["resources"], &resource.plural));
        let rule = rule.unwrap_or_else(|| panic!("no rule for {kind}"));
        for verb in ["get", "list", "watch", "create", "patch", "delete"] {
            assert!(has(&rule["verbs"], verb), "{verb} {kind}");
        }
    }
}

#[test]
fn arms_behind_one_service_get_services_of_their_own_while_they_are_compared() {
    let (mut model, arms) = compared(json!({"configMap": "fraud-golden"}));
    assert_eq!(
        with_owner(&model, |owner| comparer::arm_services(owner, &arms)),
        [],
        "a gateway has them anyway"
    );
    model.spec.traffic.gateway = None;
    model.spec.traffic.service = Some(ServiceTraffic::default());
    let (services, names) = with_owner(&model, |owner| {
        let names = arms.keys().map(|key| manifests::name(owner, &key));
        (comparer::arm_services(owner, &arms), names)
    });
    assert_eq!(
        services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(),
        names
    );
    for (service, revision) in services.iter().zip([&arms.reference, &arms.candidate]) {
        assert_eq!(service.kind, Kind::Service);
        let selected = &service.body["spec"]["selector"]["guardbit.dev/revision"];
        assert_eq!(*selected, identity::short(&revision.revision));
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
