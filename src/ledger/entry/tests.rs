//! Records of a model that is guarded: what they are about, what they say, how large they are.

use serde_json::Value;

use super::super::journal::tests::{Look as Evaluation, World, spec};
use super::*;
use crate::api::Verdict;
use crate::evidence::{Counts, Observed, Poll};
use crate::rollout::{GuardHeard, Order, resolve};

fn record(evaluation: &Evaluation, journal: Option<Journal>) -> Entry {
    let entry = Entry::of(Written {
        seen: &evaluation.observation.seen(),
        heard: &evaluation.heard,
        plan: &evaluation.plan,
        journal,
        head: &Head::origin("6f0c"),
        uid: "6f0c",
        signing: Signing::Unsigned,
        documents: Documents::default(),
    });
    let again = Statement::parse(&entry.bytes).unwrap();
    assert_eq!(again, entry.statement);
    assert_eq!(entry.head, Head::of(1, &entry.bytes));
    entry
}

fn evidence(entry: &Entry) -> &Evidence {
    entry.statement.predicate.evidence.as_ref().unwrap()
}

/// A model whose int8 has more errors from now on, and what is decided about it, with the journal that leads there.
fn fall_back(world: &mut World) -> (Evaluation, Option<Journal>) {
    let mut journal = world.journal(5);
    for _ in 0..50 {
        let evaluation = world.look(Some(300));
        if !evaluation.plan.decisions.is_empty() {
            return (evaluation, journal);
        }
        let seen = evaluation.observation.seen();
        journal = Journal::append(journal, &seen, &evaluation.heard, &evaluation.plan);
    }
    panic!("harm was not found");
}

#[test]
fn a_record_names_what_was_decided_about_and_holds_all_that_decided() {
    let mut world = World::new(spec());
    let (evaluation, journal) = fall_back(&mut world);
    let looks = journal.as_ref().map_or(0, |journal| journal.looks.len());
    let entry = record(&evaluation, journal);
    let Predicate {
        weights,
        order,
        verdicts,
        look,
        ..
    } = &entry.statement.predicate;
    let summary = &entry.summary;
    assert!(
        summary.starts_with("FellBack int8: traffic falls back to fp32 ("),
        "{summary}"
    );
    assert_eq!(*order, Order::LowerFirst);
    assert_eq!(verdicts[0].verdict, Verdict::Harmful);
    let before: Vec<_> = weights
        .before
        .iter()
        .map(|(of, weight)| (of.variant.as_str(), *weight))
        .collect();
    assert_eq!(before, [("fp32", 5), ("int8", 95)]);
    let subjects = entry.statement.subject.iter().map(|subject| {
        let digits = &subject.digest.sha256;
        (subject.name.as_str(), digits.get(..4).unwrap_or(digits))
    });
    let of_spec = identity::digest(&look.seen.model.spec);
    let origin = Head::origin("6f0c").digest;
    assert_eq!(
        subjects.collect::<Vec<_>>(),
        [
            ("record/risk/fraud/0", &origin[..4]),
            ("weights/int8", "cb15"),
            ("calibration/int8", "3a6e"),
            ("spec", &of_spec[..4]),
        ]
    );
    let Evidence { journal, after, .. } = evidence(&entry);
    assert!(looks >= 5 && journal.looks.len() == looks, "{looks}");
    let mut end = journal.end(&look.seen);
    assert_eq!(Some(&end), TestState::before(&look.heard).as_ref());
    end.take(&look.seen, &look.heard);
    assert_eq!(end, *after);
    let again = resolve(&look.seen, look.heard.clone());
    assert_eq!(again, evaluation.plan);
}

#[test]
fn weights_that_a_decision_was_not_about_are_no_subject() {
    let mut world = World::new(spec());
    let (mut evaluation, _) = fall_back(&mut world);
    evaluation.observation.model.revisions[1].revision = "v1:another".to_owned();
    let entry = record(&evaluation, None);
    let names = entry.statement.subject.iter().map(|subject| subject.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["record/risk/fraud/0", "spec"]);
    let mut short = spec();
    short.variants[1].weights.digest = "sha256:short".to_owned();
    let (evaluation, _) = fall_back(&mut World::new(short));
    let entry = record(&evaluation, None);
    let names = entry.statement.subject.iter().map(|subject| subject.name.as_str());
    let calibrated = ["record/risk/fraud/0", "calibration/int8", "spec"];
    assert_eq!(names.collect::<Vec<_>>(), calibrated);
}

#[test]
fn a_summary_is_one_sentence_of_bounded_length() {
    let mut world = World::new(spec());
    let (evaluation, _) = fall_back(&mut world);
    let mut predicate = record(&evaluation, None).statement.predicate;
    let mut decision = predicate.decisions[0].clone();
    decision.action = Action::Raised.into();
    decision.why = "to 25%: 5% was held for 5m and no guard found harm".to_owned();
    let mut other = decision.clone();
    other.action = Action::Escalated.into();
    other.why = "not decided\nwithin 4h".to_owned();
    predicate.decisions = vec![decision, other];
    assert_eq!(
        summary(&predicate),
        "Raised int8 to 25%: 5% was held for 5m and no guard found harm; Escalated int8: not decided within 4h"
    );
    predicate.decisions[1].why = "ß".repeat(4_000);
    assert_eq!(summary(&predicate).chars().count(), LONGEST_SUMMARY);
}

#[test]
fn a_record_without_a_decision_is_a_checkpoint() {
    let mut world = World::new(spec());
    let journal = world.journal(5);
    let entry = record(&world.look(Some(2)), journal);
    assert_eq!(entry.summary, "Checkpoint: 6 polls");
    assert_eq!(evidence(&entry).omitted, None);
}

#[test]
fn a_journal_that_does_not_lead_to_the_evaluation_is_left_out() {
    let mut world = World::new(spec());
    let journal = world.journal(5);
    world.look(Some(2));
    let evaluation = world.look(Some(2));
    let entry = record(&evaluation, journal);
    let journal = &evidence(&entry).journal;
    assert!(journal.looks.is_empty());
    assert_eq!(Some(&journal.before), TestState::before(&evaluation.heard).as_ref());
}

#[test]
fn a_record_that_would_be_too_large_goes_without_the_polls_before() {
    let mut world = World::new(spec());
    let (evaluation, journal) = fall_back(&mut world);
    let mut journal = journal.unwrap();
    let before = journal.before.clone();
    journal.looks = vec![journal.looks[0].clone(); 3_000];
    assert!(journal.bytes() > LARGEST);
    let entry = record(&evaluation, Some(journal));
    assert!(entry.bytes.len() < LARGEST, "{}", entry.bytes.len());
    let Evidence { journal, omitted, .. } = evidence(&entry);
    assert_eq!((journal.looks.len(), &journal.before), (0, &before));
    let omitted = omitted.as_ref().unwrap();
    assert!(
        omitted.starts_with("the counts of 3000 evaluations before this one: "),
        "{omitted}"
    );
    assert_eq!(entry.statement.predicate.decisions, evaluation.plan.decisions);
}

#[test]
fn an_evaluation_that_leaves_everything_takes_nothing() {
    let mut world = World::new(spec());
    world.journal(3);
    world.spec.suspend = true;
    let entry = record(&world.look(Some(2)), None);
    let Evidence { journal, after, .. } = evidence(&entry);
    assert_eq!(*after, journal.before);
}

/// Numbers that are not integers which every reader of JSON keeps.
fn inexact(value: &Value) -> Vec<String> {
    match value {
        Value::Number(number) => {
            let kept = number.as_i64().is_some_and(|integer| integer.unsigned_abs() <= 1 << 53);
            if kept { Vec::new() } else { vec![number.to_string()] }
        }
        Value::Array(items) => items.iter().flat_map(inexact).collect(),
        Value::Object(fields) => fields.values().flat_map(inexact).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn every_reader_keeps_every_number_of_a_record() {
    let mut world = World::new(spec());
    world.spec.attempt = i64::MAX;
    let samples = world.spec.variants[1].calibration.as_mut().unwrap().samples.as_mut();
    *samples.unwrap() = i64::MAX;
    let mut evaluation = world.look(Some(2));
    evaluation.heard.warm_until.all = Some(i64::MAX);
    evaluation.heard.warm_until.candidate = Some(1_800_000_000_000);
    let counted = GuardHeard {
        polls: vec![Poll {
            from: 0,
            through: 1,
            observed: Observed::Proportion {
                candidate: Counts { n: u64::MAX, x: 0 },
                baseline: Counts::default(),
            },
        }],
        ..GuardHeard::default()
    };
    evaluation.heard.guards.insert("unknown".to_owned(), counted);
    evaluation.plan = resolve(&evaluation.observation.seen(), evaluation.heard.clone());
    let entry = record(&evaluation, None);
    let printed: Value = serde_json::from_slice(&entry.bytes).unwrap();
    assert_eq!(inexact(&printed), [""; 0]);
    assert_eq!(entry.statement.predicate.look.heard, evaluation.heard);
}
