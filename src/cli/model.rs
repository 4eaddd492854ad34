//! Reads a `QuantizedModel` from a file, for the commands that need no cluster.

use std::path::Path;

use serde::Deserialize;

use crate::api::{GROUP, QuantizedModelSpec};

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
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = serde_json::Value::deserialize(document).map_err(|e| format!("{}: {e}", path.display()))?;
        let of_group = value["apiVersion"].as_str().is_some_and(|v| v.starts_with(GROUP));
        if of_group && value["kind"] == "QuantizedModel" {
            return serde_json::from_value(value).map_err(|e| format!("{}: {e}", path.display()));
        }
    }
    Err(format!(
        "{}: there is no QuantizedModel of {GROUP}/v1alpha1 in it",
        path.display()
    ))
}
