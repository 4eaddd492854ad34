//! guardbit is replaced by another version in mid-rollout.

use std::collections::BTreeSet;
use std::path::PathBuf;

use guardbit::api::Action;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::stage::{Stage, setting};

/// Pods of both arms by uid, each with the restarts of its containers.
async fn pods(stage: &Stage) -> BTreeSet<(String, i32)> {
    let mut all = BTreeSet::new();
    for variant in ["fp32", "int8"] {
        for pod in stage.pods_of(variant).await {
            let restarts = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            let restarts = restarts.map(|c| c.restart_count).sum();
            all.insert((pod.uid().expect("a uid"), restarts));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_downgrade_and_an_upgrade_in_mid_rollout_change_no_pod_and_no_weight() {
    let previous = std::env::var("GUARDBIT_PREVIOUS").expect("GUARDBIT_PREVIOUS: run make failures");
    let mut stage = setting("versions")
        .variants(&["fp32", "int8"])
        .with("/rollout/steps/0/hold", json!("20s"))
        .with("/rollout/steps/1/hold", json!("20s"))
        .start()
        .await;
    stage.weights(&[("fp32", 95), ("int8", 5)]).await;
    let before = pods(&stage).await;
    stage.guardbit.replace_by(Some(&PathBuf::from(&previous)));
    // The earlier version goes on where today's stood: it takes the next step.
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let between = pods(&stage).await;
    assert!(
        between.is_superset(&before),
        "{before:?} {between:?}\n{}",
        stage.story()
    );
    stage.guardbit.replace_by(None);
    stage.weights(&[("fp32", 50), ("int8", 50)]).await;
    let after = pods(&stage).await;
    assert!(after.is_superset(&between), "{between:?} {after:?}\n{}", stage.story());
    // A changed pod template would have made another ReplicaSet.
    let sets = stage
        .api::<ReplicaSet>()
        .list(&ListParams::default())
        .await
        .expect("listed");
    let owners: Vec<String> = sets.iter().map(|s| s.owner_references()[0].name.clone()).collect();
    let deployments: BTreeSet<&String> = owners.iter().collect();
    assert_eq!(owners.len(), deployments.len(), "{owners:?}");
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    let status = stage.status();
    let unexpected = |d: &guardbit::api::Decision| {
        matches!(
            d.action.known(),
            Some(Action::PlanChanged | Action::Recovered | Action::Withdrawn | Action::Superseded | Action::Failed)
        )
    };
    assert!(!status.decisions.iter().any(unexpected), "{}", stage.story());
    stage.finish(3).await;
}
