//! What somebody without the key can do to records: take away, put in, exchange, rename. Each is found, and by the check that is
//! there for it.

use guardbit::api::PrecisionDecision;
use guardbit::ledger::Bundle;
use guardbit::ledger::verify::{Check, Item, Outcome, Source, Trust, verify};

use crate::records::{
    UID, anchor, at, broken, exported, file, item, key, object, objects, only, other_key, renamed, rollout, trust,
};

#[test]
fn a_record_that_is_taken_away_is_missed() {
    let items = exported(&rollout(), &key());
    for gone in 0..items.len() - 1 {
        let mut items = items.clone();
        items.remove(gone);
        // The one after it does not follow the one before it.
        assert_eq!(broken(&items, &trust()), [at(gone as u64 + 2, Check::Sequence)]);
    }
}

#[test]
fn a_tail_that_is_cut_off_is_missed_where_something_attests_it() {
    let records = rollout();
    let items = exported(&records[..6], &key());
    assert_eq!(
        only(&items, &trust()).outcome(),
        Outcome::Holds,
        "the records alone cannot show it"
    );
    let anchored = Trust {
        anchors: vec![anchor(&records[2]), anchor(&records[7])],
        ..trust()
    };
    assert_eq!(broken(&items, &anchored), [at(6, Check::Anchor)]);
    let newest = anchor(&records[7]);
    let expecting = |sequence, digest: &str| Trust {
        expect: Some((sequence, digest.to_owned())),
        ..trust()
    };
    let expected = expecting(8, &newest.digest);
    assert_eq!(
        broken(&items, &expected),
        [("the newest record".to_owned(), Check::Anchor)]
    );
    let whole = exported(&records, &key());
    assert_eq!(broken(&whole, &expected), []);
    assert_eq!(broken(&whole, &expecting(8, &format!("sha256:{}", newest.digest))), []);
    assert_eq!(broken(&whole, &expecting(7, &newest.digest)).len(), 1);
}

#[test]
fn files_that_exchange_their_names_are_found() {
    let mut items = exported(&rollout(), &key());
    let (left, right) = items.split_at_mut(4);
    std::mem::swap(&mut left[3].source, &mut right[0].source);
    let found = broken(&items, &trust());
    assert_eq!(found[..2], [at(4, Check::Beside), at(5, Check::Beside)]);
}

#[test]
fn a_record_that_is_there_twice_is_found() {
    let mut items = exported(&rollout(), &key());
    let twice = Item {
        name: "copy.json".to_owned(),
        ..items[3].clone()
    };
    items.push(twice);
    assert_eq!(broken(&items, &trust()), [("copy.json".to_owned(), Check::Sequence)]);
}

#[test]
fn a_file_that_is_cut_off_is_found() {
    let items = exported(&rollout(), &key());
    for keeps in [0, 1, 100, 1_000] {
        let mut items = items.clone();
        let Source::Bundle(bytes) = &mut items[7].source else {
            unreachable!("an export");
        };
        bytes.truncate(keeps);
        assert_eq!(broken(&items, &trust()), [at(8, Check::Form)], "{keeps} bytes");
    }
}

#[test]
fn the_record_of_another_model_takes_no_place() {
    let records = rollout();
    let other = renamed(&records, |model| model.name = "churn".to_owned());
    let mut items = exported(&records, &key());
    items[4] = exported(&other, &key()).remove(4);
    // It begins a chain of another model, and is missing in this one.
    assert_eq!(
        broken(&items, &trust()),
        [at(5, Check::Sequence), at(6, Check::Sequence)]
    );
}

#[test]
fn chains_of_two_models_cannot_be_spliced() {
    let records = rollout();
    let other = renamed(&records, |model| model.namespace = "fraud".to_owned());
    let mut items = exported(&records[..4], &key());
    items.extend(exported(&other[4..], &key()));
    assert_eq!(broken(&items, &trust()), [at(5, Check::Sequence)]);
    // A model that was made anew under the same name, and whose records begin anew.
    let anew = renamed(&records, |model| model.uid = UID.replace('6', "7"));
    let mut items = exported(&records[..4], &key());
    items.extend(exported(&anew[4..], &key()));
    assert_eq!(broken(&items, &trust()), [at(5, Check::Link), at(5, Check::Model)]);
}

#[test]
fn a_signature_that_is_taken_off_is_missed() {
    let records = rollout();
    let unsigned = Bundle {
        payload: records[3].print(),
        signature: None,
    };
    let allowed = Trust {
        allow_unsigned: true,
        ..trust()
    };
    for trust in [trust(), allowed] {
        let mut items = exported(&records, &key());
        items[3] = file(&records[3], &unsigned);
        let found = verify(&items, &trust).apart;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].record.as_str(), found[0].check),
            ("000004.unsigned.json", Check::Signature)
        );
        let mut items = objects(&records, Some(&key()));
        items[3] = item(object(&records[3], None));
        let found = verify(&items, &trust).apart;
        assert_eq!(
            (found[0].record.as_str(), found[0].check),
            ("fraud-000004", Check::Signature)
        );
    }
}

#[test]
fn records_that_somebody_else_signed_are_found() {
    let records = rollout();
    let all: Vec<_> = (1..=8).map(|number| at(number, Check::Signature)).collect();
    assert_eq!(broken(&exported(&records, &other_key()), &trust()), all);
    // A signature of one record is none of another.
    let borrowed = Bundle {
        signature: Some(key().sign(&records[2].print())),
        payload: records[3].print(),
    };
    let mut items = exported(&records, &key());
    items[3] = file(&records[3], &borrowed);
    assert_eq!(broken(&items, &trust())[0], at(4, Check::Signature));
    // Neither does it help to write the name of the key beside another signature.
    let mut signature = other_key().sign(&records[3].print());
    signature.keyid = key().public().keyid().to_owned();
    let posing = Bundle {
        signature: Some(signature),
        payload: records[3].print(),
    };
    items[3] = file(&records[3], &posing);
    assert_eq!(broken(&items, &trust())[0], at(4, Check::Signature));
    // A former key must sign as well as it says.
    let mut items = objects(&records, Some(&key()));
    let mut handed_over = object(&records[3], Some(&key()));
    handed_over.spec.rotated_from = object(&records[2], Some(&key())).spec.signature;
    items[3] = item(handed_over);
    assert_eq!(
        broken(&items, &trust())[0],
        ("fraud-000004".to_owned(), Check::Signature)
    );
}

#[test]
fn a_statement_in_another_form_is_found() {
    let statement = &rollout()[0];
    let canonical = statement.print();
    let value: serde_json::Value = serde_json::from_slice(&canonical).expect("JSON");
    let forms = [
        (serde_json::to_vec_pretty(&value).expect("JSON"), Check::Canonical),
        (canonical.iter().copied().chain(*b"\n").collect(), Check::Canonical),
        (canonical[..canonical.len() - 1].to_vec(), Check::Form),
        ([&b"{\"_type\":\"x\","[..], &canonical[1..]].concat(), Check::Form),
        (b"{}".to_vec(), Check::Form),
    ];
    for (payload, check) in forms {
        // Even where the key of guardbit signed it.
        let bundle = Bundle {
            signature: Some(key().sign(&payload)),
            payload,
        };
        assert_eq!(broken(&[file(statement, &bundle)], &trust()), [at(1, check)]);
    }
}

#[test]
fn what_stands_beside_a_statement_cannot_say_otherwise() {
    let records = rollout();
    let other = renamed(&records, |model| model.name = "churn".to_owned());
    let change = |change: &dyn Fn(&mut PrecisionDecision)| {
        let mut changed = object(&records[3], Some(&key()));
        change(&mut changed);
        let mut items = objects(&records, Some(&key()));
        items[3] = item(changed);
        let broken = broken(&items, &trust());
        assert_eq!(broken[0].1, Check::Beside, "{broken:?}");
    };
    change(&|object| object.spec.sequence = 5);
    change(&|object| object.spec.time = "2026-11-10T00:00:00Z".to_owned());
    change(&|object| object.spec.summary = "Promoted int8".to_owned());
    change(&|object| object.spec.payload_digest = format!("sha256:{}", anchor(&records[2]).digest));
    change(&|object| object.metadata.name = Some("fraud-000005".to_owned()));
    change(&|object| object.metadata.namespace = Some("default".to_owned()));
    let of_other = object(&other[3], Some(&key()));
    change(&|object| object.spec.clone_from(&of_other.spec));
    assert_eq!(
        only(&objects(&records, Some(&key())), &trust()).outcome(),
        Outcome::Holds
    );
}
