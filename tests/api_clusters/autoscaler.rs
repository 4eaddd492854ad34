//! A HorizontalPodAutoscaler of the cluster's own controller manager. Without metrics it keeps its bounds, and no more.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::corner::{Corner, PATIENCE, condition, gateway};

/// Lets an autoscaler keep a Deployment at `pods` at least.
async fn autoscale(corner: &Corner, deployment: &str, pods: i32) {
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": deployment},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": pods, "maxReplicas": 40,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    });
    let params = PatchParams::apply("autoscaling").force();
    corner
        .api::<HorizontalPodAutoscaler>()
        .patch(deployment, &params, &Patch::Apply(scaler))
        .await
        .expect("an autoscaler");
}

/// Waits until a Deployment is to have so many pods.
async fn until_replicas(deployments: &Api<Deployment>, name: &str, pods: i32) {
    let has = |d: Option<&Deployment>| d.and_then(|d| d.spec.as_ref()?.replicas) == Some(pods);
    let there = tokio::time::timeout(PATIENCE, await_condition(deployments.clone(), name, has)).await;
    there
        .unwrap_or_else(|_| panic!("{name} never has {pods} replicas"))
        .expect("the watch works");
}

async fn of_variant(deployments: &Api<Deployment>, variant: &str) -> Vec<String> {
    let labels = format!("guardbit.dev/variant={variant},guardbit.dev/purpose=serving");
    let found = deployments
        .list(&ListParams::default().labels(&labels))
        .await
        .expect("listed");
    found.iter().map(ResourceExt::name_any).collect()
}

pub async fn a_candidate_gets_its_share_of_what_the_autoscaler_gave_to_stable(client: &Client) {
    let corner = Corner::start(client, "autoscaler").await;
    let deployments = corner.api::<Deployment>();
    let models = corner.api::<guardbit::api::QuantizedModel>();
    let patch = async |spec: serde_json::Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        models
            .patch(crate::corner::MODEL, &PatchParams::default(), &patch)
            .await
            .expect("patched");
    };
    corner.apply_model(gateway(), json!({})).await;
    patch(json!({"paused": true, "target": "fp32"})).await;
    corner
        .until("serving", |model| condition(model, "Available").0 == "True")
        .await;
    let stable = of_variant(&deployments, "fp32").await.remove(0);
    autoscale(&corner, &stable, 20).await;
    until_replicas(&deployments, &stable, 20).await;
    // 25% of what stable has now: five pods, where one that nobody asked for would be one.
    patch(json!({"paused": false, "target": "int8", "rollout": {"steps": [{"weight": 25, "hold": "1h"}]}})).await;
    corner
        .until("at 25%", |model| {
            let rollout = model.status.as_ref().and_then(|status| status.rollout.as_ref());
            rollout.is_some_and(|rollout| rollout.weight == 25)
        })
        .await;
    let candidate = of_variant(&deployments, "int8").await.remove(0);
    until_replicas(&deployments, &candidate, 5).await;
    until_replicas(&deployments, &stable, 20).await;
    // From here on its scale is the autoscaler's as well.
    autoscale(&corner, &candidate, 7).await;
    until_replicas(&deployments, &candidate, 7).await;
    corner
        .until("evaluated again", |model| {
            let arms = model.status.iter().flat_map(|status| &status.arms);
            arms.into_iter()
                .any(|arm| arm.variant == "int8" && arm.ready_replicas == 7)
        })
        .await;
    until_replicas(&deployments, &candidate, 7).await;
}
