//! What the API server would refuse: the schema of the CRD, field by field, and then its CEL rules.
//!
//! Both are those of `src/api`, read from the definition itself, so a field that is new there is known here. Pod templates,
//! which the definition takes as they are, are held against the schema of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::CustomResourceExt;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use regex::Regex;
use serde_json::Value;

use super::rule::{API_RULE, Rule, SCHEMA, UNKNOWN_FIELD};
use crate::api::{PrecisionPolicy, QuantizedModel};

mod template;

/// The schema of a kind, ready to be held against many objects.
pub struct Schema {
    /// What an object of the kind is.
    what: &'static str,
    /// Of `spec`.
    spec: Value,
    /// Of the pod templates in it, which the definition takes as they are; `None` for a kind without any.
    template: Option<Value>,
    compiled: CompiledSchema,
    validator: Validator,
    patterns: BTreeMap<String, Regex>,
}

/// What the patterns of quantities mean.
const FORMS: [(&str, &str); 3] = [
    (
        r"^([0-9]+(ms|s|m|h))+$",
        "a length of time, such as \"90s\" or \"1h30m\"",
    ),
    (r"^[0-9]+(\.[0-9]+)?%?$", "a share, such as \"0.5%\" or \"0.005\""),
    (r"^-?[0-9]+(\.[0-9]+)?$", "a decimal number, such as \"0.941\""),
];

/// A field that would be refused.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) rule: &'static Rule,
    pub(super) field: String,
    pub(super) message: String,
    /// Whether it is that the field is missing.
    missing: bool,
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

impl Schema {
    /// The schema of a `QuantizedModel` that this version of guardbit generates.
    pub fn new() -> Self {
        Self::of("model", &QuantizedModel::crd(), Some(template::schema()))
    }

    /// The schema of a `PrecisionPolicy`.
    pub fn of_policies() -> Self {
        Self::of("policy", &PrecisionPolicy::crd(), None)
    }

    fn of(what: &'static str, definition: &CustomResourceDefinition, template: Option<Value>) -> Self {
        let crd = serde_json::to_value(definition).unwrap_or_default();
        let whole = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let spec = whole["properties"]["spec"].clone();
        let mut patterns = BTreeMap::new();
        collect(&spec, &mut patterns);
        Self {
            compiled: compile_schema(&serde_json::json!({"type": "object", "properties": {"spec": spec}})),
            validator: Validator::new(),
            what,
            spec,
            template,
            patterns,
        }
    }

    /// What of an object breaks the schema; where nothing does, what breaks its CEL rules, as the API server does it.
    pub(super) fn refuses(&self, object: &Value) -> Vec<Refused> {
        let mut refused = Vec::new();
        for key in object.as_object().into_iter().flat_map(|o| o.keys()) {
            if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&key.as_str()) {
                refused.push(Refused {
                    rule: &UNKNOWN_FIELD,
                    field: key.clone(),
                    message: format!("there is no field {key:?} at the top; what is wanted goes under spec"),
                    missing: false,
                });
            }
        }
        if object["metadata"]["name"].as_str().is_none_or(str::is_empty)
            && object["metadata"]["generateName"].as_str().is_none()
        {
            let message = format!("is missing: give the {} a name", self.what);
            refused.push(broken("metadata.name", &message));
        }
        match object.get("spec") {
            Some(spec) => {
                self.walk(&self.spec, spec, "spec", &mut refused);
                self.templates(spec, &mut refused);
            }
            None => refused.push(broken("spec", "is missing: it says what is wanted")),
        }
        if refused.iter().all(|r| r.rule == &UNKNOWN_FIELD) {
            refused.extend(self.rules(object));
        }
        refused
    }

    fn rules(&self, object: &Value) -> Vec<Refused> {
        let spec = serde_json::json!({"spec": object["spec"]});
        let Err(errors) = self.validator.validate_compiled(&self.compiled, &spec, None) else {
            return Vec::new();
        };
        let refused = errors.into_vec().into_iter().map(|error| Refused {
            rule: &API_RULE,
            field: pointed_at(&error.field_path, &error.message, object),
            message: error.message,
            missing: false,
        });
        refused.collect()
    }

    /// What of the pod templates Kubernetes would not take, or not know. The template of a variant is merged over the shared
    /// one, and says only what differs.
    fn templates(&self, spec: &Value, out: &mut Vec<Refused>) {
        let Some(schema) = &self.template else { return };
        if let Some(shared) = spec["serving"].get("template") {
            self.walk(schema, &template::without_nulls(shared), "spec.serving.template", out);
        }
        for (i, variant) in spec["variants"].as_array().into_iter().flatten().enumerate() {
            if let Some(own) = variant.get("template") {
                let mut found = Vec::new();
                let field = format!("spec.variants[{i}].template");
                self.walk(schema, &template::without_nulls(own), &field, &mut found);
                out.extend(found.into_iter().filter(|refused| !refused.missing));
            }
        }
    }

    fn walk(&self, schema: &Value, value: &Value, field: &str, out: &mut Vec<Refused>) {
        if value.is_null() {
            if schema.get("default").is_none() && schema["nullable"] != true {
                out.push(broken(field, "is empty; write a value, or leave the field out"));
            }
            return;
        }
        if schema["x-kubernetes-int-or-string"] == true && (value.is_string() || value.is_number()) {
            return;
        }
        let wanted = schema["type"].as_str().unwrap_or_default();
        match (wanted, value) {
            ("object", Value::Object(map)) => {
                if schema["x-kubernetes-preserve-unknown-fields"] == true {
                    return;
                }
                let properties = schema["properties"].as_object();
                if schema["maxProperties"]
                    .as_u64()
                    .is_some_and(|most| map.len() as u64 > most)
                {
                    let message = format!("has {} keys, and may have {}", map.len(), schema["maxProperties"]);
                    out.push(broken(field, &message));
                }
                let any = schema.get("additionalProperties").filter(|any| any.is_object());
                for (key, below) in map {
                    match properties.and_then(|p| p.get(key)).or(any) {
                        Some(schema) => self.walk(schema, below, &format!("{field}.{key}"), out),
                        None => out.push(unknown(field, key, properties.into_iter().flat_map(|p| p.keys()))),
                    }
                }
                for key in schema["required"].as_array().into_iter().flatten() {
                    let key = key.as_str().unwrap_or_default();
                    if !map.contains_key(key) {
                        let what = sentence(&schema["properties"][key]["description"]);
                        out.push(Refused {
                            missing: true,
                            ..broken(&format!("{field}.{key}"), &format!("is missing: {what}"))
                        });
                    }
                }
            }
            ("array", Value::Array(items)) => self.list(schema, items, field, out),
            ("string", Value::String(text)) => self.string(schema, text, field, out),
            ("integer", Value::Number(n)) if n.is_i64() || n.is_u64() => range(schema, n.as_f64(), field, out),
            ("number", Value::Number(n)) => range(schema, n.as_f64(), field, out),
            ("boolean", Value::Bool(_)) => {}
            ("string", Value::Number(_) | Value::Bool(_)) => out.push(broken(
                field,
                &format!("is read as {value}, and must be a text: write it in quotes, such as \"{value}\""),
            )),
            _ => out.push(broken(
                field,
                &format!("is {}, and must be {}", kind(value), article(wanted)),
            )),
        }
    }

    fn list(&self, schema: &Value, items: &[Value], field: &str, out: &mut Vec<Refused>) {
        let n = items.len() as u64;
        if schema["minItems"].as_u64().is_some_and(|least| n < least) {
            out.push(broken(
                field,
                &format!("must have at least {} items", schema["minItems"]),
            ));
        }
        if schema["maxItems"].as_u64().is_some_and(|most| n > most) {
            out.push(broken(
                field,
                &format!("has {n} items, and may have {}", schema["maxItems"]),
            ));
        }
        let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (i, item) in items.iter().enumerate() {
            let place = format!("{field}[{i}]");
            let same = |other: &Value| keys.iter().all(|key| other.get(key) == item.get(key));
            if !keys.is_empty() && items[..i].iter().any(same) {
                let what: Vec<_> = keys.iter().map(|key| format!("{key} {}", item[*key])).collect();
                out.push(broken(
                    &place,
                    &format!("has the {} of another item; name it otherwise", what.join(", ")),
                ));
            }
            self.walk(&schema["items"], item, &place, out);
        }
    }

    fn string(&self, schema: &Value, text: &str, field: &str, out: &mut Vec<Refused>) {
        if let Some(allowed) = schema["enum"].as_array() {
            if !allowed.iter().any(|one| one == text) {
                let names: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
                let meant =
                    nearest(text, names.iter().copied()).map_or_else(String::new, |n| format!(": did you mean {n}?"));
                out.push(broken(
                    field,
                    &format!("is {text:?}, which is none of {}{meant}", names.join(", ")),
                ));
            }
            return;
        }
        let n = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|least| n < *least) {
            let problem = match n {
                0 => "is empty; write a value, or leave the field out".to_owned(),
                _ => format!("has {n} characters, and must have {least} or more"),
            };
            out.push(broken(field, &problem));
        }
        if schema["maxLength"].as_u64().is_some_and(|most| n > most) {
            out.push(broken(
                field,
                &format!("has {n} characters, and may have {}", schema["maxLength"]),
            ));
        }
        let pattern = schema["pattern"].as_str();
        if pattern
            .and_then(|p| self.patterns.get(p))
            .is_some_and(|p| !p.is_match(text))
        {
            let form = FORMS.iter().find(|(known, _)| pattern == Some(known));
            let wanted = form.map_or_else(
                || {
                    let what = sentence(&schema["description"]);
                    format!("of the form {}: {what}", pattern.unwrap_or_default())
                },
                |(_, what)| (*what).to_owned(),
            );
            out.push(broken(field, &format!("is {text:?}, and must be {wanted}")));
        }
        if schema["format"] == "date-time" && text.parse::<Timestamp>().is_err() {
            out.push(broken(
                field,
                &format!("is {text:?}, which is no time; write it as \"2026-11-03T09:00:00Z\""),
            ));
        }
    }
}

fn broken(field: &str, message: &str) -> Refused {
    Refused {
        rule: &SCHEMA,
        field: field.to_owned(),
        message: format!("{field} {message}"),
        missing: false,
    }
}

fn unknown<'a>(field: &str, key: &str, known: impl Iterator<Item = &'a String>) -> Refused {
    let meant = nearest(key, known.map(String::as_str))
        .map_or_else(|| "remove it".to_owned(), |name| format!("did you mean {name}?"));
    Refused {
        rule: &UNKNOWN_FIELD,
        field: format!("{field}.{key}"),
        message: format!("{field} has no field {key:?}: {meant}"),
        missing: false,
    }
}

fn range(schema: &Value, value: Option<f64>, field: &str, out: &mut Vec<Refused>) {
    let Some(value) = value else { return };
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
        let bounds = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("of at least {least}"),
            (_, most) => format!("of at most {}", most.unwrap_or_default()),
        };
        out.push(broken(field, &format!("is {value}, and must be a number {bounds}")));
    }
}

/// The field that a rule on a whole object speaks of, where its message begins with its path.
fn pointed_at(field: &str, message: &str, object: &Value) -> String {
    let words = message.split([' ', '"', ',', ':']).filter(|word| !word.is_empty());
    for word in words.take(2) {
        let path = format!("{field}.{word}");
        let exists = path.split('.').try_fold(object, |at, key| {
            let (key, index) = key.split_once('[').unwrap_or((key, ""));
            let at = at.get(key)?;
            match index.trim_end_matches(']').parse::<usize>() {
                Ok(index) => at.get(index),
                Err(_) => Some(at),
            }
        });
        if exists.is_some() {
            return path;
        }
    }
    field.to_owned()
}

/// All patterns of a schema, compiled.
fn collect(schema: &Value, out: &mut BTreeMap<String, Regex>) {
    if let Some(pattern) = schema["pattern"].as_str()
        && let Ok(regex) = Regex::new(pattern)
    {
        out.insert(pattern.to_owned(), regex);
    }
    for below in schema["properties"].as_object().into_iter().flat_map(|p| p.values()) {
        collect(below, out);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], out);
    }
}

/// The first sentence of a description.
fn sentence(description: &Value) -> String {
    let text = description.as_str().unwrap_or("see kubectl explain");
    let first = text.split(". ").next().unwrap_or_default().trim_end_matches('.');
    first.replace('\n', " ")
}

fn kind(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("the text {:?}", text.chars().take(60).collect::<String>()),
        other => other.to_string(),
    }
}

fn article(wanted: &str) -> &'static str {
    match wanted {
        "object" => "an object",
        "array" => "a list",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "a text",
    }
}

/// The name that was probably meant: one that differs in case or by two letters. Names are short, so a long text is no slip of the
/// pen.
fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = Some(written.to_lowercase()).filter(|lower| lower.len() <= 64)?;
    let distances = known.map(|name| (strsim::levenshtein(&lower, &name.to_lowercase()), name));
    let (far, name) = distances.min_by_key(|(far, _)| *far)?;
    (far <= 2.min(written.len().div_ceil(3))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_definitions_can_be_held_against_an_object() {
        for schema in [Schema::new(), Schema::of_policies()] {
            assert!(
                !schema.compiled.has_errors(),
                "{}: {:?}",
                schema.what,
                schema.compiled.compilation_errors()
            );
        }
        let schema = Schema::new();
        for (pattern, _) in FORMS {
            assert!(schema.patterns.contains_key(pattern), "{pattern}");
        }
        assert!(schema.patterns.len() >= 8, "{:?}", schema.patterns.keys());
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        let known = ["holdout", "deadline", "steps"];
        for (written, meant) in [
            ("holdOut", Some("holdout")),
            ("deadlin", Some("deadline")),
            ("step", Some("steps")),
            ("weight", None),
        ] {
            assert_eq!(nearest(written, known.into_iter()), meant, "{written}");
        }
    }
}
