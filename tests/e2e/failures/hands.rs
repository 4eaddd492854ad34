//! Hands in the works: edited objects are put right, a lost status is recovered, a second replica takes over.

use guardbit::api::{Action, Phase, QuantizedModelStatus};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::{lost_a_moment_of_the_candidate, paused_at_25};
use crate::acts::{condition, until};
use crate::service::plain;
use crate::stage::{MODEL, Stage, setting};

/// The rules of the route with these weights for the variants.
async fn rules_with(stage: &Stage, weights: &[(&str, i64)]) -> Value {
    let route = stage.routes().get(MODEL).await.expect("the route");
    let mut rules = route.data["spec"]["rules"].clone();
    let split = rules.as_array_mut().and_then(|r| r.last_mut()).expect("a rule");
    for backend in split["backendRefs"].as_array_mut().expect("backends") {
        let name = backend["name"].as_str().expect("a name").to_owned();
        for (variant, weight) in weights {
            if name.starts_with(&format!("{MODEL}-{variant}-")) {
                backend["weight"] = json!(weight);
            }
        }
    }
    json!({"spec": {"rules": rules}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn edits_of_route_service_and_deployments_are_put_right() {
    let stage = paused_at_25(setting("edits")).await;
    // All to the candidate.
    let rules = rules_with(&stage, &[("fp32", 0), ("int8", 100)]).await;
    stage.edit(&stage.routes(), MODEL, rules).await;
    until("the weights are right", || async {
        stage.weight_in_route("int8").await == Some(25)
    })
    .await;
    // Half of stable away.
    let (fp32, int8) = (stage.deployment_of("fp32"), stage.deployment_of("int8"));
    let deployments = stage.api::<Deployment>();
    stage.edit(&deployments, &fp32, json!({"spec": {"replicas": 1}})).await;
    let replicas = || async {
        deployments
            .get(&fp32)
            .await
            .expect("there")
            .spec
            .and_then(|s| s.replicas)
    };
    until("stable has its pods", || async { replicas().await == Some(2) }).await;
    // Another image under the candidate's name.
    let image = async || {
        let spec = deployments.get(&int8).await.expect("there").spec.expect("a spec");
        spec.template.spec.expect("a spec").containers[0]
            .image
            .clone()
            .expect("an image")
    };
    let right = image().await;
    let wrong =
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "localhost:1/other:1"}]);
    let wrong = kube::api::Patch::Json::<()>(serde_json::from_value(wrong).expect("a patch"));
    deployments
        .patch(&int8, &Default::default(), &wrong)
        .await
        .expect("patched");
    until("the image is right", || async { image().await == right }).await;
    // A label that the Deployment is known by.
    stage
        .edit(
            &deployments,
            &int8,
            json!({"metadata": {"labels": {"guardbit.dev/revision": null}}}),
        )
        .await;
    let labelled = || async {
        deployments
            .get(&int8)
            .await
            .expect("there")
            .labels()
            .contains_key("guardbit.dev/revision")
    };
    until("the label is back", labelled).await;
    // The candidate's Service points nowhere: its share fails until that is put right, and nothing else does.
    let services = stage.api::<Service>();
    let before = stage.load.counts();
    assert_eq!(before.failed, 0, "{:?}", before.failures);
    let selector = || async {
        services
            .get(&int8)
            .await
            .expect("there")
            .spec
            .and_then(|s| s.selector)
            .unwrap_or_default()
    };
    let right = selector().await;
    stage
        .edit(
            &services,
            &int8,
            json!({"spec": {"selector": {"guardbit.dev/revision": "nonsense"}}}),
        )
        .await;
    until("the selector is right", || async { selector().await == right }).await;
    stage.patch(json!({"paused": false})).await;
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.answered("int8", 400).await;
    stage.ledger.end();
    // The person did that, in the second before it was put right.
    lost_a_moment_of_the_candidate(&stage).await;
    stage.delete_model().await;
    stage.leave().await;
}

/// What is added changes what the rest means, though nothing that guardbit wants is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn additions_to_route_and_service_are_taken_away() {
    let stage = paused_at_25(setting("additions")).await;
    let rules = || async { stage.routes().get(MODEL).await.expect("the route").data["spec"]["rules"].clone() };
    let right = rules().await;
    let mut filtered = right.clone();
    let split = filtered.as_array_mut().and_then(|r| r.last_mut()).expect("a rule");
    split["filters"] = json!([{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-hand", "value": "1"}]}}]);
    stage
        .edit(&stage.routes(), MODEL, json!({"spec": {"rules": filtered}}))
        .await;
    until("the filter is gone", || async { rules().await == right }).await;
    let (services, int8) = (stage.api::<Service>(), stage.deployment_of("int8"));
    let selector = || async { services.get(&int8).await.expect("there").spec.and_then(|s| s.selector) };
    let right = selector().await;
    assert_eq!(stage.load.counts().failed, 0, "{}", stage.story());
    stage
        .edit(&services, &int8, json!({"spec": {"selector": {"by": "hand"}}}))
        .await;
    until("the selector is right", || async { selector().await == right }).await;
    stage.patch(json!({"paused": false})).await;
    stage.decided(Action::Promoted, "int8").await;
    stage.ledger.end();
    lost_a_moment_of_the_candidate(&stage).await;
    stage.delete_model().await;
    stage.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_label_taken_off_a_pod_of_a_plain_service_is_put_back() {
    let stage = plain("labels").with("/target", json!("fp32")).start().await;
    let joined = async || {
        let pods = stage
            .api::<Pod>()
            .list(&ListParams::default().labels("guardbit.dev/in-service"))
            .await;
        pods.expect("listed").items
    };
    until("its pods belong to the Service", || async { joined().await.len() == 3 }).await;
    let pod = joined().await.remove(0).name_any();
    stage
        .edit(
            &stage.api::<Pod>(),
            &pod,
            json!({"metadata": {"labels": {"guardbit.dev/in-service": null}}}),
        )
        .await;
    until("it belongs to the Service again", || async {
        joined().await.iter().filter(|p| p.name_any() == pod).count() == 1
    })
    .await;
    stage.answered("fp32", 500).await;
    stage.assert_nothing_was_lost().await;
    stage.delete_model().await;
    stage.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_status_wiped_in_mid_rollout_is_recovered_and_no_weight_moves() {
    let stage = setting("wiped").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let (stable, candidate) = {
        let status = stage.status();
        (status.stable, status.rollout.map(|r| r.candidate))
    };
    stage.wipe_status().await;
    stage.decided(Action::Recovered, "fp32").await;
    let status = stage.status();
    assert_eq!(
        (status.stable, status.rollout.map(|r| r.candidate)),
        (stable, candidate)
    );
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn pods_of_one_arm_that_run_different_images_hold_the_rollout() {
    const IMAGE: &str = "localhost/moving:dev";
    let image = std::env::var("GUARDBIT_TEST_IMAGE").unwrap_or_else(|_| "localhost/model-server:dev".to_owned());
    images::tag(&image, IMAGE);
    let setting = setting("images")
        .with("/serving/template/spec/containers/0/image", json!(IMAGE))
        .with("/serving/replicas", json!(4));
    let stage = paused_at_25(setting).await;
    // Somebody pushes another image under the same tag; the next pods run it.
    images::another(IMAGE);
    stage.patch(json!({"paused": false})).await;
    let mismatch = |s: &QuantizedModelStatus| condition(s, "IdentityMismatch").0 == "True";
    let status = stage.until("different images", mismatch).await;
    assert!(
        condition(&status, "IdentityMismatch")
            .2
            .contains("run different images: sha256:")
    );
    let weight = stage.ledger.weights_of("int8");
    stage.answered("int8", 500).await;
    assert_eq!(stage.ledger.weights_of("int8"), weight, "{}", stage.ledger.story());
    // The tag goes back, and so do the pods that ran something else.
    images::tag(&image, IMAGE);
    let image = |p: &Pod| {
        p.status
            .as_ref()
            .and_then(|s| s.container_statuses.as_ref()?.first().map(|c| c.image_id.clone()))
    };
    let right = image(&stage.pods_of("fp32").await[0]);
    let others: Vec<_> = stage
        .pods_of("int8")
        .await
        .into_iter()
        .filter(|p| image(p) != right)
        .collect();
    assert!(!others.is_empty());
    for pod in &others {
        stage
            .api::<Pod>()
            .delete(&pod.name_any(), &Default::default())
            .await
            .expect("deleted");
    }
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.finish(2).await;
}

/// Two replicas; the leader dies in the moment in which the candidate turns bad.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_second_replica_takes_over_from_a_killed_leader_and_lowers_what_is_harmful() {
    let mut stage = setting("replicas").variants(&["fp32", "int8"]).start().await;
    let second = stage.guardbit.second();
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.answered("int8", 100).await;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), crate::guardbit::SYSTEM);
    let namespace = stage.namespace.clone();
    let leader = async || {
        leases
            .get(&namespace)
            .await
            .expect("a lease")
            .spec
            .and_then(|s| s.holder_identity)
    };
    assert_eq!(leader().await.as_ref(), Some(&namespace), "the first leads");
    stage.faults("int8", json!({"errorRate": 0.3})).await;
    stage.guardbit.kill();
    stage.rolled_back("errors").await;
    assert_eq!(
        stage.ledger.weights_of("int8"),
        [0, 5, 25, 0],
        "{}",
        stage.ledger.story()
    );
    assert_eq!(
        leader().await,
        Some(format!("{namespace}-2")),
        "the second has taken over"
    );
    stage.answered("fp32", 1_000).await;
    stage.guardbit = second;
    stage.finish(1).await;
}

mod images {
    //! Images of the test cluster's only node.

    use std::process::Command;

    fn ctr(args: &[&str]) {
        let output = Command::new("ctr")
            .args(["-a", "/run/ctd.sock", "-n", "k8s.io", "images"])
            .args(args)
            .output()
            .expect("ctr");
        assert!(
            output.status.success(),
            "ctr {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Gives an image another name.
    pub fn tag(image: &str, name: &str) {
        ctr(&["tag", "--force", image, name]);
    }

    /// Puts an image with the same server and another digest under this name.
    pub fn another(name: &str) {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
        let out = std::env::temp_dir().join(format!("guardbit-another-{}.tar", std::process::id()));
        let mut args = vec![
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/image.py").to_owned(),
            name.to_owned(),
            out.display().to_string(),
            "/model-server".to_owned(),
            format!("{root}/static/x86_64-unknown-linux-gnu/release/model-server=/model-server"),
            format!("{}=/another", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
        ];
        for variant in ["fp32", "int8", "int4"] {
            args.push(format!("{root}/images/weights/{variant}.bin=/weights/{variant}.bin"));
        }
        let made = Command::new("python3").args(args).status().expect("python3");
        assert!(made.success());
        ctr(&["import", &out.display().to_string()]);
        let _ = std::fs::remove_file(out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn while_suspended_the_person_has_the_wheel_and_then_gives_it_back() {
    let stage = setting("suspended").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.patch(json!({"suspend": true})).await;
    stage
        .until("suspended", |s| s.phase == Some(Phase::Suspended.into()))
        .await;
    let rules = rules_with(&stage, &[("fp32", 60), ("int8", 40)]).await;
    stage.edit(&stage.routes(), MODEL, rules).await;
    stage.weights(&[("fp32", 60), ("int8", 40)]).await;
    // Far longer than it takes to put an edit right.
    stage.answered("int8", 800).await;
    assert_eq!(stage.weight_in_route("int8").await, Some(40));
    assert_eq!(
        stage.ledger.weights_of("int8"),
        [0, 5, 25, 40],
        "{}",
        stage.ledger.story()
    );
    stage.patch(json!({"suspend": false})).await;
    // It was at 25%, and 25% is held for as long as was asked.
    stage.climbed(&[0, 5, 25, 40, 25, 50, 90]).await;
    stage.finish(2).await;
}
