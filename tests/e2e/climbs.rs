//! The good way: a healthy candidate climbs, traffic follows, provenance is attached.

use guardbit::api::{Action, Phase};
use serde_json::json;

use crate::stage::{MODEL, setting, shared_prometheus};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_int8_is_promoted() {
    let stage = setting("climb").variants(&["fp32", "int8"]).start().await;
    let forecast = |s: &guardbit::api::QuantizedModelStatus| s.rollout.as_ref().and_then(|r| r.forecast.clone());
    let begun = stage.until("a forecast", |s| forecast(s).is_some()).await;
    let sentence = forecast(&begun).expect("just seen");
    assert!(
        sentence.starts_with("at ") && sentence.contains(" rps: ") && sentence.ends_with("; deadline 10m"),
        "{sentence}"
    );
    let promoted = stage.climbed(&[0, 5, 25, 50, 90]).await;
    for guard in ["errors", "latency", "drift"] {
        assert!(promoted.why.contains(guard), "{}", promoted.why);
    }
    let status = stage
        .until("guarding", |s| s.phase == Some(Phase::Guarding.into()))
        .await;
    assert!(status.rejected.is_empty() && status.failed.is_empty());
    assert_eq!(
        stage.ledger.weights_of("fp32"),
        [100, 95, 75, 50, 10],
        "{}",
        stage.ledger.story()
    );
    stage.answered("int8", 800).await;

    // Provenance, where an auditor would look.
    let spec = stage.spec().await;
    let int8 = &spec["variants"][1];
    let route = stage.routes().get(MODEL).await.expect("the route is there");
    let says = |key: &str| {
        route
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(&format!("guardbit.dev/{key}")).cloned())
    };
    assert_eq!(
        says("model-digest"),
        int8["weights"]["digest"].as_str().map(str::to_owned)
    );
    assert_eq!(
        says("calibration-digest"),
        int8["calibration"]["dataset"]["digest"].as_str().map(str::to_owned)
    );
    assert_eq!(
        says("base-model-digest"),
        spec["variants"][0]["weights"]["digest"].as_str().map(str::to_owned)
    );
    assert!(
        says("drift").is_some_and(|d| d.starts_with("total variation ")),
        "{:?}",
        route.metadata.annotations
    );
    assert!(
        says("decision").is_some_and(|d| d.contains("Promoted int8")),
        "{:?}",
        route.metadata.annotations
    );
    // What lint says of the sample, with the series that it really has.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_guardbit"))
        .args([
            "lint",
            "-f",
            concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples/fraud-scorer.yaml"),
        ])
        .args(["--prometheus", &shared_prometheus(), "-o", "json"])
        .args(["--arm", &format!("{{namespace={:?}}}", stage.namespace)])
        .output()
        .expect("guardbit starts");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(
        (&told["errors"], output.status.code()),
        (&json!(0), Some(0)),
        "{told:#}"
    );
    let rules: Vec<_> = told["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|f| &f["rule"])
        .collect();
    assert!(
        rules.contains(&&json!("latency-scale")),
        "the traffic was measured: {told:#}"
    );
    stage.finish(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guardbit_that_is_killed_in_mid_rollout_ends_the_same() {
    let mut stage = setting("sigkill").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.answered("int8", 100).await;
    stage.guardbit.kill_and_restart();
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    let status = stage.status();
    assert!(status.rejected.is_empty() && status.failed.is_empty());
    assert!(
        !status
            .decisions
            .iter()
            .any(|d| matches!(d.action.known(), Some(Action::EvidenceReset | Action::Recovered)))
    );
    stage.answered("int8", 800).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_holds_the_weights_and_goes_on_gathering() {
    let stage = setting("paused").variants(&["fp32", "int8"]).start().await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.patch(json!({"paused": true})).await;
    stage.until("paused", |s| s.phase == Some(Phase::Paused.into())).await;
    let seen = |s: &guardbit::api::QuantizedModelStatus| s.guards.iter().map(|g| g.candidate.total).min().unwrap_or(0);
    let before = seen(&stage.status());
    // Far more than the hold and the evidence of this step would have needed.
    stage.answered("int8", 700).await;
    stage
        .until("evidence grows while paused", |s| seen(s) > before + 200)
        .await;
    assert_eq!(stage.ledger.weights_of("int8"), [0, 5, 25], "{}", stage.ledger.story());
    stage.patch(json!({"paused": false})).await;
    stage.decided(Action::Promoted, "int8").await;
    stage.weights(&[("fp32", 10), ("int8", 90)]).await;
    stage.finish(2).await;
}
