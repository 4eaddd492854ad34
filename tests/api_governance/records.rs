//! What is on record stays as it is.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use crate::stage::{ALICE, BOB, GUARDBIT, MODEL, ROOT};
use crate::stage::{Stage, act, model, record, refused, until};

const ALONE: &str = "written by guardbit alone";

#[tokio::test]
async fn nobody_but_guardbit_creates_changes_or_deletes_a_record() {
    let stage = Stage::start("records").await;
    let (create, params) = (PostParams::default(), PatchParams::default());
    let alice = stage.records(&stage.user(ALICE, &[]).await);
    let message = refused(alice.create(&create, &record(1)).await);
    assert!(message.contains("cannot create resource"), "{message}");
    let root = stage.records(&stage.user(ROOT, &[]).await);
    let message = refused(root.create(&create, &record(1)).await);
    assert!(message.contains(ALONE), "{message}");

    let guardbit = stage.records(&stage.user(GUARDBIT, &[]).await);
    let written = guardbit.create(&create, &record(1)).await.expect("a record");
    let name = written.metadata.name.expect("a name");
    let told = Patch::Merge(json!({"spec": {"summary": "Promoted int8"}}));
    let message = refused(root.patch(&name, &params, &told).await);
    assert!(message.contains("a record is never changed"), "{message}");
    for change in [
        json!({"labels": {"guardbit.dev/model": "another"}}),
        json!({"annotations": {"note": "x"}}),
        json!({"finalizers": ["bank.example/hold"]}),
    ] {
        let patch = Patch::Merge(json!({"metadata": change}));
        let message = refused(root.patch(&name, &params, &patch).await);
        assert!(message.contains(ALONE), "{change}: {message}");
    }
    let message = refused(root.delete(&name, &DeleteParams::default()).await);
    assert!(message.contains("deleted only with its namespace"), "{message}");
    let message = refused(
        root.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await,
    );
    assert!(message.contains(ALONE), "{message}");
    alice.get(&name).await.expect("whoever may view reads it");
}

#[tokio::test]
async fn nobody_writes_the_next_record_ahead_of_guardbit() {
    let stage = Stage::start("ahead").await;
    let create = PostParams::default();
    let guardbit = stage.records(&stage.user(GUARDBIT, &[]).await);
    guardbit.create(&create, &record(1)).await.expect("a record");
    let root = stage.user(ROOT, &[]).await;
    let apply = PatchParams::apply("forger").force();
    let name = format!("{MODEL}-000002");
    for message in [
        refused(stage.records(&root).create(&create, &record(2)).await),
        refused(stage.records(&stage.admin).create(&create, &record(2)).await),
        refused(
            stage
                .records(&root)
                .patch(&name, &apply, &Patch::Apply(record(2)))
                .await,
        ),
    ] {
        assert!(message.contains(ALONE), "{message}");
    }
    guardbit.create(&create, &record(2)).await.expect("the next record");
}

/// A status is evidence: who could write it could promote anything.
#[tokio::test]
async fn nobody_but_guardbit_writes_a_status() {
    let stage = Stage::start("statuses").await;
    let alice = stage.models(&stage.user(ALICE, &[]).await);
    alice
        .create(&PostParams::default(), &model(MODEL))
        .await
        .expect("a model");
    let proven = json!([{"variant": "int4", "revision": "v1:0", "at": "2026-11-10T00:00:00Z", "by": "Promoted"}]);
    let forged = Patch::Merge(json!({"status": {"phase": "Guarding", "proven": proven, "evidence": "v6:forged"}}));
    let params = PatchParams::default();
    let message = refused(alice.patch_status(MODEL, &params, &forged).await);
    assert!(message.contains("cannot patch resource"), "{message}");
    let root = stage.models(&stage.user(ROOT, &[]).await);
    for message in [
        refused(root.patch_status(MODEL, &params, &forged).await),
        refused(stage.models(&stage.admin).patch_status(MODEL, &params, &forged).await),
    ] {
        assert!(message.contains(ALONE), "{message}");
    }
    // Beside the spec, a status is not read.
    let beside = root
        .patch(MODEL, &params, &forged)
        .await
        .expect("the spec is as before");
    assert!(beside.data["status"].is_null(), "{}", beside.data["status"]);
    let guardbit = stage.models(&stage.user(GUARDBIT, &[]).await);
    guardbit.patch_status(MODEL, &params, &forged).await.expect("written");
}

/// Storage migrations and key rotations write every object as it is.
#[tokio::test]
async fn a_write_that_changes_nothing_is_let_through() {
    let stage = Stage::start("rewrites").await;
    let create = PostParams::default();
    let guardbit = stage.user(GUARDBIT, &[]).await;
    stage
        .records(&guardbit)
        .create(&create, &record(1))
        .await
        .expect("a record");
    let bob = stage.user(BOB, &[]).await;
    stage
        .actions(&bob)
        .create(&create, &act("kept", "Approve", BOB))
        .await
        .expect("an action");
    let root = stage.user(ROOT, &[]).await;
    let record = format!("{MODEL}-000001");
    for (objects, name) in [(stage.records(&root), record.as_str()), (stage.actions(&root), "kept")] {
        let stored = objects.get(name).await.expect("there");
        let again = objects.replace(name, &create, &stored).await.expect("let through");
        assert_eq!(again.data, stored.data, "{name}");
        let mut changed = again;
        changed.metadata.labels = None;
        changed.metadata.annotations = Some([("note".to_owned(), "x".to_owned())].into());
        let message = refused(objects.replace(name, &create, &changed).await);
        assert!(message.contains(ALONE), "{name}: {message}");
    }
}

/// In the foreground, the garbage collector takes a finalizer off.
#[tokio::test]
async fn a_record_that_guardbit_deletes_goes_whichever_way() {
    let stage = Stage::start("pruning").await;
    let records = stage.records(&stage.user(GUARDBIT, &[]).await);
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        let written = records
            .create(&PostParams::default(), &record(1))
            .await
            .expect("a record");
        let name = written.metadata.name.expect("a name");
        records.delete(&name, &params).await.expect("deleted");
        until("the record is gone", async || {
            records.get_opt(&name).await.expect("asked").is_none()
        })
        .await;
    }
}

/// A webhook that labels whatever it sees also labels what goes, in the write that takes the last finalizer off.
#[tokio::test]
async fn a_record_that_goes_may_be_labelled_on_its_way() {
    let stage = Stage::start("labelled").await;
    let guardbit = stage.records(&stage.user(GUARDBIT, &[]).await);
    let mut held = record(1);
    held.metadata.finalizers = Some(vec!["bank.example/hold".to_owned()]);
    let written = guardbit.create(&PostParams::default(), &held).await.expect("a record");
    let name = written.metadata.name.expect("a name");
    let root = stage.records(&stage.user(ROOT, &[]).await);
    let params = PatchParams::default();
    let released = Patch::Merge(json!({"metadata": {"finalizers": null, "labels": {"owner": "mlops"}}}));
    let message = refused(root.patch(&name, &params, &released).await);
    assert!(message.contains(ALONE), "{message}");
    guardbit.delete(&name, &DeleteParams::default()).await.expect("deleted");
    root.patch(&name, &params, &released).await.expect("let through");
    until("the record is gone", async || {
        guardbit.get_opt(&name).await.expect("asked").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_namespace_goes_with_its_actions_and_records() {
    let stage = Stage::start("ending").await;
    let create = PostParams::default();
    let bob = stage.user(BOB, &[]).await;
    stage
        .actions(&bob)
        .create(&create, &act("last", "Approve", BOB))
        .await
        .expect("an action");
    let guardbit = stage.records(&stage.user(GUARDBIT, &[]).await);
    for sequence in 1..=20 {
        guardbit.create(&create, &record(sequence)).await.expect("a record");
    }
    let namespaces: Api<Namespace> = Api::all(stage.admin.clone());
    namespaces
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .expect("deleted");
    until("the namespace is gone", async || {
        namespaces.get_opt(&stage.namespace).await.expect("asked").is_none()
    })
    .await;
}

/// Who may change the policies may forge. guardbit's probe finds that out: from then on such an approval counts for nothing.
async fn is_found_out_without(kind: &str, set: &str) {
    let stage = Stage::under(set, set).await;
    assert!(
        !stage.forgery_is_taken().await,
        "the probe is refused while admission is there"
    );
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
    let objects: Api<DynamicObject> = Api::all_with(stage.admin.clone(), &resource);
    objects
        .delete(&stage.of_set("guardbit-actions"), &DeleteParams::default())
        .await
        .expect("nothing keeps it");
    until("the probe is taken", async || stage.forgery_is_taken().await).await;
    let bob = stage.actions(&stage.user(BOB, &[]).await);
    let forged = bob
        .create(&PostParams::default(), &act("forged", "Approve", ALICE))
        .await;
    forged.expect("taken, and therefore guardbit asks");
    // What lifts nothing stays closed: the other policies are there.
    let message = refused(
        stage
            .records(&stage.admin)
            .create(&PostParams::default(), &record(1))
            .await,
    );
    assert!(message.contains(ALONE), "{message}");
}

#[tokio::test]
async fn without_the_binding_a_forged_approval_is_taken_and_the_probe_finds_out() {
    is_found_out_without("ValidatingAdmissionPolicyBinding", "unbound").await;
}

#[tokio::test]
async fn without_the_policy_a_forged_approval_is_taken_and_the_probe_finds_out() {
    is_found_out_without("ValidatingAdmissionPolicy", "undone").await;
}
