use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::beginning::tests::{all_there, line};
use super::*;

/// An API server that holds one pod, and reports another when it is watched from there.
fn server() -> Client {
    let pod = |name: &str, version: &str| {
        let labels = json!({MODEL_LABEL: "m"});
        json!({"metadata": {"namespace": "risk", "name": name, "labels": labels, "resourceVersion": version}})
    };
    let service = tower::service_fn(move |request: Request<Body>| async move {
        let query = request.uri().query().unwrap_or_default();
        let events = match query.contains("sendInitialEvents=true") {
            true => [
                line("ADDED", &pod("p", "5")),
                all_there(),
                line("ADDED", &pod("q", "8")),
            ]
            .concat(),
            false => std::future::pending().await,
        };
        Ok::<_, kube::Error>(Response::new(Body::from(events.into_bytes())))
    });
    Client::new(service, "risk")
}

#[tokio::test]
async fn what_there_is_comes_first_and_what_comes_later_wakes_its_model() {
    let (wake, mut woken) = mpsc::unbounded_channel();
    let mut starting = Starting::new(wake);
    let pods = Index::<PodProjection>::default();
    starting.follow(Api::all(server()), &pods, PodProjection::of);
    let soon = Duration::from_secs(20);
    let answered = tokio::time::timeout(soon, starting.answers.remove(0)).await;
    answered.expect("an answer in time").expect("of a watch that lives");
    assert!(pods.has_come() && pods.has("risk", "m", "p"));
    let model = tokio::time::timeout(soon, woken.recv())
        .await
        .expect("an event in time");
    assert_eq!(model, Some(("risk".into(), "m".into())));
    assert!(pods.has("risk", "m", "q"));
}

/// Sends the names of models as they come, with a question mark behind those that cannot be read.
struct Told(mpsc::UnboundedSender<String>);

impl Followed for Told {
    fn needs_reconcile(&self, model: &CachedModel) -> bool {
        let unreadable = matches!(model.read(), Ok(Content::Unreadable(_)));
        let mark = if unreadable { "?" } else { "" };
        self.0.send(format!("{}{mark}", model.name_any())).is_ok()
    }

    fn all_come(&self, models: usize) {
        let _ = self.0.send(format!("all {models}"));
    }

    fn gone(&self, _: &CachedModel) {}
}

#[tokio::test]
async fn a_model_that_cannot_be_read_does_not_take_the_watch_of_the_others_with_it() {
    let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
    let sample: serde_json::Value = serde_yaml_ng::from_str(sample).unwrap();
    let model = move |name: &str, tier: &str| {
        let mut model = sample.clone();
        (model["metadata"]["name"], model["metadata"]["uid"]) = (json!(name), json!(name));
        model["metadata"]["resourceVersion"] = json!("8");
        model["spec"]["model"]["riskTier"] = json!(tier);
        model
    };
    let service = tower::service_fn(move |request: Request<Body>| {
        let model = model.clone();
        async move {
            let query = request.uri().query().unwrap_or_default();
            let there = [("a", "High"), ("b", "Extreme"), ("c", "High")];
            let later = [("a", "Extreme"), ("b", "Low"), ("c", "Limited")];
            let events =
                |kind, models: [(&str, &str); 3]| models.map(|(name, tier)| line(kind, &model(name, tier))).concat();
            let events = match query.contains("sendInitialEvents=true") {
                true => [events("ADDED", there), all_there(), events("MODIFIED", later)].concat(),
                false => std::future::pending().await,
            };
            Ok::<_, kube::Error>(Response::new(Body::from(events.into_bytes())))
        }
    });
    let client = Client::new(service, "risk");
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut starting = Starting::new(mpsc::unbounded_channel().0);
    starting.follow_models(Api::all(client), Arc::new(Told(tell)));
    for expected in ["a", "b?", "c", "all 3", "a?", "b?", "c"] {
        let next = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
        assert_eq!(next.expect("in time").as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_burst_of_events_of_one_model_is_one_reconcile() {
    let (wake, woken) = mpsc::unbounded_channel();
    let mut woken_models = pin!(bursts(woken));
    let model = |name: &str| -> ModelName { ("risk".into(), name.into()) };
    for name in ["a", "a", "b", "a"] {
        wake.send(model(name)).unwrap();
    }
    let mut both = [woken_models.next().await.unwrap(), woken_models.next().await.unwrap()];
    both.sort();
    assert_eq!(both, [model("a"), model("b")]);
    // Events that never end must not delay a reconcile for ever.
    let begun = tokio::time::Instant::now();
    let storm = tokio::spawn(async move {
        while wake.send(model("a")).is_ok() {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(woken_models.next().await.unwrap(), ("risk".into(), "a".into()));
    assert!(begun.elapsed() < BURST * 10);
    storm.abort();
}
