//! Passages: what is asked of a model at each point of its way up, as far as its file tells.
//!
//! A file does not say who has approved, which weights are signed, or what else is in progress. So what a passage waits for
//! is told, and not whether it is there. The way is that of a first install, which climbs up to the target.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{ApprovalGate, ApprovalRule, PolicyFinding, QuantizedModelSpec, RolloutKind, Variant};
use crate::model::Model;

use super::effective::Governed;
use super::people::approvals::persons;
use super::rules::{Asked, Rise, Rules};

/// A point at which a variant gets weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Passage {
    /// The first install, of which nothing is compared.
    Install,
    /// The first traffic of a candidate.
    FirstTraffic,
    /// A further step.
    Raise,
    /// The promotion.
    Promotion,
}

/// Whether a passage may be made. Of several answers the greatest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// It may.
    May,
    /// It may, once somebody has done something or a time is over.
    Waits,
    /// It may not, whatever people do, until the model or a policy is changed.
    Refused,
}

/// Something that policies ask for at a passage, and what it makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Who asks for what.
    pub finding: PolicyFinding,
    /// What it alone makes of the passage. What is only told leaves it as it is.
    pub answer: Answer,
}

/// A passage of a variant, with all that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseen<'a> {
    /// The variant.
    pub variant: &'a Variant,
    /// The passage.
    pub passage: Passage,
    /// Share of traffic, in percent, that it gets; `None` for a promotion, after which it has what the holdout leaves.
    pub weight: Option<i32>,
    /// What is asked for.
    pub conditions: Vec<Condition>,
}

impl Foreseen<'_> {
    /// Whether it may be made.
    pub fn answer(&self) -> Answer {
        let answers = self.conditions.iter().map(|condition| condition.answer);
        answers.max().unwrap_or(Answer::May)
    }
}

/// "first traffic at 5%".
impl fmt::Display for Foreseen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = self.weight.unwrap_or_default();
        match self.passage {
            Passage::Install => write!(f, "install at {weight}%"),
            Passage::FirstTraffic => write!(f, "first traffic at {weight}%"),
            Passage::Raise => write!(f, "raise to {weight}%"),
            Passage::Promotion => f.write_str("promotion"),
        }
    }
}

/// All passages of a model at an instant, in their order.
pub fn passages<'a>(
    governed: &Governed,
    spec: &'a QuantizedModelSpec,
    model: &Model,
    now: Timestamp,
) -> Vec<Foreseen<'a>> {
    let declared = spec.rollout.bootstrap.as_ref();
    let installed = declared.and_then(|name| spec.variants.iter().position(|variant| variant.name == *name));
    let installed = installed.unwrap_or(0);
    let outlook = Outlook {
        governed,
        checked: checked(governed, spec),
        spec,
        model,
        now,
    };
    let mut found = Vec::new();
    if let Some(variant) = spec.variants.get(installed) {
        found.push(outlook.foresee(variant, Passage::Install, Some(100)));
    }
    let climbed = spec.variants.get(installed + 1..=spec.target_index());
    for variant in climbed.unwrap_or_default() {
        for (at, step) in model.rollout.steps.iter().enumerate() {
            let passage = if at == 0 { Passage::FirstTraffic } else { Passage::Raise };
            found.push(outlook.foresee(variant, passage, Some(step.weight)));
        }
        found.push(outlook.foresee(variant, Passage::Promotion, None));
    }
    found
}

/// The rules of which a file tells whether they are kept.
fn checked(governed: &Governed, spec: &QuantizedModelSpec) -> Governed {
    let names_server = url(spec).is_some();
    let told_by_the_file = |rules: &Rules| {
        let mut rules = rules.clone();
        rules.weights.clear();
        if !names_server {
            rules.prometheus.clear();
        }
        rules
    };
    Governed {
        enforced: told_by_the_file(&governed.enforced),
        dry_run: told_by_the_file(&governed.dry_run),
        ..governed.clone()
    }
}

fn url(spec: &QuantizedModelSpec) -> Option<&str> {
    spec.prometheus.as_ref()?.url.as_deref()
}

/// What a model is held against.
struct Outlook<'a, 'b> {
    governed: &'b Governed,
    checked: Governed,
    spec: &'a QuantizedModelSpec,
    model: &'b Model,
    now: Timestamp,
}

impl<'a> Outlook<'a, '_> {
    fn foresee(&self, variant: &'a Variant, passage: Passage, weight: Option<i32>) -> Foreseen<'a> {
        let found = self.checked.check(&Rise {
            spec: self.spec,
            model: self.model,
            variant,
            first_install: passage == Passage::Install,
            calibrated: None,
            signed_by: &BTreeSet::new(),
            prometheus: url(self.spec),
            now: self.now,
        });
        let conditions = found.into_iter().map(|finding| Condition {
            answer: if finding.enforced { Answer::Refused } else { Answer::May },
            finding,
        });
        let mut conditions: Vec<Condition> = conditions.collect();
        if let Some(frozen) = self.governed.enforced.frozen_at(self.now) {
            let endless = frozen.until.is_none();
            let answer = if endless { Answer::Refused } else { Answer::Waits };
            let rule = format!("freezes[{}]", frozen.name);
            conditions.push(condition(&frozen.by, rule, frozen.to_string(), true, answer));
        }
        for (rules, enforced) in [(&self.governed.enforced, true), (&self.governed.dry_run, false)] {
            self.wait(rules, enforced, variant, passage, &mut conditions);
        }
        Foreseen {
            variant,
            passage,
            weight,
            conditions,
        }
    }

    /// What is not in the file.
    fn wait(&self, rules: &Rules, enforced: bool, variant: &Variant, passage: Passage, out: &mut Vec<Condition>) {
        let waits = if enforced { Answer::Waits } else { Answer::May };
        for Asked { what: keys, by } in &rules.weights {
            let Variant { name, weights, .. } = variant;
            let message = format!(
                "the weights of {name} ({}) must be signed by one of the {} keys that are permitted, which a file does not show",
                weights.digest,
                keys.len()
            );
            out.push(condition(by, "weights.publicKeys", message, enforced, waits));
        }
        for Asked { what: rule, by } in &rules.approvals {
            if let Some(message) = approval(rule, &variant.name, passage) {
                out.push(condition(by, "approvals", message, enforced, waits));
            }
        }
        if passage == Passage::FirstTraffic {
            for Asked { what: most, by } in &rules.slots {
                let message = format!(
                    "at most {most} may be in progress at once among the models of {}: a rollout waits while there are as many",
                    names(by)
                );
                out.push(condition(by, "maxInProgress", message, enforced, Answer::May));
            }
        }
        if url(self.spec).is_none() {
            for Asked { what: urls, by } in &rules.prometheus {
                let message = format!(
                    "only servers at {} may be asked, and the model names none: the operator's default must be one of them",
                    names(urls)
                );
                out.push(condition(by, "prometheus.urls", message, enforced, Answer::May));
            }
        }
    }
}

/// Who must approve a passage of a climb, if the rule is about it.
fn approval(rule: &ApprovalRule, variant: &str, passage: Passage) -> Option<String> {
    let what = match (rule.before, passage) {
        (ApprovalGate::FirstTraffic, Passage::FirstTraffic) => "first traffic",
        (ApprovalGate::Promotion, Passage::Promotion) => "promotion",
        _ => return None,
    };
    if !rule.kinds.is_empty() && !rule.kinds.contains(&RolloutKind::Climb) {
        return None;
    }
    let among = match rule.from_groups.as_slice() {
        [] => String::new(),
        groups => format!(", among them a member of {}", groups.join(" and one of ")),
    };
    Some(format!(
        "{} without a hand in the change must approve the {what} of {variant}{among}; one more where it is not known for certain who had one",
        persons(rule.count)
    ))
}

fn condition(
    by: &BTreeSet<String>,
    rule: impl Into<String>,
    message: String,
    enforced: bool,
    answer: Answer,
) -> Condition {
    let finding = PolicyFinding {
        policy: names(by),
        rule: rule.into(),
        message,
        enforced,
    };
    Condition { finding, answer }
}

fn names(of: &BTreeSet<String>) -> String {
    let names: Vec<_> = of.iter().map(String::as_str).collect();
    names.join(", ")
}
