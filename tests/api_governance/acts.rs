//! Who acts: in their own name, with a right of their own, once and for all.

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::stage::{ALICE, BOB, CAROL, GRACE, GUARDBIT, MALLORY, MODEL, NADIA, NODE, PIPELINE, ROOT};
use crate::stage::{Stage, act, refused};

const CREATE: PostParams = PostParams {
    dry_run: false,
    field_manager: None,
};

const TRY: PostParams = PostParams {
    dry_run: true,
    field_manager: None,
};

#[tokio::test]
async fn nobody_approves_in_the_name_of_somebody_else() {
    let stage = Stage::start("names").await;
    let bob = stage.actions(&stage.user(BOB, &[]).await);
    let message = refused(bob.create(&CREATE, &act("forged", "Approve", ALICE)).await);
    assert!(
        message.contains("spec.actor.username is alice@bank.example, and you are bob@bank.example"),
        "{message}"
    );
    // Nor as a user with another uid, nor by one that looks alike.
    let mut with_uid = act("forged", "Approve", BOB);
    with_uid.data["spec"]["actor"]["uid"] = json!("0");
    let message = refused(bob.create(&CREATE, &with_uid).await);
    assert!(message.contains("spec.actor.uid is not yours"), "{message}");
    for alike in ["Bob@bank.example", " bob@bank.example", "bob@bank.example "] {
        let message = refused(bob.create(&CREATE, &act("forged", "Approve", alike)).await);
        assert!(message.contains("act in your own name"), "{alike:?}: {message}");
    }
    bob.create(&CREATE, &act("own", "Approve", BOB)).await.expect("his own");
}

#[tokio::test]
async fn nobody_claims_a_group_that_he_is_not_in() {
    let stage = Stage::start("groups").await;
    let bob = stage.actions(&stage.user(BOB, &["model-risk", "staff"]).await);
    let of = |groups: &[&str]| {
        let mut act = act("of-groups", "Approve", BOB);
        act.data["spec"]["actor"]["groups"] = json!(groups);
        act
    };
    let message = refused(bob.create(&CREATE, &of(&["model-risk", "validators"])).await);
    assert!(message.contains("names a group that you are not in"), "{message}");
    let taken = bob.create(&CREATE, &of(&["model-risk"])).await.expect("his own group");
    assert_eq!(taken.data["spec"]["actor"]["groups"], json!(["model-risk"]));
}

#[tokio::test]
async fn service_accounts_nodes_and_pods_approve_nothing() {
    let stage = Stage::start("machines").await;
    let of_pods = [
        "system:serviceaccounts",
        "system:serviceaccounts:ci",
        "system:authenticated",
    ];
    let machines: [(&str, &[&str]); 4] = [
        (PIPELINE, &of_pods),
        (PIPELINE, &["system:authenticated"]),
        (NODE, &["system:nodes", "system:authenticated"]),
        // A name of a person does not help a token of a pod.
        (ALICE, &of_pods),
    ];
    for (user, groups) in machines {
        let actions = stage.actions(&stage.user(user, groups).await);
        let message = refused(actions.create(&CREATE, &act("machine", "Approve", user)).await);
        assert!(message.contains("an action is a person's"), "{user}: {message}");
    }
    let guardbit = stage.actions(&stage.user(GUARDBIT, &[]).await);
    let message = refused(guardbit.create(&CREATE, &act("machine", "Pause", GUARDBIT)).await);
    assert!(message.contains("an action is a person's"), "{message}");
}

#[tokio::test]
async fn nobody_acts_without_the_right_to_it() {
    let stage = Stage::start("rights").await;
    let rights = [
        ("Approve", "approve"),
        ("Reject", "approve"),
        ("Pause", "pause"),
        ("Resume", "pause"),
        ("RollBack", "rollback"),
        ("Retry", "retry"),
        ("BreakGlass", "breakglass"),
    ];
    let people: [(&str, &[&str]); 3] = [
        (ALICE, &["approve"]),
        (CAROL, &["pause", "rollback", "retry"]),
        (GRACE, &["breakglass"]),
    ];
    for (user, has) in people {
        let actions = stage.actions(&stage.user(user, &[]).await);
        for (action, right) in rights {
            let answer = actions.create(&TRY, &act("right", action, user)).await;
            if has.contains(&right) {
                answer.unwrap_or_else(|error| panic!("{user} {action}: {error}"));
            } else {
                let message = refused(answer);
                let lacks = format!("you lack the right {right} on quantizedmodels.guardbit.dev {MODEL}");
                assert!(message.contains(&lacks), "{user} {action}: {message}");
            }
        }
    }
    // Who only changes models cannot even create an action.
    let mallory = stage.actions(&stage.user(MALLORY, &[]).await);
    for (action, _) in rights {
        let message = refused(mallory.create(&TRY, &act("right", action, MALLORY)).await);
        assert!(message.contains("cannot create resource"), "{action}: {message}");
    }
}

#[tokio::test]
async fn a_namespace_admin_cannot_give_himself_the_right_to_approve() {
    let stage = Stage::start("escalation").await;
    let nadia = stage.user(NADIA, &[]).await;
    let api = |kind: &str| -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind);
        Api::namespaced_with(nadia.clone(), &stage.namespace, &ApiResource::from_gvk(&kind))
    };
    let rule = json!({"apiGroups": ["guardbit.dev"], "resources": ["quantizedmodels"], "verbs": ["approve"]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "mine"}, "rules": [rule]});
    let role = serde_json::from_value(role).expect("a role");
    let message = refused(api("Role").create(&CREATE, &role).await);
    assert!(
        message.contains("attempting to grant RBAC permissions not currently held") && message.contains("approve"),
        "{message}"
    );
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "mine"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "guardbit-approver"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NADIA}]});
    let binding = serde_json::from_value(binding).expect("a binding");
    let message = refused(api("RoleBinding").create(&CREATE, &binding).await);
    assert!(
        message.contains("attempting to grant RBAC permissions not currently held"),
        "{message}"
    );
    let message = refused(
        stage
            .actions(&nadia)
            .create(&CREATE, &act("mine", "Approve", NADIA))
            .await,
    );
    assert!(message.contains("cannot create resource"), "{message}");
}

/// `*` is the right to everything, so an approval of an administrator is taken; a policy that asks for a group does not count it.
#[tokio::test]
async fn who_may_do_everything_still_acts_in_his_own_name_and_groups() {
    let stage = Stage::start("root").await;
    let root = stage.actions(&stage.user(ROOT, &["administrators"]).await);
    let message = refused(root.create(&CREATE, &act("forged", "Approve", BOB)).await);
    assert!(message.contains("act in your own name"), "{message}");
    let mut grouped = act("forged", "Approve", ROOT);
    grouped.data["spec"]["actor"]["groups"] = json!(["model-risk"]);
    let message = refused(root.create(&CREATE, &grouped).await);
    assert!(message.contains("names a group that you are not in"), "{message}");
    // Not even those whom the API server asks no role for.
    let master = stage.actions(&stage.admin);
    let message = refused(master.create(&CREATE, &act("forged", "Approve", BOB)).await);
    assert!(message.contains("act in your own name"), "{message}");
    root.create(&CREATE, &act("own", "Approve", ROOT)).await.expect("taken");
}

#[tokio::test]
async fn an_action_is_never_edited_not_even_by_guardbit() {
    let stage = Stage::start("edits").await;
    let bob = stage.actions(&stage.user(BOB, &[]).await);
    bob.create(&CREATE, &act("once", "Approve", BOB)).await.expect("taken");
    let longer = Patch::Merge(json!({"spec": {"validFor": "100h"}}));
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"guardbit.dev/model": "another"}}}));
    let params = PatchParams::default();

    let message = refused(bob.patch("once", &params, &longer).await);
    assert!(message.contains("cannot patch resource"), "{message}");
    let root = stage.actions(&stage.user(ROOT, &[]).await);
    let message = refused(root.patch("once", &params, &longer).await);
    assert!(
        message.contains("an action is never changed: create another"),
        "{message}"
    );
    let message = refused(root.patch("once", &params, &labelled).await);
    assert!(message.contains("written by guardbit alone"), "{message}");
    let state = Patch::Merge(json!({"status": {"state": "Lapsed", "message": "over"}}));
    let message = refused(root.patch_status("once", &params, &state).await);
    assert!(message.contains("written by guardbit alone"), "{message}");

    let guardbit = stage.actions(&stage.user(GUARDBIT, &[]).await);
    let mut stored = guardbit.get("once").await.expect("there");
    stored.data["status"] = json!({"state": "Used", "message": "counted for FirstTraffic of int8"});
    let written = guardbit
        .replace_status("once", &CREATE, &stored)
        .await
        .expect("its state");
    assert_eq!(written.data["status"]["state"], "Used");
    let mut longer = written;
    longer.data["spec"]["validFor"] = json!("100h");
    let message = refused(guardbit.replace("once", &CREATE, &longer).await);
    assert!(message.contains("cannot update resource"), "{message}");
    let unchanged = guardbit.get("once").await.expect("there");
    assert_eq!(unchanged.data["spec"]["validFor"], "1h");
}

#[tokio::test]
async fn an_action_is_lifted_by_no_deletion() {
    let stage = Stage::start("deletions").await;
    let carol = stage.actions(&stage.user(CAROL, &[]).await);
    carol
        .create(&CREATE, &act("down", "RollBack", CAROL))
        .await
        .expect("taken");
    let message = refused(carol.delete("down", &DeleteParams::default()).await);
    assert!(message.contains("cannot delete resource"), "{message}");
    let root = stage.actions(&stage.user(ROOT, &[]).await);
    let says = "an action is lifted by another action";
    for params in [
        DeleteParams::default(),
        DeleteParams::foreground(),
        DeleteParams::orphan(),
        DeleteParams::default().grace_period(0),
    ] {
        let message = refused(root.delete("down", &params).await);
        assert!(message.contains(says), "{params:?}: {message}");
    }
    let message = refused(
        root.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await,
    );
    assert!(message.contains(says), "{message}");
    carol.get("down").await.expect("it is still there");
    // guardbit deletes what lapsed.
    let guardbit = stage.actions(&stage.user(GUARDBIT, &[]).await);
    guardbit
        .delete("down", &DeleteParams::default())
        .await
        .expect("deleted");
}

#[tokio::test]
async fn an_action_has_no_owner_and_no_finalizer() {
    let stage = Stage::start("owners").await;
    let bob = stage.actions(&stage.user(BOB, &[]).await);
    let mut owned = act("owned", "Approve", BOB);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "6f0c9b1e-6f0c-4b1e-8f0c-6f0c9b1e6f0c"}]);
    owned.metadata.owner_references = serde_json::from_value(owner.clone()).expect("owners");
    let mut held = act("held", "Approve", BOB);
    held.metadata.finalizers = Some(vec!["bank.example/hold".to_owned()]);
    for tied in [owned, held] {
        let message = refused(bob.create(&CREATE, &tied).await);
        assert!(message.contains("an action has no owner and no finalizer"), "{message}");
    }
    bob.create(&CREATE, &act("free", "Approve", BOB)).await.expect("taken");
    let root = stage.actions(&stage.user(ROOT, &[]).await);
    for tie in [
        json!({"ownerReferences": owner}),
        json!({"finalizers": ["bank.example/hold"]}),
    ] {
        let patch = Patch::Merge(json!({"metadata": tie}));
        let message = refused(root.patch("free", &PatchParams::default(), &patch).await);
        assert!(message.contains("written by guardbit alone"), "{message}");
    }
}

/// What no act may last, nor say: longer than its kind may, more than a page, what a terminal obeys, what belongs to another kind.
#[tokio::test]
async fn an_action_lasts_and_says_no_more_than_its_kind_may() {
    let stage = Stage::start("bounds").await;
    let refuses = async |user: &str, action: &str, pointer: &str, value: Value, says: &str| {
        let mut act = act("bounds", action, user);
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = act.data["spec"].pointer_mut(parent).expect("there");
        match value {
            Value::Null => drop(parent.as_object_mut().expect("an object").remove(field)),
            value => parent[field] = value,
        }
        let actions = stage.actions(&stage.user(user, &[]).await);
        let message = refused(actions.create(&TRY, &act).await);
        assert!(message.contains(says), "{action} {pointer}: {message}");
    };
    let lasts = "validFor must be at least 1m, and at most what the action may last";
    for (user, action, most) in [
        (ALICE, "Approve", 168),
        (ALICE, "Reject", 168),
        (CAROL, "Pause", 168),
        (CAROL, "Resume", 1),
        (CAROL, "RollBack", 720),
        (CAROL, "Retry", 24),
        (GRACE, "BreakGlass", 4),
    ] {
        let longest = json!(format!("{most}h"));
        let mut longest_of_all = act("bounds", action, user);
        longest_of_all.data["spec"]["validFor"] = longest;
        let actions = stage.actions(&stage.user(user, &[]).await);
        let taken = actions.create(&TRY, &longest_of_all).await;
        taken.unwrap_or_else(|error| panic!("{action} of {most}h: {error}"));
        let longer = json!(format!("{most}h1s"));
        for length in [longer, json!("30s"), json!("0s")] {
            refuses(user, action, "/validFor", length, lasts).await;
        }
    }
    refuses(ALICE, "Approve", "/validFor", json!("for ever"), "spec.validFor").await;
    refuses(ALICE, "Approve", "/reason", json!("lgtm"), "spec.reason").await;
    refuses(ALICE, "Approve", "/reason", json!("x".repeat(1_001)), "spec.reason").await;
    refuses(ALICE, "Approve", "/reason", json!("x".repeat(1_000_000)), "spec.reason").await;
    for name in ["alice@bank.example\nbob@bank.example", "\u{1b}[2Jalice", ""] {
        refuses(ALICE, "Approve", "/actor/username", json!(name), "spec.actor.username").await;
    }
    let groups: Vec<String> = (0..33).map(|number| format!("group-{number}")).collect();
    refuses(ALICE, "Approve", "/actor/groups", json!(groups), "spec.actor.groups").await;
    refuses(ALICE, "Approve", "/changeDigest", Value::Null, "changeDigest goes with").await;
    refuses(ALICE, "Approve", "/to", json!("int4"), "to goes with RollBack only").await;
    refuses(GRACE, "BreakGlass", "/incident", Value::Null, "incident and waives").await;
    // The floor, the guards and the validation are no gates that a person opens.
    for gate in ["Floor", "Guards", "Validation"] {
        refuses(GRACE, "BreakGlass", "/waives", json!([gate]), "spec.waives").await;
    }
}

#[tokio::test]
async fn an_action_is_as_old_as_the_api_server_says() {
    let stage = Stage::start("dates").await;
    let bob = stage.actions(&stage.user(BOB, &[]).await);
    let mut old = act("old", "Approve", BOB);
    let uid = "00000000-0000-4000-8000-000000000000";
    old.metadata.uid = Some(uid.to_owned());
    old.metadata.creation_timestamp = serde_json::from_value(json!("2020-01-01T00:00:00Z")).expect("a time");
    let taken = bob.create(&CREATE, &old).await.expect("taken");
    let created = serde_json::to_value(&taken.metadata.creation_timestamp).expect("JSON");
    let created = created.as_str().expect("a time");
    assert!(!created.starts_with("2020"), "{created}");
    assert_ne!(taken.metadata.uid.as_deref(), Some(uid));
}
