//! Changes of mind: another candidate, another target, deletion, each in mid-rollout.

use std::time::{Duration, Instant};

use guardbit::api::{Action, Phase};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use serde_json::json;

use crate::stage::setting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_candidate_supersedes_and_climbs_from_the_start() {
    let stage = setting("superseded").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let old = stage.status().rollout.expect("a rollout").candidate.revision;
    let mut variants = stage.spec().await["variants"].take();
    // Calibrated anew: the same file on the same server, and yet another identity.
    variants[1]["calibration"]["dataset"]["digest"] = json!(format!("sha256:{}", "5".repeat(64)));
    stage.patch(json!({"variants": variants})).await;
    stage.decided(Action::Superseded, "int8").await;
    let status = stage
        .until("the new one is on trial", |s| {
            s.rollout.as_ref().is_some_and(|r| r.candidate.revision != old)
        })
        .await;
    let new = status.rollout.expect("a rollout").candidate.revision;
    let promoted = stage.climbed(&[0, 5, 25, 0, 5, 25, 50, 90]).await;
    assert_eq!(promoted.revision, new);
    let by_revision = stage.load.counts().by_revision;
    assert!(
        by_revision[guardbit::model::identity::short(&old)] > 0
            && by_revision[guardbit::model::identity::short(&new)] > 0
    );
    stage.answered("int8", 800).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_moved_down_takes_traffic_there() {
    let stage = setting("target")
        .variants(&["fp32", "int8"])
        .with("/rollout/bootstrap", json!("int8"))
        .start()
        .await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.answered("int8", 800).await;
    stage.patch(json!({"target": "fp32"})).await;
    stage.decided(Action::TargetMoved, "fp32").await;
    stage.weights(&[("fp32", 100)]).await;
    let status = stage
        .until("settled on fp32", |s| s.phase == Some(Phase::Guarding.into()))
        .await;
    assert_eq!(status.stable.as_ref().map(|s| s.variant.as_str()), Some("fp32"));
    // int8 is not rejected: it may come back.
    assert!(status.rejected.is_empty());
    stage.answered("fp32", 1_000).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_deleted_in_mid_canary_fails_no_request_before_that() {
    let stage = setting("deleted").variants(&["fp32", "int8"]).start().await;
    let begun = Instant::now();
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.answered("int8", 150).await;
    let deleted = begun.elapsed();
    stage.delete_model().await;
    stage.ledger.end();
    let counts = stage.load.finish().await;
    // Its clock starts a little before ours.
    let early: Vec<_> = counts
        .failures
        .iter()
        .filter(|(at, _)| Duration::from_secs_f64(*at) < deleted)
        .collect();
    assert!(early.is_empty(), "failed before the deletion at {deleted:?}: {early:?}");
    assert!(counts.failed > 0, "the route is gone, and still everything is answered");
    stage.ledger.assert_traffic_followed_weights(1);
    // The route went first, and with it new requests; then, drained, everything else. Only in the instant in which Envoy lets
    // go of the route and of its clusters can a request fall between the two: pods that went first would fail for longer.
    let not_found = |why: &str| why == "status 404 Not Found";
    let gone_at = counts
        .failures
        .iter()
        .find_map(|(at, why)| not_found(why).then_some(*at))
        .expect("without a route nothing is found");
    assert!(
        counts
            .failures
            .iter()
            .all(|(at, why)| not_found(why) || (why.starts_with("status 503") && (at - gone_at).abs() < 0.25)),
        "the route was gone at {gone_at}: {:?}",
        counts.failures
    );
    assert!(
        stage
            .routes()
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items
            .is_empty()
    );
    // The rest is owned by the model and collected after it.
    let gone = async {
        while !(stage.names::<Deployment>().await.is_empty() && stage.names::<Service>().await.is_empty()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .expect("all owned objects go");
    stage.leave().await;
}
