//! Pods that go without a word.

use guardbit::api::Action;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use super::lost_a_moment_of_the_candidate;
use crate::stage::setting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_candidate_that_loses_all_pods_at_once_costs_its_share_for_a_moment_and_climbs_again() {
    let stage = setting("bereft")
        .variants(&["fp32", "int8"])
        .with("/rollout/steps", json!([{"weight": 25, "hold": "20s"}]))
        .start()
        .await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.answered("int8", 150).await;
    assert_eq!(stage.load.counts().failed, 0, "{}", stage.story());
    let pods = stage.api::<Pod>();
    for pod in stage.pods_of("int8").await {
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete(&pod.name_any(), &at_once).await.expect("deleted");
    }
    let withdrawn = stage.decided(Action::Withdrawn, "int8").await;
    assert!(
        withdrawn.why.contains("its share goes to stable until it is back"),
        "{}",
        withdrawn.why
    );
    stage.climbed(&[0, 25, 0, 25, 90]).await;
    stage.answered("int8", 400).await;
    stage.ledger.end();
    lost_a_moment_of_the_candidate(&stage).await;
    assert!(stage.status().rejected.is_empty(), "{}", stage.story());
    stage.delete_model().await;
    stage.leave().await;
}
