//! What goes on record of evaluations, and what does not.

use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::api::{Action, PrecisionDecision, PrecisionDecisionSpec, QuantizedModelSpec, QuantizedModelStatus};
use crate::evidence::{Counts, Observed, Poll};
use crate::ledger::verify::adopt;
use crate::ledger::{SigningKey, object_name};
use crate::model::identity::{Purpose, revisions};
use crate::rollout::{
    Governance, Governed, GuardHeard, LedgerSeen, ModelSeen, People, RouteSeen, Workload, WorkloadKey, hear, resolve,
};

const KEY: &str = include_str!("../../../../tests/testdata/ledger/key.pem");

/// A model whose first variant is ready, so that the first evaluation decides to install it.
fn observation(governance: Governance) -> Observation {
    let sample = include_str!("../../../../tests/testdata/fraud-scorer.yaml");
    let file: serde_json::Value = serde_yaml_ng::from_str(sample).unwrap();
    let spec: QuantizedModelSpec = serde_json::from_value(file["spec"].clone()).unwrap();
    let revisions = revisions(&spec);
    let key = WorkloadKey {
        revision: revisions[0].clone(),
        purpose: Purpose::Serving,
    };
    let ready = Workload {
        desired: 8,
        ready: 8,
        pods: 8,
        ..Workload::default()
    };
    Observation {
        now: "2026-11-10T00:00:00.250Z".parse().unwrap(),
        model: ModelSeen {
            namespace: "risk".to_owned(),
            name: "fraud-scorer".to_owned(),
            generation: 1,
            deleted_at: None,
            spec,
            revisions,
            templates: Vec::new(),
            refused: None,
            status: QuantizedModelStatus::default(),
        },
        workloads: BTreeMap::from([(key, ready)]),
        route: RouteSeen::default(),
        comparer: None,
        evidence: BTreeMap::new(),
        governance,
        people: People::default(),
        ledger: LedgerSeen::default(),
    }
}

fn governed() -> Observation {
    observation(Governance::Governed(Governed {
        from: vec!["high-risk@3".to_owned()],
        records: true,
        ..Governed::default()
    }))
}

fn before(found: Option<Found>) -> Before {
    Before {
        found,
        journal: None,
        signing: Signing::Key,
        prune: None,
    }
}

/// An evaluation, and what goes on record of it.
fn evaluate(observation: &Observation, before: Before) -> (Plan, Appended) {
    let heard = hear(observation);
    let mut plan = resolve(&observation.seen(), heard.clone());
    let is_due = plan.record == Record::Now;
    let appended = append("uid", (observation, &heard), &mut plan, before, is_due);
    (plan, appended)
}

/// The object of the newest record that is pending, as it would be written.
fn object(plan: &Plan) -> PrecisionDecision {
    let record = plan.status.ledger.as_ref().unwrap().pending.last().unwrap();
    let key = SigningKey::from_pem(KEY).unwrap();
    let statement = unpack(&record.payload, LARGEST_STATEMENT).unwrap();
    let spec = PrecisionDecisionSpec {
        sequence: record.sequence,
        time: record.time.clone(),
        summary: record.summary.clone(),
        payload_digest: record.payload_digest.clone(),
        payload: record.payload.clone(),
        signature: Some(key.sign(&statement).into()),
        rotated_from: None,
    };
    let name = object_name("fraud-scorer", u64::try_from(record.sequence).unwrap());
    let mut object = PrecisionDecision::new(&name, spec);
    object.metadata.namespace = Some("risk".to_owned());
    object
}

/// Records of one chain, each a second after the one before; another chain for another second.
pub(in crate::controller::ledger) fn chain(length: usize, second: i64) -> Vec<PendingRecord> {
    let mut world = governed();
    world.now += SignedDuration::from_secs(second);
    let mut records = Vec::new();
    let mut found = Found::Nothing;
    while records.len() < length {
        let (plan, _) = evaluate(&world, before(Some(found)));
        let ledger = plan.status.ledger.unwrap();
        records.extend(ledger.pending);
        found = Found::Newest(Head {
            sequence: u64::try_from(ledger.sequence).unwrap(),
            digest: ledger.head,
        });
        world.now += SignedDuration::from_secs(1);
        // Without pods nothing is decided, and what was found goes on record all the same.
        world.workloads.clear();
    }
    records
}

/// A record that follows this one, so many seconds after the time at which chains begin.
pub(in crate::controller::ledger) fn after(record: &PendingRecord, seconds: i64) -> PendingRecord {
    let mut world = governed();
    world.workloads.clear();
    world.now += SignedDuration::from_secs(seconds);
    let head = Head {
        sequence: u64::try_from(record.sequence).unwrap(),
        digest: record.payload_digest.trim_start_matches("sha256:").to_owned(),
    };
    let (plan, _) = evaluate(&world, before(Some(Found::Newest(head))));
    plan.status.ledger.unwrap().pending.remove(0)
}

fn adopted(object: PrecisionDecision) -> Result<crate::ledger::verify::Adopted, String> {
    let key = SigningKey::from_pem(KEY).unwrap();
    adopt(object, ("risk", "fraud-scorer"), &[key.public().clone()])
}

#[test]
fn a_decision_and_its_record_are_in_the_same_status_and_the_next_record_follows() {
    let mut world = governed();
    let (plan, appended) = evaluate(&world, before(Some(Found::Nothing)));
    assert_eq!(plan.decisions[0].action, Action::Bootstrapped);
    assert!(appended.recorded && plan.record == Record::Now);
    let ledger = plan.status.ledger.clone().unwrap();
    assert_eq!((ledger.sequence, ledger.pending.len()), (1, 1));
    assert_eq!(ledger.pending[0].payload_digest, format!("sha256:{}", ledger.head));
    assert!(ledger.pending[0].signed);
    let first = adopted(object(&plan)).unwrap();
    assert_eq!(first.before, Head::origin("uid").digest);
    // The next evaluation starts a rollout; the first record exists by then.
    world.model.status = plan.status;
    world.model.status.ledger.as_mut().unwrap().pending.clear();
    world.now += SignedDuration::from_secs(1);
    let (plan, _) = evaluate(&world, before(None));
    assert_eq!(plan.decisions[0].action, Action::Started);
    let second = adopted(object(&plan)).unwrap();
    assert_eq!((second.head.sequence, second.before), (2, first.head.digest));
}

#[test]
fn nothing_goes_on_record_where_no_policy_asks_or_nothing_was_decided() {
    let (plan, appended) = evaluate(&observation(Governance::Ungoverned), before(None));
    assert!(!plan.decisions.is_empty() && !appended.recorded && plan.status.ledger.is_none());
    let mut world = governed();
    world.workloads.clear();
    let (plan, appended) = evaluate(&world, before(Some(Found::Nothing)));
    assert!(plan.decisions.is_empty() && !appended.recorded && plan.status.ledger.is_none());
}

#[test]
fn what_policies_ask_is_not_known_and_records_go_on_where_there_were_some() {
    let unknown = Governance::Unknown("not yet".to_owned());
    let mut world = observation(unknown);
    world.model.status.stable = Some(world.model.revisions[2].clone());
    world.model.status.reference = Some(world.model.revisions[0].clone());
    world.model.spec.target = Some("fp32".to_owned());
    let (plan, appended) = evaluate(&world, before(Some(Found::Nothing)));
    assert_eq!(plan.decisions[0].action, Action::TargetMoved);
    assert!(!appended.recorded, "nothing was on record before");
    world.model.status.ledger = Some(LedgerStatus {
        sequence: 4,
        head: "ab".repeat(32),
        ..LedgerStatus::default()
    });
    let (plan, appended) = evaluate(&world, before(None));
    assert!(appended.recorded);
    assert_eq!(plan.status.ledger.unwrap().sequence, 5);
}

#[test]
fn that_no_policy_asks_any_more_goes_on_record_and_nothing_after_it() {
    let mut world = governed();
    let (plan, _) = evaluate(&world, before(Some(Found::Nothing)));
    assert!(plan.status.policy.is_some());
    world.model.status = plan.status;
    world.model.status.ledger.as_mut().unwrap().pending.clear();
    let told = Governed {
        from: vec!["high-risk@4".to_owned()],
        ..Governed::default()
    };
    world.governance = Governance::Governed(told.clone());
    let (_, appended) = evaluate(&world, before(None));
    assert!(appended.recorded, "its rules are only told, and there are records");
    let (plan, appended) = evaluate(&observation(Governance::Governed(told)), before(Some(Found::Nothing)));
    assert!(
        !plan.decisions.is_empty() && !appended.recorded,
        "none were kept before"
    );
    world.governance = Governance::Ungoverned;
    world.model.spec.target = Some("fp32".to_owned());
    let (plan, appended) = evaluate(&world, before(None));
    let actions: Vec<_> = plan.decisions.iter().map(|decision| decision.action.clone()).collect();
    assert_eq!(actions, [Action::Ungoverned]);
    let ledger = plan.status.ledger.clone().unwrap();
    assert!(appended.recorded && (ledger.sequence, ledger.pending.len()) == (2, 1));
    // No policy asks for records of what is decided later.
    world.model.status = plan.status;
    world.model.spec.target = Some("int8".to_owned());
    let (plan, appended) = evaluate(&world, before(None));
    assert!(!plan.decisions.is_empty() && !appended.recorded);
    assert_eq!(plan.status.ledger.unwrap().sequence, 2);
}

#[test]
fn a_chain_that_was_found_goes_on_at_once_and_says_so() {
    let mut world = governed();
    world.workloads.clear();
    let head = Head {
        sequence: 31,
        digest: "cd".repeat(32),
    };
    let (plan, appended) = evaluate(&world, before(Some(Found::Newest(head.clone()))));
    assert!(plan.decisions.is_empty() && appended.recorded);
    let record = &plan.status.ledger.as_ref().unwrap().pending[0];
    assert_eq!((record.sequence, record.summary.as_str()), (32, "Checkpoint: 0 polls"));
    let statement = unpack(&record.payload, LARGEST_STATEMENT).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&statement).unwrap();
    assert_eq!(statement["predicate"]["documents"]["recovered"]["sequence"], 31);
    assert_eq!(adopted(object(&plan)).unwrap().before, head.digest);
}

#[test]
fn while_the_chain_is_not_known_nothing_goes_on_record() {
    let (plan, appended) = evaluate(&governed(), before(None));
    assert!(!plan.decisions.is_empty() && !appended.recorded && plan.status.ledger.is_none());
}

#[test]
fn a_status_holds_no_more_records_than_it_can() {
    let mut world = governed();
    let (plan, _) = evaluate(&world, before(Some(Found::Nothing)));
    let mut ledger = plan.status.ledger.unwrap();
    let small = ledger.pending[0].clone();
    let large = PendingRecord {
        payload: "H4sI".repeat(MOST_PENDING.1 / 8),
        ..small.clone()
    };
    for (pending, is_recorded) in [
        (vec![small.clone(); MOST_PENDING.0 - 1], true),
        (vec![small; MOST_PENDING.0], false),
        (vec![large.clone()], true),
        (vec![large; 2], false),
    ] {
        let waiting = pending.len();
        ledger.pending = pending;
        world.model.status.ledger = Some(ledger.clone());
        let (plan, appended) = evaluate(&world, before(None));
        assert!(!plan.decisions.is_empty());
        assert_eq!(appended.recorded, is_recorded, "{waiting}");
        let pending = plan.status.ledger.unwrap().pending;
        assert_eq!(pending.len(), waiting + usize::from(is_recorded));
    }
}

/// A model whose candidate is on trial, and the journal of an evaluation that heard nothing of it.
fn on_trial() -> (Observation, Journal) {
    let mut world = governed();
    for found in [Some(Found::Nothing), None] {
        let (plan, _) = evaluate(&world, before(found));
        world.model.status = plan.status;
        world.model.status.ledger.as_mut().unwrap().pending.clear();
        world.now += SignedDuration::from_secs(1);
    }
    assert!(world.model.status.rollout.is_some());
    let heard = hear(&world);
    let plan = resolve(&world.seen(), heard.clone());
    assert!(plan.decisions.is_empty());
    let journal = Journal::append(None, &world.seen(), &heard, &plan).expect("the candidate is on trial");
    (world, journal)
}

/// The journal with so many evaluations, of which each heard of one poll.
fn with_looks(journal: &Journal, looks: usize) -> Journal {
    let poll = Poll {
        from: 0,
        through: 1,
        observed: Observed::Proportion {
            candidate: Counts::default(),
            baseline: Counts::default(),
        },
    };
    let heard = GuardHeard {
        polls: vec![poll],
        ..GuardHeard::default()
    };
    Journal {
        looks: vec![BTreeMap::from([("errors".to_owned(), heard)]); looks],
        ..journal.clone()
    }
}

#[test]
fn a_journal_that_is_full_goes_on_record_and_is_lost_where_it_cannot() {
    let (mut world, journal) = on_trial();
    let kept = |world: &Observation, looks: usize| {
        let before = Before {
            journal: Some(with_looks(&journal, looks)),
            ..before(None)
        };
        let (_, appended) = evaluate(world, before);
        (appended.recorded, appended.journal.map(|journal| journal.looks.len()))
    };
    assert_eq!(kept(&world, CHECKPOINT.0 - 1), (false, Some(CHECKPOINT.0 - 1)));
    assert_eq!(kept(&world, CHECKPOINT.0), (true, None));
    let waiting = chain(1, 0).remove(0);
    world.model.status.ledger.as_mut().unwrap().pending = vec![waiting; MOST_PENDING.0];
    assert_eq!(kept(&world, CHECKPOINT.0 - 1), (false, Some(CHECKPOINT.0 - 1)));
    assert_eq!(kept(&world, CHECKPOINT.0), (false, Some(0)), "it begins anew");
}

/// The answer to a write of the status was lost: this process has the journal of before, and the status has the whole.
#[test]
fn of_two_journals_that_counts_which_leads_to_what_the_tests_know() {
    let (mut world, journal) = on_trial();
    let elsewhere = |looks: usize| Journal {
        through: "of before".to_owned(),
        ..with_looks(&journal, looks)
    };
    let mut looks = |kept: Option<Journal>, in_status: Journal| {
        world.model.status.ledger.as_mut().unwrap().journal = Some(packed(&in_status));
        let before = Before {
            journal: kept,
            ..before(None)
        };
        let (_, appended) = evaluate(&world, before);
        appended.journal.map(|journal| journal.looks.len())
    };
    assert_eq!(looks(Some(elsewhere(2)), with_looks(&journal, 3)), Some(3));
    assert_eq!(looks(Some(with_looks(&journal, 4)), with_looks(&journal, 3)), Some(4));
    assert_eq!(looks(None, with_looks(&journal, 3)), Some(3));
    assert_eq!(looks(Some(elsewhere(2)), elsewhere(3)), Some(0));
}

#[test]
fn a_record_is_adopted_only_from_its_own_model_and_under_a_known_key() {
    let (plan, _) = evaluate(&governed(), before(Some(Found::Nothing)));
    let other = adopt(object(&plan), ("risk", "other"), &[]);
    assert!(other.unwrap_err().contains("and not of risk/other"));
    let mut unsigned = object(&plan);
    unsigned.spec.signature = None;
    assert!(adopted(unsigned).is_err());
    let mut told = object(&plan);
    told.spec.summary = "Raised int8".to_owned();
    assert!(adopted(told).unwrap_err().contains("spec.summary"));
}

#[test]
fn a_journal_is_read_back_from_status_and_one_that_is_garbled_is_lost() {
    let mut ledger = LedgerStatus::default();
    assert_eq!(stored(&ledger), None);
    ledger.journal = Some("H4sI".to_owned());
    assert_eq!(stored(&ledger), None);
    let mut world = governed();
    world.model.spec.target = Some("int8".to_owned());
    world.model.status.stable = Some(world.model.revisions[1].clone());
    world.model.status.reference = Some(world.model.revisions[0].clone());
    let heard = hear(&world);
    let plan = resolve(&world.seen(), heard.clone());
    let journal = Journal::append(None, &world.seen(), &heard, &plan).expect("stable is guarded");
    ledger.journal = Some(packed(&journal));
    assert_eq!(stored(&ledger), Some(journal));
}
