//! What somebody with the key can do: guardbit itself, changed by its owner. The counts must still lead to the decision.

use guardbit::evidence::Observed;
use guardbit::governance::Policy;
use guardbit::ledger::Statement;
use guardbit::ledger::verify::{Check, Finding, Item, Outcome, Trust};
use guardbit::rollout::{Governance, Governed, GuardHeard, Order, Remembered};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::records::{Recorder, anchor, at, broken, exported, item, key, linked, object, only, rollout, trust};
use crate::world::{World, spec};

/// The checks that find a change of one record, after which all records are linked and signed anew.
fn found(number: usize, change: impl FnOnce(&mut Statement)) -> Vec<Check> {
    let mut records = rollout();
    change(&mut records[number - 1]);
    let found = broken(&exported(&linked(records), &key()), &trust());
    let others: Vec<_> = found
        .iter()
        .filter(|(record, _)| *record != at(number as u64, Check::Form).0)
        .collect();
    assert!(others.is_empty(), "found elsewhere: {others:?}");
    found.into_iter().map(|(_, check)| check).collect()
}

/// A change of the JSON of a statement.
fn edited(statement: &mut Statement, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&statement.print()).expect("JSON");
    edit(&mut value);
    let text = serde_json_canonicalizer::to_vec(&value).expect("JSON");
    *statement = Statement::parse(&text).expect("a statement");
}

/// What the look that decided heard of the errors.
fn errors(statement: &mut Statement) -> &mut GuardHeard {
    let heard = &mut statement.predicate.look.heard;
    heard.guards.get_mut("errors").expect("a guard on errors")
}

/// What the candidate was counted to have done wrong in the newest poll of that look.
fn bad(statement: &mut Statement) -> (&mut u64, u64) {
    let poll = errors(statement).polls.last_mut().expect("a poll");
    let Observed::Proportion { candidate, .. } = &mut poll.observed else {
        unreachable!("errors are a share");
    };
    (&mut candidate.x, candidate.n)
}

/// Number of the record that raises to 50%, of the one that promotes, and of the one that falls back.
const RAISED: usize = 5;
const PROMOTED: usize = 7;
const FELL_BACK: usize = 8;

#[test]
fn the_records_are_those_that_these_tests_mean() {
    let records = rollout();
    let action = |number: usize| records[number - 1].predicate.decisions[0].action.to_string();
    let actions = [RAISED, PROMOTED, FELL_BACK].map(action);
    assert_eq!(actions, ["Raised", "Promoted", "FellBack"]);
}

#[test]
fn a_decision_that_the_counts_do_not_give_is_found() {
    let promoted = |statement: &mut Statement| {
        let decision = &mut statement.predicate.decisions[0];
        decision.action = guardbit::api::Action::Promoting.into();
    };
    assert_eq!(found(RAISED, promoted), [Check::Decision]);
    let higher = |statement: &mut Statement| {
        let after = &mut statement.predicate.weights.after;
        after.iter_mut().for_each(|(_, weight)| *weight = 100 - *weight + 1);
    };
    assert_eq!(found(RAISED, higher), [Check::Decision]);
    let late = |statement: &mut Statement| statement.predicate.order = Order::RecordFirst;
    assert_eq!(found(FELL_BACK, late), [Check::Decision]);
    let kept = |statement: &mut Statement| statement.predicate.after.rejected.clear();
    assert_eq!(found(FELL_BACK, kept), [Check::Decision]);
    let why = |statement: &mut Statement| statement.predicate.decisions[0].why.push('!');
    assert_eq!(found(PROMOTED, why), [Check::Decision]);
}

#[test]
fn counts_that_give_another_decision_are_found() {
    // Every request failed, and the weight was raised all the same.
    let failed = |statement: &mut Statement| {
        let (bad, all) = bad(statement);
        *bad = all;
    };
    let checks = found(RAISED, failed);
    assert!(
        checks.contains(&Check::Evidence) && checks.contains(&Check::Decision),
        "{checks:?}"
    );
    // Nothing failed, and it fell back all the same.
    let healthy = |statement: &mut Statement| *bad(statement).0 = 0;
    let checks = found(FELL_BACK, healthy);
    assert!(
        checks.contains(&Check::Evidence) && checks.contains(&Check::Decision),
        "{checks:?}"
    );
}

#[test]
fn a_single_request_more_is_found() {
    let one_more = |statement: &mut Statement| *bad(statement).0 += 1;
    assert_eq!(found(RAISED, one_more)[0], Check::Evidence);
}

#[test]
fn verdicts_that_the_counts_do_not_give_are_found() {
    let told = |statement: &mut Statement| statement.predicate.verdicts[0].candidate.bad += 1;
    assert_eq!(found(RAISED, told), [Check::Evidence]);
}

#[test]
fn polls_that_are_left_out_or_added_are_found() {
    let looks = |value: &mut Value| value["predicate"]["evidence"]["journal"]["looks"].take();
    let without = |which: fn(&mut Vec<Value>)| {
        move |statement: &mut Statement| {
            edited(statement, |value| {
                let mut all = looks(value).as_array().expect("looks").clone();
                which(&mut all);
                value["predicate"]["evidence"]["journal"]["looks"] = json!(all);
            });
        }
    };
    assert_eq!(
        found(RAISED, without(|looks| looks.truncate(looks.len() / 2))),
        [Check::Evidence]
    );
    assert_eq!(
        found(RAISED, without(|looks| drop(looks.drain(..looks.len() / 2)))),
        [Check::Evidence]
    );
    // What was counted once is not counted again; what is said of a time after it is.
    let one_more: fn(&mut Vec<Value>) = |looks| {
        let mut last = looks.last().expect("looks").clone();
        let guards = last.as_object_mut().expect("guards").values_mut();
        for poll in guards.flat_map(|guard| guard["polls"].as_array_mut().expect("polls")) {
            let through = poll["through"].as_i64().expect("a time");
            (poll["from"], poll["through"]) = (json!(through), json!(through + 1));
        }
        looks.push(last);
    };
    assert_eq!(found(RAISED, without(one_more)), [Check::Evidence]);
}

#[test]
fn a_spec_that_was_looser_than_it_says_is_found() {
    let strict = |statement: &mut Statement| {
        let spec = &mut statement.predicate.look.seen.model.to_mut().spec;
        spec.rollout.steps[1].hold = "2h".into();
    };
    assert!(found(RAISED, strict).contains(&Check::Decision));
}

/// Lets the look that decided say that status was lost, and that the record before says this.
fn remembering(remembered: Remembered) -> impl FnOnce(&mut Statement) {
    |statement: &mut Statement| {
        let ledger = statement.predicate.look.seen.ledger.to_mut();
        ledger.remembered = Some(Box::new(remembered));
    }
}

#[test]
fn a_status_that_was_rebuilt_from_something_else_than_the_record_before_is_found() {
    let before = rollout()[RAISED - 2].predicate.after.remembered();
    assert_eq!(found(RAISED, remembering(before.clone())), []);
    let other = Remembered {
        proven: Vec::new(),
        ..before
    };
    assert_eq!(found(RAISED, remembering(other)), [Check::Decision]);
}

#[test]
fn a_record_about_another_evaluation_is_found() {
    let time = |statement: &mut Statement| {
        let info = &mut statement.predicate.record;
        info.time = info.time.replace("2026-", "2027-");
    };
    assert_eq!(found(FELL_BACK, time), [Check::Decision]);
    let generation = |statement: &mut Statement| statement.predicate.record.model.generation += 1;
    assert_eq!(found(RAISED, generation), [Check::Decision]);
}

#[test]
fn time_that_goes_back_is_found() {
    let back = |statement: &mut Statement| statement.predicate.record.time = "2026-11-09T23:00:00Z".to_owned();
    assert_eq!(found(RAISED, back), [Check::Time]);
}

/// Records as objects that the API server created so long after they say that they were decided.
fn created_later(records: &[Statement], late: SignedDuration) -> Vec<Item> {
    let created = |statement: &Statement| {
        let mut object = object(statement, Some(&key()));
        let time: Timestamp = statement.predicate.record.time.parse().expect("a time");
        object.metadata.creation_timestamp = Some(Time(time + late));
        item(object)
    };
    records.iter().map(created).collect()
}

/// The records of a climb under a policy that lets nothing rise from one o'clock to three.
fn climb_before_a_freeze() -> Vec<Statement> {
    let at = |time: &str| format!("2026-11-10T{time}Z");
    let freeze = json!({"name": "change-stop", "between": {"from": at("01:00:00"), "to": at("03:00:00")}});
    let policy = Policy::read("high-risk", 3, &json!({"freezes": [freeze]}));
    let rules = policy.rules.unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut world = World::new(spec());
    world.governance = Governance::Governed(Governed {
        from: vec!["high-risk@3".to_owned()],
        digest: rules.digest(),
        rules: Box::new(rules),
        records: true,
        ..Governed::default()
    });
    let mut recorder = Recorder::new();
    recorder.run(&mut world, 110);
    let raised = world.status.rollout.as_ref().map(|rollout| rollout.weight);
    assert_eq!(raised, Some(25), "{}", world.transcript);
    recorder.statements
}

/// By the clock of guardbit no freeze holds, or none any more. The API server has a clock of its own.
#[test]
fn a_clock_that_was_moved_to_get_by_a_freeze_is_found() {
    let records = climb_before_a_freeze();
    let report = only(&created_later(&records, SignedDuration::from_secs(1)), &trust());
    assert_eq!(report.outcome(), Outcome::Holds, "{report}");
    // Put forward, to after its end.
    let items = created_later(&records, SignedDuration::from_hours(-2));
    let found: Vec<Check> = broken(&items, &trust()).into_iter().map(|(_, check)| check).collect();
    assert_eq!(found, vec![Check::Time; records.len()]);
    // Put back, to before its beginning.
    let report = only(&created_later(&records, SignedDuration::from_hours(2)), &trust());
    assert_eq!(report.outcome(), Outcome::HoldsWithReservations, "{report}");
    let told = |Finding { check, message, .. }: &Finding| {
        *check == Check::Time && message.contains(", when the freeze change-stop of high-risk holds until")
    };
    assert!(report.findings.iter().all(told), "{:?}", report.findings);
    assert_eq!(report.findings.len(), records.len());
}

#[test]
fn a_history_that_was_written_anew_is_found_where_something_attests_the_old_one() {
    let old = rollout();
    let mut records = rollout();
    // Nothing in the record itself depends on which release says that it wrote it.
    records[3].predicate.record.core.guardbit = "0.0.9".to_owned();
    let items = exported(&linked(records), &key());
    assert_eq!(broken(&items, &trust()), [], "the records alone cannot show it");
    let anchored = Trust {
        anchors: vec![anchor(&old[1]), anchor(&old[5])],
        ..trust()
    };
    assert_eq!(broken(&items, &anchored), [at(6, Check::Anchor)]);
}

#[test]
fn a_link_to_another_record_is_found() {
    let mut records = rollout();
    records[3].predicate.record.core.guardbit = "0.0.9".to_owned();
    // Record 5 still names record 4 as it was.
    assert_eq!(broken(&exported(&records, &key()), &trust()), [at(5, Check::Link)]);
    let mut records = rollout();
    records[0].subject[0].name = "record/risk/churn/0".to_owned();
    let found = broken(&exported(&records, &key()), &trust());
    assert_eq!(found, [at(1, Check::Link), at(2, Check::Link)]);
    let mut records = rollout();
    records[0].subject.clear();
    assert_eq!(broken(&exported(&records, &key()), &trust())[0], at(1, Check::Link));
}

#[test]
fn digests_of_other_texts_are_found() {
    let records = rollout();
    assert!(records[1].subject.len() > 1, "{:?}", records[1].subject);
    let weights = |statement: &mut Statement| statement.subject[1].digest.sha256 = "0".repeat(64);
    assert_eq!(found(2, weights), [Check::Subjects]);
}
