//! Clusters as they are: what an API server refuses, objects of others, autoscalers, records. On a real API server with its
//! controllers, and no nodes: `node.rs` plays the kubelet.
//!
//! Needs `KUBECONFIG`; `tests/cluster/run-tests.sh` starts a control plane and sets it.

mod autoscaler;
#[path = "../support/control_plane.rs"]
mod control_plane;
mod corner;
#[path = "../api_faults/node.rs"]
mod node;
mod records;
mod refusals;
#[path = "../support/process.rs"]
mod spawn;

/// One after the other: they share the kubelet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_as_they_are() {
    let client = control_plane::client().await;
    control_plane::install(&client, &control_plane::http_route()).await;
    node::start(&client).await;
    refusals::an_object_of_somebody_else_is_left_alone_and_can_be_handed_over(&client).await;
    refusals::a_service_of_somebody_else_outlives_the_model(&client).await;
    refusals::what_is_refused_holds_up_nothing_else(&client).await;
    records::a_record_that_is_refused_holds_the_rise_and_not_the_lowering(&client).await;
    records::a_lost_status_goes_on_with_the_records_that_exist(&client).await;
    records::two_controllers_write_one_chain(&client).await;
    records::a_namespace_goes_with_a_record_that_is_pending(&client).await;
    autoscaler::a_candidate_gets_its_share_of_what_the_autoscaler_gave_to_stable(&client).await;
}
