//! Who asked for a change: a list that the API server keeps, and nobody else.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::stage::{ALICE, AUTHORS, BOB, GUARDBIT, MALLORY, MODEL};
use crate::stage::{Stage, act, authors, model, refused};

fn merge(change: Value) -> Patch<Value> {
    Patch::Merge(change)
}

fn listed(names: Value) -> Value {
    json!({"metadata": {"annotations": {AUTHORS: names}}})
}

/// The approval is taken, for admission cannot know whose the change is. It is on record on both sides, and does not count.
#[tokio::test]
async fn who_approves_her_own_change_is_on_the_list_of_its_authors() {
    let stage = Stage::start("own").await;
    let alice = stage.user(ALICE, &[]).await;
    let create = PostParams::default();
    let made = stage
        .models(&alice)
        .create(&create, &model(MODEL))
        .await
        .expect("a model");
    assert_eq!(authors(&made), Some(ALICE));
    let approval = act("own", "Approve", ALICE);
    let approval = stage.actions(&alice).create(&create, &approval).await.expect("taken");
    assert_eq!(approval.data["spec"]["actor"]["username"], json!(ALICE));
}

#[tokio::test]
async fn the_list_of_authors_cannot_be_forged_dropped_or_replaced() {
    let stage = Stage::start("forged").await;
    let (create, params) = (PostParams::default(), PatchParams::default());
    let alice = stage.models(&stage.user(ALICE, &[]).await);

    let mut forged = model(MODEL);
    forged.metadata.annotations = Some([(AUTHORS.to_owned(), BOB.to_owned())].into());
    let made = alice.create(&create, &forged).await.expect("made");
    assert_eq!(
        authors(&made),
        Some(ALICE),
        "a forged list is overwritten when the model is made"
    );

    for (how, patch) in [
        ("replaced", merge(listed(json!(BOB)))),
        ("emptied", merge(listed(json!("")))),
        ("dropped", merge(listed(Value::Null))),
        (
            "dropped with all others",
            merge(json!({"metadata": {"annotations": null}})),
        ),
    ] {
        let answer = alice.patch(MODEL, &params, &patch).await.expect(how);
        assert_eq!(authors(&answer), Some(ALICE), "{how}");
    }
    let escaped = format!("/metadata/annotations/{}", AUTHORS.replace('/', "~1"));
    for patch in [
        json!([{"op": "remove", "path": escaped}]),
        json!([{"op": "replace", "path": escaped, "value": BOB}]),
        json!([{"op": "remove", "path": "/metadata/annotations"}]),
    ] {
        let patch = Patch::Json::<()>(serde_json::from_value(patch).expect("a patch"));
        let answer = alice.patch(MODEL, &params, &patch).await.expect("taken");
        assert_eq!(authors(&answer), Some(ALICE), "{patch:?}");
    }
    let mut applied = model(MODEL);
    applied.metadata.annotations = Some([(AUTHORS.to_owned(), BOB.to_owned())].into());
    let git = PatchParams::apply("git").force();
    let answer = alice
        .patch(MODEL, &git, &Patch::Apply(&applied))
        .await
        .expect("applied");
    assert_eq!(authors(&answer), Some(ALICE), "applied");
    // What git owned and no longer speaks of would go.
    let answer = alice
        .patch(MODEL, &git, &Patch::Apply(&model(MODEL)))
        .await
        .expect("applied");
    assert_eq!(authors(&answer), Some(ALICE), "applied without");
    let mut replaced = alice.get(MODEL).await.expect("there");
    replaced.metadata.annotations = None;
    let answer = alice.replace(MODEL, &create, &replaced).await.expect("replaced");
    assert_eq!(authors(&answer), Some(ALICE), "replaced by an update");

    // In one write with a change of the spec.
    let bob = stage.models(&stage.user(BOB, &[]).await);
    let change = json!({"metadata": {"annotations": {AUTHORS: MALLORY}}, "spec": {"paused": true}});
    let answer = bob.patch(MODEL, &params, &merge(change)).await.expect("changed");
    assert_eq!(authors(&answer), Some(format!("{ALICE}\n{BOB}").as_str()));
    let back = merge(json!({"spec": {"paused": false}}));
    let answer = bob.patch(MODEL, &params, &back).await.expect("changed");
    assert_eq!(authors(&answer), Some(format!("{ALICE}\n{BOB}").as_str()), "once each");

    // Where nobody is on the list, nobody puts somebody on it.
    for client in [&stage.user(ALICE, &[]).await, &stage.admin] {
        let message = refused(
            stage
                .models(client)
                .patch("bare", &params, &merge(listed(json!(BOB))))
                .await,
        );
        assert!(
            message.contains("guardbit.dev/authors is kept by the API server"),
            "{message}"
        );
    }
}

/// With one name the last one to touch the model would be its only author, and the first could approve alone.
#[tokio::test]
async fn a_small_edit_of_a_colleague_leaves_the_author_on_the_list() {
    let stage = Stage::start("colleague").await;
    let params = PatchParams::default();
    let alice = stage.models(&stage.user(ALICE, &[]).await);
    alice
        .create(&PostParams::default(), &model(MODEL))
        .await
        .expect("a model");
    let mallory = stage.models(&stage.user(MALLORY, &[]).await);
    let replicas = merge(json!({"spec": {"serving": {"replicas": 5}}}));
    let edited = mallory.patch(MODEL, &params, &replicas).await.expect("edited");
    assert_eq!(authors(&edited), Some(format!("{ALICE}\n{MALLORY}").as_str()));
    // A label is no change of what is asked for.
    let bob = stage.models(&stage.user(BOB, &[]).await);
    let label = merge(json!({"metadata": {"labels": {"team": "risk"}}}));
    let labelled = bob.patch(MODEL, &params, &label).await.expect("labelled");
    assert_eq!(authors(&labelled), authors(&edited));
}

#[tokio::test]
async fn an_edit_between_reading_and_emptying_the_list_is_not_lost() {
    let stage = Stage::start("emptied").await;
    let params = PatchParams::default();
    let alice = stage.models(&stage.user(ALICE, &[]).await);
    alice
        .create(&PostParams::default(), &model(MODEL))
        .await
        .expect("a model");
    let guardbit = stage.models(&stage.user(GUARDBIT, &[]).await);
    let read = guardbit.get(MODEL).await.expect("read");
    let emptied = |read: &DynamicObject| {
        let version = read.metadata.resource_version.as_ref().expect("a version");
        merge(json!({"metadata": {"resourceVersion": version, "annotations": {AUTHORS: null}}}))
    };
    let bob = stage.models(&stage.user(BOB, &[]).await);
    let paused = merge(json!({"spec": {"paused": true}}));
    bob.patch(MODEL, &params, &paused).await.expect("changed");
    match guardbit.patch(MODEL, &params, &emptied(&read)).await {
        Err(kube::Error::Api(status)) => assert!(status.is_conflict(), "{status:?}"),
        other => panic!("{other:?}"),
    }
    let now = guardbit.get(MODEL).await.expect("read");
    assert_eq!(authors(&now), Some(format!("{ALICE}\n{BOB}").as_str()));
    let settled = guardbit.patch(MODEL, &params, &emptied(&now)).await.expect("emptied");
    assert_eq!(authors(&settled), None);
    // From here on it is about the next change.
    let next = merge(json!({"spec": {"paused": false}}));
    let changed = bob.patch(MODEL, &params, &next).await.expect("changed");
    assert_eq!(authors(&changed), Some(BOB));
}
