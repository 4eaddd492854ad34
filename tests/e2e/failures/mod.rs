//! Every failure that a cluster can produce, one after the other, on the real one. Long: `make failures` runs them, not
//! `make test`. Those in [`alone`] take something away that all tests share, and run one at a time.

use guardbit::api::Phase;

use crate::stage::{Setting, Stage};

mod alone;
mod comparer;
mod ends;
mod gates;
mod hands;
mod kills;
mod kinds;
mod metrics;
mod pods;
mod starts;
mod versions;

/// A rollout that stands at 25%, paused.
async fn paused_at_25(setting: Setting) -> Stage {
    let stage = setting.variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.patch(serde_json::json!({"paused": true})).await;
    stage.until("paused", |s| s.phase == Some(Phase::Paused.into())).await;
    stage
}

/// Ends the load. Requests failed for as long as the candidate had no endpoints, and no others.
async fn lost_a_moment_of_the_candidate(stage: &Stage) {
    let counts = stage.load.finish().await;
    let first = counts.failures.first().map(|(at, _)| *at);
    let lasted = counts.last_failure.zip(first).map_or(0.0, |(last, first)| last - first);
    assert!(
        counts.failed < 200 && lasted < 3.0,
        "{} failed in {lasted} s: {:?}\n{}",
        counts.failed,
        counts.failures,
        stage.story()
    );
}
