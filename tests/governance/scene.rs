//! A model, and policies about it.

use std::collections::{BTreeMap, BTreeSet};

use guardbit::api::{QuantizedModel, QuantizedModelSpec};
use guardbit::governance::{Finding, Policy, Rise, Rules, effective};
use guardbit::model;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// The model of the tests of the API.
pub fn model() -> QuantizedModelSpec {
    let text = include_str!("../testdata/fraud-scorer.yaml");
    serde_yaml_ng::from_str::<QuantizedModel>(text).expect("a model").spec
}

/// An instant.
pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Reads the spec of a policy from YAML.
pub fn policy(name: &str, yaml: &str) -> Policy {
    let spec: Value = serde_yaml_ng::from_str(yaml).expect("YAML");
    Policy::read(name, 1, &spec)
}

/// What a policy asks for that can be read.
pub fn rules(name: &str, spec: &Value) -> Rules {
    Policy::read(name, 1, spec)
        .rules
        .unwrap_or_else(|problems| panic!("{spec}: {problems:?}"))
}

/// A rise of a variant.
#[derive(Debug)]
pub struct Scene {
    pub spec: QuantizedModelSpec,
    pub variant: &'static str,
    pub first_install: bool,
    pub calibrated: Option<Timestamp>,
    pub signed_by: BTreeSet<String>,
    pub prometheus: Option<&'static str>,
    pub now: Timestamp,
}

impl Scene {
    /// A rise of a variant of the model.
    pub fn of(variant: &'static str) -> Self {
        Self {
            spec: model(),
            variant,
            first_install: false,
            calibrated: None,
            signed_by: BTreeSet::new(),
            prometheus: Some("http://prometheus.monitoring:9090"),
            now: at("2026-11-28T10:00:00Z"),
        }
    }

    /// The same with something changed.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Where the model falls short of policies in a namespace without labels.
    pub fn check<'a>(&self, policies: impl IntoIterator<Item = &'a Policy>) -> Vec<Finding> {
        let read = model::read(&self.spec);
        let variant = self.spec.variants.iter().find(|variant| variant.name == self.variant);
        let governed = effective(policies, &BTreeMap::new(), self.spec.model.risk_tier);
        governed.check(&Rise {
            spec: &self.spec,
            model: &read,
            variant: variant.expect("the variant"),
            first_install: self.first_install,
            calibrated: self.calibrated,
            signed_by: &self.signed_by,
            prometheus: self.prometheus,
            now: self.now,
        })
    }

    /// The model satisfies a policy.
    pub fn satisfies(&self, yaml: &str) {
        let found = self.check([&policy("high-risk", yaml)]);
        assert!(found.is_empty(), "{yaml}: {found:?}");
    }

    /// The model falls short of one rule of a policy, and is told so in these words.
    pub fn falls_short(&self, yaml: &str, rule: &str, says: &[&str]) {
        let found = self.check([&policy("high-risk", yaml)]);
        let [finding] = found.as_slice() else {
            panic!("{yaml}: {found:?}");
        };
        assert_eq!(
            (finding.policy.as_str(), finding.rule.as_str()),
            ("high-risk", rule),
            "{yaml}"
        );
        assert!(finding.enforced, "{yaml}");
        for part in says {
            assert!(finding.message.contains(part), "{part:?} in {:?}", finding.message);
        }
    }
}
