//! From arguments to actions.

use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};

const DIGEST: &str = "sha256:4be1f13c5aa1b0a4b7a4a4a2b2a0f5d5c4be1f13c5aa1b0a4b7a4a4a2b2a0f5d";
const OTHER: &str = "sha256:0be1f13c5aa1b0a4b7a4a4a2b2a0f5d5c4be1f13c5aa1b0a4b7a4a4a2b2a0f5d";

/// The verb that such arguments call, for a model and with a good reason.
fn verb(args: &[&str]) -> Result<Verb, String> {
    let all = [
        &["guardbit"][..],
        args,
        &["fraud-scorer", "--reason", " Errors since 02:50. "],
    ]
    .concat();
    match Cli::try_parse_from(all).map_err(|e| e.to_string())?.command {
        Command::Act(verb) => Ok(verb),
        other => Err(format!("{other:?}")),
    }
}

/// A model in which something awaits approval.
fn model(awaits: Option<&str>) -> Model {
    let file: Value = serde_yaml_ng::from_str(include_str!("../../../../tests/testdata/fraud-scorer.yaml")).unwrap();
    let awaiting = awaits.map(|digest| {
        json!({
            "before": "FirstTraffic", "changeDigest": digest, "variant": "int8", "revision": "v1:00",
            "since": "2026-11-10T00:00:00Z", "need": 1, "may": "approve", "command": "c",
        })
    });
    Model {
        name: "fraud-scorer".to_owned(),
        uid: "6f0c".to_owned(),
        read: Ok((
            serde_json::from_value(file["spec"].clone()).unwrap(),
            serde_json::from_value(json!({"awaiting": awaiting})).unwrap(),
        )),
    }
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        username: Some(name.to_owned()),
        groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
        ..UserInfo::default()
    }
}

/// The spec of the action that such arguments create, as JSON.
fn spec(args: &[&str], awaits: Option<&str>) -> Result<Value, String> {
    let verb = verb(args)?;
    let me = user("bob@bank.example", &["staff", "model-risk", "system:authenticated"]);
    let spec = verb.wish()?.spec(&model(awaits), &me)?;
    Ok(serde_json::to_value(spec).unwrap())
}

#[test]
fn each_verb_is_an_action_with_what_belongs_to_it() {
    let bare = json!({"username": "bob@bank.example"});
    let grouped = json!({"username": "bob@bank.example", "groups": ["model-risk", "staff"]});
    for (args, action, more) in [
        (
            &["approve"][..],
            "Approve",
            json!({"changeDigest": DIGEST, "actor": grouped, "validFor": "24h"}),
        ),
        (
            &["approve", "--group", "model-risk"],
            "Approve",
            json!({
                "changeDigest": DIGEST, "actor": {"username": "bob@bank.example", "groups": ["model-risk"]}, "validFor": "24h",
            }),
        ),
        (
            &["reject", "--change", DIGEST],
            "Reject",
            json!({"changeDigest": DIGEST, "validFor": "168h"}),
        ),
        (&["pause", "--valid-for", "4h"], "Pause", json!({"validFor": "4h"})),
        (&["resume"], "Resume", json!({"validFor": "1h"})),
        (
            &["rollback", "--to", "fp32"],
            "RollBack",
            json!({"to": "fp32", "validFor": "168h"}),
        ),
        (
            &["retry", "--variant", "int8"],
            "Retry",
            json!({"variant": "int8", "validFor": "24h"}),
        ),
        (
            &[
                "break-glass",
                "--incident",
                "INC-1",
                "--waive",
                "freezes,Approvals,freezes",
            ],
            "BreakGlass",
            json!({"incident": "INC-1", "waives": ["Approvals", "Freezes"], "validFor": "1h"}),
        ),
    ] {
        let mut expected = json!({
            "modelRef": {"name": "fraud-scorer", "uid": "6f0c"}, "action": action, "actor": bare,
            "reason": "Errors since 02:50.",
        });
        expected
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(spec(args, Some(DIGEST)), Ok(expected), "{args:?}");
    }
}

#[test]
fn only_the_change_that_awaits_approval_is_approved() {
    for (args, awaits, part) in [
        (
            &["approve"][..],
            None,
            "nothing of this model awaits approval; without --change",
        ),
        (
            &["approve", "--change", DIGEST],
            None,
            "nothing of this model awaits approval",
        ),
        (&["approve", "--change", DIGEST], Some(OTHER), OTHER),
        (&["reject"], None, "guardbit rollback takes a candidate's traffic away"),
        (&["reject", "--change", DIGEST], Some(OTHER), OTHER),
    ] {
        let error = spec(args, awaits).expect_err(&args.join(" "));
        assert!(error.contains(part), "{args:?}: {error}");
    }
    let rejected = spec(&["reject", "--change", DIGEST], None).expect("it only lowers");
    assert_eq!(rejected["changeDigest"], DIGEST);
}

#[test]
fn what_changed_while_the_person_was_asked_is_not_approved() {
    let verb = verb(&["approve"]).unwrap();
    let wish = verb.wish().unwrap();
    let before = model(Some(DIGEST));
    assert_eq!(wish.still_meant(DIGEST, &before, &model(Some(DIGEST))), Ok(()));
    for now in [model(Some(OTHER)), model(None)] {
        let error = wish.still_meant(DIGEST, &before, &now).expect_err("another change");
        assert!(error.starts_with("nothing was done"), "{error}");
    }
    let anew = Model {
        uid: "7a1d".to_owned(),
        ..model(Some(DIGEST))
    };
    assert!(wish.still_meant(DIGEST, &before, &anew).is_err());
}

#[test]
fn what_this_release_cannot_read_is_not_approved_and_can_be_lowered() {
    let unreadable = Model {
        read: Err("spec.guards[0]: unknown field `novel`".to_owned()),
        ..model(None)
    };
    let me = user("bob@bank.example", &[]);
    let spec = |args: &[&str]| verb(args).unwrap().wish().unwrap().spec(&unreadable, &me);
    for args in [&["approve", "--change", DIGEST][..], &["approve"], &["reject"]] {
        let error = spec(args).expect_err(&args.join(" "));
        assert!(error.contains("unknown field `novel`"), "{args:?}: {error}");
    }
    for args in [
        &["reject", "--change", DIGEST][..],
        &["pause"],
        &["rollback", "--to", "fp32"],
    ] {
        assert!(spec(args).is_ok(), "{args:?}");
    }
}

#[test]
fn an_action_is_a_persons() {
    let pause = verb(&["pause"]).unwrap();
    for name in [
        "system:serviceaccount:ci:pipeline",
        "system:admin",
        "system:anonymous",
        "",
    ] {
        let error = pause
            .wish()
            .unwrap()
            .spec(&model(None), &user(name, &[]))
            .expect_err(name);
        assert!(error.contains("an action is a person's"), "{name}: {error}");
    }
}

#[test]
fn of_many_groups_as_many_are_named_as_there_is_room_for() {
    let names: Vec<String> = (0..40).map(|number| format!("group-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let me = user("bob@bank.example", &names);
    let approve = verb(&["approve"]).unwrap();
    let wish = approve.wish().unwrap();
    let spec = wish.spec(&model(Some(DIGEST)), &me).unwrap();
    assert_eq!(
        (spec.actor.groups.len(), spec.actor.groups[31].as_str()),
        (32, "group-31")
    );
    assert!(wish.notes(&me)[0].starts_with("You are in 40 groups"));
    let named = verb(&["approve", "--group", "group-39"]).unwrap();
    let wish = named.wish().unwrap();
    assert_eq!(wish.notes(&me), Vec::<String>::new());
    assert_eq!(wish.spec(&model(Some(DIGEST)), &me).unwrap().actor.groups, ["group-39"]);
}

#[test]
fn no_action_lasts_longer_than_its_kind_may() {
    for (args, good) in [
        (
            &[
                "break-glass",
                "--incident",
                "I",
                "--waive",
                "slots",
                "--valid-for",
                "4h",
            ][..],
            true,
        ),
        (
            &[
                "break-glass",
                "--incident",
                "I",
                "--waive",
                "slots",
                "--valid-for",
                "5h",
            ],
            false,
        ),
        (&["approve", "--valid-for", "168h"], true),
        (&["approve", "--valid-for", "169h"], false),
        (&["rollback", "--valid-for", "720h"], true),
        (&["pause", "--valid-for", "59s"], false),
    ] {
        let verb = verb(args).unwrap();
        let wish = verb.wish().map(drop);
        assert_eq!(wish.is_ok(), good, "{args:?}: {wish:?}");
        if let Err(error) = wish {
            assert!(error.contains("1m at the least"), "{error}");
        }
    }
}

#[test]
fn it_waits_for_a_minute_or_for_as_long_as_is_written() {
    for (args, waits) in [
        (&["pause"][..], None),
        (&["pause", "--wait"], Some(60)),
        (&["pause", "--wait=90s"], Some(90)),
    ] {
        let verb = verb(args).unwrap();
        assert_eq!(
            verb.wish().unwrap().common.wait,
            waits.map(Duration::from_secs),
            "{args:?}"
        );
    }
}

#[test]
fn what_the_schema_would_refuse_is_refused_at_once() {
    for (args, part) in [
        (
            &["approve", "--change", "sha256:4be1"][..],
            "all of its 64 hexadecimal digits",
        ),
        (&["approve", "--to", "fp32"], "unexpected argument '--to'"),
        (&["retry"], "--variant"),
        (&["break-glass", "--waive", "approvals"], "--incident"),
        (&["break-glass", "--incident", "INC-1"], "--waive"),
        (
            &["break-glass", "--incident", " ", "--waive", "slots"],
            "the number of the incident",
        ),
        (
            &["break-glass", "--incident", "INC-1", "--waive", "floor"],
            "invalid value 'floor'",
        ),
        (&["pause", "--valid-for", "1d"], "is not a length of time"),
        (&["pause", "--wait", "--dry-run"], "cannot be used with"),
    ] {
        let error = verb(args).expect_err(&args.join(" "));
        assert!(error.contains(part), "{args:?}: {error}");
    }
    for (reason, good) in [
        ("         x", false),
        ("0123456789", true),
        ("x".repeat(1001).as_str(), false),
    ] {
        let parsed = Cli::try_parse_from(["guardbit", "pause", "fraud-scorer", "--reason", reason]);
        assert_eq!(parsed.is_ok(), good, "{reason:?}");
    }
}
