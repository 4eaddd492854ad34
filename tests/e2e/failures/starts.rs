//! Candidates that cannot start: traffic is never touched.

use guardbit::api::Action;
use serde_json::{Value, json};

use crate::acts::condition;
use crate::stage::{Setting, Stage, setting};

/// All that mattered to users: nothing.
async fn unmoved(stage: &Stage) {
    assert_eq!(stage.ledger.weights_of("fp32"), [100], "{}", stage.ledger.story());
    stage.answered("fp32", 500).await;
    assert!(!stage.load.counts().by_variant.contains_key("int8"));
}

/// Starts a rollout whose candidate cannot start, for one of these reasons: it fails, and is tried again later.
async fn failed(setting: Setting, reasons: &[&str]) -> Stage {
    let stage = setting.start().await;
    let decision = stage.decided(Action::Failed, "int8").await;
    assert!(reasons.iter().any(|r| decision.why.contains(r)), "{}", decision.why);
    let status = stage
        .until("backs off", |s| condition(s, "Progressing").1 == "BackingOff")
        .await;
    assert_eq!((status.failed.len(), status.failed[0].count), (1, 1));
    assert!(status.rejected.is_empty(), "it was never judged");
    unmoved(&stage).await;
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_crash_loop_fails_is_tried_again_by_itself_and_climbs_once_mended() {
    let setting = setting("crash")
        .variants(&["fp32", "int8"])
        .env(1, "FAULT_ERROR_RATE", "no-number");
    let stage = failed(setting, &["CrashLoopBackOff"]).await;
    // A minute later, by itself.
    stage
        .until("tried again", |s| s.failed.iter().any(|f| f.count == 2))
        .await;
    unmoved(&stage).await;
    let mut variants = stage.spec().await["variants"].take();
    variants[1]["template"] = Value::Null;
    stage.patch(json!({"variants": variants})).await;
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_candidate_that_fits_on_no_node_fails_after_the_schedule_deadline() {
    let stage = setting("no-node")
        .variants(&["fp32", "int8"])
        .with(
            "/variants/1/template",
            json!({"spec": {"nodeSelector": {"accelerator": "none-such"}}}),
        )
        .with("/rollout/scheduleDeadline", json!("10s"))
        .start()
        .await;
    let waits = stage
        .until("unschedulable", |s| condition(s, "Progressing").1 == "Unschedulable")
        .await;
    assert!(
        condition(&waits, "Progressing").2.contains("node"),
        "{:?}",
        condition(&waits, "Progressing")
    );
    let decision = stage.decided(Action::Failed, "int8").await;
    assert!(
        decision.why.starts_with("it could not be scheduled within 10s: ") && decision.why.contains("node"),
        "{}",
        decision.why
    );
    unmoved(&stage).await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn an_image_that_is_missing_fails_and_a_new_attempt_tries_it_at_once() {
    let template = json!({"spec": {"containers": [{"name": "server", "image": "localhost:1/no-such-image:1"}]}});
    let setting = setting("no-image")
        .variants(&["fp32", "int8"])
        .with("/variants/1/template", template);
    let stage = failed(setting, &["ImagePullBackOff", "ErrImagePull"]).await;
    // A person says: again. That waits for no back-off.
    stage.patch(json!({"attempt": 1})).await;
    stage
        .until("tried under the new attempt", |s| {
            s.failed.iter().any(|f| f.attempt == 1 && f.count == 1)
        })
        .await;
    assert_eq!(stage.times(Action::Started, "int8"), 2, "{}", stage.story());
    unmoved(&stage).await;
    stage.finish(1).await;
}
