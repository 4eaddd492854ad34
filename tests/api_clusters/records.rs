//! Records on a real API server: they are there before anything rises, they are not waited for where somebody is lowered, and
//! their chain has no fork and no gap, whatever happens to status.

use std::collections::BTreeMap;
use std::time::Duration;

use guardbit::api::{Action, PrecisionDecision, QuantizedModel};
use guardbit::ledger::verify::{Item, Source, Trust, Verified, verify};
use guardbit::ledger::{LARGEST_STATEMENT, unpack};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::control_plane::apply;
use crate::corner::{Corner, MODEL, PATIENCE, condition, gateway};

/// What the API server says of a record that it does not take.
const NO_RECORDS: &str = "no records today";

/// A policy that asks for records in the namespace of a test.
async fn govern(client: &Client, test: &str) {
    let namespace = json!({"kubernetes.io/metadata.name": format!("refusals-{test}")});
    let policy = json!({
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionPolicy", "metadata": {"name": format!("records-{test}")},
        "spec": {"appliesTo": {"namespaces": {"matchLabels": namespace}}, "records": {}},
    });
    apply(client, &policy).await;
}

async fn ungovern(client: &Client, test: &str) {
    delete(
        client,
        ("guardbit.dev", "v1alpha1", "PrecisionPolicy"),
        &format!("records-{test}"),
    )
    .await;
}

async fn delete(client: &Client, (group, version, kind): (&str, &str, &str), name: &str) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    api.delete(name, &DeleteParams::default()).await.expect("deleted");
}

/// Lets the API server refuse records in the namespace of a corner.
async fn refuse(corner: &Corner) {
    for object in [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-records"},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": ["guardbit.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["precisiondecisions"]}]},
                "validations": [{"expression": "false", "message": NO_RECORDS}],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-records"},
            "spec": {
                "policyName": "no-records", "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": corner.namespace}}},
            },
        }),
    ] {
        apply(&corner.client, &object).await;
    }
    until(corner, "records are refused", async || !takes_records(corner).await).await;
}

async fn take_again(corner: &Corner) {
    let group = "admissionregistration.k8s.io";
    delete(
        &corner.client,
        (group, "v1", "ValidatingAdmissionPolicyBinding"),
        "no-records",
    )
    .await;
    delete(&corner.client, (group, "v1", "ValidatingAdmissionPolicy"), "no-records").await;
    until(corner, "records are taken", async || takes_records(corner).await).await;
}

/// Whether the API server takes records, without a trace of the one that it is asked by.
async fn takes_records(corner: &Corner) -> bool {
    let probe = json!({
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionDecision", "metadata": {"name": "probe-000001"},
        "spec": {"sequence": 1, "time": "", "summary": "", "payloadDigest": format!("sha256:{}", "0".repeat(64)), "payload": ""},
    });
    let probe: PrecisionDecision = serde_json::from_value(probe).expect("a record");
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    corner.api::<PrecisionDecision>().create(&params, &probe).await.is_ok()
}

async fn until(corner: &Corner, what: &str, is: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let log = || std::fs::read_to_string(&corner.log).unwrap_or_default();
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}\nlog: {}", log()));
}

/// The records of the model, oldest first. They must hold, and have a record for each decision that status knows.
async fn chain(corner: &Corner) -> Vec<PrecisionDecision> {
    let model = corner.api::<QuantizedModel>().get(MODEL).await.expect("it is there");
    let decisions = model.status.expect("a status").decisions;
    let told: Vec<_> = decisions
        .iter()
        .map(|of| format!("{} {}", of.action, of.variant))
        .collect();
    // Status comes first, and its record a moment later.
    until(corner, "a record of each decision", async || {
        let there = records(corner).await;
        told.iter()
            .all(|told| there.iter().any(|record| record.spec.summary.contains(told)))
    })
    .await;
    let records = records(corner).await;
    let numbers: Vec<_> = records.iter().map(|record| record.spec.sequence).collect();
    let expected: Vec<_> = (1..=i64::try_from(records.len()).expect("few")).collect();
    assert_eq!(numbers, expected);
    let verified = verified(&records);
    let broken: Vec<_> = verified.findings().filter(|finding| finding.is_broken()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    records
}

async fn records(corner: &Corner) -> Vec<PrecisionDecision> {
    let of_model = ListParams::default().labels(&format!("guardbit.dev/model={MODEL}"));
    let listed = corner.api::<PrecisionDecision>().list(&of_model).await.expect("listed");
    let mut records = listed.items;
    records.sort_by_key(|record| record.spec.sequence);
    records
}

fn verified(records: &[PrecisionDecision]) -> Verified {
    let items = records.iter().map(|record| Item {
        name: record.name_any(),
        source: Source::Object(Box::new(record.clone())),
    });
    let trust = Trust {
        allow_unsigned: true,
        ..Trust::default()
    };
    verify(&items.collect::<Vec<_>>(), &trust)
}

fn summaries(records: &[PrecisionDecision]) -> Vec<&str> {
    records.iter().map(|record| record.spec.summary.as_str()).collect()
}

/// The statement of a record.
fn statement(record: &PrecisionDecision) -> Value {
    let statement = unpack(&record.spec.payload, LARGEST_STATEMENT).expect("it unpacks");
    serde_json::from_slice(&statement).expect("JSON")
}

fn decided(model: &QuantizedModel, action: Action) -> bool {
    let decisions = model.status.iter().flat_map(|status| &status.decisions);
    decisions.filter(|decision| decision.action == action).count() > 0
}

fn is_recorded(model: &QuantizedModel) -> bool {
    condition(model, "Recorded").0 == "True"
}

/// Weights on the route, by variant.
async fn weights(corner: &Corner) -> BTreeMap<String, i64> {
    let route = corner.routes().get_opt(MODEL).await.expect("asked");
    let rules = route.map_or(Value::Null, |route| route.data["spec"]["rules"].clone());
    let last = rules
        .as_array()
        .and_then(|rules| rules.last())
        .cloned()
        .unwrap_or_default();
    let backends = last["backendRefs"].as_array().cloned().unwrap_or_default();
    let weight = |backend: &Value| {
        let name = backend["name"].as_str().unwrap_or_default();
        let variant = if name.contains("-int8-") { "int8" } else { "fp32" };
        (variant.to_owned(), backend["weight"].as_i64().unwrap_or(1))
    };
    backends.iter().map(weight).collect()
}

async fn set_target(corner: &Corner, target: &str) {
    let patch = Patch::Merge(json!({"spec": {"target": target}}));
    let models = corner.api::<QuantizedModel>();
    models
        .patch(MODEL, &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

pub async fn a_record_that_is_refused_holds_the_rise_and_not_the_lowering(client: &Client) {
    let test = "records";
    govern(client, test).await;
    let corner = Corner::start(client, test).await;
    refuse(&corner).await;
    corner.apply_model(gateway(), json!({"replicas": 2})).await;
    let refused = |model: &QuantizedModel| condition(model, "Recorded").1.contains(NO_RECORDS);
    let model = corner.until("refused in the server's words", refused).await;
    assert!(decided(&model, Action::Bootstrapped) && !decided(&model, Action::Started));
    assert_eq!(
        weights(&corner).await,
        BTreeMap::new(),
        "nothing rises before it is on record"
    );
    let deployments = corner.api::<Deployment>();
    let of_stable = ListParams::default().labels("guardbit.dev/variant=fp32,guardbit.dev/purpose=serving");
    assert_eq!(
        deployments.list(&of_stable).await.expect("listed").items.len(),
        1,
        "pods are made"
    );
    corner.until_told("NotRecorded", NO_RECORDS).await;

    take_again(&corner).await;
    corner
        .until("raised", |model| decided(model, Action::Raised) && is_recorded(model))
        .await;
    until(&corner, "the first weight", async || {
        weights(&corner).await.get("int8").is_some_and(|w| *w > 0)
    })
    .await;
    let records = chain(&corner).await;
    assert!(
        records[0].spec.summary.starts_with("Bootstrapped fp32"),
        "{:?}",
        summaries(&records)
    );

    refuse(&corner).await;
    set_target(&corner, "fp32").await;
    let lowered = |model: &QuantizedModel| {
        let pending = model.status.iter().filter_map(|status| status.ledger.as_ref());
        decided(model, Action::Superseded) && pending.flat_map(|ledger| &ledger.pending).count() > 0
    };
    corner.until("lowered, and not on record", lowered).await;
    until(&corner, "at 0", async || {
        weights(&corner).await.get("int8").is_none_or(|w| *w == 0)
    })
    .await;
    corner.until("told", refused).await;
    take_again(&corner).await;
    corner.until("on record", is_recorded).await;
    let records = chain(&corner).await;
    let last = records.last().expect("records").spec.summary.as_str();
    assert!(last.contains("Superseded int8"), "{:?}", summaries(&records));
    ungovern(client, test).await;
    corner
        .until("ungoverned", |model| condition(model, "Recorded") == Default::default())
        .await;
}

pub async fn a_lost_status_goes_on_with_the_records_that_exist(client: &Client) {
    let test = "lost-status";
    govern(client, test).await;
    let corner = Corner::start(client, test).await;
    corner.apply_model(gateway(), json!({"replicas": 2})).await;
    corner
        .until("raised", |model| decided(model, Action::Raised) && is_recorded(model))
        .await;
    let before = chain(&corner).await;
    // Somebody says on its Deployment that int8 has earned all traffic, and takes away what says otherwise.
    let marks = json!({"guardbit.dev/stable": "true", "guardbit.dev/proven": "true"});
    let forged = Patch::Merge(json!({"metadata": {"annotations": marks}}));
    let of_int8 = ListParams::default().labels("guardbit.dev/variant=int8,guardbit.dev/purpose=serving");
    let deployments = corner.api::<Deployment>();
    for deployment in deployments.list(&of_int8).await.expect("listed") {
        deployments
            .patch(&deployment.name_any(), &PatchParams::default(), &forged)
            .await
            .expect("patched");
    }
    let lost = Patch::Merge(json!({"status": null}));
    let models = corner.api::<QuantizedModel>();
    models
        .patch_status(MODEL, &PatchParams::default(), &lost)
        .await
        .expect("an administrator may");
    let model = corner
        .until("recovered", |model| {
            decided(model, Action::Recovered) && is_recorded(model)
        })
        .await;
    let stable = model.status.and_then(|status| status.stable);
    assert_eq!(stable.map(|stable| stable.variant).as_deref(), Some("fp32"));
    let after = chain(&corner).await;
    assert!(after.len() > before.len());
    let next = statement(&after[before.len()]);
    let recovered = &next["predicate"]["documents"]["recovered"];
    assert_eq!(recovered["sequence"], before.len(), "{next}");
    let why = "the status was lost: state was rebuilt from the newest record";
    assert!(after[before.len()].spec.summary.contains(why), "{next}");
    ungovern(client, test).await;
}

pub async fn two_controllers_write_one_chain(client: &Client) {
    let test = "two-controllers";
    govern(client, test).await;
    let corner = Corner::start(client, test).await;
    let _other = corner.another();
    corner.apply_model(gateway(), json!({"replicas": 2})).await;
    for _ in 0..3 {
        corner
            .until("raised", |model| {
                let rollout = model.status.as_ref().and_then(|status| status.rollout.as_ref());
                rollout.is_some_and(|rollout| rollout.weight > 0) && is_recorded(model)
            })
            .await;
        set_target(&corner, "fp32").await;
        corner
            .until("withdrawn", |model| {
                let status = model.status.as_ref();
                status.is_some_and(|status| status.rollout.is_none()) && is_recorded(model)
            })
            .await;
        set_target(&corner, "int8").await;
    }
    corner.until("on record", is_recorded).await;
    chain(&corner).await;
    ungovern(client, test).await;
}

/// A namespace that goes takes no new objects, also no record: nothing hangs on one.
pub async fn a_namespace_goes_with_a_record_that_is_pending(client: &Client) {
    let test = "ending";
    govern(client, test).await;
    let corner = Corner::start(client, test).await;
    refuse(&corner).await;
    corner.apply_model(gateway(), json!({"replicas": 2})).await;
    corner
        .until("refused", |model| condition(model, "Recorded").0 == "False")
        .await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete(&corner.namespace, &DeleteParams::default())
        .await
        .expect("deleted");
    let models = corner.api::<QuantizedModel>();
    until(&corner, "the model is gone", async || {
        models.get_opt(MODEL).await.expect("asked").is_none()
    })
    .await;
    let log = std::fs::read_to_string(&corner.log).unwrap_or_default();
    assert!(log.contains("its last records cannot be written"), "{log}");
    let group = "admissionregistration.k8s.io";
    delete(client, (group, "v1", "ValidatingAdmissionPolicyBinding"), "no-records").await;
    delete(client, (group, "v1", "ValidatingAdmissionPolicy"), "no-records").await;
    ungovern(client, test).await;
}
