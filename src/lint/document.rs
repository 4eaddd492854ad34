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
        Finding::new(rule, field, message, fields::position(&self.node, field))
    }

    /// Whether a field is written, and not only there by default.
    pub(super) fn writes(&self, field: &str) -> bool {
        fields::exists(&self.node, field)
    }
}

pub(super) fn read(bytes: &[u8], schema: &Schema) -> Read {
    let mut read = Read::default();
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
            read.findings.push(Finding::new(&YAML, "", message, at));
            return read;
        }
    };
    let documents = yaml::read(text);
    for problem in documents.problems {
        read.findings.push(Finding::new(&YAML, "", problem.message, problem.at));
    }
    for root in &documents.roots {
        read.take(root, schema);
    }
    read
}

impl Read {
    /// One document, or one item of a list of them.
    fn take(&mut self, node: &Rc<Node>, schema: &Schema) {
        let text = |key: &str| node.get(key).and_then(|(_, value)| value.text()).unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        if kind.ends_with("List") {
            for item in node.get("items").into_iter().flat_map(|(_, items)| items.items()) {
                self.take(item, schema);
            }
            return;
        }
        let Some(of_group) = version.strip_prefix(GROUP).and_then(|v| v.strip_prefix('/')) else {
            return;
        };
        if kind != "QuantizedModel" {
            return;
        }
        self.seen += 1;
        let found = |rule: &'static Rule, field: &str, message: String| {
            Finding::new(rule, field, message, fields::position(node, field))
        };
        if of_group != "v1alpha1" {
            let message = format!("{version:?} is no version of QuantizedModel; write {GROUP}/v1alpha1");
            self.findings.push(found(&SCHEMA, "apiVersion", message));
            return;
        }
        let Some(object) = node.value() else {
            let message = "this is larger than any object the API server takes".to_owned();
            self.findings.push(found(&YAML, "", message));
            return;
        };
        let refused = schema.refuses(&object);
        let broken = refused.iter().any(|r| r.rule == &SCHEMA);
        let mut places = Vec::new();
        for r in refused {
            let finding = found(r.rule, &r.field, r.message);
            places.push((finding.line, finding.column));
            self.findings.push(finding);
        }
        if broken {
            return;
        }
        let spec: QuantizedModelSpec = match serde_json::from_value(object["spec"].clone()) {
            Ok(spec) => spec,
            Err(error) => {
                self.findings.push(found(&SCHEMA, "spec", error.to_string()));
                return;
            }
        };
        // A field that a rule of the API has reported already gets no second finding.
        let resolved = model::resolve(&spec);
        for problem in resolved.as_ref().err().into_iter().flatten() {
            let finding = found(&UNUSABLE_VALUE, &problem.field, problem.to_string());
            if !places.contains(&(finding.line, finding.column)) {
                self.findings.push(finding);
            }
        }
        if let Ok(resolved) = resolved
            && places.is_empty()
        {
            self.models.push(Model {
                name: name(&object, &spec),
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
