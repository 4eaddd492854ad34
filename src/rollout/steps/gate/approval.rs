//! What people are asked before a weight rises.

use crate::api::{Action, ApprovalGate, ApprovalRule, RevisionRef, Waive};
use crate::governance::Rules;
use crate::governance::people::approvals::{Answer, Authors, Question, count};
use crate::rollout::evaluation::Evaluation;
use crate::rollout::next::Wait;
use crate::rollout::reason::WaitReason;
use crate::rollout::steps::people::told;

impl Evaluation<'_> {
    /// Whether people have approved what they are asked about. What was approved of a change stays approved until the change is
    /// another one.
    pub(super) fn approval_gate(&mut self, rules: &Rules, gates: &[ApprovalGate]) -> Result<(), Wait> {
        for gate in gates {
            let asked = rules.approvals.iter().map(|asked| &asked.what);
            let asked: Vec<ApprovalRule> = asked.filter(|rule| rule.before == *gate).cloned().collect();
            self.approved(*gate, &asked)?;
        }
        Ok(())
    }

    fn approved(&mut self, gate: ApprovalGate, rules: &[ApprovalRule]) -> Result<(), Wait> {
        if rules.is_empty() {
            return Ok(());
        }
        let Some(change) = self.change() else {
            return Ok(());
        };
        let is_asked = |rule: &ApprovalRule| rule.kinds.is_empty() || rule.kinds.contains(&change.kind);
        let digest = change.digest();
        if !rules.iter().any(is_asked) || self.is_approved(gate, &digest) {
            return Ok(());
        }
        let (model, people) = (&self.seen.model, &self.seen.people);
        let question = Question {
            before: gate,
            kind: change.kind,
            namespace: &model.namespace,
            model: &model.name,
            to: &change.to,
            digest: &digest,
            rules,
            authors: Authors {
                names: &people.authors,
                assurance: people.author_assurance,
            },
            awaiting: self.status.awaiting.as_ref(),
            now: self.now,
        };
        match count(&question, &self.acts).answer {
            Answer::Granted { by } => {
                let by: Vec<String> = by.into_iter().map(told).collect();
                self.grant(gate, digest, &change.to, &by);
                Ok(())
            }
            Answer::Waived { by } => {
                self.status.awaiting = None;
                self.waive(Waive::Approvals, by);
                Ok(())
            }
            Answer::Rejected { by } => Err(Wait::new(WaitReason::Declined, told(by))),
            Answer::Waiting { awaiting, message } => {
                self.status.awaiting = Some(*awaiting);
                Err(Wait::new(WaitReason::AwaitingApproval, message))
            }
        }
    }

    fn is_approved(&self, gate: ApprovalGate, digest: &str) -> bool {
        let rollout = self.status.rollout.as_ref();
        let approved = rollout.and_then(|rollout| rollout.approved.as_ref());
        let approved = approved.and_then(|approved| match gate {
            ApprovalGate::FirstTraffic => approved.first_traffic.as_deref(),
            ApprovalGate::Promotion => approved.promotion.as_deref(),
        });
        approved == Some(digest)
    }

    /// Puts on record that people approved.
    fn grant(&mut self, gate: ApprovalGate, digest: String, to: &RevisionRef, by: &[String]) {
        self.status.awaiting = None;
        let what = match gate {
            ApprovalGate::FirstTraffic => "the first traffic",
            ApprovalGate::Promotion => "the promotion",
        };
        let why = format!("{what} of change {digest}: {}", by.join("; "));
        if let Some(rollout) = &mut self.status.rollout {
            let approved = rollout.approved.get_or_insert_default();
            match gate {
                ApprovalGate::FirstTraffic => approved.first_traffic = Some(digest),
                ApprovalGate::Promotion => approved.promotion = Some(digest),
            }
        }
        self.decide(Action::Approved, to, why);
    }

    /// The evidence begins anew, so whoever approved a promotion has seen other evidence than what it will rest on.
    pub(in crate::rollout::steps) fn ask_again(&mut self) {
        if let Some(approved) = self
            .status
            .rollout
            .as_mut()
            .and_then(|rollout| rollout.approved.as_mut())
        {
            approved.promotion = None;
        }
        self.ask_later();
    }

    /// The promotion is not what comes next any more, so nobody is asked about it until it is: the clock of the rollout goes on.
    pub(in crate::rollout::steps) fn ask_later(&mut self) {
        let of_promotion = self.status.awaiting.as_ref();
        if of_promotion.is_some_and(|awaiting| awaiting.before == ApprovalGate::Promotion) {
            self.status.awaiting = None;
        }
    }
}
