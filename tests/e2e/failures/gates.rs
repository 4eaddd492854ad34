//! What may not even begin: stale calibrations, offline quality that dropped, identities that were rejected.

use guardbit::api::Action;
use serde_json::json;

use crate::acts::condition;
use crate::stage::setting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_stale_calibration_and_a_drop_in_quality_hold_the_candidate_back() {
    let stage = setting("gated")
        .variants(&["fp32", "int8"])
        .with("/variants/1/calibration/completedAt", json!("2020-01-01T00:00:00Z"))
        .with("/variants/1/calibration/maxAge", json!("24h"))
        .with(
            "/variants/1/validation",
            json!({"metrics": [{"name": "auc", "reference": "0.884", "measured": "0.80", "maxDrop": "2%"}]}),
        )
        .start()
        .await;
    let gated = |word: &'static str| {
        move |s: &guardbit::api::QuantizedModelStatus| {
            let (truth, reason, message) = condition(s, "Stalled");
            truth == "True" && reason == "Gated" && message.contains(word)
        }
    };
    stage
        .until("the calibration is stale", gated("older than maxAge 24h"))
        .await;
    stage.answered("fp32", 500).await;
    let mut variants = stage.spec().await["variants"].take();
    variants[1]["calibration"]["maxAge"] = json!("876000h");
    stage.patch(json!({"variants": variants})).await;
    stage
        .until("quality dropped", gated("auc of int8 dropped by 9.50%"))
        .await;
    stage.answered("fp32", 500).await;
    assert_eq!(stage.ledger.weights_of("fp32"), [100], "{}", stage.ledger.story());
    assert!(stage.pods_of("int8").await.is_empty(), "a gated variant has no pods");
    variants[1]["validation"]["metrics"][0]["measured"] = json!("0.883");
    stage.patch(json!({"variants": variants})).await;
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_rejected_identity_is_never_tried_again_not_by_a_new_attempt_and_not_by_a_revert() {
    let stage = setting("rejected")
        .variants(&["fp32", "int8"])
        .env(1, "FAULT_ERROR_RATE", "0.2")
        .start()
        .await;
    stage.decided(Action::RolledBack, "int8").await;
    stage.weights(&[("fp32", 100)]).await;
    let rejected = |s: &guardbit::api::QuantizedModelStatus| {
        let (truth, reason, _) = condition(s, "Stalled");
        truth == "True" && reason == "TargetRejected"
    };
    stage.until("a person must act", rejected).await;
    let weights = stage.ledger.weights_of("int8");
    let generation = |s: &guardbit::api::QuantizedModelStatus| s.observed_generation;
    let evaluated_again = async |before: Option<i64>| {
        stage.until("evaluated again", |s| generation(s) > before).await;
        stage.until("still rejected", rejected).await;
        assert_eq!(stage.times(Action::Started, "int8"), 1, "{}", stage.story());
    };
    let before = generation(&stage.status());
    stage.patch(json!({"attempt": 7})).await;
    evaluated_again(before).await;
    // The target moves away and back.
    let before = generation(&stage.status());
    let rejected_one = stage.spec().await["variants"].take();
    stage.patch(json!({"target": "fp32"})).await;
    stage
        .until("fp32 is all that is asked for", |s| {
            generation(s) > before && condition(s, "Ready").0 == "True"
        })
        .await;
    let before = generation(&stage.status());
    stage.patch(json!({"target": "int8"})).await;
    evaluated_again(before).await;
    stage.answered("fp32", 1_000).await;
    assert_eq!(stage.ledger.weights_of("int8"), weights, "{}", stage.ledger.story());
    // What is really another one is tried.
    let mut mended = rejected_one.clone();
    mended[1]["template"] = serde_json::Value::Null;
    stage.patch(json!({"variants": mended})).await;
    let promoted = stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    // A revert in git brings the rejected one back: the good one serves on.
    let started = stage.times(Action::Started, "int8");
    stage.patch(json!({"variants": rejected_one})).await;
    let status = stage.until("the revert is refused", rejected).await;
    assert_eq!(status.stable.expect("stable").revision, promoted.revision);
    stage.answered("int8", 600).await;
    assert_eq!(stage.times(Action::Started, "int8"), started, "{}", stage.story());
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.finish(2).await;
}
