//! Acts of people: which of them are in force, and what they bring about. They win over the spec, whatever git brings.
//!
//! What lowers is carried out at once. What lets something rise only opens a way: the gates are asked as always.

use k8s_openapi::jiff::Timestamp;

use crate::api::{ActEffect, ActKind, ActState, Action, Awaiting, LONGEST_MESSAGE, RevisionRef, plain};
use crate::governance::people::acts::{Act, AskedChange, Facts, fallback, in_force, rungs};
use crate::rollout::evaluation::Evaluation;
use crate::rollout::ladder::is;
use crate::rollout::next::Wait;
use crate::rollout::observation::Governance;
use crate::rollout::reason::WaitReason;

/// Longest name of a person that is shown, in characters.
const LONGEST_NAME: usize = 256;

/// An act with who did it and why, for conditions and decisions.
pub(in crate::rollout::steps) fn told(act: &Act) -> String {
    let (kind, by) = (act.spec.action, plain(act.by(), LONGEST_NAME));
    format!(
        "{kind} of {by} ({}): {}",
        act.name,
        plain(&act.spec.reason, LONGEST_MESSAGE)
    )
}

/// An act with who did it.
fn named(act: &Act) -> String {
    format!(
        "{} of {} ({})",
        act.spec.action,
        plain(act.by(), LONGEST_NAME),
        act.name
    )
}

impl Evaluation<'_> {
    /// Finds out which acts are in force. Where the watches have not delivered, some may be missing: then nothing rises, and what
    /// the status keeps of acts stays.
    pub(in crate::rollout) fn heed(&mut self) {
        self.note_calibrations();
        let seen = self.seen;
        let people = &*seen.people;
        let asks = !people.acts.is_empty() || self.status.awaiting.is_some();
        let change = asks.then(|| self.change()).flatten();
        let change = change.map(|change| (change.digest(), change.to));
        let on_trial = self.status.rollout.is_some();
        let is_asked = |awaiting: &Awaiting| {
            let digest = change.as_ref().map(|(digest, _)| digest);
            on_trial && digest == Some(&awaiting.change_digest)
        };
        if !self.status.awaiting.as_ref().is_some_and(is_asked) {
            self.status.awaiting = None;
        }
        let ladder = rungs(&seen.model.revisions, &self.status);
        let acts = in_force(
            &people.acts,
            &Facts {
                now: self.now,
                uid: &people.uid,
                assurance: people.assurance,
                fallback: fallback(&ladder, &self.status),
                rungs: ladder.clone(),
                change: change.as_ref().map(|(digest, to)| AskedChange {
                    digest,
                    variant: &to.variant,
                }),
                effects: &self.status.held,
            },
        );
        if !self.is_in_the_dark() {
            self.status.held.clone_from(&acts.effects);
        }
        self.acts = acts;
    }

    /// Whether it is not known what policies ask and what people want.
    pub(super) fn is_in_the_dark(&self) -> bool {
        matches!(&*self.seen.governance, Governance::Unknown(_))
    }

    /// The wait while a person has frozen the weights, in the spec or by an act.
    pub(in crate::rollout) fn paused(&self) -> Option<Wait> {
        if self.spec.paused {
            let why = "spec.paused is set: the weights are frozen, a rollback still works";
            return Some(Wait::new(WaitReason::Paused, why));
        }
        let act = self.acts.paused?;
        let why = format!("the weights are frozen, a rollback still works; {}", self.until(act));
        Some(Wait::new(WaitReason::Paused, why).until(act.ends().ok()))
    }

    /// The wait while a person has rolled back: nothing is tried, whatever the spec asks for.
    pub(in crate::rollout::steps) fn held_back(&self) -> Option<Wait> {
        let act = self.acts.cap?.act;
        let why = format!("nothing is tried; {}", self.until(act));
        Some(Wait::new(WaitReason::TakenBack, why).until(act.ends().ok()))
    }

    /// Why the change that is asked for may not have traffic, if a person rejected it.
    pub(in crate::rollout::steps) fn declined(&self) -> Option<Wait> {
        let act = self.acts.rejected.first()?;
        let model = &self.seen.model;
        let why = format!(
            "{}; change what is asked for, or have the variant tried again: kubectl guardbit retry {} -n {} --variant NAME \
             --reason 'why you retry'",
            told(act),
            model.name,
            model.namespace
        );
        Some(Wait::new(WaitReason::Declined, why).until(act.ends().ok()))
    }

    /// What takes the traffic of a candidate away, if a person did.
    pub(in crate::rollout::steps) fn taken_away(&self) -> Option<(Action, String)> {
        match (&self.acts.cap, self.acts.rejected.first()) {
            (Some(cap), _) => Some((Action::TakenBack, told(cap.act))),
            (None, Some(act)) => Some((Action::Declined, told(act))),
            (None, None) => None,
        }
    }

    /// An act, and how it ends.
    fn until(&self, act: &Act) -> String {
        let model = &self.seen.model;
        let ends = act.ends().map_or_else(|why| why, |at| at.to_string());
        format!(
            "{}; until {ends}, or until somebody with the right runs: kubectl guardbit resume {} -n {} --reason 'why you resume'",
            told(act),
            model.name,
            model.namespace
        )
    }

    /// Forgets what people want forgotten: rejections and failures of a variant in its present identity that are older than the
    /// act.
    pub(in crate::rollout) fn retry(&mut self) {
        if self.acts.retries.is_empty() {
            return;
        }
        let ladder: Vec<RevisionRef> = self.ladder.variants.iter().map(|of| of.revision.clone()).collect();
        for revision in ladder {
            let (acts, status) = (&self.acts, &mut self.status);
            let goes = |variant: &str, identity: &str, found: Timestamp| {
                is(&revision, variant, identity) && acts.forgets(variant, found)
            };
            let before = status.rejected.len() + status.failed.len();
            status.rejected.retain(|of| !goes(&of.variant, &of.revision, of.at.0));
            status.failed.retain(|of| !goes(&of.variant, &of.revision, of.at.0));
            if status.rejected.len() + status.failed.len() == before {
                continue;
            }
            let mut acts = acts.retries.iter();
            let act = acts.rfind(|act| act.spec.variant.as_ref() == Some(&revision.variant));
            let why = act.map_or_else(String::new, |act| told(act));
            self.decide(Action::Retried, &revision, why);
        }
    }

    /// Puts on record which pauses and rollbacks were taken back since the last evaluation.
    pub(super) fn note_resumed(&mut self) {
        let before = &self.seen.model.status.held;
        let is_new = |effect: &&ActEffect| {
            let mut before = before.iter();
            effect.lifted_by.is_some() && !before.any(|of| of.uid == effect.uid && of.lifted_by.is_some())
        };
        let (acts, people) = (&self.acts, &self.seen.people);
        let lifted = acts.effects.iter().filter(is_new).filter_map(|effect| {
            let act = people.acts.iter().find(|act| act.uid == effect.uid)?;
            matches!(act.spec.action, ActKind::Pause | ActKind::RollBack).then(|| named(act))
        });
        let lifted: Vec<String> = lifted.collect();
        if let (Some(act), false) = (acts.resumed, lifted.is_empty()) {
            let why = format!("{}; it takes back {}", told(act), lifted.join(", "));
            self.note(Action::Resumed, &why);
        }
    }

    /// Who paused the model, if a person did by an act.
    pub(super) fn paused_by(&self) -> Option<String> {
        Some(told(self.acts.paused?))
    }

    /// The Pause that was in force at a time, and lapsed since.
    pub(super) fn lapsed_pause(&self, at: Timestamp) -> Option<String> {
        let mut lapsed = self.acts.standings.iter().filter(|of| of.state == ActState::Lapsed);
        let pause = lapsed.rfind(|of| {
            let covers = of.act.created.0 <= at && of.act.ends().is_ok_and(|ends| ends > at);
            of.act.spec.action == ActKind::Pause && covers
        });
        pause.map(|of| named(of.act))
    }
}
