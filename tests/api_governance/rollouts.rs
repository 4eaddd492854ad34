//! What people do, and what they are asked, holds on a real API server: with all policies of admission, and without those that
//! older clusters cannot have or that somebody took away.

use std::time::Duration;

use guardbit::api::{Action, QuantizedModel};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::ruled::{Ruled, condition, decided, status};
use crate::stage::{ALICE, BOB, CAROL, MODEL, PATIENCE, ROOT, Stage, authors, model, refused, until};
use crate::{control_plane, evasions, node};

/// Group of the kinds of admission.
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Times that git applies what it has, and the time between two of them.
const HEALS: u32 = 5;
const HEAL: Duration = Duration::from_secs(2);

/// One person must approve the first traffic.
pub fn approvals() -> Value {
    json!({"approvals": [{"before": "FirstTraffic", "count": 1}]})
}

/// One after the other: they share the kubelet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_guardbit() {
    let client = control_plane::client().await;
    control_plane::install(&client, &control_plane::http_route()).await;
    node::start(&client).await;
    a_second_person_approves_and_a_rollback_outlives_what_git_applies().await;
    where_authors_are_not_kept_two_people_approve().await;
    without_admission_nothing_opens_and_what_lowers_still_does().await;
    of_two_models_that_want_the_last_place_one_gets_it().await;
    a_server_that_a_policy_does_not_permit_holds_the_start().await;
    evasions::a_model_that_is_made_anew_is_asked_for_anew().await;
    evasions::who_takes_a_policy_away_opens_nothing_and_is_on_record().await;
    evasions::a_flood_of_acts_keeps_no_rollback_out().await;
    evasions::a_status_of_yesterday_forks_no_chain().await;
}

async fn a_second_person_approves_and_a_rollback_outlives_what_git_applies() {
    let stage = Stage::under("ruled", "approved").await;
    let ruled = Ruled::start(stage, "ruled", approvals()).await;
    ruled.apply_model(MODEL).await;
    let waits = ruled
        .until(MODEL, "asked of people", |model| status(model).awaiting.is_some())
        .await;
    let awaiting = status(&waits).awaiting.expect("it waits");
    assert_eq!(
        (awaiting.need, awaiting.excluded),
        (1, vec![ALICE.to_owned()]),
        "the author is known"
    );
    assert!(
        condition(&waits, "Governed").starts_with("True"),
        "{}",
        condition(&waits, "Governed")
    );

    // Her own approval is taken, and does not count.
    ruled.approve(ALICE, "own").await;
    ruled.until_told("own", "InForce").await;
    let waits = ruled.model(MODEL).await;
    assert!(status(&waits).awaiting.is_some_and(|awaiting| awaiting.have.is_empty()));
    assert_eq!((ruled.weight(MODEL).await, decided(&waits, Action::Raised)), (0, 0));
    ruled.approve(BOB, "second").await;
    ruled
        .until(MODEL, "raised", |model| decided(model, Action::Raised) > 0)
        .await;
    until("the first weight", async || ruled.weight(MODEL).await > 0).await;

    // On call takes it back, and git insists.
    let down = ruled.act(CAROL, "RollBack", "down", json!({"validFor": "1h"})).await;
    down.expect("taken");
    let taken_back = ruled
        .until(MODEL, "taken back", |model| {
            decided(model, Action::TakenBack) > 0 && status(model).rollout.is_none()
        })
        .await;
    until("at 0", async || ruled.weight(MODEL).await == 0).await;
    let begun = decided(&taken_back, Action::Started);
    let mut beat = tokio::time::interval(HEAL);
    for _ in 0..HEALS {
        beat.tick().await;
        ruled.apply_model(MODEL).await;
        let model = ruled.model(MODEL).await;
        assert_eq!(ruled.weight(MODEL).await, 0, "{:?}", status(&model).decisions);
        assert_eq!(decided(&model, Action::Started), begun);
    }
    ruled.until_told("down", "InForce").await;
    let root = ruled.stage.actions(&ruled.stage.user(ROOT, &[]).await);
    let message = refused(root.delete("down", &DeleteParams::default()).await);
    assert!(message.contains("an action is lifted by another action"), "{message}");
    let up = ruled.act(CAROL, "Resume", "up", json!({})).await;
    up.expect("taken");
    ruled.until_told("down", "Lifted").await;
    ruled
        .until(MODEL, "begun again", |model| decided(model, Action::Started) > begun)
        .await;

    // What people did is no hindrance to the end of a namespace.
    let namespaces: Api<Namespace> = Api::all(ruled.stage.admin.clone());
    let name = ruled.stage.namespace.clone();
    namespaces
        .delete(&name, &DeleteParams::default())
        .await
        .expect("deleted");
    until("the namespace is gone", async || {
        namespaces.get_opt(&name).await.expect("asked").is_none()
    })
    .await;
    ruled.end().await;
}

async fn where_authors_are_not_kept_two_people_approve() {
    let stage = Stage::under("unstamped", "unstamped").await;
    for kind in [
        "MutatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingAdmissionPolicy",
    ] {
        stage.delete((ADMISSION, kind), &stage.of_set("guardbit-authors")).await;
    }
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let models = stage.models(&stage.admin);
    until("authors are not stamped", async || {
        let made = models.create(&dry, &model("unstamped")).await;
        made.is_ok_and(|made| authors(&made).is_none())
    })
    .await;
    let ruled = Ruled::start(stage, "unstamped", approvals()).await;
    ruled.apply_model(MODEL).await;
    let needs_two = |model: &QuantizedModel| status(model).awaiting.is_some_and(|of| of.need == 2);
    ruled.until(MODEL, "asked of two", needs_two).await;
    // She asked for it, and nobody knows that: so she is one of two.
    ruled.approve(ALICE, "own").await;
    let has_one = |model: &QuantizedModel| status(model).awaiting.is_some_and(|of| of.have.len() == 1);
    ruled.until(MODEL, "approved by one of two", has_one).await;
    assert_eq!(ruled.weight(MODEL).await, 0);
    ruled.approve(BOB, "second").await;
    ruled
        .until(MODEL, "raised", |model| decided(model, Action::Raised) > 0)
        .await;
    ruled.end().await;
}

async fn without_admission_nothing_opens_and_what_lowers_still_does() {
    let stage = Stage::under("off", "off").await;
    let ruled = Ruled::start(stage, "off", approvals()).await;
    ruled.apply_model(MODEL).await;
    ruled
        .until(MODEL, "asked of people", |model| status(model).awaiting.is_some())
        .await;
    let binding = ruled.stage.of_set("guardbit-actions");
    ruled
        .stage
        .delete((ADMISSION, "ValidatingAdmissionPolicyBinding"), &binding)
        .await;
    until("a forgery is taken", async || ruled.stage.forgery_is_taken().await).await;
    // Bob in the name of Carol: the API server takes it now, and guardbit looks again before it counts.
    let digest = status(&ruled.model(MODEL).await)
        .awaiting
        .expect("it waits")
        .change_digest;
    let more = json!({"changeDigest": digest, "actor": {"username": CAROL}});
    ruled.act(BOB, "Approve", "forged", more).await.expect("taken");
    let message = ruled.until_told("forged", "Inert").await;
    assert!(
        message.contains("nobody checked that carol@bank.example created it"),
        "{message}"
    );
    let off = ruled
        .until(MODEL, "told that admission is off", |model| {
            condition(model, "Governed").starts_with("False AdmissionOff")
        })
        .await;
    assert!(status(&off).awaiting.is_some() && decided(&off, Action::Raised) == 0);
    ruled.act(CAROL, "Pause", "halt", json!({})).await.expect("taken");
    ruled.until_told("halt", "InForce").await;
    assert!(ruled.log().contains("admission is off"), "{}", ruled.log());
    ruled.until_event("AdmissionOff").await;
    ruled.end().await;
}

async fn of_two_models_that_want_the_last_place_one_gets_it() {
    let stage = Stage::under("ruled", "slots").await;
    let ruled = Ruled::start(stage, "ruled", json!({"maxInProgress": 1})).await;
    let names = [MODEL, "second"];
    for name in names {
        ruled.apply_model(name).await;
    }
    let waits = |name| {
        let ruled = &ruled;
        async move { condition(&ruled.model(name).await, "Progressing").contains("AwaitingSlot") }
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let late = loop {
        assert!(tokio::time::Instant::now() < deadline, "nobody waits: {}", ruled.log());
        let [first, second] = [waits(MODEL).await, waits("second").await];
        assert!(!(first && second), "one of them has the place");
        match (first, second) {
            (true, _) => break 0,
            (_, true) => break 1,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let (late, early) = (names[late], names[1 - late]);
    let told = condition(&ruled.model(late).await, "Progressing");
    let named = format!("{}/{early}", ruled.stage.namespace);
    assert!(told.contains(&named), "{told}");
    assert_eq!(decided(&ruled.model(late).await, Action::Started), 0);
    let patch = Patch::Merge(json!({"spec": {"target": "fp32"}}));
    let models = ruled.stage.models(&ruled.stage.admin);
    models
        .patch(early, &PatchParams::default(), &patch)
        .await
        .expect("patched");
    ruled
        .until(late, "begun", |model| decided(model, Action::Started) > 0)
        .await;
    ruled.end().await;
}

async fn a_server_that_a_policy_does_not_permit_holds_the_start() {
    let stage = Stage::under("ruled", "servers").await;
    let urls = json!({"prometheus": {"urls": ["http://prometheus.monitoring:9090"]}});
    let ruled = Ruled::start(stage, "ruled", urls).await;
    ruled.apply_model(MODEL).await;
    let held = ruled
        .until(MODEL, "held by the policy", |model| {
            condition(model, "Progressing").contains("prometheus.urls")
                || condition(model, "Stalled").contains("prometheus.urls")
        })
        .await;
    assert_eq!(decided(&held, Action::Started), 0);
    ruled.end().await;
}
