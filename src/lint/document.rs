//! A file: its documents, the models among them, and what is refused of each before any rule reads it.

use std::rc::Rc;

use serde_json::Value;

use super::fields;
use super::rule::{Finding, Rule, SCHEMA, UNUSABLE_VALUE, YAML};
use super::schema::Schema;
use super::yaml::{self, Node, Position};
use crate::api::{GROUP, QuantizedModelSpec};
use crate::model;

/// A model that the rules can read, with the place of its fields.
#[derive(Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its namespace, if the file names one.
    pub namespace: Option<String>,
    /// What is wanted, with its defaults.
    pub spec: QuantizedModelSpec,
    /// The same with its strings read.
    pub resolved: model::Model,
    node: Rc<Node>,
}

/// What is in a file.
#[derive(Debug, Default)]
pub struct Read {
    /// What is refused.
    pub findings: Vec<Finding>,
    /// Models in which the schema and the rules of the API find nothing wrong.
    pub models: Vec<Model>,
    /// Models in all, with those that are refused.
    pub seen: usize,
}

impl Model {
    /// A finding at a field.
    pub(super) fn finding(&self, rule: &'static Rule, field: &str, message: String) -> Finding {
        finding(&self.node, rule, field, message)
    }

    /// Whether a field is written, and not only there by default.
    pub(super) fn writes(&self, field: &str) -> bool {
        fields::exists(&self.node, field)
    }
}

pub(super) fn read(bytes: &[u8], schema: &Schema) -> Read {
    let mut read = Read::default();
    for node in objects(bytes, &mut read.findings) {
        if kind(&node) == Some("QuantizedModel") {
            read.take(&node, schema);
        }
    }
    read
}

/// The objects of a file: its documents, and the items of those that are lists.
pub(super) fn objects(bytes: &[u8], findings: &mut Vec<Finding>) -> Vec<Rc<Node>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line_start = good.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let at = Position {
                line: good.iter().filter(|b| **b == b'\n').count() + 1,
                column: String::from_utf8_lossy(&good[line_start..]).chars().count() + 1,
            };
            let message = "this is not UTF-8; save the file as UTF-8 text".to_owned();
            findings.push(Finding::new(&YAML, "", message, at));
            return Vec::new();
        }
    };
    let documents = yaml::read(text);
    for problem in documents.problems {
        findings.push(Finding::new(&YAML, "", problem.message, problem.at));
    }
    let mut objects = Vec::new();
    for root in &documents.roots {
        flatten(root, &mut objects);
    }
    objects
}

fn flatten(node: &Rc<Node>, out: &mut Vec<Rc<Node>>) {
    if text(node, "kind").ends_with("List") {
        for item in node.get("items").into_iter().flat_map(|(_, items)| items.items()) {
            flatten(item, out);
        }
    } else {
        out.push(Rc::clone(node));
    }
}

/// The text of a key; empty where there is none.
pub(super) fn text<'a>(node: &'a Node, key: &str) -> &'a str {
    node.get(key).and_then(|(_, value)| value.text()).unwrap_or_default()
}

/// The kind of an object of guardbit's own group.
pub(super) fn kind(node: &Node) -> Option<&str> {
    let version = text(node, "apiVersion").strip_prefix(GROUP)?;
    version.starts_with('/').then(|| text(node, "kind"))
}

/// A finding at a field of an object.
pub(super) fn finding(node: &Node, rule: &'static Rule, field: &str, message: String) -> Finding {
    Finding::new(rule, field, message, fields::position(node, field))
}

/// Lines and columns at which something is refused already.
pub(super) type Places = Vec<(usize, usize)>;

/// An object that the schema takes, and where rules of the API or unknown fields make the API server refuse it.
pub(super) fn accepted(
    node: &Node,
    kind: &str,
    schema: &Schema,
    findings: &mut Vec<Finding>,
) -> Option<(Value, Places)> {
    let version = text(node, "apiVersion");
    let of_group = version.strip_prefix(GROUP).and_then(|v| v.strip_prefix('/'));
    if of_group != Some("v1alpha1") {
        let message = format!("{version:?} is no version of {kind}; write {GROUP}/v1alpha1");
        findings.push(finding(node, &SCHEMA, "apiVersion", message));
        return None;
    }
    let Some(object) = node.value() else {
        let message = "this is larger than any object the API server takes".to_owned();
        findings.push(finding(node, &YAML, "", message));
        return None;
    };
    let refused = schema.refuses(&object);
    let broken = refused.iter().any(|r| r.rule == &SCHEMA);
    let mut places = Places::new();
    for r in refused {
        let finding = finding(node, r.rule, &r.field, r.message);
        places.push((finding.line, finding.column));
        findings.push(finding);
    }
    (!broken).then_some((object, places))
}

impl Read {
    fn take(&mut self, node: &Rc<Node>, schema: &Schema) {
        self.seen += 1;
        let Some((object, places)) = accepted(node, "QuantizedModel", schema, &mut self.findings) else {
            return;
        };
        let spec: QuantizedModelSpec = match serde_json::from_value(object["spec"].clone()) {
            Ok(spec) => spec,
            Err(error) => {
                self.findings.push(finding(node, &SCHEMA, "spec", error.to_string()));
                return;
            }
        };
        // A field that a rule of the API has reported already gets no second finding.
        let resolved = model::resolve(&spec);
        for problem in resolved.as_ref().err().into_iter().flatten() {
            let finding = finding(node, &UNUSABLE_VALUE, &problem.field, problem.to_string());
            if !places.contains(&(finding.line, finding.column)) {
                self.findings.push(finding);
            }
        }
        if let Ok(resolved) = resolved
            && places.is_empty()
        {
            self.models.push(Model {
                name: name(&object, &spec),
                namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
                spec,
                resolved,
                node: Rc::clone(node),
            });
        }
    }
}

fn name(object: &Value, spec: &QuantizedModelSpec) -> String {
    let name = object["metadata"]["name"].as_str();
    name.unwrap_or(&spec.model.name).to_owned()
}
