//! Approvals: whether enough people have approved a change.
//!
//! An approver is a person, not an author of the change, and counts once. Where the authors are not known for certain,
//! or one of them is no person, any one of the approvers may be the author: so it must be enough without any one of
//! them, and four eyes see a change also where git applies it. A standing rejection outweighs all approvals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{ApprovalGate, ApprovalRule, Approved, Awaiting, RevisionRef, RolloutKind, Waive, plain};

use super::acts::{Act, Assurance, InForce};

/// Longest name that is shown, in characters.
const LONGEST_NAME: usize = 256;

/// What stands in a command for the reason, which is never left out. With it the command works as it is.
const REASON: &str = "why you approve";

/// Who had a hand in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authors<'a> {
    /// Their user names.
    pub names: &'a [String],
    /// How they are known.
    pub assurance: Assurance,
}

/// What is to be approved, and by whom.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What waits for it.
    pub before: ApprovalGate,
    /// Why there is a rollout.
    pub kind: RolloutKind,
    /// Namespace of the model.
    pub namespace: &'a str,
    /// Name of the model.
    pub model: &'a str,
    /// The revision that is to get traffic.
    pub to: &'a RevisionRef,
    /// Digest of the change.
    pub digest: &'a str,
    /// What the policies ask for.
    pub rules: &'a [ApprovalRule],
    /// Whose change it is.
    pub authors: Authors<'a>,
    /// What the status says is awaited.
    pub awaiting: Option<&'a Awaiting>,
    /// The time, by the clock of guardbit.
    pub now: Timestamp,
}

/// Whether a change may go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<'a> {
    /// Enough people have approved, or nobody is asked.
    Granted {
        /// Approvals that count, one or more of each person.
        by: Vec<&'a Act>,
    },
    /// A BreakGlass opens the gate.
    Waived {
        /// The act.
        by: &'a Act,
    },
    /// Somebody has rejected it.
    Rejected {
        /// The oldest rejection that stands.
        by: &'a Act,
    },
    /// People must approve.
    Waiting {
        /// Who must, for the status.
        awaiting: Box<Awaiting>,
        /// The same as a sentence.
        message: String,
    },
}

/// The answer, and the approvals that have no part in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted<'a> {
    /// Whether the change may go on.
    pub answer: Answer<'a>,
    /// Approvals that do not count, with why.
    pub uncounted: Vec<(&'a Act, Uncounted)>,
}

/// Why an approval does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// It is of no person.
    NoPerson,
    /// It is of an author of the change.
    Author,
    /// It is older than what it should rest on.
    TooEarly,
}

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPerson => "it does not count: an approval is a person's",
            Self::Author => "it does not count: the change is the approver's own, and somebody else must approve it",
            Self::TooEarly => {
                "it does not count: it is older than what the promotion rests on; read the findings and approve again"
            }
        })
    }
}

/// Whether a user name is that of a person. Kubernetes keeps the prefix for its own components and for service
/// accounts.
pub fn is_person(username: &str) -> bool {
    !username.is_empty() && !username.starts_with("system:") && !username.contains(char::is_control)
}

/// A rule that is not met.
struct Unmet<'a> {
    /// How many people must approve.
    need: usize,
    /// Groups that lack members.
    groups: Vec<&'a str>,
}

/// Counts the approvals of a change.
pub fn count<'a>(question: &Question<'_>, acts: &InForce<'a>) -> Counted<'a> {
    let since = question.since();
    let (mut people, mut uncounted) = (BTreeMap::<&str, Vec<&Act>>::new(), Vec::new());
    for act in acts.approvals.iter().copied() {
        let by = act.by();
        let why = if !is_person(by) {
            Some(Uncounted::NoPerson)
        } else if question.authors.names.iter().any(|author| author == by) {
            Some(Uncounted::Author)
        } else if question.before == ApprovalGate::Promotion && act.created < since {
            Some(Uncounted::TooEarly)
        } else {
            None
        };
        match why {
            Some(why) => uncounted.push((act, why)),
            None => people.entry(by).or_default().push(act),
        }
    }
    // A rejection is first: somebody who must not be overruled by haste has said no.
    let oldest = acts
        .rejected
        .iter()
        .copied()
        .min_by_key(|act| (act.created.0, act.name.as_str()));
    let people: Vec<Vec<&Act>> = people.into_values().collect();
    let unmet = question.unmet(&people);
    let answer = match (oldest, acts.waives(Waive::Approvals)) {
        (Some(by), _) => Answer::Rejected { by },
        _ if unmet.is_empty() => Answer::Granted {
            by: people.into_iter().flatten().collect(),
        },
        (None, Some(by)) => Answer::Waived { by },
        (None, None) => question.wait(since, &people, &unmet),
    };
    Counted { answer, uncounted }
}

impl Question<'_> {
    /// Since when this change waits for this; from now on where it did not. In whole seconds, as the status keeps it
    /// and as the API server dates acts, and rounded up, so that no approval is older than what it rests on.
    fn since(&self) -> Time {
        match self.awaiting {
            Some(awaiting) if awaiting.before == self.before && awaiting.change_digest == self.digest => {
                awaiting.since.clone()
            }
            _ => {
                let whole = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
                let up = i64::from(whole < self.now);
                Time(Timestamp::from_second(self.now.as_second() + up).unwrap_or(self.now))
            }
        }
    }

    /// How many of the approvers may be authors: none where all authors are known, and people.
    fn doubtful(&self) -> usize {
        let Authors { names, assurance } = self.authors;
        let known = assurance == Assurance::Pinned && !names.is_empty() && names.iter().all(|name| is_person(name));
        usize::from(!known)
    }

    /// The rules that are not met by the approvals of these people.
    fn unmet(&self, people: &[Vec<&Act>]) -> Vec<Unmet<'_>> {
        let doubtful = self.doubtful();
        let members = |group: &str| {
            let named = |acts: &[&Act]| {
                acts.iter()
                    .any(|act| act.spec.actor.groups.iter().any(|of| of == group))
            };
            people.iter().filter(|acts| named(acts)).count()
        };
        let mut found = Vec::new();
        for rule in self.rules.iter().filter(|rule| self.is_asked(rule)) {
            let need = usize::try_from(rule.count).unwrap_or(0).saturating_add(doubtful);
            let groups = rule
                .from_groups
                .iter()
                .filter(|group| members(group.as_str()) < 1 + doubtful);
            let groups: Vec<&str> = groups.map(String::as_str).collect();
            if people.len() < need || !groups.is_empty() {
                found.push(Unmet { need, groups });
            }
        }
        found
    }

    fn is_asked(&self, rule: &ApprovalRule) -> bool {
        rule.before == self.before && (rule.kinds.is_empty() || rule.kinds.contains(&self.kind))
    }

    fn wait<'a>(&self, since: Time, people: &[Vec<&Act>], unmet: &[Unmet<'_>]) -> Answer<'a> {
        let Self {
            namespace,
            model,
            digest,
            ..
        } = self;
        let excluded: BTreeSet<String> = self
            .authors
            .names
            .iter()
            .map(|name| plain(name, LONGEST_NAME))
            .collect();
        // The newest act of each.
        let approved = |acts: &Vec<&Act>| {
            let act = acts.iter().max_by_key(|act| (act.created.0, act.name.as_str()))?;
            Some(Approved {
                by: plain(act.by(), LONGEST_NAME),
                at: act.created.clone(),
                action: act.name.clone(),
            })
        };
        let need = unmet.iter().map(|of| of.need).max().unwrap_or(0);
        let groups: BTreeSet<&str> = unmet.iter().flat_map(|of| of.groups.iter().copied()).collect();
        let groups = groups
            .into_iter()
            .map(|group| format!(", group {}", plain(group, LONGEST_NAME)));
        let awaiting = Awaiting {
            before: self.before.into(),
            change_digest: (*digest).to_owned(),
            variant: self.to.variant.clone(),
            revision: self.to.revision.clone(),
            since,
            need: i32::try_from(need).unwrap_or(i32::MAX),
            have: people.iter().filter_map(approved).collect(),
            excluded: excluded.into_iter().collect(),
            may: format!("approve on quantizedmodels/{model}{}", groups.collect::<String>()),
            command: format!("kubectl guardbit approve {model} -n {namespace} --change {digest} --reason '{REASON}'"),
        };
        let message = self.sentence(&awaiting);
        Answer::Waiting {
            awaiting: Box::new(awaiting),
            message,
        }
    }

    /// Who must approve what, and how.
    fn sentence(&self, awaiting: &Awaiting) -> String {
        let what = named(self.before);
        let have: Vec<&str> = awaiting.have.iter().map(|approved| approved.by.as_str()).collect();
        let have = match have.as_slice() {
            [] => "nobody has approved".to_owned(),
            people => format!("{} approved", people.join(", ")),
        };
        let not = match awaiting.excluded.as_slice() {
            [] => String::new(),
            authors => format!(" who is not an author of it ({})", authors.join(", ")),
        };
        format!(
            "{what} of {} needs approval by {}, and {have}: anybody with the right ({}){not} runs: {}",
            self.to.describe(),
            persons(awaiting.need),
            awaiting.may,
            awaiting.command
        )
    }
}

/// What waits for an approval, in words.
pub(super) fn named(before: ApprovalGate) -> &'static str {
    match before {
        ApprovalGate::FirstTraffic => "the first traffic",
        ApprovalGate::Promotion => "the promotion",
    }
}

/// So many people, in words.
pub(in crate::governance) fn persons(number: i32) -> String {
    match number {
        1 => "1 person".to_owned(),
        number => format!("{number} people"),
    }
}

#[cfg(test)]
mod tests;
