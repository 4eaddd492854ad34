//! Prometheus away for long, and answering less than the truth.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guardbit::api::Action;
use serde_json::json;

use crate::acts::condition;
use crate::outages::{Mode, freezes_and_resumes, proxy};
use crate::stage::setting;

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
    let stage = setting("less-metrics")
        .variants(&["fp32", "int8"])
        .with("/prometheus/url", json!(url))
        .flag("--allow-prometheus-url")
        .flag(&url)
        .flag("--prometheus-timeout=2")
        .start()
        .await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    let weights = stage.ledger.weights_of("int8");
    for (way, reason) in [
        ("partial", "PartialData"),
        ("empty", "NoSamples"),
        ("stale", "NoSamples"),
    ] {
        mode.set(way);
        let status = stage
            .until(&format!("{way}: {reason}"), |s| {
                condition(s, "EvidenceAvailable").1 == reason
            })
            .await;
        let (truth, _, message) = condition(&status, "EvidenceAvailable");
        assert!(truth == "False" && message.starts_with("guard "), "{way}: {message}");
        assert_eq!(
            stage.ledger.weights_of("int8"),
            weights,
            "{way}: {}",
            stage.ledger.story()
        );
        mode.set("well");
        // At once wrong again: what came meanwhile must not be enough for a step.
        let back = stage
            .until(&format!("sees again after {way}"), |s| {
                condition(s, "EvidenceAvailable").0 == "True"
            })
            .await;
        assert!(back.rejected.is_empty() && back.failed.is_empty());
        if stage.ledger.weights_of("int8") != weights {
            break;
        }
    }
    // A second and a half for each answer: slower, and as sure.
    mode.set("slow");
    let asked = mode.asked.load(Ordering::Relaxed);
    stage.decided(Action::Promoted, "int8").await;
    assert!(mode.asked.load(Ordering::Relaxed) > asked, "nothing was asked");
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.finish(1).await;
}
