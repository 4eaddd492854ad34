//! Reads a `QuantizedModel` from a file, for the commands that need no cluster.

use std::path::Path;

use serde::Deserialize;

use crate::api::{GROUP, QuantizedModelSpec};

use super::streams;

/// A model as it stands in a file.
#[derive(Debug, Deserialize)]
pub struct ModelFile {
    #[serde(default)]
    metadata: Named,
    /// What is wanted.
    pub spec: QuantizedModelSpec,
}

#[derive(Debug, Default, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

impl ModelFile {
    /// Its name; that of the model in its registry where there is none.
    pub fn name(&self) -> &str {
        if self.metadata.name.is_empty() {
            &self.spec.model.name
        } else {
            &self.metadata.name
        }
    }
}

/// The first `QuantizedModel` among the documents of a YAML file, with its defaults filled in.
pub fn read(path: &Path) -> Result<ModelFile, String> {
    let bytes = streams::read(path)?;
    first(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// The same of the bytes of a file.
pub(super) fn first(bytes: &[u8]) -> Result<ModelFile, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 text: {e}"))?;
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = serde_json::Value::deserialize(document).map_err(|e| e.to_string())?;
        let of_group = value["apiVersion"].as_str().is_some_and(|v| v.starts_with(GROUP));
        if of_group && value["kind"] == "QuantizedModel" {
            return serde_json::from_value(value).map_err(|e| e.to_string());
        }
    }
    Err(format!("there is no QuantizedModel of {GROUP}/v1alpha1 in it"))
}
