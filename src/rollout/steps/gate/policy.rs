//! What policies ask before a weight rises: of the model, of the time, and of how much else is in progress.

use std::collections::BTreeSet;

use k8s_openapi::jiff::SignedDuration;

use crate::api::{RevisionRef, Variant, Waive};
use crate::governance::people::acts::Act;
use crate::governance::{Frozen, Rise, Rules};
use crate::rollout::evaluation::Evaluation;
use crate::rollout::next::Wait;
use crate::rollout::observation::{Governed, Slot};
use crate::rollout::reason::WaitReason;
use crate::rollout::steps::people::told;

/// The rule that a BreakGlass of Freshness opens.
const FRESHNESS: &str = "calibration.maxAge";

/// Models that a sentence names.
const NAMED: usize = 5;

/// No key has signed weights.
static UNSIGNED: BTreeSet<String> = BTreeSet::new();

impl Evaluation<'_> {
    /// The rules that hold now; `None` where no policy asks anything. A rollout keeps those that it began under, but for what
    /// holds at once.
    pub(in crate::rollout) fn rules(&self) -> Result<Option<Rules>, Wait> {
        let governed = self.seen.governance.governed();
        let Some(rollout) = &self.status.rollout else {
            return Ok(governed.map(|governed| Rules::clone(&governed.rules)));
        };
        if governed.is_none() && rollout.rules.is_none() {
            return Ok(None);
        }
        let begun = match &rollout.rules {
            None => Rules::default(),
            Some(written) => serde_json::from_str(written).map_err(|error| {
                let why = format!("status.rollout.rules, under which the rollout began, cannot be read: {error}");
                Wait::new(WaitReason::PolicyUnreadable, why)
            })?,
        };
        let nothing = Rules::default();
        let now = governed.map_or(&nothing, |governed| &*governed.rules);
        let mut rules = now.during(&begun);
        if governed.is_none() {
            // Signatures are only looked at for policies. The weights of a candidate do not change.
            rules.weights.clear();
        }
        Ok(Some(rules))
    }

    /// What is known when a variant is to get weight.
    pub(in crate::rollout) fn rise<'b>(&'b self, variant: &'b Variant, first_install: bool) -> Rise<'b> {
        let governed = self.seen.governance.governed();
        let signed_by = governed.and_then(|governed| governed.signed_by.get(&variant.name));
        Rise {
            spec: self.spec,
            model: &self.model,
            variant,
            first_install,
            calibrated: self.calibrated(variant),
            signed_by: signed_by.unwrap_or(&UNSIGNED),
            prometheus: governed.and_then(|governed| governed.prometheus.as_deref()),
            now: self.now,
        }
    }

    /// Whether a model and a revision are as the rules ask.
    pub(super) fn policy_gate(&mut self, rules: &Rules, revision: &RevisionRef, install: bool) -> Result<(), Wait> {
        let Some(variant) = self.described(revision) else {
            return Ok(());
        };
        let mut found = rules.check(&self.rise(variant, install), true);
        if let Some(act) = self.acts.waives(Waive::Freshness) {
            let before = found.len();
            found.retain(|finding| finding.rule != FRESHNESS);
            if found.len() < before {
                self.waive(Waive::Freshness, act);
            }
        }
        let Some(first) = found.first() else {
            return Ok(());
        };
        let more = match found.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more: see status.policy.findings)"),
        };
        let why = format!("{} ({}): {}{more}", first.policy, first.rule, first.message);
        Err(Wait::new(WaitReason::PolicyNotMet, why))
    }

    /// Whether no freeze holds.
    pub(super) fn freeze_gate(&mut self, rules: &Rules) -> Result<(), Wait> {
        let Some(frozen) = rules.frozen_at(self.now) else {
            return Ok(());
        };
        if let Some(act) = self.acts.waives(Waive::Freezes) {
            self.waive(Waive::Freezes, act);
            return Ok(());
        }
        Err(Wait::new(WaitReason::Frozen, frozen.to_string()).until(frozen.until))
    }

    /// The freeze that keeps the rollout where it is, if one does. Its clock stands still then.
    pub(in crate::rollout::steps) fn frozen(&self) -> Option<Frozen> {
        let frozen = self.rules().ok()??.frozen_at(self.now)?;
        self.acts.waives(Waive::Freezes).is_none().then_some(frozen)
    }

    /// Whether another rollout may begin beside those that are in progress.
    pub(super) fn slot_gate(&mut self) -> Result<(), Wait> {
        let seen = self.seen;
        let Some(Governed {
            slot: Slot::Full { of, in_use },
            ..
        }) = seen.governance.governed()
        else {
            return Ok(());
        };
        if let Some(act) = self.acts.waives(Waive::Slots) {
            self.waive(Waive::Slots, act);
            return Ok(());
        }
        let others = in_use.len().saturating_sub(NAMED);
        let more = if others == 0 {
            String::new()
        } else {
            format!(" and {others} more")
        };
        let named: Vec<&str> = in_use.iter().take(NAMED).map(String::as_str).collect();
        let why = format!(
            "{of} may be in progress at once (maxInProgress), and as many are: {}{more}",
            named.join(", ")
        );
        // Nothing tells of a place that gets free.
        let interval = SignedDuration::from_millis(self.model.rollout.interval_ms());
        Err(Wait::new(WaitReason::AwaitingSlot, why).until(self.now.checked_add(interval).ok()))
    }

    /// Notes that a gate is open only because a person opened it.
    pub(super) fn waive(&mut self, gate: Waive, act: &Act) {
        let incident = act.spec.incident.as_deref().unwrap_or_default();
        let sentence = format!("{gate} waived for {incident} by {}", told(act));
        if !self.waived.contains(&sentence) {
            self.waived.push(sentence);
        }
    }

    /// Why something is decided, with the gates that a person opened for it. A promotion says again why it was granted, where they
    /// may be named already.
    pub(in crate::rollout::steps) fn in_spite(&self, why: impl Into<String>) -> String {
        let mut all = why.into();
        for sentence in &self.waived {
            if !all.contains(sentence) {
                all = format!("{all}; {sentence}");
            }
        }
        all
    }

    /// Whether it is the turn of this model to leave what falls short of a policy. Harm waits for no turn.
    pub(in crate::rollout::steps) fn has_turn(&self) -> bool {
        let governed = self.seen.governance.governed();
        let turn = governed.is_some_and(|governed| governed.turn && !matches!(governed.slot, Slot::Full { .. }));
        turn && self.paused().is_none()
    }

    /// Why a revision that has traffic is to lose it by a policy that says FallBack.
    pub(in crate::rollout::steps) fn falls_short(&self, revision: &RevisionRef) -> Option<String> {
        let rules = &self.seen.governance.governed()?.rules;
        let variant = self.described(revision)?;
        let floor = Rules {
            floor: rules.falls_back_below.clone(),
            ..Rules::default()
        };
        if let Some(found) = floor.check(&self.rise(variant, false), true).first() {
            return Some(format!("{} ({}): {}", found.policy, found.rule, found.message));
        }
        let stale = rules
            .falls_back_when_stale
            .stale_at(variant, self.calibrated(variant))?;
        let is_stale = self.now > stale && self.acts.waives(Waive::Freshness).is_none();
        is_stale.then(|| {
            format!("its calibration is too old since {stale}, and a policy says FallBack: calibrate it again, with new data")
        })
    }
}
