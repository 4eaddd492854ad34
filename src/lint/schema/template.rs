//! The schema of a pod template, as Kubernetes has it.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// How the description of a quantity begins. The API server takes a number for one, which its schema does not say.
const QUANTITY: &str = "Quantity is a fixed-point";

/// The schema of a pod template, without references.
pub(super) fn schema() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<PodTemplateSpec>();
    let mut schema = schema.to_value();
    let_quantities_be_numbers(&mut schema);
    schema
}

fn let_quantities_be_numbers(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map
                .get("description")
                .and_then(Value::as_str)
                .is_some_and(|d| d.starts_with(QUANTITY))
            {
                map.insert("x-kubernetes-int-or-string".to_owned(), true.into());
            }
            map.values_mut().for_each(let_quantities_be_numbers);
        }
        Value::Array(items) => items.iter_mut().for_each(let_quantities_be_numbers),
        _ => {}
    }
}

/// A template without its fields that are null, which Kubernetes takes as left out.
pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
