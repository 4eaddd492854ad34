//! Records that guardbit wrote hold, and what they cannot show is said.

use guardbit::ledger::verify::{Check, Outcome, Report, Severity, Trust, adopt, verify};
use guardbit::ledger::{Bundle, Head, RULES, Signing, Statement};
use serde_json::json;

use crate::records::{
    Recorder, UID, anchor, exported, file, item, key, linked, object, objects, only, other_key, renamed, rollout, trust,
};
use crate::world::{World, spec};

/// What is reserved, by check.
fn reserved(report: &Report) -> Vec<Check> {
    assert_eq!(report.first_broken(), None);
    report.findings.iter().map(|finding| finding.check).collect()
}

/// Statements of which each had a record about itself changed.
fn with_info(mut statements: Vec<Statement>, from: usize, change: impl Fn(&mut Statement)) -> Vec<Statement> {
    statements.iter_mut().skip(from).for_each(change);
    linked(statements)
}

#[test]
fn a_whole_rollout_holds() {
    let records = rollout();
    let report = only(&exported(&records, &key()), &trust());
    assert_eq!(report.findings, []);
    assert_eq!(report.outcome(), Outcome::Holds);
    assert_eq!((report.records, report.signed, report.replayed), (8, 8, 8));
    assert_eq!(
        (report.from_state, report.not_replayed.len(), report.complete_from),
        (0, 0, Some(1))
    );
    let head = anchor(&records[7]);
    assert_eq!(report.head.digest, head.digest);
    let told = "risk/fraud: 8 records, signed, 1…8 complete, 8 replayed; head 8 sha256:";
    assert_eq!(report.to_string(), format!("{told}{}", head.digest));
}

#[test]
fn a_rollout_with_evidence_has_polls_in_its_records() {
    let polls = |statement: &Statement| {
        let heard = &statement.predicate.look.heard.guards;
        let journal = statement
            .predicate
            .evidence
            .as_ref()
            .map_or(0, |evidence| evidence.journal.polls());
        journal + heard.values().map(|heard| heard.polls.len()).sum::<usize>()
    };
    let counted: usize = rollout().iter().map(polls).sum();
    assert!(
        counted > 60,
        "only {counted} polls: making the decisions again would show little"
    );
}

#[test]
fn objects_hold_as_their_export_does() {
    let records = rollout();
    let of_objects = only(&objects(&records, Some(&key())), &trust());
    assert_eq!(of_objects, only(&exported(&records, &key()), &trust()));
}

#[test]
fn the_order_of_the_files_is_no_matter() {
    let mut items = exported(&rollout(), &key());
    items.reverse();
    assert_eq!(only(&items, &trust()).outcome(), Outcome::Holds);
}

#[test]
fn models_are_verified_apart() {
    let records = rollout();
    let other = renamed(&records, |model| model.name = "churn".to_owned());
    let items = [exported(&records, &key()), exported(&other, &key())].concat();
    let verified = verify(&items, &trust());
    assert_eq!(verified.outcome(), Outcome::Holds, "{verified}");
    let names: Vec<_> = verified
        .chains
        .iter()
        .map(|chain| (chain.name.as_str(), chain.records))
        .collect();
    assert_eq!(names, [("churn", 8), ("fraud", 8)]);
}

#[test]
fn pruned_records_are_attested_by_a_later_one() {
    let mut records = rollout();
    let head = Head::of(4, &records[3].print());
    records[5].predicate.documents.pruned = Some(head);
    let records = linked(records);
    let report = only(&exported(&records[4..], &key()), &trust());
    assert_eq!(
        (report.outcome(), report.complete_from),
        (Outcome::Holds, Some(5)),
        "{report}"
    );
    // What the tests knew at the end of a pruned record is not on record any more.
    assert_eq!((report.from_state, report.replayed), (1, 3), "{report}");
    let whole = only(&exported(&records, &key()), &trust());
    assert_eq!(
        (whole.outcome(), whole.complete_from),
        (Outcome::Holds, Some(1)),
        "{whole}"
    );
}

/// They are deleted one by one: somebody may verify the others meanwhile, and guardbit may be killed.
#[test]
fn records_of_which_not_all_are_deleted_yet_are_attested_by_the_last_that_is_to_go() {
    let mut records = rollout();
    records[5].predicate.documents.pruned = Some(Head::of(4, &records[3].print()));
    let records = linked(records);
    for deleted in 1..4 {
        let report = only(&exported(&records[deleted..], &key()), &trust());
        let from = deleted as u64 + 1;
        assert_eq!(
            (report.outcome(), report.complete_from),
            (Outcome::Holds, Some(from)),
            "{report}"
        );
        // One in the middle is missed as ever.
        let mut items = exported(&records[deleted..], &key());
        items.remove(4 - deleted);
        assert_eq!(only(&items, &trust()).outcome(), Outcome::Broken, "{deleted}");
    }
    // A record that says of another one that it may go attests nothing.
    let mut records = records;
    records[5].predicate.documents.pruned = Some(Head::of(4, b"another"));
    let report = only(&exported(&linked(records)[2..], &key()), &trust());
    assert_eq!(report.outcome(), Outcome::Broken, "{report}");
}

#[test]
fn earlier_records_are_attested_by_an_anchor() {
    let records = rollout();
    let items = exported(&records[3..], &key());
    for anchored in [2, 3] {
        let trust = Trust {
            anchors: vec![anchor(&records[anchored])],
            ..trust()
        };
        let report = only(&items, &trust);
        assert_eq!(
            (report.outcome(), report.complete_from),
            (Outcome::Holds, Some(4)),
            "{report}"
        );
    }
}

#[test]
fn an_anchor_of_a_model_without_records_is_a_reservation() {
    let records = rollout();
    let mut gone = anchor(&records[1]);
    gone.name = "churn".to_owned();
    let trust = Trust {
        anchors: vec![gone],
        ..trust()
    };
    let verified = verify(&exported(&records, &key()), &trust);
    assert_eq!(verified.outcome(), Outcome::HoldsWithReservations, "{verified}");
    assert_eq!(
        (verified.apart[0].record.as_str(), verified.apart[0].check),
        ("risk/churn", Check::Anchor)
    );
}

#[test]
fn without_a_key_signatures_are_not_checked_and_that_is_said() {
    let report = only(&exported(&rollout(), &key()), &Trust::default());
    assert_eq!(reserved(&report), [Check::Signature]);
    assert_eq!(
        (report.outcome(), report.signed, report.replayed),
        (Outcome::HoldsWithReservations, 0, 8)
    );
}

#[test]
fn records_without_a_signature_are_taken_where_that_is_allowed() {
    let unsigned = |statement: &mut Statement| statement.predicate.record.signing = Signing::Unsigned;
    let records = with_info(rollout(), 0, unsigned);
    let allowed = Trust {
        allow_unsigned: true,
        ..trust()
    };
    let report = only(&objects(&records, None), &allowed);
    assert_eq!(reserved(&report), [Check::Signature]);
    assert_eq!(
        (report.outcome(), report.signed, report.replayed),
        (Outcome::HoldsWithReservations, 0, 8)
    );
    // The key was lost on the way.
    let records = with_info(rollout(), 5, unsigned);
    let mut items = objects(&records[..5], Some(&key()));
    items.extend(objects(&records[5..], None));
    let report = only(&items, &allowed);
    assert_eq!(reserved(&report), [Check::Signature; 2]);
    assert_eq!((report.findings[0].record.as_str(), report.signed), ("fraud-000006", 5));
}

#[test]
fn records_of_other_rules_are_not_decided_again() {
    let records = with_info(rollout(), 6, |statement| statement.predicate.record.core.rules += 1);
    let report = only(&exported(&records, &key()), &trust());
    assert_eq!(report.outcome(), Outcome::HoldsWithReservations);
    assert_eq!(reserved(&report), [Check::Decision]);
    assert_eq!(
        (report.replayed, report.not_replayed.len(), report.complete_from),
        (6, 2, Some(1))
    );
    let told = format!("6 replayed, 2 not replayed (rules {}, this is {RULES})", RULES + 1);
    assert!(report.to_string().contains(&told), "{report}");
}

#[test]
fn a_record_of_a_newer_release_may_say_more_and_is_not_decided_again() {
    let newest = |release: &str, more: &str| {
        let of = |statement: &mut Statement| statement.predicate.record.core.guardbit = release.to_owned();
        let records = with_info(rollout(), 7, of);
        let mut value: serde_json::Value = serde_json::from_slice(&records[7].print()).expect("JSON");
        value.pointer_mut(more).expect("an object")["novel"] = json!(true);
        let payload = serde_json_canonicalizer::to_vec(&value).expect("JSON");
        let bundle = Bundle {
            signature: Some(key().sign(&payload)),
            payload,
        };
        let mut items = exported(&records[..7], &key());
        items.push(file(&records[7], &bundle));
        verify(&items, &trust())
    };
    for more in ["/predicate/verdicts/0", "/predicate/look/seen/model/spec"] {
        let newer = newest("99.0.0", more);
        assert_eq!(newer.outcome(), Outcome::HoldsWithReservations, "{newer}");
        let chain = &newer.chains[0];
        assert_eq!((chain.replayed, chain.complete_from), (7, Some(1)), "{newer}");
        assert!(
            chain.not_replayed[0].why.starts_with("release 99.0.0, this is "),
            "{newer}"
        );
        assert_eq!(newest(guardbit::RELEASE, more).outcome(), Outcome::Broken);
    }
}

#[test]
fn the_release_that_wrote_a_record_is_no_matter() {
    let records = with_info(rollout(), 0, |statement| {
        statement.predicate.record.core.guardbit = "0.0.9".to_owned()
    });
    assert_eq!(only(&exported(&records, &key()), &trust()).outcome(), Outcome::Holds);
}

#[test]
fn a_key_may_be_replaced_by_one_that_is_given_too() {
    let records = rollout();
    let mut trust = trust();
    trust.keys.push(other_key().public().clone());
    let mut items = exported(&records[..4], &key());
    items.extend(exported(&records[4..], &other_key()));
    assert_eq!(only(&items, &trust).outcome(), Outcome::Holds);
    // Of an object it is known whether the former key agreed.
    let mut items = objects(&records[..4], Some(&key()));
    items.extend(objects(&records[4..], Some(&other_key())));
    let report = only(&items, &trust);
    assert_eq!(
        (reserved(&report), report.findings[0].record.as_str()),
        (vec![Check::Signature], "fraud-000005")
    );
    let mut handed_over = object(&records[4], Some(&other_key()));
    handed_over.spec.rotated_from = object(&records[4], Some(&key())).spec.signature;
    items[4] = item(handed_over.clone());
    assert_eq!(only(&items, &trust).outcome(), Outcome::Holds);
    // Records from there on hold by the new key alone, and guardbit goes on from them once the former key is gone.
    let newer = Trust {
        keys: vec![other_key().public().clone()],
        anchors: vec![anchor(&records[3])],
        ..Trust::default()
    };
    assert_eq!(only(&items[4..], &newer).outcome(), Outcome::Holds);
    assert!(adopt(handed_over, ("risk", "fraud"), &newer.keys).is_ok());
}

#[test]
fn counts_that_a_restart_lost_are_a_gap() {
    let mut recorder = Recorder::new();
    let mut world = World::new(spec());
    recorder.run(&mut world, 130);
    assert_eq!(world.status.rollout.as_ref().map(|rollout| rollout.weight), Some(25));
    recorder.forgets = true;
    recorder.run(&mut world, 200);
    let records = recorder.statements;
    let report = only(&exported(&records, &key()), &trust());
    assert_eq!(reserved(&report), [Check::Gap], "{report}");
    assert_eq!(report.findings[0].severity, Severity::Reservation);
    assert_eq!((report.from_state, report.replayed), (1, records.len() - 1), "{report}");
}

#[test]
fn a_model_that_is_made_anew_goes_on_with_its_chain() {
    let mut records = rollout();
    let (former, anew) = records.split_at_mut(5);
    let head = Head::of(5, &former[4].print());
    anew[0].predicate.documents.recovered = Some(head);
    let other = UID.replace('6', "7");
    anew.iter_mut()
        .for_each(|statement| statement.predicate.record.model.uid.clone_from(&other));
    let report = only(&exported(&linked(records), &key()), &trust());
    assert_eq!(
        (reserved(&report), report.replayed),
        (vec![Check::Model], 8),
        "{report}"
    );
}
