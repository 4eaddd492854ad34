//! Meaning: what an act would bring about, told before anything is created.
//!
//! What is in force is asked of the code that decides it later, so that nobody is promised anything else. The sentences
//! are for the person who acts, and nothing reads them back. Must not decide whether somebody may act: the API server does.

mod asked;

use std::fmt;

use crate::api::{
    ActKind, ActState, Awaiting, LONGEST_MESSAGE, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, Variant,
    Waive, plain,
};
use crate::model::identity;

use super::acts::{Act, AskedChange, Assurance, Deed, Facts, InForce, Rung, fallback, in_force, rungs};

/// The gates that BreakGlass can open, each with what then goes on in spite of it.
const GATES: [(Waive, &str); 4] = [
    (
        Waive::Approvals,
        "Approvals: traffic rises without the people whom a policy asks for; a rejection still holds it back",
    ),
    (
        Waive::Freezes,
        "Freezes: traffic rises at times at which a policy lets nothing rise",
    ),
    (
        Waive::Freshness,
        "Freshness: a variant gets traffic although its calibration is older than a policy lets it be",
    ),
    (
        Waive::Slots,
        "Slots: a rollout begins although as many as a policy lets are in progress",
    ),
];

/// What is known of a model when somebody is about to act.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// What its author wrote.
    pub spec: &'a QuantizedModelSpec,
    /// What guardbit found.
    pub status: &'a QuantizedModelStatus,
    /// Earlier acts that a Resume may take back and guardbit has not called over.
    pub earlier: &'a [Act],
}

/// What an act would bring about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The act, and its effect in a sentence.
    pub headline: String,
    /// What it is about, each with its name. Several in a row may have the same name.
    pub rows: Vec<(&'static str, String)>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

impl Meaning {
    fn row(&mut self, name: &'static str, text: impl Into<String>) {
        self.rows.push((name, text.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

impl fmt::Display for Meaning {
    /// Each part stands on a line of its own, which nobody's text can break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", plain(&self.headline, LONGEST_MESSAGE))?;
        let mut before = "";
        for (name, text) in &self.rows {
            let name = if *name == before { "" } else { *name };
            write!(f, "\n  {name:<12} {}", plain(text, LONGEST_MESSAGE))?;
            before = if name.is_empty() { before } else { name };
        }
        for note in &self.notes {
            write!(f, "\n{}", plain(note, LONGEST_MESSAGE))?;
        }
        Ok(())
    }
}

/// What an act would bring about, or why it would bring about nothing.
pub fn meaning(known: &Known<'_>, act: &Act) -> Result<Meaning, String> {
    let deed = act.deed()?;
    let revisions = identity::revisions(known.spec);
    let rungs = rungs(&revisions, known.status);
    let acts: Vec<Act> = known.earlier.iter().chain([act]).cloned().collect();
    let result = in_force(
        &acts,
        &Facts {
            now: act.created.0,
            uid: known.uid,
            assurance: Assurance::Pinned,
            fallback: fallback(&rungs, known.status),
            rungs: rungs.clone(),
            change: known.awaiting().map(|awaiting| AskedChange {
                digest: &awaiting.change_digest,
                variant: &awaiting.variant,
            }),
            effects: &[],
        },
    );
    let standing = result.standings.iter().find(|of| of.act.uid == act.uid);
    let standing = standing.ok_or("guardbit would not take it into account")?;
    if matches!(standing.state, ActState::Inert | ActState::Lapsed | ActState::Lifted) {
        return Err(format!("it would have no effect: {}", standing.message));
    }
    let mut told = Meaning {
        headline: format!(
            "{} {}/{}: {}",
            act.spec.action, known.namespace, known.name, standing.message
        ),
        ..Meaning::default()
    };
    match deed {
        Deed::Approve { change } => known.approve(&mut told, known.awaited(change)?, act, &revisions)?,
        Deed::Reject { change } => known.reject(&mut told, change, act, &revisions)?,
        Deed::Pause => known.pause(&mut told),
        Deed::Resume => known.resume(&mut told, &result, &rungs),
        Deed::RollBack { to } => known.roll_back(&mut told, to, &result, &rungs)?,
        Deed::Retry { variant } => known.retry(&mut told, variant, &revisions),
        Deed::BreakGlass { waives, .. } => break_glass(&mut told, waives),
    }
    Ok(told)
}

/// Digest of the change that an approval or a rejection is about: the one that is named, or the one that awaits approval.
/// They must be the same, except that what awaits nothing can be rejected, for that only lowers.
pub fn change_meant<'a>(
    kind: ActKind,
    named: Option<&'a str>,
    awaiting: Option<&'a Awaiting>,
) -> Result<&'a str, String> {
    match (named, awaiting) {
        (None, Some(awaiting)) => Ok(&awaiting.change_digest),
        (Some(named), Some(awaiting)) if awaiting.change_digest == named => Ok(named),
        (Some(named), None) if kind == ActKind::Reject => Ok(named),
        _ => Err(other_awaits(awaiting)),
    }
}

fn other_awaits(awaiting: Option<&Awaiting>) -> String {
    match awaiting {
        Some(Awaiting { change_digest, .. }) => {
            format!("what awaits approval is another change, {change_digest}: look at that one, and name it")
        }
        None => "nothing of this model awaits approval".to_owned(),
    }
}

impl<'a> Known<'a> {
    fn awaiting(&self) -> Option<&'a Awaiting> {
        self.status.awaiting.as_ref()
    }

    /// What awaits approval, if it is the change with this digest.
    fn awaited(&self, digest: &str) -> Result<&'a Awaiting, String> {
        let awaiting = self.awaiting().filter(|awaiting| awaiting.change_digest == digest);
        awaiting.ok_or_else(|| other_awaits(self.awaiting()))
    }

    fn variant(&self, name: &str) -> Option<&'a Variant> {
        self.spec.variants.iter().find(|variant| variant.name == name)
    }

    /// Which revision has which share of the traffic.
    fn traffic(&self, told: &mut Meaning) {
        let shares = self.status.arms.iter().map(|arm| {
            let revision = RevisionRef {
                variant: arm.variant.clone(),
                revision: arm.revision.clone(),
            };
            format!("{}% {}, {}", arm.weight, revision.describe(), arm.role)
        });
        let shares: Vec<String> = shares.collect();
        if shares.is_empty() {
            told.row("now", "nothing serves yet");
        }
        for share in shares {
            told.row("now", share);
        }
    }

    fn pause(&self, told: &mut Meaning) {
        self.traffic(told);
        told.note("No commit and no sync ends it. Harm is still rolled back, and the clock of a rollout stands still.");
        if self.spec.paused {
            told.note("spec.paused is set as well: when this ends, that still holds.");
        }
        told.note(self.command("To end it", "resume"));
    }

    fn resume(&self, told: &mut Meaning, result: &InForce<'_>, rungs: &[Rung<'_>]) {
        self.traffic(told);
        let lifted = result.standings.iter().filter(|of| of.state == ActState::Lifted);
        for act in lifted.map(|of| of.act) {
            let (kind, by, reason) = (act.spec.action, act.by(), &act.spec.reason);
            told.row("takes back", format!("{kind} of {by} ({}): {reason}", act.name));
        }
        let target = self.spec.variants.get(self.spec.target_index());
        let stable = self.status.stable.as_ref();
        match (&self.status.rollout, target, stable) {
            (Some(rollout), ..) => {
                let candidate = rollout.candidate.describe();
                told.note(format!("The rollout of {candidate} goes on from {}%.", rollout.weight));
                if rollout.escalated_at.is_some() {
                    told.note("It waits for a person, and gets its whole deadline again.");
                }
            }
            (None, Some(target), Some(stable))
                if position(rungs, Some(stable.variant.as_str())) < position(rungs, Some(target.name.as_str())) =>
            {
                told.note(format!(
                    "The spec holds again, and asks for {}: what is next on the way there from {} is tried, from the first \
                     step.",
                    target.name, stable.variant
                ));
            }
            _ => {}
        }
        if self.spec.paused {
            told.note("spec.paused is set, and stays: only a change of the spec ends that.");
        }
    }

    fn roll_back(
        &self,
        told: &mut Meaning,
        to: Option<&str>,
        result: &InForce<'_>,
        rungs: &[Rung<'_>],
    ) -> Result<(), String> {
        if let Some(to) = to
            && position(rungs, Some(to)).is_none()
        {
            let names: Vec<&str> = rungs.iter().map(|rung| rung.variant).collect();
            return Err(format!("spec.variants has no {to:?}, only {}", names.join(", ")));
        }
        self.traffic(told);
        let cap = result.cap.map_or(0, |cap| cap.rung);
        let holds_at = rungs.get(cap).map_or("the reference", |rung| rung.variant);
        let stable = self.status.stable.as_ref();
        if let Some(rollout) = &self.status.rollout {
            told.row("then", format!("{} goes to 0 at once", rollout.candidate.describe()));
        }
        match stable {
            Some(stable) if position(rungs, Some(stable.variant.as_str())).is_none_or(|at| at > cap) => {
                let stable = stable.describe();
                told.row(
                    "then",
                    format!("traffic moves from {stable} to {holds_at} as its pods become ready"),
                );
            }
            Some(stable) => told.row("then", format!("{} serves on", stable.describe())),
            None => {}
        }
        told.note(format!(
            "No commit and no sync ends it: whatever target, variant or attempt git brings, nothing riskier than {holds_at} \
             gets traffic."
        ));
        if let Some(target) = self.spec.variants.get(self.spec.target_index())
            && self.spec.target_index() > cap
        {
            told.note(format!(
                "It rejects nothing. When it ends, the spec holds again and asks for {}, which is tried from the first \
                 step: change that in git before, or reject the change.",
                target.name
            ));
        }
        told.note(self.command("To end it", "resume"));
        Ok(())
    }

    fn retry(&self, told: &mut Meaning, variant: &str, revisions: &[RevisionRef]) {
        let present = revisions
            .iter()
            .find(|of| of.variant == variant)
            .map(|of| of.revision.as_str());
        let rejected = self
            .status
            .rejected
            .iter()
            .filter(|of| of.variant == variant)
            .map(|of| {
                let text = format!("rejected at {} by {}: {}", of.at.0, of.guard, of.reason);
                (of.revision.as_str(), text)
            });
        let failed = self.status.failed.iter().filter(|of| of.variant == variant).map(|of| {
            let text = format!("failed {}, last at {}: {}", times(of.count), of.at.0, of.reason);
            (of.revision.as_str(), text)
        });
        let (forgotten, kept): (Vec<_>, Vec<_>) = rejected.chain(failed).partition(|of| Some(of.0) == present);
        if forgotten.is_empty() {
            told.note(format!(
                "Nothing is on record against {variant} in its present identity."
            ));
        } else {
            told.note(
                "It is tried from the first step, against fresh evidence: if it is as it was, it is found again.",
            );
        }
        for (_, text) in forgotten {
            told.row("forgets", text);
        }
        for (_, text) in kept {
            told.row("keeps", format!("of an earlier identity: {text}"));
        }
        told.note("Rejections by people of a change to it that awaits approval are taken back as well.");
    }

    /// The command of another verb for this model.
    fn command(&self, what: &str, verb: &str) -> String {
        let Self { namespace, name, .. } = self;
        format!("{what}: guardbit {verb} {name} -n {namespace} --reason …")
    }
}

fn break_glass(told: &mut Meaning, waives: &[Waive]) {
    for (gate, text) in GATES {
        told.row(if waives.contains(&gate) { "opens" } else { "stays shut" }, text);
    }
    told.note(
        "It opens no other gate. What is below the floor of a policy gets no traffic, guards and validation hold, harm is \
         rolled back, and nothing is promoted that was not shown to be healthy.",
    );
    told.note("It is on record with your name, the incident and the reason.");
}

fn times(count: i32) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// Position of a variant on the ladder.
fn position(rungs: &[Rung<'_>], variant: Option<&str>) -> Option<usize> {
    let variant = variant?;
    rungs.iter().position(|rung| rung.variant == variant)
}

#[cfg(test)]
mod tests;
