//! Other rollouts than the climb, and what stands behind a promoted variant.

use guardbit::api::{Action, Phase, RolloutKind};
use serde_json::json;

use crate::acts::condition;
use crate::stage::{Setting, setting};

/// int8 serves from the start, as if it had been promoted.
fn settled(test: &str) -> Setting {
    setting(test)
        .variants(&["fp32", "int8"])
        .with("/rollout/bootstrap", json!("int8"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_new_revision_of_the_same_variant_is_tried_against_it() {
    let stage = settled("lateral").start().await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    let old = stage.status().stable.expect("stable").revision;
    let mut variants = stage.spec().await["variants"].take();
    variants[1]["calibration"]["dataset"]["digest"] = json!(format!("sha256:{}", "7".repeat(64)));
    stage.patch(json!({"variants": variants})).await;
    let status = stage.until("on trial", |s| s.rollout.is_some()).await;
    assert_eq!(status.rollout.expect("just seen").kind, RolloutKind::Lateral);
    let promoted = stage.decided(Action::Promoted, "int8").await;
    assert_ne!(promoted.revision, old);
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.answered("int8", 800).await;
    let counts = stage.load.counts().by_revision;
    for revision in [&old, &promoted.revision] {
        assert!(counts[guardbit::model::identity::short(revision)] > 0, "{counts:?}");
    }
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_new_reference_is_tried_and_takes_over_the_holdout() {
    let stage = settled("reference").start().await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    let old = stage.status().reference.expect("a reference").revision;
    let mut variants = stage.spec().await["variants"].take();
    // The same weights on another server.
    variants[0]["template"] =
        json!({"spec": {"containers": [{"name": "server", "env": [{"name": "SERVER_BUILD", "value": "2"}]}]}});
    stage.patch(json!({"variants": variants})).await;
    let status = stage.until("on trial", |s| s.rollout.is_some()).await;
    assert_eq!(status.rollout.expect("just seen").kind, RolloutKind::NewReference);
    let promoted = stage.decided(Action::Promoted, "fp32").await;
    assert_ne!(promoted.revision, old);
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    let status = stage
        .until("settled", |s| {
            s.rollout.is_none() && s.phase == Some(Phase::Guarding.into())
        })
        .await;
    assert_eq!(status.reference.expect("a reference").revision, promoted.revision);
    assert_eq!(status.stable.expect("stable").variant, "int8");
    stage.answered("int8", 800).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn guards_edited_in_mid_rollout_keep_the_weight_and_begin_the_evidence_afresh() {
    let stage = setting("edited").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let before = stage.status().rollout.expect("a rollout").plan_digest;
    let mut guards = stage.spec().await["guards"].take();
    guards[0]["proportion"]["tolerance"] = json!({"ratio": "1", "absolute": "2%"});
    stage.patch(json!({"guards": guards})).await;
    let changed = stage.decided(Action::PlanChanged, "int8").await;
    assert!(
        changed.why.contains("evidence and hold start afresh"),
        "{}",
        changed.why
    );
    let after = stage.status().rollout.expect("the rollout goes on").plan_digest;
    assert_ne!(before, after);
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    stage.finish(2).await;
}

/// Three variants, int8 proven by declaration; int4 may differ, and is promoted.
fn three(test: &str) -> Setting {
    setting(test)
        .with("/rollout/bootstrap", json!("int8"))
        .guards(&["errors", "latency"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn while_the_old_stable_is_warm_harm_falls_back_to_it_at_once() {
    // Longer than the test: it stays warm.
    let stage = three("warm").with("/rollout/keepWarm", json!("10m")).start().await;
    stage.decided(Action::Promoted, "int4").await;
    stage.weights(&[("fp32", 10), ("int4", 90)]).await;
    let warm = stage
        .until("the fallback is warm", |s| {
            s.stable.as_ref().is_some_and(|s| s.variant == "int4") && condition(s, "FallbackCapacity").1 == "Warm"
        })
        .await;
    let (truth, _, message) = condition(&warm, "FallbackCapacity");
    assert!(truth == "True" && message.starts_with("int8 ("), "{message}");
    assert_eq!(stage.pods_of("int8").await.len(), 2, "its pods stay");
    stage.answered("int4", 800).await;
    stage.faults("int4", json!({"errorRate": 0.3})).await;
    let fell = stage.decided(Action::FellBack, "int4").await;
    assert!(fell.why.starts_with("traffic falls back to int8 ("), "{}", fell.why);
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    // In one step, because its pods were there.
    let weights = stage.ledger.weights_of("int4");
    assert!(weights.ends_with(&[90, 0]), "{}", stage.ledger.story());
    stage.answered("int8", 1_000).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn on_harm_reference_falls_back_past_the_safer_variant_as_pods_come() {
    let stage = three("to-reference")
        .with("/rollout/keepWarm", json!("1s"))
        .with("/rollout/onHarm", json!("Reference"))
        .start()
        .await;
    stage.decided(Action::Promoted, "int4").await;
    let status = stage
        .until("the fallback would have to come first", |s| {
            s.retiring.is_empty()
                && s.phase == Some(Phase::Guarding.into())
                && condition(s, "FallbackCapacity").1 == "ScaledDown"
        })
        .await;
    let (truth, _, message) = condition(&status, "FallbackCapacity");
    assert!(truth == "False" && message.starts_with("fp32 ("), "{message}");
    stage.answered("int4", 400).await;
    stage.faults("int4", json!({"errorRate": 0.3})).await;
    let fell = stage.decided(Action::FellBack, "int4").await;
    assert!(fell.why.starts_with("traffic falls back to fp32 ("), "{}", fell.why);
    stage.weights(&[("fp32", 100)]).await;
    assert!(stage.ledger.weights_of("int8").ends_with(&[0]));
    stage.answered("fp32", 1_000).await;
    stage.finish(2).await;
}
