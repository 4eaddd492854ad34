//! Journals of a model that is guarded, and the world that other tests of records are made of.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::api::{QuantizedModelSpec, QuantizedModelStatus};
use crate::evidence::{Counts, Observed, Poll};
use crate::model::identity;
use crate::rollout::{Governance, LedgerSeen, ModelSeen, Observation, People, RouteSeen, hear, resolve};

/// int8 was promoted, and one guard counts its errors beside those of fp32.
pub(in crate::ledger) struct World {
    pub(in crate::ledger) spec: QuantizedModelSpec,
    status: QuantizedModelStatus,
    second: i64,
}

/// One evaluation.
pub(in crate::ledger) struct Look {
    pub(in crate::ledger) observation: Observation,
    pub(in crate::ledger) heard: Heard,
    pub(in crate::ledger) plan: Plan,
}

/// The ladder of fraud-scorer up to int8, with one guard.
pub(in crate::ledger) fn spec() -> QuantizedModelSpec {
    let text = include_str!("../../../tests/testdata/fraud-scorer.yaml");
    let mut model: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
    let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].take()).unwrap();
    spec.guards.truncate(1);
    spec.traffic.precision_routes.clear();
    spec.target = Some("int8".to_owned());
    spec
}

impl World {
    pub(in crate::ledger) fn new(spec: QuantizedModelSpec) -> Self {
        let mut revisions = identity::revisions(&spec).into_iter();
        let status = QuantizedModelStatus {
            reference: revisions.next(),
            stable: revisions.next(),
            ..QuantizedModelStatus::default()
        };
        Self {
            spec,
            status,
            second: 1_800_000_000,
        }
    }

    fn observe(&self) -> Observation {
        let weights = [&self.status.reference, &self.status.stable]
            .into_iter()
            .flatten()
            .cloned();
        let route = RouteSeen {
            exists: true,
            weights: weights.zip([5, 95]).collect(),
            ..RouteSeen::default()
        };
        Observation {
            now: Timestamp::from_second(self.second).unwrap(),
            model: ModelSeen {
                namespace: "risk".to_owned(),
                name: "fraud".to_owned(),
                generation: 3,
                deleted_at: None,
                spec: self.spec.clone(),
                revisions: identity::revisions(&self.spec),
                templates: Vec::new(),
                refused: None,
                status: self.status.clone(),
            },
            workloads: BTreeMap::new(),
            route,
            comparer: None,
            evidence: BTreeMap::new(),
            governance: Governance::Ungoverned,
            people: People::default(),
            ledger: LedgerSeen::default(),
        }
    }

    /// The next evaluation, which hears of so many errors of int8 among a thousand requests, or of nothing.
    pub(in crate::ledger) fn look(&mut self, errors: Option<u64>) -> Look {
        let from = 1_000 * self.second;
        self.second += 15;
        let observation = self.observe();
        let mut heard = hear(&observation);
        let polls = errors.map(|x| Poll {
            from,
            through: from + 15_000,
            observed: Observed::Proportion {
                candidate: Counts { n: 1_000, x },
                baseline: Counts { n: 1_000, x: 2 },
            },
        });
        heard.guards.extend(polls.map(|poll| {
            let counted = GuardHeard {
                polls: vec![poll],
                lines: vec![7],
                ..GuardHeard::default()
            };
            ("errors".to_owned(), counted)
        }));
        let plan = resolve(&observation.seen(), heard.clone());
        self.status = plan.status.clone();
        Look {
            observation,
            heard,
            plan,
        }
    }

    /// Evaluations that decide nothing, in a journal.
    pub(in crate::ledger) fn journal(&mut self, evaluations: usize) -> Option<Journal> {
        (0..evaluations).fold(None, |journal, _| self.look(Some(2)).append(journal))
    }
}

impl Look {
    fn append(&self, journal: Option<Journal>) -> Option<Journal> {
        assert!(self.plan.decisions.is_empty(), "{:?}", self.plan.decisions);
        Journal::append(journal, &self.observation.seen(), &self.heard, &self.plan)
    }
}

#[test]
fn a_journal_holds_the_polls_that_lead_to_what_the_tests_know() {
    let mut world = World::new(spec());
    let journal = world.journal(5).unwrap();
    assert_eq!((journal.looks.len(), journal.polls()), (5, 5));
    assert!(journal.looks.iter().all(|heard| heard["errors"].lines.is_empty()));
    let known = TestState::after(&world.status).unwrap();
    assert_eq!(journal.through, known.digest());
    assert_ne!(journal.through, journal.before.digest());
    let next = world.look(Some(2));
    let seen = next.observation.seen();
    assert_eq!(journal.end(&seen), known);
    assert_eq!(TestState::before(&next.heard).unwrap(), known);
    assert!(
        (100..400).contains(&(journal.bytes() / journal.polls())),
        "{}",
        journal.bytes()
    );
    let printed = serde_json::to_string(&journal).unwrap();
    assert_eq!(serde_json::from_str::<Journal>(&printed).unwrap(), journal);
}

#[test]
fn an_evaluation_that_teaches_nothing_is_in_no_journal() {
    let mut world = World::new(spec());
    let journal = world.journal(2);
    let silent = world.look(None).append(journal.clone());
    assert_eq!(silent, journal);
    world.spec.suspend = true;
    // This one decides: the suspension goes on record.
    world.look(Some(2));
    let suspended = world.look(Some(2));
    assert_eq!(suspended.append(journal.clone()), journal);
}

#[test]
fn a_journal_begins_anew_where_the_one_before_does_not_lead() {
    let looks = |journal: &Option<Journal>| journal.as_ref().map(|journal| journal.looks.len());
    let mut world = World::new(spec());
    let journal = world.journal(3);
    // One evaluation is not in it.
    world.look(Some(2));
    let next = world.look(Some(2));
    let journal = next.append(journal);
    assert_eq!(looks(&journal), Some(1));
    assert_eq!(
        journal.clone().map(|journal| journal.before),
        TestState::before(&next.heard)
    );
    let journal = world.look(Some(2)).append(journal);
    assert_eq!(looks(&journal), Some(2));
    // After a promotion the error rate is one for each poll.
    world.spec.rollout.interval = "30s".into();
    let journal = world.look(Some(2)).append(journal);
    assert_eq!(looks(&journal), Some(1));
    // Nothing is on trial.
    world.status = QuantizedModelStatus::default();
    assert_eq!(world.look(None).append(journal), None);
}
