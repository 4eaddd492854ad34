//! Handles models that this release cannot read: says which field that is, and leaves all else as it is.

use kube::runtime::controller::Action;

use crate::rollout::{Event, stands_still};
use crate::watch::{CachedModel, Unreadable};

use super::super::context::Context;
use super::super::error::Error;
use super::super::observe;

/// Says on a model that cannot be read which field that is. What serves goes on serving; nothing else is done until the
/// model is written again.
pub(in crate::controller) async fn stand_still(
    ctx: &Context,
    kept: &CachedModel,
    model: &Unreadable,
) -> Result<Action, Error> {
    // The semaphore is never closed.
    let _turn = ctx.turns.acquire().await;
    let event = Event {
        reason: model.reason,
        note: model.message.clone(),
    };
    let (mut conditions, generation) = (model.conditions.clone(), model.metadata.generation.unwrap_or_default());
    let is_news = stands_still(&mut conditions, observe::now(), generation, &event);
    if conditions != model.conditions {
        super::conditions(ctx, &model.metadata, &conditions).await?;
    }
    let (namespace, name) = kept.name();
    if is_news {
        tracing::warn!(%namespace, %name, reason = %event.reason, why = event.note, "the model cannot be read");
        ctx.events.tell(kept, &[event]);
    }
    ctx.metrics.conditions(&namespace, &name, &conditions);
    Ok(Action::await_change())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::controller::context::{Settings, Shared};
    use crate::controller::events;
    use crate::controller::governance::{Admission, Slots};
    use crate::controller::ledger::KeyFile;
    use crate::prometheus::{AllowedUrls, Limits, Servers};
    use crate::rollout::QueryScope;
    use crate::telemetry::Metrics;
    use crate::watch::{Content, PolicyWatch, SeenModel};

    type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

    /// An API server that notes its requests, and answers with a model that cannot be read.
    fn server(requests: &Requests) -> Client {
        let requests = Arc::clone(requests);
        let service = tower::service_fn(move |request: Request<Body>| {
            let requests = Arc::clone(&requests);
            async move {
                let (parts, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap();
                requests.lock().push((parts.method, parts.uri.path().to_owned(), body));
                Ok::<_, kube::Error>(Response::new(Body::from(model().to_string().into_bytes())))
            }
        });
        Client::new(service, "risk")
    }

    fn model() -> Value {
        let sample = include_str!("../../../tests/testdata/fraud-scorer.yaml");
        let mut model: Value = serde_yaml_ng::from_str(sample).unwrap();
        for (field, value) in [
            ("namespace", json!("risk")),
            ("uid", json!("u")),
            ("resourceVersion", json!("7")),
            ("generation", json!(3)),
        ] {
            model["metadata"][field] = value;
        }
        model["spec"]["model"]["riskTier"] = json!("Extreme");
        model["status"] = json!({"phase": "Guarding", "stable": {"variant": "int8", "revision": "r"}, "ballots": [1]});
        model
    }

    fn kept(model: &Value) -> CachedModel {
        let seen: SeenModel = serde_json::from_str(&model.to_string()).unwrap();
        CachedModel::of(seen)
    }

    #[tokio::test]
    async fn it_is_said_once_and_nothing_but_conditions_is_written() {
        let requests = Requests::default();
        let client = server(&requests);
        let (events, publisher) = events::publisher(client.clone(), None);
        let metrics = Arc::new(Metrics::default());
        let admission = Admission::new(client.clone(), "guardbit".to_owned(), Arc::clone(&metrics));
        let shared = Shared {
            turns: Arc::new(Semaphore::new(1)),
            forecasts: Arc::default(),
            admission: Arc::new(admission),
            slots: Arc::new(Slots::new(1)),
            events,
            key: Arc::new(KeyFile::new(None)),
        };
        let settings = Settings {
            servers: Servers {
                usual: None,
                allowed: AllowedUrls::default(),
                limits: Limits::default(),
            },
            scope: QueryScope::default(),
            namespaces: Vec::new(),
            concurrency: 1,
            image: None,
            policies: PolicyWatch::WhereServed,
            governance_prefix: "guardbit".to_owned(),
            signing_key: None,
            election: None,
        };
        let ctx = Context::new(client, settings, Arc::clone(&metrics), shared);
        let reconcile = async |model: &Value| {
            let kept = kept(model);
            match kept.read().unwrap() {
                Content::Unreadable(unreadable) => stand_still(&ctx, &kept, unreadable).await.unwrap(),
                Content::Readable(..) => panic!("{model}"),
            }
        };
        assert_eq!(reconcile(&model()).await, Action::await_change());
        let (method, path, patch) = requests.lock()[0].clone();
        assert_eq!(method, Method::PATCH);
        assert!(
            path.ends_with("/namespaces/risk/quantizedmodels/fraud-scorer/status"),
            "{path}"
        );
        let fields = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&patch), ["metadata", "status"]);
        assert_eq!(
            patch["metadata"],
            json!({"resourceVersion": "7"}),
            "whoever has seen an old state writes nothing"
        );
        assert_eq!(fields(&patch["status"]), ["conditions", "observedGeneration"]);
        assert_eq!(patch["status"]["observedGeneration"], 3);
        let conditions: Vec<_> = patch["status"]["conditions"].as_array().unwrap().iter().collect();
        let said: Vec<_> = conditions
            .iter()
            .map(|c| (c["type"].as_str(), c["status"].as_str()))
            .collect();
        let expected = [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")];
        assert_eq!(said, expected.map(|(kind, status)| (Some(kind), Some(status))));
        for condition in conditions {
            assert_eq!(condition["reason"], "InvalidSpec");
            let message = condition["message"].as_str().unwrap();
            assert!(
                message.starts_with("spec.model.riskTier: unknown variant `Extreme`"),
                "{message}"
            );
        }
        let mut said = model();
        said["status"]["conditions"] = patch["status"]["conditions"].clone();
        reconcile(&said).await;
        assert!(
            metrics
                .text()
                .contains(r#"guardbit_condition{namespace="risk",name="fraud-scorer",type="Stalled"} 1"#)
        );
        drop(ctx);
        publisher.end().await;
        let written = requests.lock();
        let events: Vec<_> = written[1..]
            .iter()
            .map(|(_, _, event)| event["reason"].as_str())
            .collect();
        assert_eq!(events, [Some("InvalidSpec")]);
    }
}
