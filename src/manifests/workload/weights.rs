//! What verifies the weights of a revision before its server starts.
//!
//! An image is mounted by its digest, which the kubelet checks. Anything else a container of guardbit's own image hashes, on the
//! volume that the server reads, as the last of the init containers: one before it may fetch the weights. Of an image that
//! container looks whether it is mounted at all: an API server that does not have such volumes turned on drops them without a
//! word, and a container runtime that does not know them leaves them empty.

use std::collections::BTreeMap;
use std::fmt::Display;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ImageVolumeSource, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::{SpecProblem, Variant};
use crate::model::template;
use crate::model::weights::{ADDED, Place, place};

use super::error::BuildError;

/// The user of guardbit's image.
const USER: i64 = 65532;

/// Resources of the container that verifies, with what it asks for and may have where the template says nothing of them for the
/// server.
const RESOURCES: [(&str, Option<&str>, Option<&str>); 3] = [
    ("cpu", Some("100m"), None),
    ("memory", Some("32Mi"), Some("128Mi")),
    ("ephemeral-storage", None, None),
];

/// Adds to pods what verifies the weights of their variant. `server` is the name of the container that serves the model, and
/// `image` that of the container that verifies. Returns that image where it is used.
pub(super) fn add(
    pod: &mut PodSpec,
    server: Option<&str>,
    variant: &Variant,
    image: Option<&str>,
) -> Result<Option<Box<str>>, BuildError> {
    let wrong = |why: String| BuildError::Template(SpecProblem::new(template::own(&variant.name), why));
    let Some(place) = place(pod, server, &variant.weights).map_err(wrong)? else {
        return Ok(None);
    };
    if place.is_added {
        let mounts = pod.containers[place.server].volume_mounts.get_or_insert_default();
        mounts.push(place.mount.clone());
    }
    if let Some(reference) = variant.weights.image() {
        let source = ImageVolumeSource {
            reference: Some(reference.to_owned()),
            pull_policy: Some("IfNotPresent".to_owned()),
        };
        pod.volumes.get_or_insert_default().push(Volume {
            name: ADDED.to_owned(),
            image: Some(source),
            ..Volume::default()
        });
    }
    let image = image.ok_or_else(|| BuildError::NoImage(variant.name.clone()))?;
    let verifier = verifier(pod, &place, variant, image);
    pod.init_containers.get_or_insert_default().push(verifier);
    Ok(Some(image.into()))
}

/// The container that hashes the weights, or looks whether their image is mounted, as `restricted` pod security wants it. Its
/// arguments and all the rest of it must stay what they are: they are part of live templates.
fn verifier(pod: &PodSpec, place: &Place, variant: &Variant, image: &str) -> Container {
    let weights = &variant.weights;
    let path = weights.mount.as_ref().map_or("", |mount| mount.path.as_str());
    // Kubernetes replaces `$(NAME)` in arguments, and takes two dollar signs for one.
    let flag = |name: &str, value: &dyn Display| format!("--{name}={value}").replace('$', "$$");
    let mut args = vec!["weights".to_owned()];
    match weights.image() {
        Some(_) => args.extend(["mounted".to_owned(), flag("path", &path)]),
        None => args.extend([
            "verify".to_owned(),
            flag("path", &path),
            flag("root", &place.mount.mount_path),
            flag("digest", &weights.digest),
        ]),
    }
    let server = &pod.containers[place.server];
    let context = server.security_context.as_ref();
    Container {
        name: ADDED.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(args),
        resources: Some(resources(server.resources.as_ref())),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            run_as_user: Some(reader(pod, place)),
            run_as_group: context.and_then(|context| context.run_as_group),
            se_linux_options: context.and_then(|context| context.se_linux_options.clone()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..SecurityContext::default()
        }),
        // It says in one line why it refuses weights, and the kubelet puts that into the status of the pod.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![VolumeMount {
            read_only: Some(true),
            mount_propagation: None,
            recursive_read_only: None,
            ..place.mount.clone()
        }]),
        ..Container::default()
    }
}

/// What the container asks for and may have: of each resource what the server does, if its template says anything of it. A pod needs
/// the larger of both, so it needs no more than before; it keeps its class of quality of service, by which a node gives it CPUs of its
/// own; and a quota that wants a limit of every container has one.
fn resources(server: Option<&ResourceRequirements>) -> ResourceRequirements {
    let of_server = |of: Option<&BTreeMap<String, Quantity>>, name: &str| of?.get(name).cloned();
    let asks = server.and_then(|server| server.requests.as_ref());
    let may_have = server.and_then(|server| server.limits.as_ref());
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for (name, request, limit) in RESOURCES {
        let (mut asked, mut allowed) = (of_server(asks, name), of_server(may_have, name));
        if asked.is_none() && allowed.is_none() {
            let usual = |quantity: Option<&str>| quantity.map(|quantity| Quantity(quantity.to_owned()));
            (asked, allowed) = (usual(request), usual(limit));
        }
        requests.extend(asked.map(|quantity| (name.to_owned(), quantity)));
        limits.extend(allowed.map(|quantity| (name.to_owned(), quantity)));
    }
    let some = |of: BTreeMap<String, Quantity>| Some(of).filter(|of| !of.is_empty());
    ResourceRequirements {
        requests: some(requests),
        limits: some(limits),
        ..ResourceRequirements::default()
    }
}

/// The user that reads the weights: that of the server, because others may not be able to; but never root.
fn reader(pod: &PodSpec, place: &Place) -> i64 {
    let server = pod.containers[place.server].security_context.as_ref();
    let of_server = server.and_then(|context| context.run_as_user);
    let of_pod = pod.security_context.as_ref().and_then(|context| context.run_as_user);
    of_server.or(of_pod).filter(|user| *user > 0).unwrap_or(USER)
}
