//! Ends: a model that is let go, and a namespace that goes with everything.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use super::paused_at_25;
use crate::acts::until;
use crate::stage::{MODEL, setting};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_model_deleted_with_orphan_serves_on_without_guardbit() {
    let stage = paused_at_25(setting("orphan").with("/deletionPolicy", json!("Orphan"))).await;
    stage.answered("int8", 150).await;
    let pods: Vec<_> = stage.pods_of("int8").await.iter().map(ResourceExt::uid).collect();
    stage.delete_model().await;
    // As it was, and nobody's.
    stage.answered("int8", 500).await;
    let route = stage.routes().get(MODEL).await.expect("the route is there");
    assert!(route.owner_references().is_empty(), "{route:?}");
    for deployment in stage
        .api::<Deployment>()
        .list(&ListParams::default())
        .await
        .expect("listed")
    {
        assert!(deployment.owner_references().is_empty(), "{}", deployment.name_any());
    }
    let now: Vec<_> = stage.pods_of("int8").await.iter().map(ResourceExt::uid).collect();
    assert_eq!(now, pods);
    assert_eq!(stage.ledger.weights_of("int8"), [0, 5, 25], "{}", stage.ledger.story());
    stage.assert_nothing_was_lost().await;
    stage.ledger.assert_traffic_followed_weights(1);
    stage.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_namespace_deleted_in_mid_rollout_goes_and_takes_nothing_else_along() {
    let mut stage = setting("namespace").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.answered("int8", 150).await;
    let before = stage.load.counts();
    assert_eq!(before.failed, 0, "{:?}", before.failures);
    let namespaces: Api<Namespace> = stage.cluster_api();
    namespaces
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .expect("deleted");
    until("the namespace is gone", || async {
        namespaces.get_opt(&stage.namespace).await.expect("an answer").is_none()
    })
    .await;
    stage.ledger.end();
    stage.load.finish().await;
    assert!(stage.guardbit.runs(), "{}", stage.guardbit.log_tail());
    let log = stage.guardbit.log();
    assert!(!log.contains("panicked"), "{}", stage.guardbit.log_tail());
}
