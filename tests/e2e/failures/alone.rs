//! Something is taken away that all tests share: the node, the API server, the gateway's controller. One at a time.

use std::time::{Duration, Instant};

use guardbit::api::{Action, Phase};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::acts::{Process, condition, until};
use crate::stage::setting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn evicted_candidates_and_a_drained_node_are_no_judgement() {
    let stage = setting("drain")
        .variants(&["fp32", "int8"])
        .with("/serving/replicas", json!(4))
        .with(
            "/rollout/steps",
            json!([{"weight": 5, "hold": "4s"}, {"weight": 50, "hold": "30s"}]),
        )
        .start()
        .await;
    stage.weights(&[("fp32", 50), ("int8", 50)]).await;
    // One of its pods, which are as many as those of stable: the weight stays, and nothing is judged until it is gone.
    let pods = stage.pods_of("int8").await;
    assert_eq!(pods.len(), 4, "{}", stage.story());
    stage.evict(&pods[..1]).await;
    let held = stage
        .until("disrupted", |s| condition(s, "Progressing").1 == "Disrupted")
        .await;
    assert!(
        condition(&held, "Progressing").2.contains("nothing is judged"),
        "{:?}",
        condition(&held, "Progressing")
    );
    stage
        .until("goes on", |s| condition(s, "Progressing").1 != "Disrupted")
        .await;
    assert_eq!(stage.ledger.weights_of("int8"), [0, 5, 50], "{}", stage.ledger.story());
    // The node is drained of the candidate: nothing can take its place.
    stage.cordon(true).await;
    stage.evict(&stage.pods_of("int8").await).await;
    let withdrawn = stage.decided(Action::Withdrawn, "int8").await;
    stage.weights(&[("fp32", 100)]).await;
    stage.answered("fp32", 1_000).await;
    let status = stage.status();
    stage.cordon(false).await;
    assert!(
        withdrawn.why.contains("its share goes to stable until it is back"),
        "{}",
        withdrawn.why
    );
    assert!(
        status.rejected.is_empty() && status.failed.is_empty(),
        "{}",
        stage.story()
    );
    // From the first step again.
    stage.climbed(&[0, 5, 50, 0, 5, 50, 90]).await;
    stage.answered("int8", 600).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn an_api_server_that_restarts_changes_nothing() {
    let stage = setting("api-restart").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    Process::stop("kube-apiserver").await.start();
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    // The gateway's controller lost the API server as well, and may be slower to find it again.
    stage.gateway_follows().await;
    stage.answered("int8", 1_000).await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_candidate_that_turns_bad_while_the_api_server_is_away_is_lowered_when_it_is_back() {
    let stage = setting("api-away").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let pods = stage.pods_of("int8").await;
    let api = Process::kill("kube-apiserver").await;
    let away = Instant::now();
    stage.faults_at(&pods, json!({"errorRate": 0.3})).await;
    // The thirty seconds are the case itself.
    tokio::time::sleep(Duration::from_secs(30)).await;
    api.start();
    until("the API server answers", || async {
        stage.weight_in_route("int8").await.is_some()
    })
    .await;
    let back = Instant::now();
    until("the candidate is at 0", || async {
        stage.weight_in_route("int8").await == Some(0)
    })
    .await;
    println!(
        "API server away for {:.1} s; candidate at 0 {:.1} s after it was back",
        (back - away).as_secs_f64(),
        back.elapsed().as_secs_f64()
    );
    assert!(
        back.elapsed() < Duration::from_secs(15),
        "{:?}\n{}",
        back.elapsed(),
        stage.story()
    );
    stage.rolled_back("errors").await;
    stage.gateway_follows().await;
    stage.answered("fp32", 1_500).await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn without_the_gateways_controller_nothing_rises_that_traffic_does_not_follow() {
    let stage = setting("no-gateway").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 95), ("int8", 5)]).await;
    stage.answered("int8", 20).await;
    let namespace = "envoy-gateway-system";
    let controllers: Api<Deployment> = Api::namespaced(stage.client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), namespace);
    let scale = async |replicas: i32| {
        stage
            .edit(&controllers, "envoy-gateway", json!({"spec": {"replicas": replicas}}))
            .await;
    };
    scale(0).await;
    let of = ListParams::default().labels("control-plane=envoy-gateway");
    until("the controller is gone", || async {
        pods.list(&of).await.expect("listed").items.is_empty()
    })
    .await;
    // The route says 25, the gateway does 5 (or whatever it knew last): that is told, and nothing rises on it.
    let status = stage
        .until("traffic does not follow", |s| {
            condition(s, "EvidenceAvailable").1 == "TrafficSplit"
        })
        .await;
    let stands = status.rollout.expect("a rollout").weight;
    stage.answered("fp32", 2_000).await;
    assert_eq!(
        stage.ledger.weights_of("int8").last(),
        Some(&i64::from(stands)),
        "{}",
        stage.ledger.story()
    );
    scale(1).await;
    stage
        .until("traffic follows", |s| condition(s, "EvidenceAvailable").0 == "True")
        .await;
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    let status = stage
        .until("guarding", |s| s.phase == Some(Phase::Guarding.into()))
        .await;
    assert!(status.rejected.is_empty() && status.failed.is_empty());
    stage.gateway_follows().await;
    stage.answered("int8", 1_000).await;
    stage.finish(1).await;
}
