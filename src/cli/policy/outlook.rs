//! What policies ask of one model, from its first install to its target.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::governance::{Answer, Condition, Foreseen, Passage, effective, passages};
use crate::lint::Model;

use super::source::Governing;

/// What is asked of one model. As JSON its fields are only ever added to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outlook {
    file: String,
    namespace: Option<String>,
    name: String,
    /// The policies that are about it.
    policies: Vec<String>,
    #[serde(skip)]
    at: Timestamp,
    pub(super) passages: Vec<Row>,
}

/// One passage.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) variant: String,
    pub(super) passage: Passage,
    /// Share of traffic, in percent.
    weight: Option<i32>,
    pub(super) answer: Answer,
    pub(super) conditions: Vec<Asked>,
    /// As people are told.
    #[serde(skip)]
    told: String,
}

/// One thing that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    policy: String,
    pub(super) rule: String,
    answer: Answer,
    /// Whether the policy holds; with `mode: DryRun` it does not.
    enforced: bool,
    message: String,
}

impl Outlook {
    /// Holds a model against the policies, in a namespace with these labels.
    pub(super) fn of(
        file: &str,
        model: &Model,
        governing: &Governing,
        labels: Option<&BTreeMap<String, String>>,
        at: Timestamp,
    ) -> Result<Self, String> {
        let none = BTreeMap::new();
        if labels.is_none()
            && let Some(policy) = governing.policies().find(|policy| policy.asks_for_labels())
        {
            return Err(format!(
                "{file}: the labels of the namespace of {} decide whether {} is about it, and they are not known: put the Namespace among the files, or say which labels it has",
                model.name, policy.name
            ));
        }
        let (labels, tier) = (labels.unwrap_or(&none), model.spec.model.risk_tier);
        let governed = effective(governing.policies(), labels, tier);
        let selecting = governing.policies().filter(|policy| policy.selects(labels, tier));
        let foreseen = passages(&governed, &model.spec, &model.resolved, at);
        Ok(Self {
            file: file.to_owned(),
            namespace: model.namespace.clone(),
            name: model.name.clone(),
            policies: selecting.map(|policy| policy.name.clone()).collect(),
            at,
            passages: foreseen.into_iter().map(Row::from).collect(),
        })
    }

    /// Whether any passage is refused.
    pub(super) fn is_refused(&self) -> bool {
        self.passages.iter().any(|row| row.answer == Answer::Refused)
    }
}

impl From<Foreseen<'_>> for Row {
    fn from(foreseen: Foreseen<'_>) -> Self {
        let (answer, told) = (foreseen.answer(), foreseen.to_string());
        let Foreseen {
            variant,
            passage,
            weight,
            conditions,
        } = foreseen;
        Self {
            variant: variant.name.clone(),
            passage,
            weight,
            answer,
            conditions: conditions.into_iter().map(Asked::from).collect(),
            told,
        }
    }
}

impl From<Condition> for Asked {
    fn from(Condition { finding, answer }: Condition) -> Self {
        Self {
            policy: finding.policy,
            rule: finding.rule,
            answer,
            enforced: finding.enforced,
            message: finding.message,
        }
    }
}

/// A line a passage, with the numbers of what is asked for, which stands below.
impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self
            .namespace
            .as_ref()
            .map(|name| format!("{name}/"))
            .unwrap_or_default();
        let by = match self.policies.as_slice() {
            [] => "no policy is about it".to_owned(),
            policies => format!("by {}", policies.join(", ")),
        };
        writeln!(f, "{namespace}{} at {}, {by}", self.name, self.at)?;
        let width = |text: fn(&Row) -> &str| self.passages.iter().map(|row| text(row).chars().count()).max();
        let variants = width(|row| &row.variant).unwrap_or_default();
        let passages = width(|row| &row.told).unwrap_or_default();
        let mut asked: Vec<&Asked> = Vec::new();
        for row in &self.passages {
            let mut numbers = Vec::new();
            for condition in &row.conditions {
                let at = asked.iter().position(|known| *known == condition).unwrap_or_else(|| {
                    asked.push(condition);
                    asked.len() - 1
                });
                numbers.push((at + 1).to_string());
            }
            let answer = match row.answer {
                Answer::May => "may",
                Answer::Waits => "waits",
                Answer::Refused => "refused",
            };
            let line = format!(
                "  {:variants$}  {:passages$}  {answer:7}  {}",
                row.variant,
                row.told,
                numbers.join(" ")
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for (at, condition) in asked.iter().enumerate() {
            let Asked {
                policy,
                rule,
                enforced,
                message,
                ..
            } = condition;
            let dry_run = if *enforced {
                ""
            } else {
                " (DryRun: nothing is held back)"
            };
            writeln!(f, "  {}  {policy}: {rule}{dry_run}: {message}", at + 1)?;
        }
        Ok(())
    }
}
