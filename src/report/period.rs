//! One stretch of a chain: a rollout, or what lies between two.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::{
    Action, Decision, Guard, GuardStatus, QuantizedModelSpec, RevisionRef, RolloutKind, RolloutSpec, RolloutStatus,
    Word,
};
use crate::ledger::Predicate;
use crate::model::presets::guards;

use super::curve::Epoch;
use super::people::policies;
use super::shares::Shares;

/// A rollout, or what lies between two.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Period {
    /// The rollout; `None` while the guards watched stable.
    pub(super) trial: Option<Trial>,
    /// The revision that carried the main traffic when it began.
    pub(super) stable: Option<RevisionRef>,
    pub(super) began: Edge,
    /// Its end; `None` while it goes on.
    pub(super) ended: Option<Edge>,
    /// Numbers of its first and last record.
    pub(super) records: (u64, u64),
    /// Generation of the spec when it began.
    pub(super) generation: i64,
    pub(super) decisions: Vec<Recorded<Decision>>,
    /// Who had a hand in the spec that it rests on, where the API server keeps that.
    pub(super) authors: BTreeSet<String>,
    /// The policies that selected the model when it began.
    pub(super) policies: Option<String>,
    /// What people did by actions, and changed in the spec beside it.
    pub(super) by_hand: Vec<Recorded<String>>,
    pub(super) shares: Shares,
    /// The plans that it was judged by, the first as it was frozen at the start.
    pub(super) plans: Vec<Recorded<Frozen>>,
    pub(super) counted: Vec<Epoch>,
    /// Counts that records left out, and why.
    pub(super) omitted: Vec<Recorded<String>>,
    /// What the guards found last.
    pub(super) verdicts: Vec<GuardStatus>,
    /// The guards that are asked now.
    pub(super) guards: Vec<Guard>,
}

/// A beginning or an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) at: Timestamp,
    /// Whether the record of it is among those that were given.
    pub(super) on_record: bool,
}

/// Something with the record that it stands in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recorded<T> {
    pub(super) record: u64,
    pub(super) at: Timestamp,
    pub(super) what: T,
}

/// What a rollout tries.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) kind: Word<RolloutKind>,
    pub(super) candidate: RevisionRef,
    /// The revision whose place the candidate is to take.
    pub(super) from: Option<RevisionRef>,
    started_at: Timestamp,
}

/// What a rollout is judged by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frozen {
    pub(super) digest: String,
    pub(super) rollout: RolloutSpec,
    pub(super) guards: Vec<Guard>,
}

/// When a record says that it was written.
pub(super) fn written_at(record: &Predicate) -> Timestamp {
    record.record.time.parse().unwrap_or(record.look.seen.now)
}

impl Trial {
    fn of(rollout: &RolloutStatus, stable: Option<&RevisionRef>, reference: Option<&RevisionRef>) -> Self {
        let from = if rollout.kind == RolloutKind::NewReference {
            reference
        } else {
            stable
        };
        Self {
            kind: rollout.kind.clone(),
            candidate: rollout.candidate.clone(),
            from: from.cloned(),
            started_at: rollout.started_at.0,
        }
    }

    /// Whether it is this rollout. A status keeps times in whole seconds.
    fn is(&self, rollout: &RolloutStatus) -> bool {
        self.candidate == rollout.candidate && self.started_at.as_second() == rollout.started_at.0.as_second()
    }
}

/// Which of the two states of a record a stretch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// With the state before it: what began it is not on record.
    Before,
    /// With the state after it: the record began it.
    After,
}

impl Period {
    /// A stretch that begins with a record.
    pub(super) fn begin(record: &Predicate, with: Begins) -> Self {
        let (at, sequence) = (written_at(record), record.record.sequence);
        let model = &record.look.seen.model;
        let (rollout, stable, reference) = match with {
            Begins::Before => {
                let status = &model.status;
                (&status.rollout, &status.stable, &status.reference)
            }
            Begins::After => {
                let after = &record.after;
                (&after.rollout, &after.stable, &after.reference)
            }
        };
        let trial = rollout
            .as_ref()
            .map(|of| Trial::of(of, stable.as_ref(), reference.as_ref()));
        let first = match &trial {
            Some(trial) if with == Begins::Before => trial.started_at,
            _ => at,
        };
        let mut begun = Self {
            trial,
            stable: stable.clone(),
            began: Edge {
                at: first,
                // Nothing comes before the first record of a chain.
                on_record: with == Begins::After || sequence == 1,
            },
            ended: None,
            records: (sequence, sequence),
            generation: model.generation,
            decisions: Vec::new(),
            authors: BTreeSet::new(),
            policies: policies(record),
            by_hand: Vec::new(),
            shares: Shares::default(),
            plans: Vec::new(),
            counted: Vec::new(),
            omitted: Vec::new(),
            verdicts: Vec::new(),
            guards: guards(&model.spec),
        };
        match with {
            Begins::Before => begun.shares.begin(first, sequence, &record.weights.before),
            Begins::After => {
                begun.shares.begin(at, sequence, &record.weights.after);
                begun.freeze(record);
                begun.name_authors(record);
            }
        }
        begun
    }

    /// Whether this is the rollout of a status, or, where that has none, what lies between two.
    pub(super) fn is(&self, rollout: Option<&RolloutStatus>) -> bool {
        match (&self.trial, rollout) {
            (None, None) => true,
            (Some(trial), Some(rollout)) => trial.is(rollout),
            _ => false,
        }
    }

    /// Takes a record that was written during it, with those of its decisions that belong to it.
    pub(super) fn take(&mut self, record: &Predicate, decisions: Vec<Decision>) {
        let (at, sequence) = (written_at(record), record.record.sequence);
        self.records.1 = sequence;
        self.name_authors(record);
        self.count(record);
        self.note_omission(record);
        if !record.verdicts.is_empty() {
            self.verdicts.clone_from(&record.verdicts);
        }
        self.shares
            .take(at, sequence, &record.weights.before, &record.weights.after);
        self.freeze(record);
        self.guards = guards(&record.look.seen.model.spec);
        self.decide(record, decisions);
    }

    /// Adds decisions of a record.
    pub(super) fn decide(&mut self, record: &Predicate, decisions: Vec<Decision>) {
        let (at, sequence) = (written_at(record), record.record.sequence);
        self.decisions.extend(decisions.into_iter().map(|what| Recorded {
            record: sequence,
            at,
            what,
        }));
    }

    /// Adds who had a hand in the spec. Those of a spec that ends it asked for what comes next.
    fn name_authors(&mut self, record: &Predicate) {
        if self.is(record.after.rollout.as_ref()) {
            self.authors.extend(record.look.seen.people.authors.iter().cloned());
        }
    }

    /// Adds what was counted until this record, for the plan that was in force then.
    fn count(&mut self, record: &Predicate) {
        let status = &record.look.seen.model.status;
        let plan = status
            .rollout
            .as_ref()
            .map_or("", |rollout| rollout.plan_digest.as_str());
        let afresh = record
            .decisions
            .iter()
            .any(|decision| decision.action == Action::EvidenceReset);
        let goes_on = |epoch: &Epoch| epoch.plan == plan && epoch.guards == self.guards;
        if afresh || !self.counted.last().is_some_and(goes_on) {
            self.counted.push(Epoch::new(plan, &self.guards));
        }
        let Some(epoch) = self.counted.last_mut() else {
            return;
        };
        let earlier = record.evidence.iter().flat_map(|evidence| &evidence.journal.looks);
        for heard in earlier.chain([&record.look.heard.guards]) {
            for (guard, heard) in heard {
                epoch.take(guard, &heard.polls);
            }
        }
    }

    /// Notes what a record says that it left out.
    fn note_omission(&mut self, record: &Predicate) {
        let omitted = record.evidence.as_ref().and_then(|evidence| evidence.omitted.clone());
        self.omitted.extend(omitted.map(|what| Recorded {
            record: record.record.sequence,
            at: written_at(record),
            what,
        }));
    }

    /// Notes the plan that a record leaves behind, if it is another.
    fn freeze(&mut self, record: &Predicate) {
        let model = &record.look.seen.model;
        let after = record.after.rollout.as_ref().filter(|after| self.is(Some(*after)));
        // A rollout that ends is judged by the plan that it had.
        let before = model.status.rollout.as_ref().filter(|before| self.is(Some(*before)));
        let Some(rollout) = after.or(before) else {
            return;
        };
        if self
            .plans
            .last()
            .is_none_or(|plan| plan.what.digest != rollout.plan_digest)
        {
            self.plans.push(Recorded {
                record: record.record.sequence,
                at: written_at(record),
                what: Frozen::of(&model.spec, &rollout.plan_digest),
            });
        }
    }
}

impl Frozen {
    fn of(spec: &QuantizedModelSpec, digest: &str) -> Self {
        Self {
            digest: digest.to_owned(),
            rollout: spec.rollout.clone(),
            guards: guards(spec),
        }
    }
}
