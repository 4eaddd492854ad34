//! Harm: a candidate that drifts, fails or is slow is rolled back; stable that turns harmful falls back.

use guardbit::api::{Action, Decision, Phase};
use serde_json::json;

use crate::stage::{Setting, Stage, setting};

/// Runs a rollout of int8 that must be rolled back, by this guard.
async fn rolled_back(setting: Setting, guard: &str) -> (Stage, Decision) {
    let stage = setting.start().await;
    let decision = stage.rolled_back(guard).await;
    let status = stage
        .until("settled", |s| {
            s.phase == Some(Phase::Guarding.into()) && s.rejected.len() == 1
        })
        .await;
    assert_eq!(status.rejected[0].guard, guard);
    assert!(status.proven.iter().all(|p| p.variant == "fp32"));
    let weights = stage.ledger.weights_of("int8");
    assert!(
        weights.first() == Some(&0) && weights.last() == Some(&0) && weights.len() <= 4,
        "{weights:?}"
    );
    // Long after, nobody tries again, and its pods are gone.
    stage.answered("fp32", 1_000).await;
    stage
        .until("drained", |s| {
            !s.arms.iter().any(|a| a.variant == "int8" && a.ready_replicas > 0)
        })
        .await;
    assert_eq!(stage.ledger.weights_of("int8"), weights);
    (stage, decision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_a_fifth_are_rolled_back() {
    let setting = setting("errors")
        .variants(&["fp32", "int8"])
        .env(1, "FAULT_ERROR_RATE", "0.2");
    let (stage, decision) = rolled_back(setting, "errors").await;
    assert!(stage.load.counts().injected > 0);
    assert!(decision.why.contains("beyond the tolerance"), "{}", decision.why);
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_times_three_is_rolled_back() {
    let setting = setting("latency")
        .variants(&["fp32", "int8"])
        .with("/guards/1/latency/tolerance/absolute", json!("5%"))
        .env(1, "FAULT_LATENCY_FACTOR", "3");
    let (stage, _) = rolled_back(setting, "latency").await;
    stage.finish(1).await;
}

/// From int8, which is declared to be proven: int4 drifts by its arithmetic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drifting_int4_is_rolled_back_to_int8() {
    let stage = setting("drift").with("/rollout/bootstrap", json!("int8")).start().await;
    let decision = stage.decided(Action::RolledBack, "int4").await;
    assert!(decision.why.starts_with("drift: total variation "), "{}", decision.why);
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    let status = stage.until("settled", |s| s.rollout.is_none()).await;
    assert_eq!(status.stable.as_ref().map(|s| s.variant.as_str()), Some("int8"));
    assert_eq!(
        status.rejected.iter().map(|r| r.variant.as_str()).collect::<Vec<_>>(),
        ["int4"]
    );
    stage.answered("int8", 1_000).await;
    assert!(
        stage.ledger.weights_of("int4").iter().all(|w| *w <= 25),
        "{}",
        stage.ledger.story()
    );
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn harm_that_begins_after_promotion_falls_back() {
    // The old stable has given its capacity back by then: traffic follows as its pods come.
    let stage = setting("after")
        .variants(&["fp32", "int8"])
        .with("/rollout/keepWarm", json!("2s"))
        .start()
        .await;
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage
        .until("the old stable has given its capacity back", |s| {
            s.retiring.is_empty() && s.phase == Some(Phase::Guarding.into())
        })
        .await;
    stage.answered("int8", 800).await;
    assert_eq!(
        stage.faults("int8", json!({"errorRate": 0.3})).await,
        2,
        "{}",
        stage.story()
    );
    let decision = stage.decided(Action::FellBack, "int8").await;
    assert!(decision.why.contains(": errors: "), "{}", decision.why);
    stage.weights(&[("fp32", 100)]).await;
    let status = stage
        .until("fp32 is stable", |s| {
            s.stable.as_ref().is_some_and(|s| s.variant == "fp32")
        })
        .await;
    assert_eq!(
        status.rejected.iter().map(|r| r.variant.as_str()).collect::<Vec<_>>(),
        ["int8"]
    );
    stage.answered("fp32", 1_000).await;
    stage.finish(2).await;
}
