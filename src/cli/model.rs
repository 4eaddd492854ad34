//! Reads a `QuantizedModel` from a file, for the commands that need no cluster.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::api::{GROUP, QuantizedModelSpec};

use super::streams;

#[derive(Deserialize)]
struct ModelFile {
    spec: QuantizedModelSpec,
}

/// The spec of the first `QuantizedModel` among the documents of a YAML file, with its defaults filled in.
pub fn read(path: &Path) -> Result<QuantizedModelSpec, String> {
    first(&streams::read(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

fn first(bytes: &[u8]) -> Result<QuantizedModelSpec, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 text: {e}"))?;
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|e| e.to_string())?;
        let of_group = value["apiVersion"].as_str().is_some_and(|v| v.starts_with(GROUP));
        if of_group && value["kind"] == "QuantizedModel" {
            let file: ModelFile = serde_json::from_value(value).map_err(|e| e.to_string())?;
            return Ok(file.spec);
        }
    }
    Err(format!("there is no QuantizedModel of {GROUP}/v1alpha1 in it"))
}
