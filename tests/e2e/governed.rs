//! A model of high risk: it waits for people, is judged, and is brought down whatever forbids it; and what was decided is proven
//! from its records.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use guardbit::api::{
    Action, ApprovalGate, PrecisionAction, PrecisionDecision, PrecisionPolicy, QuantizedModel, QuantizedModelStatus,
};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::acts::{condition, until};
use crate::admission;
use crate::control_plane::apply;
use crate::stage::{MODEL, Stage, client, setting};

/// The set of the policies of admission. Tests that write what only guardbit may are left alone by them.
const SET: &str = "e2e";

/// Changes models, and may approve.
const ALICE: &str = "alice@bank.example";
/// May approve.
const BOB: &str = "bob@bank.example";
/// Is on call.
const CAROL: &str = "carol@bank.example";

const BOUND: [(&str, &str); 4] = [
    (ALICE, "guardbit-editor"),
    (ALICE, "guardbit-approver"),
    (BOB, "guardbit-approver"),
    (CAROL, "guardbit-oncall"),
];

/// How often git applies what it has, and the time between two of them. GUARDBIT_TEST_HEALS asks for more.
const HEALS: u32 = 10;
const HEAL: Duration = Duration::from_secs(2);

/// Longest time until a namespace is gone with its pods, which drain.
const GONE: Duration = Duration::from_secs(60);

const KEY: &str = include_str!("../testdata/ledger/key.pem");
const PUBLIC_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pub");

/// Lets people have their roles, and puts the models of a namespace under a PrecisionPolicy with these rules. The policies of
/// admission are for the namespaces with the label of their set.
async fn govern(client: &Client, namespace: &str, rules: &Value) {
    admission::apply_roles(client).await;
    admission::let_guardbit_read(client, SET).await;
    admission::apply_policies(client, SET).await;
    for (number, (user, role)) in BOUND.iter().enumerate() {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("guardbit-e2e-people-{number}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        });
        apply(client, &binding).await;
    }
    let mut spec = json!({"appliesTo": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}});
    for (rule, asked) in rules.as_object().into_iter().flatten() {
        spec[rule] = asked.clone();
    }
    let policy = json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionPolicy", "metadata": {"name": namespace}, "spec": spec});
    apply(client, &policy).await;

    // The API server compiles policies a moment after it has taken them.
    let probe = format!("{namespace}-probe");
    let of_set =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": probe, "labels": {admission::SET: SET}}});
    apply(client, &of_set).await;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let acts: Api<PrecisionAction> = Api::namespaced(admission::user(admission::GUARDBIT, &[]).await, &probe);
    let forged = act("probe", "Pause", CAROL, "6f0c9b1e-6f0c-4b1e-8f0c-6f0c9b1e6f0c");
    let policy = admission::of_set(SET, "guardbit-actions");
    until("a forged action is refused", || async {
        let answer = acts.create(&dry, &forged).await;
        answer.is_err_and(|error| error.to_string().contains(&policy))
    })
    .await;
    let sample = include_str!("../../config/samples/fraud-scorer.yaml");
    let mut model: QuantizedModel = serde_yaml_ng::from_str(sample).expect("the sample");
    model.metadata.namespace = None;
    let models: Api<QuantizedModel> = Api::namespaced(admission::user(ALICE, &[]).await, &probe);
    until("authors are stamped", || async {
        let made = models.create(&dry, &model).await;
        made.is_ok_and(|made| made.annotations().contains_key("guardbit.dev/authors"))
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete(&probe, &DeleteParams::default())
        .await
        .expect("deleted");
}

/// An action of a person on the model.
fn act(name: &str, action: &str, by: &str, uid: &str) -> PrecisionAction {
    let spec = json!({
        "modelRef": {"name": MODEL, "uid": uid}, "action": action, "actor": {"username": by},
        "reason": "Validation report MRM-2291 read.", "validFor": "1h",
    });
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("an action")
}

/// Somebody acts on the model, on this change if it is about one.
async fn acts(stage: &Stage, by: &str, action: &str, name: &str, change: Option<&str>) {
    let model = stage.models().get(MODEL).await.expect("it is there");
    let mut act = act(name, action, by, &model.uid().unwrap_or_default());
    act.spec.change_digest = change.map(str::to_owned);
    let api: Api<PrecisionAction> = Api::namespaced(admission::user(by, &[]).await, &stage.namespace);
    api.create(&PostParams::default(), &act).await.expect("taken");
}

/// Waits until guardbit says that an action is in force.
async fn in_force(stage: &Stage, name: &str) {
    let api: Api<PrecisionAction> = Api::namespaced(stage.client.clone(), &stage.namespace);
    until("an action is in force", || async {
        let status = api.get(name).await.expect("it is there").status;
        status.is_some_and(|status| status.state.to_string() == "InForce")
    })
    .await;
}

/// Waits until people are asked before a transition; the digest of the change.
async fn asked(stage: &Stage, before: ApprovalGate) -> String {
    let is = |status: &QuantizedModelStatus| status.awaiting.as_ref().is_some_and(|of| of.before == before);
    let status = stage.until(&format!("people are asked before {before:?}"), is).await;
    status.awaiting.expect("just seen").change_digest
}

/// Alice applies this spec, as git would.
async fn applies(stage: &Stage, spec: &Value) {
    let models: Api<QuantizedModel> = Api::namespaced(admission::user(ALICE, &[]).await, &stage.namespace);
    let document = json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": MODEL}, "spec": spec});
    models
        .patch(MODEL, &PatchParams::apply("kubectl").force(), &Patch::Apply(document))
        .await
        .expect("taken");
}

/// Changes what the PrecisionPolicy asks.
async fn asks(stage: &Stage, rules: Value) {
    let policies: Api<PrecisionPolicy> = Api::all(stage.client.clone());
    let patch = Patch::Merge(json!({"spec": rules}));
    policies
        .patch(&stage.namespace, &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

/// No record may be created any more.
async fn refuse_records(stage: &Stage) {
    let quotas: Api<ResourceQuota> = stage.api();
    let hard = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/precisiondecisions.guardbit.dev": "0"}}});
    let quota = serde_json::from_value(hard).expect("a quota");
    quotas.create(&PostParams::default(), &quota).await.expect("created");
    until("the quota is in force", || async {
        let status = quotas.get("none").await.expect("it is there").status;
        status.is_some_and(|status| status.hard.is_some())
    })
    .await;
}

/// Runs guardbit on the cluster; what it prints, where it ends well.
fn guardbit(stage: &Stage, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guardbit"));
    let output = command
        .args(args)
        .args(["-n", &stage.namespace, MODEL])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "guardbit {args:?}: {}\n{told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    told
}

/// The key of guardbit, in a file that can be taken away.
fn key_file() -> PathBuf {
    let path = std::env::temp_dir().join(format!("guardbit-e2e-{}.pem", std::process::id()));
    std::fs::write(&path, KEY).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_of_high_risk_waits_for_people_and_is_brought_down_whatever_forbids_it() {
    let key = key_file();
    let rules = json!({
        "approvals": [{"before": "FirstTraffic", "count": 1}, {"before": "Promotion", "count": 1}],
        "records": {"signed": "Required"},
    });
    let administrator = client().await;
    let setting = setting("governed")
        .variants(&["fp32", "int8"])
        .guards(&["errors"])
        .applied_by(admission::user(ALICE, &[]).await, (admission::SET, SET))
        .flag("--governance-prefix")
        .flag(SET)
        .flag("--signing-key-file")
        .flag(key.to_str().expect("a path"));
    govern(&administrator, setting.namespace(), &rules).await;
    let stage = setting.start().await;
    let spec = stage.spec().await;

    // Alice asked for it, so that she does not approve it.
    let change = asked(&stage, ApprovalGate::FirstTraffic).await;
    acts(&stage, ALICE, "Approve", "own", Some(&change)).await;
    in_force(&stage, "own").await;
    stage.answered("fp32", 500).await;
    let awaiting = stage.status().awaiting.expect("it waits");
    assert_eq!(
        (&awaiting.excluded[..], awaiting.have.len()),
        (&[ALICE.to_owned()][..], 0)
    );
    assert_eq!(stage.ledger.weights_of("int8"), [0]);
    acts(&stage, BOB, "Approve", "second", Some(&change)).await;
    asked(&stage, ApprovalGate::Promotion).await;
    stage.answered("int8", 500).await;

    brought_down_for_harm(&stage, &key).await;
    brought_down_by_on_call(&stage, spec).await;
    std::fs::remove_file(&key).expect("it was there");

    stage.assert_nothing_was_lost().await;
    stage.ledger.assert_traffic_followed_weights(3);
    goes_with_its_namespace(stage).await;
}

/// In a freeze, without a key, where no record can be written: the candidate loses its traffic at once, and what was decided is on
/// record once that is possible again.
async fn brought_down_for_harm(stage: &Stage, key: &Path) {
    let hours = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    let freeze = json!([{"name": "quarter-end", "between": {"from": hours(-1), "to": hours(24)}}]);
    asks(stage, json!({"freezes": freeze})).await;
    refuse_records(stage).await;
    std::fs::remove_file(key).expect("it was there");
    stage.faults("int8", json!({"errorRate": 0.3})).await;
    stage.rolled_back("errors").await;
    stage.answered("fp32", 500).await;
    stage
        .until("told that records are missing", |status| {
            condition(status, "Recorded").0 == "False"
        })
        .await;

    std::fs::write(key, KEY).expect("written");
    let quotas: Api<ResourceQuota> = stage.api();
    quotas.delete("none", &DeleteParams::default()).await.expect("deleted");
    asks(stage, json!({"freezes": null})).await;
    stage
        .until("on record", |status| {
            condition(status, "Recorded").0 == "True"
                && status.ledger.as_ref().is_some_and(|ledger| ledger.pending.is_empty())
        })
        .await;
    guardbit(stage, &["verify", "--key", PUBLIC_KEY]);
}

/// On call takes a candidate back, and git insists on it.
async fn brought_down_by_on_call(stage: &Stage, mut spec: Value) {
    spec["variants"][1]["template"] =
        json!({"spec": {"containers": [{"name": "server", "env": [{"name": "BUILD", "value": "2"}]}]}});
    let rolled_back = stage.times(Action::RolledBack, "int8");
    applies(stage, &spec).await;
    let change = asked(stage, ApprovalGate::FirstTraffic).await;
    acts(stage, BOB, "Approve", "third", Some(&change)).await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    acts(stage, CAROL, "RollBack", "down", None).await;
    stage.decided(Action::TakenBack, "int8").await;
    stage.weights(&[("fp32", 100)]).await;
    let weights = stage.ledger.weights_of("int8");
    let heals = std::env::var("GUARDBIT_TEST_HEALS").map_or(HEALS, |heals| heals.parse().expect("a number"));
    let mut beat = tokio::time::interval(HEAL);
    for _ in 0..heals {
        beat.tick().await;
        applies(stage, &spec).await;
    }
    assert_eq!(stage.ledger.weights_of("int8"), weights, "{}", stage.ledger.story());
    assert_eq!(
        stage.times(Action::RolledBack, "int8"),
        rolled_back,
        "nothing harmed anybody"
    );
    in_force(stage, "down").await;

    guardbit(stage, &["verify", "--key", PUBLIC_KEY]);
    let report = guardbit(stage, &["report", "--key", PUBLIC_KEY, "--output", "html"]);
    for told in ["<svg", ALICE, BOB, CAROL, "RolledBack", "TakenBack"] {
        assert!(report.contains(told), "{told} is not in the report");
    }
    if let Ok(path) = std::env::var("GUARDBIT_TEST_REPORT") {
        std::fs::write(path, report).expect("written");
    }
}

/// Model, actions and records are no hindrance to the end of a namespace.
async fn goes_with_its_namespace(stage: Stage) {
    let (client, namespace) = (stage.client.clone(), stage.namespace.clone());
    let of_all = |count: usize| assert!(count > 0, "there is something to delete");
    of_all(stage.names::<PrecisionAction>().await.len());
    of_all(stage.names::<PrecisionDecision>().await.len());
    let begun = Instant::now();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .expect("deleted");
    until("the namespace is gone", || async {
        namespaces.get_opt(&namespace).await.expect("asked").is_none()
    })
    .await;
    assert!(begun.elapsed() < GONE, "{:?}", begun.elapsed());
    let policies: Api<PrecisionPolicy> = Api::all(client);
    policies
        .delete(&namespace, &DeleteParams::default())
        .await
        .expect("deleted");
}
