//! The node that there is not: its heartbeat, and a kubelet that finds every pod ready at once and lets go of every pod
//! that is to be deleted. Everything else (ReplicaSets, pods, endpoints) the real controllers do.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

/// Name of the node; pods name it in their template, for there is no scheduler.
pub const NODE: &str = "faults";

/// Starts node and kubelet.
pub async fn start(client: &Client) {
    let params = PatchParams::apply("kubelet").force();
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
    nodes.patch(NODE, &params, &Patch::Apply(node)).await.expect("a node");
    beat(client).await;
    let heart = client.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(8));
        loop {
            tick.tick().await;
            beat(&heart).await;
        }
    });
    let client = client.clone();
    tokio::spawn(async move {
        let config = watcher::Config::default().labels("guardbit.dev/model");
        let mut pods = std::pin::pin!(
            watcher(Api::<Pod>::all(client.clone()), config)
                .default_backoff()
                .touched_objects()
        );
        let mut seen: u32 = 0;
        while let Some(pod) = pods.next().await {
            if let Ok(pod) = pod {
                seen += 1;
                tokio::spawn(attend(client.clone(), pod, seen));
            }
        }
    });
}

async fn beat(client: &Client) {
    let (now, params) = (Timestamp::now(), PatchParams::apply("kubelet").force());
    let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now});
    let status = json!({"apiVersion": "v1", "kind": "Node", "status": {"conditions": [condition]}});
    let nodes: Api<Node> = Api::all(client.clone());
    let _ = nodes.patch_status(NODE, &params, &Patch::Apply(status)).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let spec = json!({"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": format!("{now:.6}")});
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}, "spec": spec});
    let _ = leases.patch(NODE, &params, &Patch::Apply(lease)).await;
}

async fn attend(client: Client, pod: Pod, number: u32) {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    if pod.metadata.deletion_timestamp.is_some() {
        let _ = api
            .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await;
        return;
    }
    if pod.status.as_ref().is_some_and(|s| s.pod_ip.is_some()) {
        return;
    }
    // Ready for long: gateways are not what is tested here.
    let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": long_ago});
    let ip = format!(
        "10.{}.{}.{}",
        100 + number / 62_500,
        number / 250 % 250,
        1 + number % 250
    );
    let status = json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": Timestamp::now(),
        "conditions": [condition("PodScheduled"), condition("Initialized"), condition("ContainersReady"), condition("Ready")],
        "containerStatuses": [{"name": "server", "image": "server:1", "imageID": "server@sha256:1", "ready": true, "restartCount": 0, "state": {"running": {}}}],
    }});
    let _ = api
        .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status))
        .await;
}
