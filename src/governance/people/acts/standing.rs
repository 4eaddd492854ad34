//! Which acts are in force for a model, and what each of them brings about.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use crate::api::{ActEffect, ActKind, ActState, Waive, plain};

use super::rungs::Rung;
use super::{Act, Assurance, Deed, opens};

/// Most acts of one model that are in force at once. Of more, those that lower most are kept.
const MOST: usize = 100;

/// Longest text of a person that a message repeats, in characters.
const LONGEST_NAME: usize = 256;

/// A change that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedChange<'a> {
    /// Its digest.
    pub digest: &'a str,
    /// Name of the variant that is to get traffic.
    pub variant: &'a str,
}

/// What decides which acts are in force.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The time, by the clock of guardbit.
    pub now: Timestamp,
    /// Uid of the model.
    pub uid: &'a str,
    /// How actors are known.
    pub assurance: Assurance,
    /// The variants of the spec, safest first.
    pub rungs: Vec<Rung<'a>>,
    /// Where a RollBack without `to` sends traffic now: stable while a candidate is on trial, else the next safer
    /// proven variant.
    pub fallback: &'a str,
    /// The change that is asked for now, if there is one.
    pub change: Option<AskedChange<'a>>,
    /// What the status keeps of earlier acts.
    pub effects: &'a [ActEffect],
}

/// How far up traffic may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cap<'a> {
    /// The RollBack that says so.
    pub act: &'a Act,
    /// Position of the variant: traffic goes there from riskier ones, and nothing riskier gets any.
    pub rung: usize,
}

/// The state of an act, for its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing<'a> {
    /// The act.
    pub act: &'a Act,
    /// Whether it is in force.
    pub state: ActState,
    /// What it brings about, or why it does not.
    pub message: String,
}

/// The acts that are in force for a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InForce<'a> {
    /// The Pause that lasts longest.
    pub paused: Option<&'a Act>,
    /// The lowest cap.
    pub cap: Option<Cap<'a>>,
    /// Rejections of the change that is asked for.
    pub rejected: Vec<&'a Act>,
    /// Approvals of the change that is asked for. Which of them count is another question (`approvals`).
    pub approvals: Vec<&'a Act>,
    /// Requests to forget what was found of a variant.
    pub retries: Vec<&'a Act>,
    /// The newest Resume: a rollout that waited for a person before it gets a new clock.
    pub resumed: Option<&'a Act>,
    /// Acts that open gates.
    pub breakglass: Vec<&'a Act>,
    /// How many acts were left out because there were too many.
    pub excess: usize,
    /// The state of every act, oldest first.
    pub standings: Vec<Standing<'a>>,
    /// What the status is to keep.
    pub effects: Vec<ActEffect>,
}

/// Place of an act among those of the same second, and among those that are too many: the safer come first.
pub fn rank(kind: ActKind) -> u8 {
    match kind {
        ActKind::RollBack => 0,
        ActKind::Pause => 1,
        ActKind::Reject => 2,
        ActKind::Resume => 3,
        ActKind::Approve | ActKind::Retry | ActKind::BreakGlass => 4,
    }
}

/// Place of an act among all: by the time of the server, and the safer first.
fn order(act: &Act) -> (Timestamp, u8, &str, &str) {
    (
        act.created.0,
        rank(act.spec.action),
        act.name.as_str(),
        act.uid.as_str(),
    )
}

/// An act that has not lapsed, read.
#[derive(Clone, Copy)]
struct Current<'a> {
    act: &'a Act,
    deed: Deed<'a>,
    ends: Timestamp,
}

impl<'a> Current<'a> {
    /// Reads an act, or says why it has no effect.
    fn of(act: &'a Act, facts: &Facts<'_>) -> Result<Self, (ActState, String)> {
        let inert = |why: String| (ActState::Inert, why);
        let kind = act.spec.action;
        if act.spec.model_ref.uid != facts.uid {
            let why = "it is for another model of this name, which is gone: create another for this one";
            return Err(inert(why.to_owned()));
        }
        let deed = act.deed().map_err(inert)?;
        let ends = act.ends().map_err(inert)?;
        if ends <= facts.now {
            return Err((ActState::Lapsed, format!("it lapsed at {ends}")));
        }
        if opens(kind) && facts.assurance == Assurance::Claimed {
            return Err(inert(format!(
                "nobody checked that {} created it, so {kind} does not count: install the admission policies of \
                 guardbit, and create another",
                plain(act.by(), LONGEST_NAME)
            )));
        }
        if let Deed::Retry { variant } = deed
            && !facts.rungs.iter().any(|rung| rung.variant == variant)
        {
            let variant = plain(variant, LONGEST_NAME);
            return Err(inert(format!("spec.variants has no {variant:?}")));
        }
        Ok(Self { act, deed, ends })
    }
}

/// The newest acts that take back others.
#[derive(Default)]
struct Lifters<'a> {
    resume: Option<&'a Act>,
    /// A Retry of the variant that the change is about.
    retry: Option<&'a Act>,
    /// Approvals of the change, by person.
    approvals: BTreeMap<&'a str, &'a Act>,
    /// Rejections of the change, by person.
    rejections: BTreeMap<&'a str, &'a Act>,
}

impl<'a> Lifters<'a> {
    /// Those among acts, oldest first.
    fn of(acts: &[Current<'a>], change: Option<AskedChange<'_>>) -> Self {
        let mut lifters = Self::default();
        for Current { act, deed, .. } in acts {
            let act = *act;
            match *deed {
                Deed::Resume => lifters.resume = Some(act),
                Deed::Retry { variant } if change.is_some_and(|of| of.variant == variant) => lifters.retry = Some(act),
                Deed::Approve { .. } if !is_of_other_change(deed, change) => {
                    lifters.approvals.insert(act.by(), act);
                }
                Deed::Reject { .. } if !is_of_other_change(deed, change) => {
                    lifters.rejections.insert(act.by(), act);
                }
                _ => {}
            }
        }
        lifters
    }

    /// The act that takes back another.
    fn lifter(&self, lifted: &Current<'a>) -> Option<&'a Act> {
        let created = &lifted.act.created;
        let later = |by: &&'a Act| by.created > *created;
        match lifted.deed {
            Deed::Pause | Deed::RollBack { .. } => self.resume.filter(later),
            Deed::Reject { .. } => {
                let approval = self.approvals.get(lifted.act.by()).copied();
                approval.filter(later).or(self.retry.filter(later))
            }
            // Of both in the same second the rejection holds.
            Deed::Approve { .. } => {
                let rejection = self.rejections.get(lifted.act.by()).copied();
                rejection.filter(|by| by.created >= *created)
            }
            Deed::Resume | Deed::Retry { .. } | Deed::BreakGlass { .. } => None,
        }
    }
}

/// Whether an act is about a change that is not asked for now.
fn is_of_other_change(deed: &Deed<'_>, change: Option<AskedChange<'_>>) -> bool {
    match *deed {
        Deed::Approve { change: of } | Deed::Reject { change: of } => change.is_none_or(|asked| asked.digest != of),
        _ => false,
    }
}

/// Which acts are in force, whatever the order in which they come.
pub fn in_force<'a>(acts: &'a [Act], facts: &Facts<'_>) -> InForce<'a> {
    let mut result = InForce::default();
    let mut current = Vec::new();
    for act in acts {
        match Current::of(act, facts) {
            Ok(read) => current.push(read),
            Err((state, message)) => result.standings.push(Standing { act, state, message }),
        }
    }
    current.sort_by_key(|of| order(of.act));
    let effects: BTreeMap<&str, &ActEffect> = facts.effects.iter().map(|of| (of.uid.as_str(), of)).collect();
    let lifters = Lifters::of(&current, facts.change);
    let (mut standing, mut lifted) = (Vec::new(), Vec::new());
    for act in current {
        let kept = effects.get(act.act.uid.as_str()).and_then(|of| of.lifted_by.as_deref());
        let other_change = is_of_other_change(&act.deed, facts.change);
        let lifter = kept.or_else(|| {
            lifters
                .lifter(&act)
                .filter(|_| !other_change)
                .map(|by| by.name.as_str())
        });
        match lifter {
            Some(by) => lifted.push((act, by.to_owned())),
            None if other_change => result.stand(
                act.act,
                ActState::Waiting,
                "no change with its digest is asked for now: status.awaiting of the model has the one that awaits approval",
            ),
            None => {
                let rung = cap(&act, facts, &effects);
                standing.push((act, rung));
            }
        }
    }
    // The safer come first: of RollBacks those to the lowest rung, and then those that last longest.
    standing.sort_by_key(|(of, rung)| (rank(of.act.spec.action), *rung, Reverse(of.ends), order(of.act)));
    result.excess = standing.len().saturating_sub(MOST);
    for (act, _) in standing.split_off(standing.len().min(MOST)) {
        let why = format!("more than {MOST} actions are in force for this model, and those that lower most are kept");
        result.stand(act.act, ActState::Inert, why);
    }
    result.remember(&standing, &lifted, facts);
    for (act, by) in &lifted {
        let message = format!("{} took it back", plain(by, LONGEST_NAME));
        result.stand(act.act, ActState::Lifted, message);
    }
    for (act, rung) in standing {
        result.take(act, rung, &lifted, facts);
    }
    result.standings.sort_by_key(|of| order(of.act));
    result
}

/// The rung above which a RollBack lets nothing rise: the highest proven one up to where it sends traffic.
fn cap(act: &Current<'_>, facts: &Facts<'_>, effects: &BTreeMap<&str, &ActEffect>) -> Option<usize> {
    let Deed::RollBack { to } = act.deed else {
        return None;
    };
    let rung = |variant: &str| facts.rungs.iter().position(|rung| rung.variant == variant);
    let kept = effects.get(act.act.uid.as_str()).and_then(|of| of.holds_at.as_deref());
    // A variant that is gone from the spec leaves the fallback.
    let wanted = to.or(kept).and_then(rung).or_else(|| rung(facts.fallback));
    let below = &facts.rungs[..wanted.map_or(0, |at| at + 1)];
    Some(below.iter().rposition(|rung| rung.proven).unwrap_or(0))
}

impl<'a> InForce<'a> {
    /// Whether something that was found of a variant at a time is forgotten.
    pub fn forgets(&self, variant: &str, found: Timestamp) -> bool {
        let is_of = |act: &&&Act| act.spec.variant.as_deref() == Some(variant);
        self.retries.iter().filter(is_of).any(|act| found < act.created.0)
    }

    /// The act that opens a gate.
    pub fn waives(&self, gate: Waive) -> Option<&'a Act> {
        self.breakglass
            .iter()
            .find(|act| act.spec.waives.contains(&gate))
            .copied()
    }

    fn stand(&mut self, act: &'a Act, state: ActState, message: impl Into<String>) {
        let message = message.into();
        self.standings.push(Standing { act, state, message });
    }

    /// Keeps what the status needs when the cause of an effect is gone. Approvals that were taken back come first: when
    /// they do not all fit, what is lost holds more back, and never less.
    fn remember(
        &mut self,
        standing: &[(Current<'a>, Option<usize>)],
        lifted: &[(Current<'a>, String)],
        facts: &Facts<'_>,
    ) {
        let effect = |act: &Act, holds_at: Option<&str>, lifted_by: Option<&str>| ActEffect {
            uid: act.uid.clone(),
            holds_at: holds_at.map(str::to_owned),
            lifted_by: lifted_by.map(str::to_owned),
        };
        let (opening, lowering): (Vec<_>, Vec<_>) = lifted.iter().partition(|(of, _)| opens(of.act.spec.action));
        let taken_back = |(of, by): &(Current<'a>, String)| effect(of.act, None, Some(by.as_str()));
        let held = standing.iter().filter_map(|(of, rung)| match of.deed {
            Deed::RollBack { to: None } => Some(effect(of.act, Some(facts.rungs.get((*rung)?)?.variant), None)),
            _ => None,
        });
        let opening = opening.into_iter().map(taken_back);
        let lowering = lowering.into_iter().rev().map(taken_back);
        self.effects = opening.chain(held).chain(lowering).take(MOST).collect();
        self.effects.sort_by(|a, b| a.uid.cmp(&b.uid));
        // The same act may have been given twice.
        self.effects.dedup_by(|a, b| a.uid == b.uid);
    }

    /// Takes an act into account, and says what it brings about.
    fn take(&mut self, current: Current<'a>, rung: Option<usize>, lifted: &[(Current<'a>, String)], facts: &Facts<'_>) {
        let Current { act, deed, ends } = current;
        let mut state = ActState::InForce;
        let message = match deed {
            Deed::Pause => {
                // They come with the one that lasts longest first.
                self.paused.get_or_insert(act);
                format!("the weights are frozen until {ends}, or until a Resume")
            }
            Deed::RollBack { to } => {
                let rung = rung.unwrap_or(0);
                self.cap.get_or_insert(Cap { act, rung });
                let at = facts.rungs.get(rung).map_or("the reference", |rung| rung.variant);
                let instead = match to {
                    Some(to) if to != at => format!("{} is not proven, so ", plain(to, LONGEST_NAME)),
                    _ => String::new(),
                };
                format!("{instead}nothing riskier than {at} gets traffic until {ends}, or until a Resume")
            }
            Deed::Reject { .. } => {
                self.rejected.push(act);
                let by = plain(act.by(), LONGEST_NAME);
                format!("the change gets no traffic until {ends}, unless {by} approves it or its variant is retried")
            }
            Deed::Approve { .. } => {
                self.approvals.push(act);
                format!("the change is approved until {ends}")
            }
            Deed::Retry { variant } => {
                self.retries.push(act);
                format!("what was found of {variant} before {} is forgotten", act.created.0)
            }
            Deed::BreakGlass { incident, waives } => {
                self.breakglass.push(act);
                let waives: BTreeSet<String> = waives.iter().map(ToString::to_string).collect();
                let waives: Vec<String> = waives.into_iter().collect();
                let incident = plain(incident, LONGEST_NAME);
                format!("the gates {} are open for {incident} until {ends}", waives.join(", "))
            }
            Deed::Resume => {
                if self.resumed.is_none_or(|newest| newest.created < act.created) {
                    self.resumed = Some(act);
                }
                match lifted.iter().filter(|(_, by)| *by == act.name).count() {
                    0 => "nothing older was to be lifted; a rollout that waits for a person gets a new clock".into(),
                    lifted => {
                        state = ActState::Used;
                        format!("actions that it took back: {lifted}")
                    }
                }
            }
        };
        self.stand(act, state, message);
    }
}
