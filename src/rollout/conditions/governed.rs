//! Conditions about policies, and where a model falls short of them: whether it is certain what is asked and who acts, whether
//! what serves is below a floor, and whether its calibration is too old.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use crate::api::{LONGEST_MESSAGE, PolicyFinding, PolicyStatus, RevisionRef, condition, plain};
use crate::governance::people::acts::Assurance;
use crate::governance::{Floor, Governed as Policies, Rules};
use crate::rollout::evaluation::Evaluation;
use crate::rollout::ladder::Goal;
use crate::rollout::observation::{Governance, Governed};
use crate::rollout::plan::{Event, Reason};

use super::{Truth, set};

/// The reason where the API server does not check who acts.
const ADMISSION_OFF: &str = "AdmissionOff";

/// Most findings that a status has.
const MOST_FINDINGS: usize = 64;

impl Evaluation<'_> {
    /// Sets what policies ask, where the model falls short, and the conditions that go with it. While nobody knows what policies
    /// ask, what was told before stays.
    pub(super) fn governed_conditions(&mut self, conditions: &mut Vec<Condition>) {
        let seen = self.seen;
        let governed = match &*seen.governance {
            Governance::Unknown(_) => return,
            Governance::Ungoverned => {
                self.status.policy = None;
                return conditions.retain(|c| c.type_ != condition::GOVERNED && c.type_ != condition::POLICY_BREACHED);
            }
            Governance::Governed(governed) => governed,
        };
        self.status.policy = Some(PolicyStatus {
            digest: governed.digest.clone(),
            from: governed.from.clone(),
            findings: self.findings(governed),
        });
        let from = governed.from.join(", ");
        let (truth, reason, message) = match (&governed.unreadable, seen.people.assurance) {
            (Some(why), _) => (Truth::False, "PolicyUnreadable", why.clone()),
            (None, Assurance::Claimed) => (
                Truth::False,
                ADMISSION_OFF,
                format!(
                    "{from}: the API server does not check who acts, so approvals, retries, resumes and BreakGlass do not \
                     count: install the admission policies of guardbit (config/governance)"
                ),
            ),
            (None, Assurance::Pinned) => (Truth::True, "AsAsked", format!("{from}: see status.policy")),
        };
        let is_news = set(conditions, seen, condition::GOVERNED, truth, reason, &message);
        if is_news && reason == ADMISSION_OFF {
            let reason = Reason::AdmissionOff;
            self.events.push(Event { reason, note: message });
        }
        self.breach_condition(governed, conditions);
    }

    /// Sets the condition that says whether what serves is below the floor of a policy.
    fn breach_condition(&mut self, governed: &Governed, conditions: &mut Vec<Condition>) {
        if governed.rules.floor == Floor::default() {
            return conditions.retain(|c| c.type_ != condition::POLICY_BREACHED);
        }
        let floor = Rules {
            floor: governed.rules.floor.clone(),
            ..Rules::default()
        };
        let found = self.of_serving(&floor);
        let told: Vec<String> = found.iter().map(told).collect();
        let (truth, reason, message) = if told.is_empty() {
            (Truth::False, "AsAsked", "what serves is not below the floor".to_owned())
        } else {
            (Truth::True, "BelowFloor", told.join("; "))
        };
        let kind = condition::POLICY_BREACHED;
        let is_news = set(conditions, self.seen, kind, truth, reason, &message);
        if is_news && truth == Truth::True {
            let reason = Reason::PolicyBreached;
            self.events.push(Event { reason, note: message });
        }
    }

    /// Sets the condition that says whether the calibration of what serves is fresh, by its own `maxAge` and by policies. A model
    /// whose calibrations may have any age has no such condition.
    pub(super) fn calibration_condition(&mut self, conditions: &mut Vec<Condition>) {
        if matches!(&*self.seen.governance, Governance::Unknown(_)) {
            return;
        }
        let kind = condition::CALIBRATION_FRESH;
        let serving = self.serving();
        let stale = serving.iter().filter_map(|of| Some((self.stale_at(of)?, of)));
        let Some((at, of)) = stale.min_by_key(|(at, _)| *at) else {
            return conditions.retain(|c| c.type_ != kind);
        };
        let name = of.describe();
        let (truth, reason, message) = if self.now > at {
            let message = format!(
                "the calibration of {name}, which serves, is too old since {at}: calibrate it again, with new data, and set \
                 calibration"
            );
            (Truth::False, "Stale", message)
        } else {
            (
                Truth::True,
                "Fresh",
                format!("the calibration of {name} is fresh until {at}"),
            )
        };
        let is_news = set(conditions, self.seen, kind, truth, reason, &message);
        if is_news && truth == Truth::False {
            let reason = Reason::CalibrationStale;
            self.events.push(Event { reason, note: message });
        }
    }

    /// When the calibration of a revision is too old, whoever asks for that.
    fn stale_at(&self, revision: &RevisionRef) -> Option<Timestamp> {
        let variant = self.described(revision)?;
        let mut read = self.spec.variants.iter().zip(&self.model.variants);
        let own = read.find(|(of, _)| of.name == variant.name)?.1.calibration_expires;
        let governed = self.seen.governance.governed();
        let asked = governed.and_then(|governed| {
            let calibration = &governed.rules.calibration;
            calibration.stale_at(variant, self.calibrated(variant))
        });
        own.into_iter().chain(asked).min()
    }

    /// The revisions that are to have traffic, but for the holdout.
    fn serving(&self) -> Vec<RevisionRef> {
        let rollout = self.status.rollout.as_ref().filter(|rollout| rollout.weight > 0);
        let candidate = rollout.map(|rollout| &rollout.candidate);
        self.status.stable.iter().chain(candidate).cloned().collect()
    }

    /// The revision that is to get traffic next; stable where none is.
    fn sought(&self) -> Option<&RevisionRef> {
        if let Some(rollout) = &self.status.rollout {
            return Some(&rollout.candidate);
        }
        if self.status.stable.is_none() {
            return Some(self.ladder.first());
        }
        match self.ladder.goal(&self.status, self.spec.attempt, self.now) {
            Goal::Try { variant, .. } => Some(&self.ladder.variants[variant].revision),
            _ => self.status.stable.as_ref(),
        }
    }

    /// Where the model falls short: what is next, by all rules; and what serves already, by those that concern it.
    fn findings(&self, governed: &Governed) -> Vec<PolicyFinding> {
        let policies = Policies {
            enforced: self.rules().ok().flatten().unwrap_or_default(),
            dry_run: Rules::clone(&governed.dry_run),
            from: BTreeSet::new(),
            recorded: governed.records,
            unreadable: governed.unread.clone(),
        };
        let sought = self.sought().and_then(|sought| self.described(sought));
        let mut found = match sought {
            Some(variant) => policies.check(&self.rise(variant, self.status.stable.is_none())),
            None => policies.unreadable.clone(),
        };
        let serves = Rules {
            floor: governed.rules.floor.clone(),
            calibration: governed.rules.calibration.clone(),
            ..Rules::default()
        };
        for finding in self.of_serving(&serves) {
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
        found.truncate(MOST_FINDINGS);
        for finding in &mut found {
            finding.message = plain(&finding.message, LONGEST_MESSAGE);
        }
        found
    }

    /// Where what serves falls short of rules.
    fn of_serving(&self, rules: &Rules) -> Vec<PolicyFinding> {
        let serving = self.serving();
        let described = serving.iter().filter_map(|of| self.described(of));
        described
            .flat_map(|variant| rules.check(&self.rise(variant, false), true))
            .collect()
    }
}

/// A finding as a sentence.
fn told(finding: &PolicyFinding) -> String {
    format!("{} ({}): {}", finding.policy, finding.rule, finding.message)
}
