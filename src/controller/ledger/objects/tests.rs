//! Records against an API server that holds nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::append::tests::{after, chain};
use super::*;
use crate::ledger::{PublicKey, SigningKey};

const KEY: &str = include_str!("../../../../tests/testdata/ledger/key.pem");

/// Another key, with which guardbit signs after that one.
const NEXT: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbmyeMIx0qubfWCTL
V74sqIzGm+2lUs1XiOVUkBHx71KhRANCAASPxGsaFbtLpbdOex3LkHkeDA5PNQWN
NttUCM+IRFzd2+LwWSoMzWeFKb+0Y7FdGnGFZ+t4uObACwNGE8i05agj
-----END PRIVATE KEY-----
";

/// When the API server created whatever it holds.
const CREATED: &str = "2026-11-10T00:00:00Z";

/// The records that there are, by name.
type Held = Arc<Mutex<BTreeMap<String, Value>>>;

/// An API server that holds records.
fn server(held: &Held) -> Client {
    let held = Arc::clone(held);
    let service = tower::service_fn(move |request: Request<Body>| {
        let held = Arc::clone(&held);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let (code, answer) = answer(&mut held.lock(), &parts.method, parts.uri.path(), &body);
            let answer = Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, kube::Error>(answer.expect("an answer"))
        }
    });
    Client::new(service, "risk")
}

fn answer(held: &mut BTreeMap<String, Value>, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
    let failure = |code: u16, reason: &str| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": reason, "reason": reason, "code": code});
        (code, status)
    };
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    match *method {
        Method::POST => {
            let mut object: Value = serde_json::from_slice(body).expect("JSON");
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            object["metadata"]["creationTimestamp"] = json!(CREATED);
            if held.contains_key(&name) {
                return failure(409, "AlreadyExists");
            }
            held.insert(name, object.clone());
            (201, object)
        }
        Method::GET if name == "precisiondecisions" => {
            let items: Vec<_> = held
                .values()
                .map(|object| json!({"metadata": object["metadata"]}))
                .collect();
            (
                200,
                json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}),
            )
        }
        Method::GET => match held.get(&name) {
            Some(object) => (200, object.clone()),
            None => failure(404, "NotFound"),
        },
        Method::DELETE => {
            held.remove(&name);
            (
                200,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
            )
        }
        _ => failure(405, "MethodNotAllowed"),
    }
}

fn objects(held: &Held) -> Objects {
    Objects {
        api: Api::namespaced(server(held), "risk"),
        namespace: "risk".to_owned(),
        name: "fraud-scorer".to_owned(),
    }
}

fn keys() -> Keys {
    Keys {
        signs: SigningKey::from_pem(KEY).map_err(|error| error.to_string()),
        former: None,
        trusted: Vec::new(),
    }
}

fn no_key() -> Keys {
    Keys {
        signs: Err("there is no file".to_owned()),
        former: None,
        trusted: Vec::new(),
    }
}

/// Creates records, each of which is new.
async fn create(objects: &Objects, records: &[PendingRecord]) {
    for record in records {
        assert_eq!(objects.create(record, &keys(), false).await.unwrap(), Outcome::Created);
    }
}

/// The newest of the records that exist.
async fn newest(objects: &Objects, keys: &Keys) -> Result<Option<Adopted>, Trouble> {
    objects.newest(&objects.list().await?, keys).await
}

/// The old ones of the records that exist.
async fn old(objects: &Objects, now: Timestamp, keep: SignedDuration) -> Option<Prune> {
    let all = objects.list().await.unwrap();
    objects.old(&all, now, keep).await.unwrap()
}

/// Why a record cannot be created.
async fn refused(objects: &Objects, record: &PendingRecord, keys: &Keys) -> LedgerReason {
    objects.create(record, keys, false).await.unwrap_err().problem.reason
}

#[tokio::test]
async fn a_record_is_created_once_and_whoever_comes_later_finds_it() {
    let held = Held::default();
    let (objects, records) = (objects(&held), chain(2, 0));
    create(&objects, &records).await;
    assert_eq!(
        objects.create(&records[1], &keys(), false).await.unwrap(),
        Outcome::WasThere
    );
    let there = held.lock();
    assert_eq!(
        there.keys().collect::<Vec<_>>(),
        ["fraud-scorer-000001", "fraud-scorer-000002"]
    );
    let first = &there["fraud-scorer-000001"];
    assert_eq!(first["metadata"]["labels"]["guardbit.dev/model"], "fraud-scorer");
    assert_eq!(
        first["spec"]["signature"]["keyid"],
        keys().signs.unwrap().public().keyid()
    );
}

#[tokio::test]
async fn a_status_that_is_older_than_the_records_goes_on_from_the_newest() {
    let held = Held::default();
    let objects = objects(&held);
    let records = chain(4, 0);
    create(&objects, &records).await;
    // Yesterday's status knows the first record alone.
    let another = after(&records[0], 60);
    let overtaken = objects.create(&another, &keys(), false).await.unwrap();
    let head = Head {
        sequence: 4,
        digest: records[3].payload_digest.trim_start_matches("sha256:").to_owned(),
    };
    assert_eq!(overtaken, Outcome::Overtaken(head.clone()));
    let found = newest(&objects, &keys()).await.unwrap().expect("there are some");
    assert_eq!(found.head, head);
    assert!(found.after.is_some(), "this core wrote it");
}

#[tokio::test]
async fn a_record_of_another_chain_is_a_fork_and_so_is_any_that_no_key_tells() {
    let held = Held::default();
    let objects = objects(&held);
    create(&objects, &chain(2, 0)).await;
    let other = chain(2, 300);
    assert_eq!(refused(&objects, &other[1], &keys()).await, LedgerReason::Forked);
    let unsigned = PendingRecord {
        signed: false,
        ..other[1].clone()
    };
    assert_eq!(refused(&objects, &unsigned, &no_key()).await, LedgerReason::Forked);
    held.lock().get_mut("fraud-scorer-000002").unwrap()["spec"]["summary"] = json!("Raised int8");
    assert_eq!(
        newest(&objects, &keys()).await.unwrap_err().problem.reason,
        LedgerReason::Forked
    );
}

/// Whoever can read a status knows the digest of the next record, and may be faster.
#[tokio::test]
async fn an_object_that_has_the_digest_of_a_record_and_nothing_else_of_it_is_a_fork() {
    const NAME: &str = "fraud-scorer-000001";
    let held = Held::default();
    let objects = objects(&held);
    let records = chain(1, 0);
    create(&objects, &records).await;
    let ours = held.lock()[NAME].clone();
    let borrowed = SigningKey::from_pem(KEY).unwrap().sign(b"{}");
    for (field, value) in [
        ("payload", json!(chain(1, 300)[0].payload)),
        ("payload", json!("H4sI")),
        ("signature", Value::Null),
        ("signature", serde_json::to_value(borrowed).unwrap()),
        ("summary", json!("Promoted int8")),
        ("time", json!("2026-11-11T00:00:00Z")),
    ] {
        let mut theirs = ours.clone();
        theirs["spec"][field] = value;
        held.lock().insert(NAME.to_owned(), theirs);
        let reason = refused(&objects, &records[0], &keys()).await;
        assert_eq!(reason, LedgerReason::Forked, "{field}");
    }
    // One that a key of before has signed is ours, though nobody knows that key any more.
    held.lock().insert(NAME.to_owned(), ours);
    let replaced = Keys {
        signs: SigningKey::from_pem(NEXT).map_err(|error| error.to_string()),
        ..no_key()
    };
    let created = objects.create(&records[0], &replaced, true).await.unwrap();
    assert_eq!(created, Outcome::WasThere);
}

#[tokio::test]
async fn a_record_that_is_to_be_signed_waits_for_the_key() {
    let held = Held::default();
    let objects = objects(&held);
    let records = chain(1, 0);
    assert_eq!(
        refused(&objects, &records[0], &no_key()).await,
        LedgerReason::KeyMissing
    );
    assert!(held.lock().is_empty());
    assert_eq!(newest(&objects, &no_key()).await.unwrap(), None);
}

/// A model that is made anew, or whose status is lost, after the key was replaced and guardbit started again.
#[tokio::test]
async fn a_chain_goes_on_from_a_record_of_a_key_of_before_whose_public_key_is_kept() {
    let held = Held::default();
    let objects = objects(&held);
    let records = chain(2, 0);
    create(&objects, &records).await;
    let replaced = |trusted: Vec<PublicKey>| Keys {
        signs: SigningKey::from_pem(NEXT).map_err(|error| error.to_string()),
        former: None,
        trusted,
    };
    let lost = newest(&objects, &replaced(Vec::new())).await.unwrap_err();
    assert_eq!(lost.problem.reason, LedgerReason::Forked);
    let newest = newest(&objects, &replaced(keys().public()))
        .await
        .unwrap()
        .unwrap()
        .head;
    assert_eq!(
        (newest.sequence, newest.digest.as_str()),
        (2, records[1].payload_digest.trim_start_matches("sha256:"))
    );
}

#[tokio::test]
async fn old_records_go_but_for_the_last_fifty() {
    let held = Held::default();
    let objects = objects(&held);
    let records = chain(60, 0);
    create(&objects, &records).await;
    let at = |day: i64| {
        let created: Timestamp = CREATED.parse().unwrap();
        created + SignedDuration::from_hours(24 * day)
    };
    let keep = SignedDuration::from_hours(24 * 184);
    assert!(old(&objects, at(184), keep).await.is_none(), "none is older than that");
    let prune = old(&objects, at(185), keep).await.unwrap();
    let tenth = records[9].payload_digest.trim_start_matches("sha256:");
    assert_eq!((prune.through.sequence, prune.through.digest.as_str()), (10, tenth));
    assert!(!prune.is_full(), "there are no more");
    assert_eq!(objects.delete(&prune).await.unwrap(), 10);
    assert_eq!(held.lock().len(), 50);
    assert!(old(&objects, at(400), keep).await.is_none());
}

/// A model that decided often has more of them than a request a day would ever delete.
#[tokio::test]
async fn of_many_old_records_a_hundred_go_at_once_and_the_rest_soon_after() {
    let held = Held::default();
    let objects = objects(&held);
    create(&objects, &chain(170, 0)).await;
    let created: Timestamp = CREATED.parse().unwrap();
    let late = created + SignedDuration::from_hours(24);
    let keep = SignedDuration::from_hours(1);
    let mut deleted = Vec::new();
    while let Some(prune) = old(&objects, late, keep).await {
        deleted.push((prune.through.sequence, prune.is_full()));
        objects.delete(&prune).await.unwrap();
    }
    assert_eq!(deleted, [(100, true), (120, false)]);
    assert_eq!(held.lock().len(), 50);
}
