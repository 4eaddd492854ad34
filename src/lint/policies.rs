//! Policies in files: what is refused of each, with its place, and the Namespaces beside them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::document::{accepted, finding, kind, objects, text};
use super::rule::{Finding, POLICY_SELECTS_NOTHING, UNUSABLE_VALUE};
use super::schema::Schema;
use super::yaml::Node;
use crate::governance::Policy;

/// A policy that can be read, with the place of its fields.
#[derive(Debug)]
pub struct WrittenPolicy {
    /// The policy. A file tells no generation, so that it is 0.
    pub policy: Policy,
    node: Rc<Node>,
}

/// What a file holds of governance.
#[derive(Debug, Default)]
pub struct ReadPolicies {
    /// What is refused.
    pub findings: Vec<Finding>,
    /// Policies in which nothing is refused.
    pub policies: Vec<WrittenPolicy>,
    /// Labels of the Namespaces, by their names.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Policies in all, with those that are refused.
    pub seen: usize,
}

impl WrittenPolicy {
    /// The finding of a policy that is about none of the models.
    pub fn selects_nothing(&self) -> Finding {
        let message = format!(
            "{} is about none of these models: its appliesTo asks for other namespaces or tiers",
            self.policy.name
        );
        finding(&self.node, &POLICY_SELECTS_NOTHING, "spec.appliesTo", message)
    }
}

pub(super) fn read(bytes: &[u8], schema: &Schema) -> ReadPolicies {
    let mut read = ReadPolicies::default();
    for node in objects(bytes, &mut read.findings) {
        if kind(&node) == Some("PrecisionPolicy") {
            read.take(node, schema);
        } else if text(&node, "apiVersion") == "v1" && text(&node, "kind") == "Namespace" {
            read.namespaces.extend(namespace(&node));
        }
    }
    read
}

impl ReadPolicies {
    fn take(&mut self, node: Rc<Node>, schema: &Schema) {
        self.seen += 1;
        let Some((object, places)) = accepted(&node, "PrecisionPolicy", schema, &mut self.findings) else {
            return;
        };
        // What the API server refuses already gets no second finding.
        if !places.is_empty() {
            return;
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let policy = Policy::read(name, 0, &object["spec"]);
        match &policy.rules {
            Ok(_) => self.policies.push(WrittenPolicy { policy, node }),
            Err(problems) => {
                let found = problems
                    .iter()
                    .map(|problem| finding(&node, &UNUSABLE_VALUE, &problem.field, problem.to_string()));
                self.findings.extend(found);
            }
        }
    }
}

/// The name and the labels of a Namespace.
fn namespace(node: &Node) -> Option<(String, BTreeMap<String, String>)> {
    let object = node.value()?;
    let metadata = &object["metadata"];
    let labels = metadata["labels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some((metadata["name"].as_str()?.to_owned(), labels.collect()))
}
