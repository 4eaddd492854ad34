//! A comparer that gets no answers, the wrong ones, or none to ask for: weights hold, nothing counts that is no pair, and it goes on
//! once it can.

use guardbit::api::{Action, Phase, QuantizedModelStatus};
use guardbit::compare::digest;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::LogParams;
use serde_json::json;

use crate::acts::{condition, until};
use crate::comparer::asked_by_nobody_but_the_comparer;
use crate::pairs::{agreement, asking, begin, compared, comparer_process, golden, judged};
use crate::service::plain;
use crate::stage::{MODEL, Stage};

/// Whether a rollout waits for pairs in its shadow stage.
fn shadowing(status: &QuantizedModelStatus) -> bool {
    condition(status, "Progressing").1 == "Shadowing"
}

/// The shadow stage ends by itself, and no user was answered by int8 before that.
async fn passes(stage: &Stage) {
    stage.weights(&[("fp32", 95), ("int8", 5)]).await;
    assert_eq!(stage.ledger.weights_of("int8"), [0, 5], "{}", stage.ledger.story());
    assert!(stage.status().rejected.is_empty(), "{}", stage.story());
}

/// The reference answers users as ever: only the comparer gets no answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_reference_without_answers_makes_no_pair_and_holds_the_weights() {
    let stage = begin(compared("mute", 3_000)).await;
    stage.judges(100).await;
    let candidate = stage.candidate();
    // What halves the rate comes last.
    for (broken, reason) in [
        (json!({"status": 500}), "status"),
        (json!("garbage"), "unparsable"),
        (json!("huge"), "too_large"),
        (json!("redirect"), "status"),
        (json!({"status": 429}), "status"),
        (json!("endless"), "timeout"),
    ] {
        stage.faults("fp32", json!({"infer": broken})).await;
        // What was asked before that is answered by then.
        stage.fails("reference", reason, 3).await;
        let before = stage.pairs_of(&candidate, None).await;
        stage.fails("reference", reason, 3).await;
        let after = stage.pairs_of(&candidate, None).await;
        assert_eq!(after, before, "{broken}: {}", stage.story());
        assert!(shadowing(&stage.status()), "{broken}: {}", stage.story());
    }
    stage.faults("fp32", json!({})).await;
    let status = stage.judges(100).await;
    stage.assert_counted_once(&status).await;
    assert_eq!(agreement(&status).map(|guard| guard.candidate.bad), Some(0));
    asked_by_nobody_but_the_comparer(&stage).await;
    stage.patch(json!({"rollout": {"shadow": {"pairs": 200}}})).await;
    passes(&stage).await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_candidate_without_room_is_waited_for_and_one_that_fails_differs() {
    let stage = begin(compared("no-room", 3_000)).await;
    stage.judges(100).await;
    let candidate = stage.candidate();
    stage.faults("int8", json!({"infer": {"status": 429}})).await;
    stage.fails("candidate", "status", 3).await;
    let before = stage.pairs_of(&candidate, None).await;
    stage.fails("candidate", "status", 3).await;
    assert_eq!(stage.pairs_of(&candidate, None).await, before, "{}", stage.story());
    let status = stage.status();
    assert!(shadowing(&status), "{}", stage.story());
    assert_eq!(agreement(&status).map(|guard| guard.candidate.bad), Some(0));
    stage.faults("int8", json!({"infer": {"status": 500}})).await;
    stage.rolled_back("agreement").await;
    stage.comparer_goes().await;
    asked_by_nobody_but_the_comparer(&stage).await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn another_golden_set_than_the_spec_says_is_not_asked_and_the_rollout_says_what_it_waits_for() {
    let right = digest(golden(0).as_bytes());
    let setting = compared("no-golden", 200).with("/comparer/golden/digest", json!(digest(b"another")));
    let stage = begin(setting).await;
    let is_looping = |pod: &Pod| {
        let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first());
        let waiting = status.and_then(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
        waiting.as_deref() == Some("CrashLoopBackOff")
    };
    until("it crashes again and again", || async {
        stage.comparer().await.as_ref().is_some_and(is_looping)
    })
    .await;
    let comparer = stage.comparer().await.expect("a comparer").name_any();
    let log = stage
        .api::<Pod>()
        .logs(&comparer, &LogParams::default())
        .await
        .expect("a log");
    assert!(log.contains(&format!("the golden set has the digest {right}")), "{log}");
    let waits = stage.until("it waits", shadowing).await;
    let (_, _, message) = condition(&waits, "Progressing");
    assert!(message.contains("0 of 200 pairs of answers were counted"), "{message}");
    let blind = stage
        .until("a minute without pairs", |s| {
            condition(s, "EvidenceAvailable").1 == "NoSamples"
        })
        .await;
    let (truth, _, message) = condition(&blind, "EvidenceAvailable");
    assert!(
        truth == "False" && message.starts_with("guard agreement: "),
        "{message}"
    );
    assert_eq!(stage.ledger.weights_of("int8"), [0], "{}", stage.ledger.story());
    stage.patch(json!({"comparer": {"golden": {"digest": right}}})).await;
    stage.decided(Action::PlanChanged, "int8").await;
    passes(&stage).await;
    stage.finish(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn another_golden_set_in_mid_rollout_keeps_the_weight_and_begins_the_evidence_afresh() {
    let stage = begin(compared("regolden", 1_000)).await;
    stage.weights(&[("fp32", 75), ("int8", 25)]).await;
    stage.patch(json!({"paused": true})).await;
    stage.until("paused", |s| s.phase == Some(Phase::Paused.into())).await;
    let (before, comparer) = (
        judged(&stage.status()),
        stage.comparer().await.expect("a comparer").uid(),
    );
    assert!(before >= 1_000, "{}", stage.story());
    let another = golden(1_000);
    stage.create_golden("golden-2", &another).await;
    let set = json!({"configMap": "golden-2", "digest": digest(another.as_bytes())});
    stage.patch(json!({"comparer": {"golden": set}})).await;
    let changed = stage.decided(Action::PlanChanged, "int8").await;
    assert!(
        changed
            .why
            .contains("or the comparer were edited: the weight stays at 25%"),
        "{}",
        changed.why
    );
    stage
        .until("pairs of the new set are judged, and none of the old", |s| {
            (50..before).contains(&judged(s))
        })
        .await;
    assert_ne!(stage.comparer().await.expect("a comparer").uid(), comparer);
    let route = stage.routes().get(MODEL).await.expect("the route is there");
    assert_eq!(
        route.annotations().get("guardbit.dev/golden-digest"),
        Some(&digest(another.as_bytes()))
    );
    stage.patch(json!({"paused": false})).await;
    stage.climbed(&[0, 5, 25, 50, 90]).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_budget_that_is_spent_too_soon_holds_the_shadow_stage_until_it_is_raised() {
    let setting = compared("spent", 200).with("/comparer/budget", json!({"pairs": 278}));
    let stage = begin(setting).await;
    stage.judges(10).await;
    // What is asked now costs the budget, and makes no pair.
    stage.faults("fp32", json!({"infer": "garbage"})).await;
    until("the budget is spent", || async {
        stage
            .scraped("guardbit_pair_budget_spent", "budget=\"pairs\"", None)
            .await
            .all
            == 1
    })
    .await;
    stage.faults("fp32", json!({})).await;
    // Far longer than the rest would have taken.
    stage.answered("fp32", 1_500).await;
    let (_, reason, message) = condition(&stage.status(), "Progressing");
    assert!(
        reason == "Shadowing" && message.contains(" of 200 pairs of answers were counted"),
        "{reason}: {message}"
    );
    asked_by_nobody_but_the_comparer(&stage).await;
    stage.patch(json!({"comparer": {"budget": {"pairs": 1_000_000}}})).await;
    passes(&stage).await;
    assert_eq!(stage.times(Action::PlanChanged, "int8"), 0, "{}", stage.story());
    stage.finish(1).await;
}

/// The container begins again in the same pod: its counters fall.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn a_comparer_whose_process_dies_goes_on_from_nothing_and_no_pair_counts_twice() {
    let stage = begin(compared("fallen", 5_000)).await;
    stage.judges(100).await;
    let comparer = stage.comparer().await.expect("a comparer").uid();
    let process = comparer_process(&stage.namespace).to_string();
    let killed = std::process::Command::new("kill").args(["-KILL", &process]).status();
    assert!(killed.expect("kill").success());
    let status = stage.judges(300).await;
    let same = stage.comparer().await.expect("a comparer");
    assert_eq!(same.uid(), comparer, "the same pod");
    let restarts = same
        .status
        .and_then(|s| Some(s.container_statuses?.first()?.restart_count));
    assert_eq!(restarts, Some(1));
    stage.assert_counted_once(&status).await;
    assert_eq!(stage.ledger.weights_of("int8"), [0], "{}", stage.ledger.story());
    stage.patch(json!({"rollout": {"shadow": {"pairs": 200}}})).await;
    passes(&stage).await;
    stage.finish(1).await;
}

/// Behind one plain Service no arm has a Service of its own, but for the comparer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make failures"]
async fn behind_a_plain_service_arms_are_asked_over_services_of_their_own() {
    let stage = begin(asking(plain("plain-pairs"))).await;
    let status = stage.judges(50).await;
    let arms = [stage.deployment_of("fp32"), stage.deployment_of("int8")];
    let services = stage.names::<Service>().await;
    assert!(arms.iter().all(|arm| services.contains(arm)), "{services:?}");
    stage.assert_counted_once(&status).await;
    let promoted = stage.decided(Action::Promoted, "int8").await;
    assert!(promoted.why.contains("agreement: "), "{}", promoted.why);
    // Full precision has nothing to be compared with.
    stage.patch(json!({"target": "fp32"})).await;
    stage.decided(Action::TargetMoved, "fp32").await;
    stage.comparer_goes().await;
    until("the Services of the arms go", || async {
        let services = stage.names::<Service>().await;
        !arms.iter().any(|arm| services.contains(arm))
    })
    .await;
    stage.assert_nothing_was_lost().await;
    stage.delete_model().await;
    stage.leave().await;
}
