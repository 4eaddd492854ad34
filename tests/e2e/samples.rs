//! The samples of other uses, each climbed on the real cluster with its own guards and its own kind of traffic. Server, number
//! of pods and holds are those of a small machine and a short test.

use guardbit::api::{Action, Phase};
use serde_json::{Value, json};

use crate::stage::{Setting, Stage, http, setting};

/// A sample, as far as a small machine can serve it.
fn sample(test: &str, text: &str) -> Setting {
    let mut spec = serde_yaml_ng::from_str::<Value>(text).expect("YAML")["spec"].take();
    let mut fraud = setting(test);
    spec["serving"] = fraud.spec()["serving"].clone();
    spec["serving"]["replicas"] = json!(4);
    for variant in spec["variants"].as_array_mut().expect("variants") {
        let weights = match variant["name"].as_str() {
            Some("int8") => "int8",
            _ => "fp32",
        };
        let args = json!([
            "serve",
            "--service-time-ms=5",
            format!("--weights=/weights/{weights}.bin")
        ]);
        variant["template"] = json!({"spec": {"containers": [{"name": "server", "args": args}]}});
        variant.as_object_mut().expect("an object").remove("replicas");
    }
    if let Some(gateway) = spec["traffic"].get_mut("gateway") {
        *gateway = fraud.spec()["traffic"]["gateway"].clone();
    }
    let rollout = &mut spec["rollout"];
    (rollout["interval"], rollout["keepWarm"]) = (json!("1s"), json!("8s"));
    rollout["warmUp"] = json!("0s");
    for step in rollout["steps"].as_array_mut().expect("steps") {
        step["hold"] = json!("4s");
    }
    // What needs hours of requests to be shown is shown in a minute of them; what noise does on a busy machine is no harm.
    for guard in spec["guards"].as_array_mut().expect("guards") {
        if let Some(proportion) = guard.get_mut("proportion") {
            proportion["tolerance"] = json!({"ratio": "1", "absolute": "5%"});
        }
        if let Some(latency) = guard.get_mut("latency") {
            latency["tolerance"] = json!({"ratio": "1.5", "absolute": "60%"});
            latency["budget"]["within"] = json!("250ms");
        }
        if let Some(fidelity) = guard.get_mut("fidelity") {
            fidelity["maxTotalVariation"] = json!("0.2");
        }
    }
    *fraud.spec() = spec;
    fraud
}

/// Climbs to int8 on the evidence of all of its guards, and no request fails.
async fn climbs(mut sample: Setting) -> Stage {
    let guards = sample.spec()["guards"].as_array().expect("guards").clone();
    let stage = sample.start().await;
    let promoting = stage.decided(Action::Promoting, "int8").await;
    for guard in guards {
        let shown = format!("{}: ", guard["name"].as_str().expect("a name"));
        assert!(promoting.why.contains(&shown), "{shown}{}", promoting.why);
    }
    stage.decided(Action::Promoted, "int8").await;
    let settled = stage
        .until("guarding", |s| s.phase == Some(Phase::Guarding.into()))
        .await;
    assert!(
        settled.rejected.is_empty() && settled.failed.is_empty(),
        "{}",
        stage.story()
    );
    stage.answered("int8", 600).await;
    stage.assert_nothing_was_lost().await;
    stage
}

async fn ends(stage: Stage) {
    stage.delete_model().await;
    stage.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make samples"]
async fn edge_inference_climbs_on_joules_a_request_behind_one_service() {
    ends(climbs(sample("edge", include_str!("../../config/samples/edge-inference.yaml"))).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make samples"]
async fn recommendations_climb_on_what_is_clicked() {
    ends(
        climbs(sample(
            "shop",
            include_str!("../../config/samples/recommendations.yaml"),
        ))
        .await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make samples"]
async fn content_moderation_climbs_on_what_people_put_right_and_appeals_stay_in_full_precision() {
    let stage = climbs(sample(
        "trust",
        include_str!("../../config/samples/content-moderation.yaml"),
    ))
    .await;
    let gateway = std::env::var("GUARDBIT_GATEWAY_URL").expect("GUARDBIT_GATEWAY_URL: run make samples");
    for (header, value) in [("x-purpose", "appeal"), ("x-audience", "minor")] {
        for id in 0..30 {
            let request = http().get(format!("{gateway}/v1/score?id={id}"));
            let answer = request
                .header("host", "trust.example")
                .header(header, value)
                .send()
                .await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.headers()["x-variant"], "bf16", "{answer:?}");
        }
    }
    ends(stage).await;
}
