//! `guardbit crds`: the CustomResourceDefinitions, generated from `src/api`.

use std::process::ExitCode;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::api::QuantizedModel;

use super::streams;

/// First lines of the generated file.
const HEADER: &str = "# Generated from src/api by `guardbit crds`. Do not edit.\n";

/// The CustomResourceDefinition of `QuantizedModel`.
pub fn crd() -> CustomResourceDefinition {
    QuantizedModel::crd()
}

/// Prints the definitions.
pub fn start() -> ExitCode {
    match yaml() {
        Ok(yaml) => {
            streams::print(yaml.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guardbit: the definitions cannot be written as YAML: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All definitions as one YAML document.
pub fn yaml() -> Result<String, serde_yaml_ng::Error> {
    Ok(format!("{HEADER}{}", serde_yaml_ng::to_string(&crd())?))
}
