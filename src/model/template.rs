//! Pod templates as the user wrote them, read with the types of Kubernetes.
//!
//! The API server keeps a template as it is, whatever is in it. So what is misspelt in it would be missing in the pods,
//! without a word. Owns what of a template the pods would lack, and how the two templates of a variant become one. Must not know
//! what is live.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{PodTemplateSpec, Volume, VolumeMount};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{PodTemplate, QuantizedModelSpec, SpecProblem, Variant};

use super::weights;

/// Path of the template that all variants share.
pub const SHARED: &str = "spec.serving.template";

/// What is wrong with a part of the pod template of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateProblem {
    /// The variant whose pods it is about.
    pub variant: String,
    /// What is wrong, with the field.
    pub problem: String,
}

/// Path of the template of one variant.
pub fn own(variant: &str) -> String {
    format!("spec.variants[{variant}].template")
}

/// Whether a sentence is about a template, and so may quote it: it begins with the path of one.
pub fn is_about(sentence: &str) -> bool {
    let of_variant = || {
        let (_, below) = sentence.strip_prefix("spec.variants[")?.split_once(']')?;
        Some(below.starts_with(".template"))
    };
    sentence.starts_with(SHARED) || of_variant() == Some(true)
}

/// Reads a template. `field` is its path.
pub fn read(field: &str, template: &PodTemplate) -> Result<PodTemplateSpec, SpecProblem> {
    let PodTemplate(written) = template;
    serde_path_to_error::deserialize(Value::Object(written.clone())).map_err(|error| {
        let below = error.path().to_string();
        let at = if below == "." {
            String::new()
        } else {
            format!(".{below}")
        };
        SpecProblem::new(
            format!("{field}{at}"),
            format!("{}; write it as in a Deployment", error.inner()),
        )
    })
}

/// The pod template of a variant: its own merged over the one that all variants share.
pub fn merged(spec: &QuantizedModelSpec, variant: &Variant) -> Result<PodTemplateSpec, SpecProblem> {
    let mut template = read(SHARED, &spec.serving.template)?;
    if let Some(own) = &variant.template {
        template.merge_from(read(&self::own(&variant.name), own)?);
    }
    Ok(template)
}

/// Name of the container that serves the model, by the template that all variants share: the one with the model's port, or
/// else the first one.
pub fn model_container(spec: &QuantizedModelSpec) -> Option<&str> {
    let PodTemplate(template) = &spec.serving.template;
    let containers = template.get("spec")?.get("containers")?.as_array()?;
    let serves = |container: &&Value| {
        let ports = container["ports"].as_array();
        ports.is_some_and(|ports| ports.iter().any(|port| port["containerPort"] == spec.serving.port))
    };
    let serving = containers.iter().find(serves).or(containers.first())?;
    serving["name"].as_str()
}

/// What of the templates of a spec the pods would lack, by variant.
pub fn problems(spec: &QuantizedModelSpec) -> Vec<TemplateProblem> {
    let shared = of(SHARED, &spec.serving.template);
    let by_variant = spec.variants.iter().flat_map(|variant| {
        let own = variant.template.as_ref();
        let own = own.map_or_else(Vec::new, |template| of(&self::own(&variant.name), template));
        let all = shared.iter().cloned().chain(own).chain(unverified(spec, variant));
        all.map(|problem| TemplateProblem {
            variant: variant.name.clone(),
            problem: problem.to_string(),
        })
    });
    by_variant.collect()
}

/// Why the pods of a variant could not verify its weights, where they are to.
pub fn unverified(spec: &QuantizedModelSpec, variant: &Variant) -> Option<SpecProblem> {
    variant.weights.mount.as_ref()?;
    // One that cannot be read is told as a whole.
    let pod = merged(spec, variant).ok()?.spec.unwrap_or_default();
    let why = weights::place(&pod, model_container(spec), &variant.weights).err()?;
    Some(SpecProblem::new(self::own(&variant.name), why))
}

/// How the server mounts the volume on which its weights are verified, where it may write to it.
pub fn writable(spec: &QuantizedModelSpec, variant: &Variant) -> Option<VolumeMount> {
    let pod = merged(spec, variant).ok()?.spec.unwrap_or_default();
    let place = weights::place(&pod, model_container(spec), &variant.weights).ok()??;
    let mount = place.mount;
    let is_read_only = |volume: &Volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        volume.name == mount.name && claim.is_some_and(|claim| claim.read_only == Some(true))
    };
    let is_writable = mount.read_only != Some(true) && !pod.volumes.iter().flatten().any(is_read_only);
    is_writable.then_some(mount)
}

fn of(field: &str, template: &PodTemplate) -> Vec<SpecProblem> {
    let PodTemplate(written) = template;
    match read(field, template).map(serde_json::to_value) {
        Err(problem) => vec![problem],
        Ok(read) => {
            let mut lost = Vec::new();
            lacking(
                field,
                &Value::Object(written.clone()),
                &read.unwrap_or_default(),
                &mut lost,
            );
            lost
        }
    }
}

/// Fields that were written and not read.
fn lacking(field: &str, written: &Value, read: &Value, out: &mut Vec<SpecProblem>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                match read.get(key) {
                    Some(read) => lacking(&format!("{field}.{key}"), value, read, out),
                    None => out.push(SpecProblem::new(
                        field,
                        format!("Kubernetes knows no field {key:?} here, so the pods would not have it; correct it (guardbit lint tells what was probably meant), or remove it"),
                    )),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            for (i, (written, read)) in written.iter().zip(read).enumerate() {
                lacking(&format!("{field}[{i}]"), written, read, out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn weights_that_the_pods_could_not_verify_are_told_with_the_template() {
        let spec = |mount: Value| -> QuantizedModelSpec {
            let text = include_str!("../../tests/testdata/fraud-scorer.yaml");
            let mut model: Value = serde_yaml_ng::from_str(text).unwrap();
            model["spec"]["variants"][1]["weights"]["mount"] = mount;
            serde_json::from_value(model["spec"].take()).unwrap()
        };
        assert_eq!(problems(&spec(Value::Null)), []);
        let found = problems(&spec(json!({"path": "/nowhere"})));
        assert!(
            found.len() == 1 && found[0].variant == "int8" && is_about(&found[0].problem),
            "{found:?}"
        );
        assert!(found[0].problem.contains("no volume at /nowhere"), "{found:?}");
    }

    fn found(template: Value) -> Vec<String> {
        let Value::Object(map) = template else { unreachable!() };
        of("t", &PodTemplate(map)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_pods_would_have_is_no_problem() {
        let whole = json!({
            "metadata": {"labels": {"a": "b"}, "creationTimestamp": null},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "volumes": [{"name": "models", "emptyDir": {}}],
                "containers": [{
                    "name": "server",
                    "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 8080, "path": "/"}},
                    "env": [],
                }],
            },
        });
        assert_eq!(found(whole), [""; 0]);
    }

    #[test]
    fn what_is_misspelt_or_of_another_type_is_told_with_its_place() {
        let typos = json!({"spec": {"terminationGracePeriodSecond": 1, "containers": [{"name": "server", "lifecycel": {"preStop": {}}}]}});
        let found = found(typos);
        let told = |at: usize, field: &str, key: &str| found[at].starts_with(field) && found[at].contains(key);
        assert!(
            found.len() == 2
                && told(0, "t.spec.containers[0]: ", "\"lifecycel\"")
                && told(1, "t.spec: ", "\"terminationGracePeriodSecond\""),
            "{found:?}"
        );
    }

    #[test]
    fn a_problem_of_a_template_is_known_by_its_path() {
        for path in [SHARED, own("int8").as_str()] {
            let problem = SpecProblem::new(format!("{path}.spec"), "is wrong");
            assert!(is_about(&problem.to_string()), "{path}");
        }
        for other in ["spec.variants[0].calibration.maxAge: is wrong", "spec.variants", ""] {
            assert!(!is_about(other), "{other}");
        }
    }

    #[test]
    fn another_type_is_told_with_its_place() {
        for (template, place) in [
            (json!({"spec": {"containers": "none"}}), "t.spec.containers: "),
            (
                json!({"spec": {"containers": [{"name": "s", "ports": [{"containerPort": "http"}]}]}}),
                "t.spec.containers[0].ports[0].containerPort: ",
            ),
            (json!({"spec": {"replicas": 1, "containers": 5}}), "t.spec.containers: "),
        ] {
            let found = found(template);
            assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
        }
    }
}
