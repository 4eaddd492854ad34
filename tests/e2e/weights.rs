//! Weights on a volume that are verified before a server starts: others never answer a user.

use guardbit::api::{Action, QuantizedModelStatus, WeightsProof};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::acts::condition;
use crate::stage::{MODEL, Setting, Stage, setting};

/// A rollout of int8 whose weights its pods make, as others fetch them, and verify.
pub fn on_a_volume(test: &str) -> Setting {
    let mut setting = verified(test);
    let server = setting.spec()["serving"]["template"]["spec"]["containers"][0].clone();
    let mount = json!([{"name": "models", "mountPath": "/models"}]);
    let fetch = json!({
        "name": "fetch",
        "image": server["image"],
        "imagePullPolicy": "IfNotPresent",
        "args": ["make", "--out=/models"],
        "securityContext": server["securityContext"],
        "volumeMounts": mount,
    });
    let template = json!({"spec": {
        "volumes": [{"name": "models", "emptyDir": {}}],
        "initContainers": [fetch],
        "containers": [{"name": "server", "args": args(&server, "/models/int8.bin"), "volumeMounts": mount}],
    }});
    setting
        .with("/variants/1/template", template)
        .with("/variants/1/weights/mount", json!({"path": "/models/int8.bin"}))
}

/// A rollout of int8 by a guardbit that knows its own image.
pub fn verified(test: &str) -> Setting {
    let image = std::env::var("GUARDBIT_TEST_COMPARER_IMAGE").unwrap_or_else(|_| "localhost/guardbit:e2e".to_owned());
    setting(test)
        .variants(&["fp32", "int8"])
        .guards(&["errors", "latency"])
        .flag(&format!("--comparer-image={image}"))
}

/// The arguments of the server, with weights at a path.
pub fn args(server: &Value, path: &str) -> Value {
    let mut args = server["args"].clone();
    args.as_array_mut()
        .expect("args")
        .push(json!(format!("--weights={path}")));
    args
}

/// What is known of the weights of a variant.
pub fn proof(status: &QuantizedModelStatus, variant: &str) -> Option<WeightsProof> {
    let arm = status.arms.iter().find(|arm| arm.variant == variant)?;
    arm.weights.as_ref()?.known()
}

/// int8 never answered anybody, and its weight never rose.
async fn never_served(stage: &Stage) {
    assert_eq!(stage.ledger.weights_of("int8"), [0], "{}", stage.ledger.story());
    stage.answered("fp32", 500).await;
    let counts = stage.load.counts();
    assert!(!counts.by_variant.contains_key("int8"), "{}", stage.story());
}

/// What a rollout of int8 whose pods never start says.
pub async fn failed(stage: &Stage) -> String {
    let why = stage.decided(Action::Failed, "int8").await.why;
    let status = stage
        .until("backs off", |s| condition(s, "Progressing").1 == "BackingOff")
        .await;
    assert!(status.rejected.is_empty(), "it was never judged");
    never_served(stage).await;
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_that_were_changed_on_their_way_never_serve_and_those_that_were_declared_climb() {
    let declared = {
        let mut setting = on_a_volume("weights-volume");
        setting.spec()["variants"][1]["weights"]["digest"].take()
    };
    let other = format!("sha256:{}", "0".repeat(64));
    let stage = on_a_volume("weights-volume")
        .with("/variants/1/weights/digest", json!(other))
        .start()
        .await;
    let why = failed(&stage).await;
    let declared = declared.as_str().expect("a digest");
    for part in [
        "the weights were refused before the server started",
        "/models/int8.bin",
        &other,
        declared,
    ] {
        assert!(why.contains(part), "{part:?} in {why}");
    }
    let mut variants = stage.spec().await["variants"].take();
    variants[1]["weights"]["digest"] = json!(declared);
    stage.patch(json!({"variants": variants})).await;
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    let status = stage.status();
    assert_eq!(proof(&status, "int8"), Some(WeightsProof::Verified));
    assert_eq!(proof(&status, "fp32"), Some(WeightsProof::Declared));
    let route = stage.routes().get(MODEL).await.expect("the route is there");
    assert_eq!(
        route
            .annotations()
            .get("guardbit.dev/weights-proof")
            .map(String::as_str),
        Some("Verified")
    );
    stage.finish(2).await;
}
