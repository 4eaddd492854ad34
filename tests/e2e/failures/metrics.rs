//! Prometheus away for long, and answering less than the truth.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guardbit::api::QuantizedModelStatus;
use serde_json::json;

use crate::acts::condition;
use crate::outages::{Mode, freezes_and_resumes, proxy};
use crate::stage::setting;

use super::paused_at_25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn prometheus_away_for_two_minutes_freezes_and_resumes() {
    freezes_and_resumes("long-outage", Duration::from_secs(120)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn empty_stale_and_partial_answers_move_nothing_and_slow_ones_are_waited_for() {
    let mode = Arc::new(Mode::default());
    let url = proxy(Arc::clone(&mode), None).await;
    let setting = setting("less-metrics")
        .with("/prometheus/url", json!(url))
        .flag("--allow-prometheus-url")
        .flag(&url)
        .flag("--prometheus-timeout=2");
    // Paused, so that no step is taken between two ways to answer badly.
    let stage = paused_at_25(setting).await;
    let sees = |s: &QuantizedModelStatus| condition(s, "EvidenceAvailable").0 == "True";
    for (way, reason) in [
        ("partial", "PartialData"),
        ("empty", "NoSamples"),
        ("stale", "NoSamples"),
    ] {
        stage.until(&format!("sees before {way}"), sees).await;
        mode.set(way);
        let status = stage
            .until(&format!("{way}: {reason}"), |s| {
                condition(s, "EvidenceAvailable").1 == reason
            })
            .await;
        let (truth, _, message) = condition(&status, "EvidenceAvailable");
        assert!(truth == "False" && message.starts_with("guard "), "{way}: {message}");
        assert!(status.rejected.is_empty() && status.failed.is_empty());
        mode.set("well");
    }
    stage.until("sees again", sees).await;
    // The last way again, and nobody pauses it: without samples nothing rises, however long the hold is over.
    mode.set("stale");
    stage
        .until("stale again", |s| condition(s, "EvidenceAvailable").1 == "NoSamples")
        .await;
    stage.patch(json!({"paused": false})).await;
    stage.answered("int8", 1_000).await;
    assert_eq!(stage.ledger.weights_of("int8"), [0, 5, 25], "{}", stage.ledger.story());
    // A second and a half for each answer: slower, and as sure.
    mode.set("slow");
    let asked = mode.asked.load(Ordering::Relaxed);
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    assert!(mode.asked.load(Ordering::Relaxed) > asked, "nothing was asked");
    stage.finish(1).await;
}
