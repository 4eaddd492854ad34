//! What somebody wants, and the action that says so.

use std::collections::BTreeSet;

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::jiff::SignedDuration;

use crate::api::{self, ActKind, Actor, ModelRef, PrecisionActionSpec, Waive};
use crate::governance::people::acts::longest;
use crate::governance::people::approvals::is_person;
use crate::governance::people::meaning::change_meant;

use super::arguments::{Common, Verb};
use super::cluster::{Model, called};

/// Shortest time that an action is in force; the schema has the same limit.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);

/// Most groups that an action names, and the most characters of one; the schema has the same limits.
const MOST_GROUPS: usize = 32;
const LONGEST_GROUP: usize = 256;

/// What somebody wants.
pub(super) struct Wish<'a> {
    pub(super) kind: ActKind,
    pub(super) common: &'a Common,
    valid_for: api::Duration,
    change: Option<&'a str>,
    groups: &'a [String],
    to: Option<&'a str>,
    variant: Option<&'a str>,
    incident: Option<&'a str>,
    waives: BTreeSet<Waive>,
}

impl Verb {
    /// What is wanted, if it can be.
    pub(super) fn wish(&self) -> Result<Wish<'_>, String> {
        let of = Wish::new;
        Ok(match self {
            Self::Approve(args) => Wish {
                change: args.change.as_deref(),
                groups: &args.group,
                ..of(ActKind::Approve, &args.common)?
            },
            Self::Reject(args) => Wish {
                change: args.change.as_deref(),
                ..of(ActKind::Reject, &args.common)?
            },
            Self::Pause(common) => of(ActKind::Pause, common)?,
            Self::Resume(common) => of(ActKind::Resume, common)?,
            Self::Rollback(args) => Wish {
                to: args.to.as_deref(),
                ..of(ActKind::RollBack, &args.common)?
            },
            Self::Retry(args) => Wish {
                variant: Some(&args.variant),
                ..of(ActKind::Retry, &args.common)?
            },
            Self::BreakGlass(args) => Wish {
                incident: Some(&args.incident),
                waives: args.waive.iter().copied().map(Waive::from).collect(),
                ..of(ActKind::BreakGlass, &args.common)?
            },
        })
    }
}

impl<'a> Wish<'a> {
    fn new(kind: ActKind, common: &'a Common) -> Result<Self, String> {
        Ok(Self {
            kind,
            common,
            valid_for: valid_for(kind, common)?,
            change: None,
            groups: &[],
            to: None,
            variant: None,
            incident: None,
            waives: BTreeSet::new(),
        })
    }

    /// Whether the person is asked before anything is created.
    pub(super) fn asks(&self) -> bool {
        !self.common.yes && !self.common.dry_run
    }

    /// The action, in the name of who calls.
    pub(super) fn spec(&self, model: &Model, me: &UserInfo) -> Result<PrecisionActionSpec, String> {
        let username = me.username.clone().unwrap_or_default();
        if !is_person(&username) {
            return Err(format!(
                "the API server knows you as {username:?}, and an action is a person's: log in as yourself (kubectl auth \
                 whoami shows as whom you are known)"
            ));
        }
        let change = match self.kind {
            ActKind::Approve | ActKind::Reject => Some(self.change(model)?),
            _ => None,
        };
        let groups = match self.kind {
            ActKind::Approve => self.groups(me),
            _ => Vec::new(),
        };
        Ok(PrecisionActionSpec {
            model_ref: ModelRef {
                name: model.name.clone(),
                uid: model.uid.clone(),
            },
            action: self.kind,
            change_digest: change,
            to: self.to.map(str::to_owned),
            variant: self.variant.map(str::to_owned),
            incident: self.incident.map(str::to_owned),
            waives: self.waives.iter().copied().collect(),
            actor: Actor {
                username,
                uid: None,
                groups,
            },
            reason: self.common.reason.clone(),
            valid_for: self.valid_for.clone(),
        })
    }

    /// Digest of the change that is meant. What cannot be shown is not approved.
    fn change(&self, model: &Model) -> Result<String, String> {
        match (&model.read, self.change) {
            (Ok((_, status)), named) => change_meant(self.kind, named, status.awaiting.as_ref())
                .map(str::to_owned)
                .map_err(|why| self.refuse(why)),
            (Err(_), Some(named)) if self.kind == ActKind::Reject => Ok(named.to_owned()),
            (Err(why), _) => Err(format!("what awaits approval cannot be shown: {why}")),
        }
    }

    fn refuse(&self, why: String) -> String {
        let (model, verb) = (&self.common.model, called(self.kind).verb);
        match self.kind {
            ActKind::Reject => format!(
                "{model}: {why}; --change names a change by its digest, and guardbit rollback takes a candidate's traffic away"
            ),
            _ => format!("{model}: {why}; without --change guardbit {verb} takes the change that awaits it"),
        }
    }

    /// Whether the digest is still the one that is meant, in the model as it is now.
    pub(super) fn still_meant(&self, digest: &str, before: &Model, now: &Model) -> Result<(), String> {
        if before.uid != now.uid {
            return Err(format!(
                "{} was made anew since it was shown: look at it again",
                now.name
            ));
        }
        match &now.read {
            Ok((_, status)) => change_meant(self.kind, Some(digest), status.awaiting.as_ref())
                .map(drop)
                .map_err(|why| format!("nothing was done, for it is not what it was when it was shown: {why}")),
            Err(_) => Ok(()),
        }
    }

    /// Groups that the action names: those that were asked for, else all but those of Kubernetes itself, as many as there is
    /// room for.
    fn groups(&self, me: &UserInfo) -> Vec<String> {
        if !self.groups.is_empty() {
            return self.groups.to_vec();
        }
        let mut all: Vec<String> = own_groups(me).into_iter().collect();
        all.truncate(MOST_GROUPS);
        all
    }

    /// What else whoever acts must know.
    pub(super) fn notes(&self, me: &UserInfo) -> Vec<String> {
        let own = own_groups(me).len();
        let is_cut = self.kind == ActKind::Approve && self.groups.is_empty() && own > MOST_GROUPS;
        let note = format!(
            "You are in {own} groups, and the approval names the first {MOST_GROUPS} of them: name the one that is asked for \
             with --group."
        );
        is_cut.then_some(note).into_iter().collect()
    }
}

/// The groups of a user that a policy may ask for.
fn own_groups(me: &UserInfo) -> BTreeSet<String> {
    let usable = |group: &&String| {
        let length = group.chars().count();
        !group.starts_with("system:") && (1..=LONGEST_GROUP).contains(&length)
    };
    me.groups.iter().flatten().filter(usable).cloned().collect()
}

fn valid_for(kind: ActKind, common: &Common) -> Result<api::Duration, String> {
    let called = called(kind);
    let asked = common.valid_for.clone().unwrap_or_else(|| called.valid_for.into());
    let length = SignedDuration::from_millis(asked.millis().map_err(|e| format!("--valid-for: {e}"))?);
    if length < SHORTEST || length > longest(kind) {
        return Err(format!(
            "--valid-for {asked}: {} may be in force for 1m at the least and for {}h at the most",
            called.verb,
            longest(kind).as_hours()
        ));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests;
