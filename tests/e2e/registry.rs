//! Weights in an image, which the kubelet mounts by its digest: others never answer a user. They need a registry in the cluster.

use std::path::PathBuf;

use guardbit::api::WeightsProof;
use serde_json::{Value, json};

use crate::stage::{Setting, http};
use crate::weights::{args, failed, proof, verified};

/// A rollout of int8 whose weights are in an image: `NAME@DIGEST`.
fn in_an_image(test: &str, image: &str) -> Setting {
    let mut setting = verified(test);
    let server = setting.spec()["serving"]["template"]["spec"]["containers"][0].clone();
    let (_, digest) = image.split_once('@').expect("an image by its digest");
    let template = json!({"spec": {"containers": [{"name": "server", "args": args(&server, "/models/int8.bin")}]}});
    let weights = json!({"uri": format!("oci://{image}"), "digest": digest, "mount": {"path": "/models"}});
    setting
        .with("/variants/1/template", template)
        .with("/variants/1/weights", weights)
}

fn image_of(what: &str) -> String {
    let name = format!("GUARDBIT_TEST_IMAGE_OF_{what}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run tests/cluster/run-tests.sh full"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_in_an_image_are_mounted_and_climb() {
    let stage = in_an_image("weights-image", &image_of("WEIGHTS")).start().await;
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    assert_eq!(proof(&stage.status(), "int8"), Some(WeightsProof::Verified));
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_another_digest_never_starts() {
    let image = image_of("WEIGHTS");
    let (name, _) = image.split_once('@').expect("an image by its digest");
    let other = format!("{name}@sha256:{}", "0".repeat(64));
    let stage = in_an_image("weights-other", &other).start().await;
    let why = failed(&stage).await;
    assert!(
        why.contains("ImagePullBackOff") || why.contains("ErrImagePull"),
        "{why}"
    );
    stage.finish(1).await;
}

/// The registry hands out other bytes under the right digest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_bytes_were_changed_in_the_registry_never_starts() {
    let image = image_of("DAMAGED");
    damage(&image).await;
    let stage = in_an_image("weights-damaged", &image).start().await;
    let why = failed(&stage).await;
    assert!(
        why.contains("ImagePullBackOff") || why.contains("ErrImagePull"),
        "{why}"
    );
    stage.finish(1).await;
}

/// Changes a byte of the layer of an image, where the registry keeps it.
async fn damage(image: &str) {
    let (name, digest) = image.split_once('@').expect("an image by its digest");
    let (registry, name) = name.split_once('/').expect("a registry");
    let manifest = http()
        .get(format!("http://{registry}/v2/{name}/manifests/{digest}"))
        .header("accept", "application/vnd.oci.image.manifest.v1+json")
        .send()
        .await
        .expect("the registry answers");
    let manifest: Value = serde_json::from_slice(&manifest.bytes().await.expect("a manifest")).expect("JSON");
    let layer = manifest["layers"][0]["digest"]
        .as_str()
        .and_then(|d| d.strip_prefix("sha256:"));
    let layer = layer.expect("a layer");
    let folder = PathBuf::from(std::env::var("GUARDBIT_CLUSTER_DIR").expect("the cluster says where it is"));
    let blobs = folder.join("registry/docker/registry/v2/blobs/sha256");
    let blob = blobs.join(&layer[..2]).join(layer).join("data");
    let mut bytes = std::fs::read(&blob).expect("the blob is there");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&blob, bytes).expect("written");
}
