//! What policies ask of the model, what people want of it, and how its records stand: what the controller sees of them, and
//! what somebody knows who reads policies and acts themselves.
//!
//! Must not ask the code that is checked which acts are in force: an act lapses, and another one takes it back.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use guardbit::api::{
    ActEffect, ActKind, Action, Actor, ApprovalGate, Decision, Duration, ModelRef, PrecisionActionSpec, RevisionRef,
};
use guardbit::governance::Policy;
use guardbit::governance::people::acts::{Act, Assurance};
use guardbit::rollout::{Governance, Governed, LedgerProblem, LedgerReason, LedgerSeen, People};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::state::ago;
use crate::world::{World, time};

/// Uid of the model.
const UID: &str = "6f0c";

/// The variant that is tried where people act, and that a Retry is for.
const TRIED: &str = "int8";

/// How long a freeze lasts, in seconds.
const FREEZE: i64 = 60;

/// What a policy asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Asks {
    /// No policy selects the model.
    #[default]
    Absent,
    /// It is not known whether one does.
    Unknown,
    /// One does, and asks nothing of variants.
    Nothing,
    /// People approve the first traffic and the promotion.
    Approvals,
    /// Sixteen bits at the least, which fp32 has alone.
    Floor,
    /// The same, and what has traffic below it falls back.
    FloorFallsBack,
}

/// What becomes of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Records {
    /// Nothing goes on record.
    #[default]
    Nowhere,
    /// They are signed, and the API server takes them.
    Taken,
    /// The API server refuses them.
    Refused,
    /// They cannot be signed.
    Unsigned,
}

/// What a person did.
#[derive(Clone)]
pub struct Done {
    pub act: Act,
    /// When, in seconds.
    pub created: i64,
    /// When it lapses.
    until: i64,
    /// The candidate that was on trial then.
    pub candidate: Option<RevisionRef>,
    /// What waited for an approval then.
    pub gate: Option<ApprovalGate>,
}

/// Policies, people and records.
#[derive(Clone, Default)]
pub struct Oversight {
    pub asks: Asks,
    pub records: Records,
    /// From when to when the last freeze holds, in seconds.
    freeze: Option<(i64, i64)>,
    acts: Vec<Done>,
    /// Since when something that was decided is not on record.
    unwritten: Option<i64>,
    /// Who was raised or promoted by it.
    raised: BTreeSet<RevisionRef>,
}

/// How long an act is in force, in seconds. A RollBack may outlast the Resume that takes it back.
fn lasts(kind: ActKind) -> i64 {
    if kind == ActKind::RollBack { 120 } else { 60 }
}

/// The later act that takes back one of a kind.
fn lifter(kind: ActKind) -> Option<ActKind> {
    match kind {
        ActKind::Pause | ActKind::RollBack => Some(ActKind::Resume),
        ActKind::Reject => Some(ActKind::Retry),
        ActKind::Approve | ActKind::Resume | ActKind::Retry | ActKind::BreakGlass => None,
    }
}

impl World {
    /// Somebody acts, if there is cause to. Returns whether there is.
    pub fn act(&mut self, kind: ActKind) -> bool {
        let (now, status) = (self.clock, Arc::clone(&self.status));
        let Some(oversight) = &mut self.oversight else {
            return false;
        };
        let rollout = status.rollout.as_ref();
        let awaiting = status.awaiting.as_ref();
        let approved = rollout.and_then(|rollout| rollout.approved.as_ref()?.first_traffic.clone());
        let asked = awaiting.map(|awaiting| awaiting.change_digest.clone());
        let change = match kind {
            ActKind::Approve => asked,
            ActKind::Reject => asked.or(approved),
            _ => None,
        };
        let stands = |kind: ActKind| oversight.stands(kind, now);
        let has_cause = match kind {
            ActKind::Approve | ActKind::Reject => change.is_some() && !stands(kind),
            ActKind::Pause | ActKind::RollBack => !stands(kind),
            ActKind::Resume => stands(ActKind::Pause) || stands(ActKind::RollBack),
            ActKind::Retry => {
                let was_found = status.rejected.iter().any(|of| of.variant == TRIED)
                    || status.failed.iter().any(|of| of.variant == TRIED);
                !stands(kind) && (was_found || stands(ActKind::Reject))
            }
            ActKind::BreakGlass => false,
        };
        let name = format!("{kind}-{now}").to_lowercase();
        if !has_cause || oversight.acts.iter().any(|done| done.act.name == name) {
            return false;
        }
        let by = if kind == ActKind::Approve { "bob" } else { "cid" };
        oversight.acts.push(Done {
            act: Act {
                uid: name.clone(),
                name,
                created: Time(time(now)),
                spec: PrecisionActionSpec {
                    model_ref: ModelRef {
                        name: "fraud".to_owned(),
                        uid: UID.to_owned(),
                    },
                    action: kind,
                    change_digest: change,
                    to: None,
                    variant: (kind == ActKind::Retry).then(|| TRIED.to_owned()),
                    incident: None,
                    waives: Vec::new(),
                    actor: Actor {
                        username: by.to_owned(),
                        uid: None,
                        groups: Vec::new(),
                    },
                    reason: "as the report says".to_owned(),
                    valid_for: Duration(format!("{}s", lasts(kind))),
                },
            },
            created: now,
            until: now + lasts(kind),
            candidate: rollout.map(|rollout| rollout.candidate.clone()),
            gate: awaiting.and_then(|awaiting| awaiting.before.known()),
        });
        true
    }
}

impl Oversight {
    /// Nobody has acted yet.
    pub fn of(asks: Asks, records: Records) -> Self {
        Self {
            asks,
            records,
            ..Self::default()
        }
    }

    /// What the controller sees of it.
    pub fn seen(&self, now: i64) -> (Governance, People, LedgerSeen) {
        let people = People {
            acts: self.acts.iter().map(|done| done.act.clone()).collect(),
            authors: vec!["ann".to_owned()],
            assurance: Assurance::Pinned,
            author_assurance: Assurance::Pinned,
            uid: UID.to_owned(),
        };
        let is_refused = self.records == Records::Refused && self.unwritten.is_some();
        let ledger = LedgerSeen {
            remembered: None,
            unwritten_since: self.unwritten.map(time),
            problem: is_refused.then(|| LedgerProblem {
                reason: LedgerReason::NotWritten,
                message: "exceeded quota".to_owned(),
            }),
            unsigned: (self.records == Records::Unsigned).then(|| "there is no key".to_owned()),
        };
        (self.governance(now), people, ledger)
    }

    fn governance(&self, now: i64) -> Governance {
        let mut asked = match self.asks {
            Asks::Absent => return Governance::Ungoverned,
            Asks::Unknown => return Governance::Unknown("no watch has delivered yet".to_owned()),
            Asks::Nothing => json!({}),
            Asks::Approvals => json!({"approvals": [{"before": "FirstTraffic"}, {"before": "Promotion"}]}),
            Asks::Floor => json!({"floor": {"minBits": 16}}),
            Asks::FloorFallsBack => json!({"floor": {"minBits": 16, "onBreach": "FallBack"}}),
        };
        if let Some((from, to)) = self.freeze.filter(|(_, to)| now < *to) {
            let [from, to] = [from, to].map(|at| time(at).to_string());
            asked["freezes"] = json!([{"name": "change-stop", "between": {"from": from, "to": to}}]);
        }
        let rules = Policy::read("high-risk", 3, &asked).rules.expect("rules");
        Governance::Governed(Governed {
            from: vec!["high-risk@3".to_owned()],
            digest: rules.digest(),
            rules: Box::new(rules),
            records: self.records != Records::Nowhere,
            signed: self.records != Records::Nowhere,
            turn: true,
            ..Governed::default()
        })
    }

    /// A freeze begins, unless one holds. Returns whether it does.
    pub fn begin_freeze(&mut self, now: i64) -> bool {
        let begins = !self.is_frozen(now);
        if begins {
            self.freeze = Some((now, now + FREEZE));
        }
        begins
    }

    pub fn is_frozen(&self, now: i64) -> bool {
        self.freeze.is_some_and(|(from, to)| (from..to).contains(&now))
    }

    /// Acts of a kind that have not lapsed, and that no later one has taken back.
    pub fn standing(&self, kind: ActKind, now: i64) -> impl Iterator<Item = &Done> {
        self.acts.iter().filter(move |done| {
            let takes_back = |by: &Done| Some(by.act.spec.action) == lifter(kind) && by.created > done.created;
            done.act.spec.action == kind && now < done.until && !self.acts.iter().any(takes_back)
        })
    }

    pub fn stands(&self, kind: ActKind, now: i64) -> bool {
        self.standing(kind, now).next().is_some()
    }

    /// What was decided is to go on record, and is part of the status until then.
    pub fn append(&mut self, now: i64, decisions: &[Decision]) {
        if self.records == Records::Nowhere || decisions.is_empty() {
            return;
        }
        self.unwritten.get_or_insert(now);
        let raised = decisions.iter().filter(|decision| {
            let action = decision.action.known();
            matches!(action, Some(Action::Bootstrapped | Action::Raised | Action::Promoted))
        });
        self.raised.extend(raised.map(|decision| RevisionRef {
            variant: decision.variant.clone(),
            revision: decision.revision.clone(),
        }));
    }

    /// Creates the records that are missing. Returns whether there were any, and the API server takes them.
    pub fn settle(&mut self) -> bool {
        let settles = self.unwritten.is_some() && self.records != Records::Refused;
        if settles {
            self.unwritten = None;
            self.raised.clear();
        }
        settles
    }

    /// Who was raised or promoted by what is not on record; `None` if all of it is.
    pub fn unwritten(&self) -> Option<&BTreeSet<RevisionRef>> {
        self.unwritten.map(|_| &self.raised)
    }

    /// Since when something is not on record, in seconds.
    pub fn unwritten_since(&self) -> Option<i64> {
        self.unwritten
    }

    /// Acts that have lapsed no longer matter, and of the others only for how long they will last. `held` is what the status
    /// keeps of acts.
    pub fn hash_at<H: Hasher>(&self, now: i64, held: &[ActEffect], h: &mut H) {
        (self.asks, self.records, self.unwritten.is_some(), &self.raised).hash(h);
        let frozen = self.freeze.filter(|(_, to)| now < *to);
        frozen.map(|(_, to)| to - now).hash(h);
        let current = self.acts.iter().filter(|done| now < done.until);
        let mut acts: Vec<_> = current
            .map(|done| {
                let effect = held.iter().find(|effect| effect.uid == done.act.uid);
                let effect = effect.map(|effect| (&effect.holds_at, effect.lifted_by.is_some()));
                let age = ago(now, done.created);
                (done.act.spec.action, age, done.gate, &done.candidate, effect)
            })
            .collect();
        acts.sort();
        acts.len().hash(h);
        for (kind, age, gate, candidate, effect) in acts {
            std::mem::discriminant(&kind).hash(h);
            (gate == Some(ApprovalGate::Promotion), age, candidate, effect).hash(h);
        }
    }
}
