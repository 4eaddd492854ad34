//! Users' own requests as questions: a real Envoy mirrors them to the comparer, and no user ever notices.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures::StreamExt;
use guardbit::api::{Action, QuantizedModelStatus};
use guardbit::model::identity::comparer_name;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::acts::{condition, until};
use crate::comparer::asked_by_nobody_but_the_comparer;
use crate::pairs::{INFER, agreement, begin, compared, judged, question, same_weights};
use crate::stage::{MODEL, Setting, Stage, gateway};
use crate::users::{PATIENCE, User, Users, asked, mirrors_of};

/// Questions of users, a second.
const RATE: u32 = 40;

/// A rollout of int8 that is compared in so many pairs before its first weight, while the gateway mirrors so many percent of
/// all requests.
fn mirrored(test: &str, pairs: u64, percent: u64) -> Setting {
    asked(compared(test, pairs)).with("/comparer/mirror", json!({"percent": percent}))
}

/// Status and reason of the condition `Mirroring`.
fn mirroring(status: &QuantizedModelStatus) -> (String, String) {
    let (truth, reason, _) = condition(status, "Mirroring");
    (truth, reason)
}

/// The split mirrors so many percent to the comparer, and the rules of pinned requests nothing; the gateway takes that.
async fn assert_mirrors(stage: &Stage, percent: u64) {
    let rules = stage.mirrors().await;
    let (split, pinned) = rules.split_last().expect("rules");
    assert_eq!(*split, Some(percent), "{}", stage.story());
    assert!(
        !pinned.is_empty() && pinned.iter().all(Option::is_none),
        "{rules:?}\n{}",
        stage.story()
    );
    assert_eq!(mirroring(&stage.status()), ("True".to_owned(), "AsPlanned".to_owned()));
}

/// The mirror has ended with the comparer.
async fn assert_mirrors_nothing(stage: &Stage) {
    let rules = stage.mirrors().await;
    assert!(rules.iter().all(Option::is_none), "{rules:?}\n{}", stage.story());
    stage
        .until("nothing is compared", |s| {
            mirroring(s) == ("Unknown".to_owned(), "NothingCompared".to_owned())
        })
        .await;
}

/// Watches an object from now on, and returns the version in which it is no more what it was, or gone. Versions of the
/// cluster are in one order, whatever the object.
async fn ending<K>(api: Api<K>, name: &str, is_still: impl Fn(&K) -> bool + Send + 'static) -> JoinHandle<u64>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let only = Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(api, only).default_backoff().boxed();
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}
    tokio::spawn(async move {
        loop {
            let ended = match events.next().await.expect("the watch goes on") {
                Ok(Event::Delete(object)) => object,
                Ok(Event::Apply(object) | Event::InitApply(object)) if !is_still(&object) => object,
                _ => continue,
            };
            let version = ended.resource_version().expect("a version");
            return version.parse().expect("a number");
        }
    })
}

/// The version in which something ended that is watched.
async fn ended(watched: JoinHandle<u64>) -> u64 {
    let ended = tokio::time::timeout(Duration::from_secs(60), watched).await;
    ended.expect("it ends in time").expect("a version")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_requests_are_compared_in_a_whole_climb_and_the_mirror_ends_before_the_comparer_goes() {
    let stage = begin(mirrored("mirror-climb", 200, 50)).await;
    let users = Users::begin(&stage, RATE);
    stage.compares("mirror", 50).await;
    assert_mirrors(&stage, 50).await;
    let promoted = stage.climbed(&[0, 5, 25, 50, 90]).await;
    assert!(promoted.why.contains("agreement: 0 of "), "{}", promoted.why);
    // Mirrored and compared on, beside the golden set.
    stage.compares("mirror", 50).await;
    stage.compares("golden", 50).await;
    assert_mirrors(&stage, 50).await;
    let guarding = stage
        .until("pairs are judged after the promotion", |s| {
            s.rollout.is_none() && judged(s) >= 50
        })
        .await;
    assert_eq!(agreement(&guarding).map(|guard| guard.candidate.bad), Some(0));
    // The other load was mirrored as well, and is none that can be compared.
    let (counter, reason) = ("guardbit_mirrored_dropped_total", "reason=\"skipped\"");
    assert!(stage.scraped(counter, reason, None).await.all > 0, "{}", stage.story());

    // Full precision has nothing to be compared with.
    let comparer = comparer_name(MODEL);
    let mirror = ending(stage.routes(), MODEL, is_mirrored).await;
    let service = ending(stage.api::<Service>(), &comparer, is_kept).await;
    let deployment = ending(stage.api::<Deployment>(), &comparer, is_kept).await;
    stage.patch(json!({"target": "fp32"})).await;
    stage.decided(Action::TargetMoved, "fp32").await;
    let (mirror, service, deployment) = (ended(mirror).await, ended(service).await, ended(deployment).await);
    assert!(
        mirror < service && mirror < deployment,
        "the mirror ended in version {mirror}, its Service in {service}, the Deployment in {deployment}"
    );
    stage.comparer_goes().await;
    assert_mirrors_nothing(&stage).await;
    stage.weights(&[("fp32", 100)]).await;
    stage.answered("fp32", 500).await;
    users.finish().await;
    stage.finish(2).await;
}

fn is_mirrored(route: &DynamicObject) -> bool {
    mirrors_of(route).iter().any(Option::is_some)
}

fn is_kept<K: kube::Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_golden_set_users_requests_reject_a_candidate_before_it_answers_a_user() {
    let mut setting = mirrored("mirror-alone", 200, 50).with("/variants/1/template", same_weights(0.3));
    let comparer = setting.spec()["comparer"].as_object_mut().expect("a comparer");
    comparer.remove("golden").expect("a golden set");
    let stage = setting.start().await;
    let users = Users::begin(&stage, RATE);
    stage.rejected_for_its_answers().await;
    assert_mirrors_nothing(&stage).await;
    let pairs = async |source: &str| stage.scraped("guardbit_pairs_total", source, None).await.all;
    let (golden, mirror) = (pairs("source=\"golden\"").await, pairs("source=\"mirror\"").await);
    assert!(
        golden == 0 && mirror > 0,
        "{golden} pairs of a golden set, {mirror} of users"
    );
    asked_by_nobody_but_the_comparer(&stage).await;
    stage.answered("fp32", 500).await;
    users.finish().await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_slow_ones_and_a_comparer_that_dies_are_no_matter_of_the_users() {
    let stage = begin(mirrored("mirror-harm", 5_000, 100)).await;
    let users = Users::begin(&stage, RATE);
    stage.compares("mirror", 20).await;
    assert_mirrors(&stage, 100).await;

    let (user, small) = (User::of(&stage), question(7));
    let mut large = small.clone();
    large["parameters"] = json!({"padding": "x".repeat(10 * 1024 * 1024)});
    let (small, large) = (small.to_string(), large.to_string());
    // What is pinned is not mirrored: that is what is answered without a mirror.
    let due = user.ask(large.clone(), "high").await.expect("an answer");
    for _ in 0..3 {
        assert_eq!(user.ask(large.clone(), "low").await, Ok(due.clone()));
    }
    for (question, piece, pause) in [
        (small, 4, Duration::from_millis(50)),
        (large, 64 * 1024, Duration::ZERO),
    ] {
        let host = stage.host();
        let streamed = tokio::task::spawn_blocking(move || stream(&host, &question, piece, pause));
        let response = streamed.await.expect("no panic").expect("a response");
        assert!(
            response.starts_with("HTTP/1.1 200 ") && response.ends_with(&due),
            "{response}"
        );
    }
    stage.compares("mirror", 20).await;

    let killed = stage.comparer().await.expect("a comparer");
    let at_once = DeleteParams::default().grace_period(0);
    let pods = stage.api::<Pod>();
    pods.delete(&killed.name_any(), &at_once).await.expect("deleted");
    until("there is another comparer", || async {
        stage.comparer().await.is_some_and(|pod| pod.uid() != killed.uid())
    })
    .await;
    stage.compares("mirror", 20).await;
    // A pod that is away for a while is no reason to write the route.
    assert_mirrors(&stage, 100).await;
    assert_eq!(
        agreement(&stage.status()).map(|guard| guard.candidate.bad),
        Some(0),
        "{}",
        stage.story()
    );
    assert_eq!(stage.ledger.weights_of("int8"), [0], "{}", stage.ledger.story());
    users.finish().await;
    stage.finish(1).await;
}

/// Asks in pieces of this many bytes with a pause before each, as a client does that does not know the length beforehand.
/// Returns the whole response.
fn stream(host: &str, question: &str, piece: usize, pause: Duration) -> std::io::Result<String> {
    let at = url::Url::parse(&gateway()).expect("a URL");
    let address = (
        at.host_str().expect("a host"),
        at.port_or_known_default().expect("a port"),
    );
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "POST {INFER} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n"
    )?;
    for piece in question.as_bytes().chunks(piece) {
        std::thread::sleep(pause);
        write!(connection, "{:x}\r\n", piece.len())?;
        connection.write_all(piece)?;
        connection.write_all(b"\r\n")?;
    }
    connection.write_all(b"0\r\n\r\n")?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    Ok(response)
}
