//! `guardbit crds`: the CustomResourceDefinitions, generated from `src/api`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::api::QuantizedModel;

/// First lines of the generated file.
const HEADER: &str = "# Generated from src/api by `guardbit crds`. Do not edit.\n";

/// The CustomResourceDefinition of `QuantizedModel`.
pub fn crd() -> CustomResourceDefinition {
    QuantizedModel::crd()
}

/// All definitions as one YAML document.
pub fn yaml() -> Result<String, serde_yaml_ng::Error> {
    Ok(format!("{HEADER}{}", serde_yaml_ng::to_string(&crd())?))
}
