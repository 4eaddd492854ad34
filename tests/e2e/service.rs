//! Without a gateway: one Service over all arms, split by ready replicas.

use guardbit::api::{Action, Phase};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::stage::{Setting, Stage, setting};

/// Three replicas of a model behind one Service.
pub fn plain(test: &str) -> Setting {
    setting(test)
        .variants(&["fp32", "int8"])
        .with("/traffic", json!({"service": {}}))
        .with("/serving/replicas", json!(3))
        .with(
            "/rollout/steps",
            json!([{"weight": 25, "hold": "4s"}, {"weight": 50, "hold": "4s"}]),
        )
        .with("/rollout/holdout", json!(25))
}

/// Shares as counted by the backends, while the rollout stands at this weight.
async fn share_at(stage: &Stage, step: i32) -> f64 {
    stage
        .until(&format!("step {step} has its pods"), |s| {
            let of = |v: &str| s.arms.iter().filter(|a| a.variant == v).map(|a| a.weight).sum::<i32>();
            s.rollout
                .as_ref()
                .is_some_and(|r| r.step == step && r.weight > 0 && of("int8") > 0)
        })
        .await;
    share(stage, 120).await
}

/// Share of int8 while it answers so many more requests.
async fn share(stage: &Stage, requests: u64) -> f64 {
    let first = stage.load.counts().by_variant;
    stage.answered("int8", requests).await;
    let last = stage.load.counts().by_variant;
    let more = |v: &str| (last.get(v).copied().unwrap_or(0) - first.get(v).copied().unwrap_or(0)) as f64;
    more("int8") / (more("int8") + more("fp32"))
}

/// How many pods the ReplicaSets with names that begin so have made.
async fn made_by(stage: &Stage, name: &str) -> i32 {
    let events: Api<Event> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let made = ListParams::default().fields("reason=SuccessfulCreate");
    let events = events.list(&made).await.expect("events");
    let of = |event: &&Event| {
        event
            .involved_object
            .name
            .as_deref()
            .is_some_and(|of| of.starts_with(name))
    };
    events.iter().filter(of).map(|event| event.count.unwrap_or(1)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_service_climbs_by_replicas() {
    let stage = plain("plain-climb").start().await;
    let first = share_at(&stage, 0).await;
    // A pod that is started before it has any weight would be an endpoint, or be killed again.
    let made = made_by(&stage, "fraud-scorer-int8-").await;
    assert_eq!(made, 1, "{}", stage.story());
    assert!(
        (0.15..0.35).contains(&first),
        "one pod of four answered {first:.2}\n{}",
        stage.story()
    );
    stage.decided(Action::Promoted, "int8").await;
    stage
        .until("guarding", |s| s.phase == Some(Phase::Guarding.into()))
        .await;
    // Three pods of int8 and one of the reference, though all of the old stable's are kept warm.
    stage
        .until("the holdout is one pod", |s| {
            s.arms.iter().any(|a| a.variant == "fp32" && a.weight == 25)
        })
        .await;
    let after = share(&stage, 600).await;
    assert!(
        (0.65..0.85).contains(&after),
        "three pods of four answered {after:.2}\n{}",
        stage.story()
    );
    stage.assert_nothing_was_lost().await;
    stage.delete_model().await;
    stage.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_service_rolls_back() {
    let stage = plain("plain-back").env(1, "FAULT_ERROR_RATE", "0.2").start().await;
    let decision = stage.decided(Action::RolledBack, "int8").await;
    assert!(decision.why.starts_with("errors: "), "{}", decision.why);
    stage
        .until("back on fp32", |s| {
            s.phase == Some(Phase::Guarding.into()) && s.arms.iter().all(|a| a.variant == "fp32" || a.weight == 0)
        })
        .await;
    // Connections that were open may end; then nothing more reaches int8.
    let settled = stage.load.counts().by_variant["int8"];
    stage.answered("fp32", 1_000).await;
    assert!(
        stage.load.counts().by_variant["int8"] <= settled + 20,
        "int8 still serves\n{}",
        stage.story()
    );
    stage.assert_nothing_was_lost().await;
    stage.delete_model().await;
    stage.leave().await;
}
