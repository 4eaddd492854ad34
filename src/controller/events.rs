//! Kubernetes Events. They are written one after the other beside the reconciles, because the next reconcile may have a
//! candidate to lower.
//!
//! Only the end of the process waits for them, and not for long. An event that cannot be written is logged.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::api::plain;
use crate::rollout;

use crate::apiserver::call;

/// Events that may wait at once. More are dropped: an API server that is so far behind has more important work.
const WAITING: usize = 1_024;

/// Longest time that the end of the process waits for events.
const FAREWELL: Duration = Duration::from_secs(5);

/// Queues events; clones write through the same queue.
#[derive(Clone)]
pub(super) struct Events(mpsc::Sender<(ObjectReference, rollout::Event)>);

/// Writes the queued events.
pub(super) struct Publisher(JoinHandle<()>);

/// Starts a publisher; `instance` is the name that events give as their source.
pub(super) fn publisher(client: Client, instance: Option<String>) -> (Events, Publisher) {
    let reporter = Reporter {
        controller: "guardbit".to_owned(),
        instance,
    };
    let recorder = Recorder::new(client, reporter);
    let (queue, mut events) = mpsc::channel(WAITING);
    let task = tokio::spawn(async move {
        while let Some((model, event)) = events.recv().await {
            publish(&recorder, &model, &event).await;
        }
    });
    (Events(queue), Publisher(task))
}

impl Events {
    /// Queues the events of one reconcile.
    pub(super) fn tell(&self, model: &impl Resource<DynamicType = ()>, events: &[rollout::Event]) {
        for event in events {
            if self.0.try_send((model.object_ref(&()), event.clone())).is_err() {
                tracing::warn!(model = model.meta().name, reason = %event.reason, "an event is dropped: too many wait to be written");
            }
        }
    }
}

impl Publisher {
    /// Waits for the queued events; the last of the [`Events`] must have been dropped.
    pub(super) async fn end(self) {
        if tokio::time::timeout(FAREWELL, self.0).await.is_err() {
            tracing::warn!("events could not be written before the end of the process");
        }
    }
}

async fn publish(recorder: &Recorder, model: &ObjectReference, event: &rollout::Event) {
    let type_ = if event.reason.is_warning() {
        EventType::Warning
    } else {
        EventType::Normal
    };
    let reason = event.reason.to_string();
    let note: String = plain(&event.note, 1_000);
    // The recorder folds events by reason and action, so the part that distinguishes two of them goes into the action.
    let action: String = note.chars().take(100).collect();
    let event = Event {
        type_,
        reason,
        note: Some(note),
        action,
        secondary: None,
    };
    if let Err(error) = call("publish event", recorder.publish(&event, model)).await {
        tracing::warn!(%error, model = model.name, "an event could not be published");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::api::QuantizedModel;
    use crate::rollout::Reason;

    fn event(reason: Reason) -> rollout::Event {
        rollout::Event {
            reason,
            note: format!("{reason:?}"),
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_events_but_the_end_and_they_come_in_order() {
        let (written, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (log, gate) = (Arc::clone(&written), Arc::clone(&answers));
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let (log, gate) = (Arc::clone(&log), Arc::clone(&gate));
            async move {
                let body = request.into_body().collect_bytes().await?;
                gate.acquire().await.unwrap().forget();
                // A caller that did not wait for this answer would be done by now.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
                log.lock().unwrap().push(event["reason"].as_str().unwrap().to_owned());
                Ok::<_, kube::Error>(http::Response::new(Body::from(body.to_vec())))
            }
        });
        let (events, publisher) = publisher(Client::new(server, "default"), None);
        let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
        let model: QuantizedModel = serde_yaml_ng::from_str(sample).unwrap();
        events.tell(&model, &[event(Reason::WeightRaised), event(Reason::Promoting)]);
        events.tell(&model, &[event(Reason::RolledBack)]);
        assert!(written.lock().unwrap().is_empty(), "the API server has not answered");
        drop(events);
        answers.add_permits(3);
        publisher.end().await;
        assert_eq!(*written.lock().unwrap(), ["WeightRaised", "Promoting", "RolledBack"]);
    }
}
