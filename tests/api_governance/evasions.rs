//! Ways around what people decided and what policies ask: a model that is made anew, a policy that is taken away, more acts than
//! anybody reads, a status of yesterday. Each is tried on a real API server against a guardbit that heeds them.

use guardbit::api::{Action, QuantizedModel};
use guardbit::ledger::verify::{Item, Source, Trust, verify};
use guardbit::ledger::{LARGEST_STATEMENT, unpack};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::rollouts::approvals;
use crate::ruled::{Ruled, condition, decided, status};
use crate::stage::{BOB, CAROL, GUARDBIT, MODEL, Stage, act, until};

/// Acts of one person for one model. A hundred are kept.
const FLOOD: usize = 300;

fn waits(model: &QuantizedModel) -> bool {
    status(model).awaiting.is_some()
}

fn is_raised(model: &QuantizedModel) -> bool {
    decided(model, Action::Raised) > 0
}

/// What was approved of a model is not approved of the next one with its name. Nor does that begin with what it has to prove.
pub async fn a_model_that_is_made_anew_is_asked_for_anew() {
    let stage = Stage::under("ruled", "anew").await;
    let mut rules = approvals();
    rules["rollout"] = json!({"bootstrap": "Reference"});
    let ruled = Ruled::start(stage, "ruled", rules).await;
    ruled.apply_model(MODEL).await;
    let former = ruled.until(MODEL, "asked of people", waits).await;
    let approved = status(&former).awaiting.expect("it waits").change_digest;
    ruled.approve(BOB, "first").await;
    ruled.until(MODEL, "raised", is_raised).await;

    let models = ruled.stage.models(&ruled.stage.admin);
    let gone = models.delete(MODEL, &DeleteParams::default()).await;
    gone.expect("deleted");
    until("the model is gone", async || {
        models.get_opt(MODEL).await.expect("asked").is_none()
    })
    .await;
    // With what served it, or the next one would go on with that.
    let deployments: Api<Deployment> = Api::namespaced(ruled.stage.admin.clone(), &ruled.stage.namespace);
    let pods: Api<Pod> = Api::namespaced(ruled.stage.admin.clone(), &ruled.stage.namespace);
    until("all that served it is gone", async || {
        let all = ListParams::default();
        let deployments = deployments.list(&all).await.expect("listed").items;
        let pods = pods.list(&all).await.expect("listed").items;
        let mut left = deployments
            .iter()
            .map(ResourceExt::name_any)
            .chain(pods.iter().map(ResourceExt::name_any));
        !left.any(|name| name.starts_with(MODEL))
    })
    .await;
    // Approvals for the model that is gone, and for one that is not there yet.
    let uids = [
        ("late", former.uid().expect("a uid")),
        ("ahead", "00000000-0000-4000-8000-000000000000".to_owned()),
    ];
    let bob = ruled.stage.actions(&ruled.stage.user(BOB, &[]).await);
    for (name, uid) in uids {
        let mut act = act(name, "Approve", BOB);
        act.data["spec"]["modelRef"]["uid"] = json!(uid);
        act.data["spec"]["changeDigest"] = json!(approved);
        let taken = bob.create(&PostParams::default(), &act).await;
        taken.expect("admission does not know which models there are");
    }

    // As it is made, int8 is declared proven, so that nobody would be asked about it.
    ruled.apply_model_with(MODEL, &json!({"bootstrap": "int8"})).await;
    let refused = |model: &QuantizedModel| condition(model, "Stalled").contains("rollout.bootstrap");
    let held = ruled.until(MODEL, "refused by the policy", refused).await;
    assert_eq!(decided(&held, Action::Bootstrapped), 0);
    assert_eq!(ruled.weight(MODEL).await, 0);

    ruled.apply_model(MODEL).await;
    let anew = ruled.until(MODEL, "asked of people again", waits).await;
    let awaiting = status(&anew).awaiting.expect("it waits");
    assert_ne!(awaiting.change_digest, approved);
    for name in ["late", "ahead"] {
        ruled.until_told(name, "Inert").await;
    }
    let still = ruled.model(MODEL).await;
    assert!(status(&still).awaiting.is_some_and(|of| of.have.is_empty()));
    assert_eq!((decided(&still, Action::Raised), ruled.weight(MODEL).await), (0, 0));
    ruled.end().await;
}

/// Neither the label by which a policy selects nor the policy itself goes without a trace, and what has begun is held by its rules.
pub async fn who_takes_a_policy_away_opens_nothing_and_is_on_record() {
    let stage = Stage::under("ruled", "taken-away").await;
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"guardbit-risk": value}}}));
    let namespaces: Api<Namespace> = Api::all(stage.admin.clone());
    let name = stage.namespace.clone();
    let labelled = async |value: Value| {
        let patched = namespaces.patch(&name, &PatchParams::default(), &label(value)).await;
        patched.expect("labelled");
    };
    labelled(json!("high")).await;
    let mut rules = approvals();
    rules["appliesTo"] = json!({"namespaces": {"matchLabels": {"guardbit-risk": "high"}}});
    let ruled = Ruled::start(stage, "ruled", rules).await;
    ruled.apply_model(MODEL).await;
    ruled.until(MODEL, "asked of people", waits).await;

    let ended = async || {
        let records = ruled.records().await;
        records
            .iter()
            .filter(|record| record.spec.summary.contains("Ungoverned"))
            .count()
    };
    labelled(Value::Null).await;
    until("that the label is gone is on record", async || ended().await == 1).await;
    labelled(json!("high")).await;
    ruled
        .until(MODEL, "governed again", |model| decided(model, Action::Governed) > 0)
        .await;
    ruled.take_policy_away().await;
    until("that the policy is gone is on record", async || ended().await == 2).await;

    let held = ruled.model(MODEL).await;
    assert!(waits(&held) && !is_raised(&held), "{:?}", status(&held).decisions);
    assert_eq!(ruled.weight(MODEL).await, 0);
    ruled.approve(BOB, "second").await;
    ruled.until(MODEL, "raised", is_raised).await;
}

pub async fn a_flood_of_acts_keeps_no_rollback_out() {
    let stage = Stage::under("ruled", "flood").await;
    let ruled = Ruled::start(stage, "ruled", json!({})).await;
    ruled.apply_model(MODEL).await;
    let raised = ruled.until(MODEL, "raised", is_raised).await;
    let bob = ruled.stage.actions(&ruled.stage.user(BOB, &[]).await);
    for number in 0..FLOOD {
        let mut act = act(&format!("flood-{number}"), "Approve", BOB);
        act.data["spec"]["modelRef"]["uid"] = json!(raised.uid());
        bob.create(&PostParams::default(), &act).await.expect("taken");
    }
    let down = ruled.act(CAROL, "RollBack", "down", json!({})).await;
    down.expect("taken");
    ruled
        .until(MODEL, "taken back", |model| decided(model, Action::TakenBack) > 0)
        .await;
    until("at 0", async || ruled.weight(MODEL).await == 0).await;
    ruled.until_told("down", "InForce").await;
    ruled.end().await;
}

/// A backup is put back under a guardbit that runs. What was decided since is on record: the chain goes on from there.
pub async fn a_status_of_yesterday_forks_no_chain() {
    let stage = Stage::under("ruled", "yesterday").await;
    let ruled = Ruled::start(stage, "ruled", approvals()).await;
    ruled.apply_model(MODEL).await;
    let number = |model: &QuantizedModel| status(model).ledger.map_or(0, |ledger| ledger.sequence);
    let yesterday = ruled.until(MODEL, "asked of people", waits).await;
    ruled.approve(BOB, "first").await;
    let newest = number(&ruled.until(MODEL, "raised", is_raised).await);
    assert!(number(&yesterday) < newest);
    let last = async || ruled.records().await.last().map_or(0, |record| record.spec.sequence);
    until("the raise is on record", async || last().await == newest).await;

    let put_back = json!([{"op": "replace", "path": "/status", "value": yesterday.status}]);
    let put_back = Patch::Json::<()>(serde_json::from_value(put_back).expect("a patch"));
    let models = ruled.stage.models(&ruled.stage.user(GUARDBIT, &[]).await);
    let patched = models.patch_status(MODEL, &PatchParams::default(), &put_back).await;
    patched.expect("put back");
    let goes_on = |model: &QuantizedModel| number(model) > newest && is_raised(model);
    let raised = number(&ruled.until(MODEL, "raised once more", goes_on).await);
    until("that it goes on is on record", async || last().await >= raised).await;

    let records = ruled.records().await;
    let numbers: Vec<i64> = records.iter().map(|record| record.spec.sequence).collect();
    let count = i64::try_from(records.len()).expect("few");
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
    let next = records.iter().find(|record| record.spec.sequence == newest + 1);
    let next = unpack(&next.expect("it is there").spec.payload, LARGEST_STATEMENT).expect("it unpacks");
    let next: Value = serde_json::from_slice(&next).expect("JSON");
    let recovered = &next["predicate"]["documents"]["recovered"]["sequence"];
    assert_eq!(*recovered, json!(newest), "{next}");
    let items = records.into_iter().map(|record| Item {
        name: record.name_any(),
        source: Source::Object(Box::new(record)),
    });
    let trust = Trust {
        allow_unsigned: true,
        ..Trust::default()
    };
    let verified = verify(&items.collect::<Vec<_>>(), &trust);
    let broken: Vec<_> = verified.findings().filter(|finding| finding.is_broken()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    ruled.end().await;
}
