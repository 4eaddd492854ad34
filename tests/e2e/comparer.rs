//! guardbit's own comparer: what answers otherwise is found before a user is answered by it, what answers the same climbs, and
//! both are watched on.

use guardbit::api::Action;
use guardbit::compare::digest;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use crate::acts::condition;
use crate::pairs::{agreement, begin, compared, golden, judged, same_weights};
use crate::stage::{MODEL, Stage};

/// No user was answered by int8, and its weight never rose.
pub async fn asked_by_nobody_but_the_comparer(stage: &Stage) {
    let counts = stage.load.counts();
    assert!(
        !counts.by_variant.contains_key("int8") && !counts.pinned_by_variant.contains_key("int8"),
        "{}",
        stage.story()
    );
    assert_eq!(stage.ledger.weights_of("int8"), [0], "{}", stage.ledger.story());
    let pods = format!("pod=~\"{MODEL}-int8-.+\"");
    let (of_users, of_comparer) = (
        stage.scraped("http_requests_total", &pods, None).await,
        stage.scraped("inference_requests_total", &pods, None).await,
    );
    assert_eq!(of_users.all, 0, "{}", stage.story());
    assert!(of_comparer.all > 0, "{}", stage.story());
}

/// Disagreements and pairs, as the sentence of the guard tells them: "agreement: 41 of 200 answers differ (20.5%), …".
fn counts(sentence: &str) -> (f64, f64) {
    let words: Vec<&str> = sentence.split(' ').collect();
    let number = |word: &str| word.replace(',', "").parse::<f64>();
    match words[..] {
        ["agreement:", x, "of", n, "answers", "differ", ..] => (number(x).expect("a number"), number(n).expect("one")),
        _ => panic!("no counts: {sentence}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_three_of_ten_otherwise_is_rejected_before_a_user_is_answered_by_it() {
    let setting = compared("pairs-back", 200).with("/variants/1/template", same_weights(0.3));
    let stage = begin(setting).await;
    let decision = stage.rejected_for_its_answers().await;
    let (x, n) = counts(&decision.why);
    assert!(n >= 5.0 && (0.1..0.7).contains(&(x / n)), "{}", decision.why);
    stage.answered("fp32", 500).await;
    asked_by_nobody_but_the_comparer(&stage).await;
    stage.finish(1).await;
}

/// One that is as good is promoted, and compared on by the same comparer; when it begins to answer otherwise, traffic falls back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_weights_climb_and_are_compared_on_until_they_answer_otherwise() {
    let stage = begin(compared("pairs-climb", 200)).await;
    let begun = stage
        .until("pairs are judged in the shadow stage", |s| {
            s.rollout.as_ref().is_some_and(|r| r.is_shadow()) && judged(s) > 0
        })
        .await;
    let (_, reason, message) = condition(&begun, "Progressing");
    assert!(
        reason == "Shadowing" && message.contains(" of 200 pairs of answers were counted before its first weight"),
        "{reason}: {message}"
    );
    let comparer = stage.comparer().await.expect("a comparer");
    let promoted = stage.climbed(&[0, 5, 25, 50, 90]).await;
    assert!(
        promoted.why.contains("agreement: 0 of ") && promoted.why.contains(" answers differ (0"),
        "{}",
        promoted.why
    );
    let route = stage.routes().get(MODEL).await.expect("the route is there");
    assert_eq!(
        route.annotations().get("guardbit.dev/golden-digest"),
        Some(&digest(golden(0).as_bytes()))
    );
    // The holdout is what it is compared with now.
    let guarding = stage
        .until("pairs are judged after the promotion", |s| {
            s.rollout.is_none() && judged(s) >= 100
        })
        .await;
    assert_eq!(agreement(&guarding).map(|guard| guard.candidate.bad), Some(0));
    let same = stage.comparer().await.expect("a comparer");
    assert_eq!(same.uid(), comparer.uid(), "it goes on and is not begun again");
    stage.faults("int8", json!({"otherwise": 0.3})).await;
    let fell = stage.decided(Action::FellBack, "int8").await;
    assert!(fell.why.contains(": agreement: "), "{}", fell.why);
    stage.weights(&[("fp32", 100)]).await;
    stage.comparer_goes().await;
    stage.answered("fp32", 500).await;
    stage.finish(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparer_that_is_killed_begins_again_and_no_pair_counts_twice() {
    let stage = begin(compared("pairs-kill", 5_000)).await;
    stage.judges(100).await;
    let killed = stage.comparer().await.expect("a comparer");
    let at_once = DeleteParams::default().grace_period(0);
    let pods = stage.api::<Pod>();
    pods.delete(&killed.name_any(), &at_once).await.expect("deleted");
    // The first of them may be of the one that is dead.
    let status = stage.judges(200).await;
    let another = stage.comparer().await.expect("a comparer");
    assert_ne!(another.uid(), killed.uid());
    stage.assert_counted_once(&status).await;
    assert_eq!(agreement(&status).map(|guard| guard.candidate.bad), Some(0));
    assert_eq!(stage.ledger.weights_of("int8"), [0], "{}", stage.ledger.story());
    // How many pairs are waited for is no part of the plan: what was counted stays.
    stage.patch(json!({"rollout": {"shadow": {"pairs": 200}}})).await;
    stage.weights(&[("fp32", 95), ("int8", 5)]).await;
    assert_eq!(stage.times(Action::PlanChanged, "int8"), 0, "{}", stage.story());
    stage.finish(1).await;
}
