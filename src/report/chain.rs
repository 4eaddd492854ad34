//! A chain of records, divided into rollouts and what lies between them.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Action, Decision, Model, PolicyFinding, QuantizedModelSpec};
use crate::ledger::{After, Head, ModelName, Predicate, Signing, Statement};

use super::people::{OpenAct, in_force, told};
use super::period::{Begins, Edge, Period, Recorded, written_at};
use super::shares::{Weights, ordered};
use super::side::Lineage;

/// What the records of one model tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What holds at the end of the chain; `None` of a chain without records.
    pub(super) chain: Option<Chain>,
    pub(super) periods: Vec<Period>,
    /// What was said of revisions.
    pub(super) lineage: Lineage,
    /// What the verification found, in a sentence.
    pub(super) verification: Option<String>,
}

/// The chain as a whole, and what holds at its end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    pub(super) model: ModelName,
    /// The model as its registry knows it.
    pub(super) registered: Model,
    /// Numbers of the first and the last record.
    pub(super) records: (u64, u64),
    /// Numbers between these that are not there.
    pub(super) missing: Vec<(u64, u64)>,
    /// Times of the first and the last record.
    pub(super) times: (Timestamp, Timestamp),
    pub(super) head: Head,
    /// Releases of guardbit that wrote it.
    pub(super) releases: BTreeSet<String>,
    /// Records that were written without a key.
    pub(super) unsigned: usize,
    /// Last record that was deleted by retention, as a later one names it.
    pub(super) pruned: Option<Head>,
    /// The record from which the chain went on after a loss of status.
    pub(super) recovered: Option<Head>,
    pub(super) weights: Weights,
    pub(super) after: After,
    pub(super) paused: bool,
    pub(super) suspended: bool,
    /// Actions of people that hold something back, or open something.
    pub(super) acts: Vec<OpenAct>,
    /// Where the model falls short of policies.
    pub(super) findings: Vec<PolicyFinding>,
}

impl Report {
    /// What the records of one model tell. Their order does not matter.
    pub fn of(statements: &[Statement]) -> Self {
        let mut statements: Vec<&Statement> = statements.iter().collect();
        statements.sort_by_key(|statement| statement.predicate.record.sequence);
        statements.dedup_by_key(|statement| statement.predicate.record.sequence);
        let mut walk = Walk::default();
        for statement in &statements {
            walk.take(&statement.predicate);
        }
        Self {
            chain: chain(&statements),
            periods: walk.finish(),
            lineage: walk.lineage,
            verification: None,
        }
    }

    /// The same with a sentence about what the verification of the records found.
    pub fn verified(self, verification: Option<String>) -> Self {
        Self { verification, ..self }
    }

    /// The same without what had ended before a time. Rollouts stay whole.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.periods
            .retain(|period| period.ended.is_none_or(|ended| ended.at >= time));
        self
    }
}

impl Chain {
    /// Whether records are missing, in words.
    pub(super) fn completeness(&self) -> String {
        let gap = |(first, last): &(u64, u64)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first} to {last}")
            }
        };
        let gaps: Vec<_> = self.missing.iter().map(gap).collect();
        match (self.records.0, gaps.is_empty()) {
            (1, true) => "complete".to_owned(),
            (first, true) => format!("complete from {first}; what came before is not here"),
            (_, false) => format!("without {}", gaps.join(", ")),
        }
    }
}

fn chain(statements: &[&Statement]) -> Option<Chain> {
    let (first, last) = (&statements.first()?.predicate, statements.last()?);
    let newest = &last.predicate;
    let sequences = statements
        .windows(2)
        .map(|pair| [0, 1].map(|at| pair[at].predicate.record.sequence));
    let missing = sequences.filter(|[before, after]| after - before > 1);
    let all = || statements.iter().map(|statement| &statement.predicate);
    let model = &newest.look.seen.model;
    let spec = &model.spec;
    let findings = model.status.policy.iter().flat_map(|policy| policy.findings.clone());
    let sequence = newest.record.sequence;
    Some(Chain {
        model: newest.record.model.clone(),
        registered: spec.model.clone(),
        records: (first.record.sequence, sequence),
        missing: missing.map(|[before, after]| (before + 1, after - 1)).collect(),
        times: (written_at(first), written_at(newest)),
        head: Head::of(sequence, &last.print()),
        releases: all().map(|record| record.record.core.guardbit.clone()).collect(),
        unsigned: all()
            .filter(|record| record.record.signing == Signing::Unsigned)
            .count(),
        pruned: all().filter_map(|record| record.documents.pruned.clone()).next_back(),
        recovered: all()
            .filter_map(|record| record.documents.recovered.clone())
            .next_back(),
        weights: ordered(&newest.weights.after),
        after: newest.after.clone(),
        paused: spec.paused,
        suspended: spec.suspend,
        acts: in_force(newest),
        findings: findings.collect(),
    })
}

/// A walk along a chain.
#[derive(Default)]
struct Walk {
    done: Vec<Period>,
    open: Option<Period>,
    lineage: Lineage,
    asked: Option<Asked>,
    /// Uids of the actions that were told.
    acts: BTreeSet<String>,
}

impl Walk {
    fn take(&mut self, record: &Predicate) {
        let model = &record.look.seen.model;
        self.lineage
            .extend(model.revisions.iter().cloned().zip(model.spec.variants.iter().cloned()));
        let (before, after) = (model.status.rollout.as_ref(), record.after.rollout.as_ref());
        let at = written_at(record);
        let by_hand = self.by_hand(record);
        let mut open = match self.open.take() {
            Some(open) if open.is(before) => open,
            other => {
                // The record of its end is missing.
                self.close(other, at, false);
                Period::begin(record, Begins::Before)
            }
        };
        if open.is(after) {
            open.take(record, record.decisions.clone());
            open.by_hand.extend(by_hand);
            self.open = Some(open);
            return;
        }
        let begins = |decision: &Decision| after.is_some() && (before.is_none() || decision.action == Action::Started);
        let (of_next, own) = record.decisions.iter().cloned().partition(begins);
        open.take(record, own);
        let mut next = Period::begin(record, Begins::After);
        next.decide(record, of_next);
        // What was asked for in the spec is why a rollout begins.
        let affected = if after.is_some() { &mut next } else { &mut open };
        affected.by_hand.extend(by_hand);
        self.close(Some(open), at, true);
        self.open = Some(next);
    }

    fn close(&mut self, period: Option<Period>, at: Timestamp, on_record: bool) {
        self.done.extend(period.map(|period| Period {
            ended: Some(Edge { at, on_record }),
            ..period
        }));
    }

    /// What people did by actions, and changed in the spec, since the record before.
    fn by_hand(&mut self, record: &Predicate) -> Vec<Recorded<String>> {
        let asked = Asked::of(&record.look.seen.model.spec);
        let mut changes = asked.since(self.asked.as_ref());
        self.asked = Some(asked);
        let acts = record.look.seen.people.acts.iter();
        changes.extend(acts.filter(|act| self.acts.insert(act.uid.clone())).map(told));
        let recorded = |what| Recorded {
            record: record.record.sequence,
            at: written_at(record),
            what,
        };
        changes.into_iter().map(recorded).collect()
    }

    /// All stretches in which anything is on record.
    fn finish(&mut self) -> Vec<Period> {
        let mut all = std::mem::take(&mut self.done);
        all.extend(self.open.take());
        // What lies between two rollouts may be a moment without a decision.
        all.retain(|period| period.trial.is_some() || !period.decisions.is_empty() || !period.by_hand.is_empty());
        all
    }
}

/// What people ask for in a spec, beside what is rolled out.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    paused: bool,
    suspend: bool,
    attempt: i64,
    target: Option<String>,
}

impl Asked {
    fn of(spec: &QuantizedModelSpec) -> Self {
        Self {
            paused: spec.paused,
            suspend: spec.suspend,
            attempt: spec.attempt,
            target: spec
                .variants
                .get(spec.target_index())
                .map(|variant| variant.name.clone()),
        }
    }

    /// What changed, in sentences. Of a first record: what is out of the ordinary.
    fn since(&self, before: Option<&Self>) -> Vec<String> {
        let mut changes = Vec::new();
        let usual = Self {
            paused: false,
            suspend: false,
            ..self.clone()
        };
        let before = before.unwrap_or(&usual);
        for (field, was, is) in [
            ("spec.paused", before.paused, self.paused),
            ("spec.suspend", before.suspend, self.suspend),
        ] {
            match (was, is) {
                (false, true) => changes.push(format!("{field} was set")),
                (true, false) => changes.push(format!("{field} was taken back")),
                _ => {}
            }
        }
        if before.attempt != self.attempt {
            changes.push(format!(
                "spec.attempt was changed from {} to {}",
                before.attempt, self.attempt
            ));
        }
        if before.target != self.target {
            let name = |target: &Option<String>| target.clone().unwrap_or_else(|| "none".to_owned());
            let (was, is) = (name(&before.target), name(&self.target));
            changes.push(format!("the target was changed from {was} to {is}"));
        }
        changes
    }
}
