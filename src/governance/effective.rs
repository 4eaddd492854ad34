//! Effective: which policies select a model, and what they ask for together.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{PolicyFinding, PolicyMode, RiskTier};

use super::policy::Policy;
use super::rules::{Findings, Rise, Rules};

/// What policies ask of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Governed {
    /// What holds.
    pub enforced: Rules,
    /// What is only told.
    pub dry_run: Rules,
    /// The policies that select the model, each with its generation: `high-risk@3`. Without any it is not governed.
    pub from: BTreeSet<String>,
    /// Whether what is decided goes on record: a policy whose rules hold selects the model.
    pub recorded: bool,
    /// Why some of them cannot be read. Those that hold back rises are enforced.
    pub unreadable: Vec<PolicyFinding>,
}

/// What policies ask of a model of this tier in a namespace with these labels.
pub fn effective<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    namespace: &BTreeMap<String, String>,
    tier: Option<RiskTier>,
) -> Governed {
    let policies = policies.into_iter();
    let mut selected: Vec<&Policy> = policies.filter(|policy| policy.selects(namespace, tier)).collect();
    selected.sort_by(|one, other| one.name.cmp(&other.name));
    let mut governed = Governed::default();
    for policy in selected {
        let Policy {
            name,
            generation,
            mode,
            rules,
            ..
        } = policy;
        governed.from.insert(format!("{name}@{generation}"));
        governed.recorded |= *mode == PolicyMode::Enforce;
        let rules = match rules {
            Ok(rules) => rules.clone(),
            Err(problems) => {
                let mut findings = Findings::new(*mode == PolicyMode::Enforce);
                for problem in problems {
                    findings.add(
                        &BTreeSet::from([name.clone()]),
                        problem.field.trim_start_matches("spec."),
                        format!("this release of guardbit cannot read {}: {}; correct the policy, or upgrade guardbit if a newer release knows it", problem.field, problem.problem),
                    );
                }
                governed.unreadable.extend(findings.all());
                continue;
            }
        };
        let side = match mode {
            PolicyMode::Enforce => &mut governed.enforced,
            PolicyMode::DryRun => &mut governed.dry_run,
        };
        *side = std::mem::take(side).meet(rules);
    }
    governed
}

impl Governed {
    /// Whether any policy selects the model.
    pub fn is_governed(&self) -> bool {
        !self.from.is_empty()
    }

    /// Where a model falls short when a variant is to get weight: of rules that hold, and of those that are only told. A freeze
    /// that holds is no finding but something to wait for.
    pub fn check(&self, rise: &Rise<'_>) -> Vec<PolicyFinding> {
        let mut found = self.unreadable.clone();
        found.extend(self.enforced.check(rise, true));
        found.extend(self.dry_run.check(rise, false));
        if let Some(frozen) = self.dry_run.frozen_at(rise.now) {
            let mut findings = Findings::new(false);
            findings.add(&frozen.by, format!("freezes[{}]", frozen.name), frozen.to_string());
            found.extend(findings.all());
        }
        found
    }
}
