//! Where the pods of a variant have its weights, by its pod template.
//!
//! What is verified must be what the server reads. So the volume is looked for as the container that serves the model mounts it,
//! and nothing else may be mounted below it.

use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};

use crate::api::Weights;

/// Name of the volume and of the container that guardbit adds to pods.
pub const ADDED: &str = "guardbit-weights";

/// The volume with the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Position of the container that serves the model.
    pub server: usize,
    /// How that container mounts the volume.
    pub mount: VolumeMount,
    /// Whether guardbit has yet to add the mount to that container.
    pub is_added: bool,
}

/// Where the pods of a template have weights; `None` where nobody says. `server` is the name of the container that serves the
/// model. The error says what is wrong with the template.
pub fn place(pod: &PodSpec, server: Option<&str>, weights: &Weights) -> Result<Option<Place>, String> {
    let Some(wanted) = &weights.mount else { return Ok(None) };
    let path = &wanted.path;
    let is_server = |container: &Container| Some(container.name.as_str()) == server;
    let at = pod.containers.iter().position(is_server).unwrap_or(0);
    let Some(container) = pod.containers.get(at) else {
        return Err("it has no container that could have the weights: add the one that serves the model".to_owned());
    };
    let name = &container.name;
    let volumes = || pod.volumes.iter().flatten().map(|volume| volume.name.as_str());
    let inits = pod.init_containers.iter().flatten();
    let mut names = pod
        .containers
        .iter()
        .chain(inits)
        .map(|container| container.name.as_str());
    if names.any(|name| name == ADDED) || volumes().any(|volume| volume == ADDED) {
        return Err(format!(
            "a container or a volume of it is called {ADDED}, as what guardbit adds to verify weights: give it another name"
        ));
    }
    let mounts = || container.volume_mounts.iter().flatten();
    let added = |volume: &str| VolumeMount {
        mount_path: path.clone(),
        name: volume.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let (mount, is_added) = match (weights.image(), &wanted.volume) {
        (Some(_), _) => (added(ADDED), true),
        (None, Some(volume)) if volumes().any(|known| known == volume) => (added(volume), true),
        (None, Some(volume)) => {
            return Err(format!(
                "it has no volume {volume:?}, which weights.mount.volume names: add the volume with the weights, or correct the name"
            ));
        }
        (None, None) => {
            let above = mounts().filter(|mount| lies_within(path, &mount.mount_path));
            let nearest = above.max_by_key(|mount| Path::new(&mount.mount_path).components().count());
            let Some(nearest) = nearest else {
                return Err(format!(
                    "container {name} mounts no volume at {path} or above it, where weights.mount.path says that the weights are: \
                     mount their volume there, or name it as weights.mount.volume"
                ));
            };
            (nearest.clone(), false)
        }
    };
    if mount.sub_path_expr.is_some() {
        return Err(format!(
            "container {name} mounts the volume with the weights by subPathExpr, which cannot be resolved in another container: \
             use subPath"
        ));
    }
    let mut others = mounts().filter(|other| is_added || **other != mount);
    let hides =
        |other: &&VolumeMount| lies_within(&other.mount_path, &mount.mount_path) || has_parent(&other.mount_path);
    if let Some(other) = others.find(hides) {
        return Err(format!(
            "container {name} mounts the volume {:?} at {}, so that it would read other files there than those that are verified at \
             {path}: mount that volume outside of {}",
            other.name, other.mount_path, mount.mount_path
        ));
    }
    Ok(Some(Place {
        server: at,
        mount,
        is_added,
    }))
}

/// Whether a path is another one, or lies below it.
fn lies_within(path: &str, other: &str) -> bool {
    Path::new(path).starts_with(other)
}

/// Whether a path may lead elsewhere than it says.
fn has_parent(path: &str) -> bool {
    Path::new(path).components().any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn weights(uri: &str, mount: Value) -> Weights {
        serde_json::from_value(json!({"uri": uri, "digest": DIGEST, "mount": mount})).unwrap()
    }

    fn pod(mounts: &[(&str, &str)]) -> PodSpec {
        let mounts: Vec<_> = mounts
            .iter()
            .map(|(name, path)| json!({"name": name, "mountPath": path}))
            .collect();
        let server = json!({"name": "server", "volumeMounts": mounts});
        let volumes = ["models", "cache"].map(|name| json!({"name": name, "emptyDir": {}}));
        serde_json::from_value(json!({"containers": [{"name": "agent"}, server], "volumes": volumes})).unwrap()
    }

    fn found(mounts: &[(&str, &str)], mount: Value) -> Result<(String, String, bool), String> {
        let place = place(&pod(mounts), Some("server"), &weights("s3://models/m", mount))?.expect("a mount");
        assert_eq!(place.server, 1);
        Ok((place.mount.name, place.mount.mount_path, place.is_added))
    }

    #[test]
    fn the_volume_is_that_which_the_server_reads() {
        for (mounts, mount, name, path, is_added) in [
            (
                &[("models", "/models")][..],
                json!({"path": "/models"}),
                "models",
                "/models",
                false,
            ),
            (
                &[("models", "/models/")],
                json!({"path": "/models/int8"}),
                "models",
                "/models/",
                false,
            ),
            (
                &[("cache", "/"), ("models", "/models")],
                json!({"path": "/models/a"}),
                "models",
                "/models",
                false,
            ),
            (
                &[("cache", "/mod")],
                json!({"path": "/models", "volume": "models"}),
                "models",
                "/models",
                true,
            ),
        ] {
            let expected = (name.to_owned(), path.to_owned(), is_added);
            assert_eq!(found(mounts, mount.clone()), Ok(expected), "{mount}");
        }
    }

    #[test]
    fn what_would_let_the_server_read_other_files_is_refused() {
        let path = || json!({"path": "/models/int8"});
        for (mounts, mount, part) in [
            (
                &[("models", "/mod")][..],
                path(),
                "mounts no volume at /models/int8 or above it",
            ),
            (
                &[("models", "/models"), ("cache", "/models/int8/x")],
                path(),
                "\"cache\" at /models/int8/x",
            ),
            (
                &[("models", "/models"), ("cache", "/models/fp32")],
                path(),
                "outside of /models",
            ),
            (
                &[("models", "/models"), ("cache", "/x/../models/int8")],
                path(),
                "other files",
            ),
            (&[], json!({"path": "/models", "volume": "none"}), "no volume \"none\""),
            (
                &[("cache", "/models")],
                json!({"path": "/models", "volume": "models"}),
                "\"cache\" at /models",
            ),
            (
                &[("models", "/models")],
                json!({"path": "/models", "volume": "models"}),
                "\"models\" at /models",
            ),
        ] {
            let error = found(mounts, mount).expect_err(part);
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn an_image_is_mounted_at_the_path_itself() {
        let image = weights(
            &format!("oci://registry.example/m@{DIGEST}"),
            json!({"path": "/models"}),
        );
        let placed = place(&pod(&[("cache", "/cache")]), Some("server"), &image);
        let placed = placed.expect("a place").expect("a mount");
        assert_eq!(
            (placed.mount.name.as_str(), placed.mount.read_only),
            (ADDED, Some(true))
        );
        let taken = place(&pod(&[("cache", "/models")]), Some("server"), &image).expect_err("taken");
        assert!(taken.contains("\"cache\" at /models"), "{taken}");
        let mut named = pod(&[]);
        named.containers[0].name = ADDED.to_owned();
        let named = place(&named, Some("server"), &image).expect_err("a name of ours");
        assert!(named.contains("give it another name"), "{named}");
    }

    #[test]
    fn weights_that_are_only_declared_have_no_place() {
        let declared = weights("s3://models/m", Value::Null);
        assert_eq!(place(&PodSpec::default(), None, &declared), Ok(None));
        let empty = place(&PodSpec::default(), None, &weights("s3://m", json!({"path": "/m"})));
        assert!(empty.expect_err("no container").contains("has no container"));
    }
}
