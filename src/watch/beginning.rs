//! How a watch begins with all the objects that there are.
//!
//! An API server can send them as the first events of the watch (WatchList, on by default since Kubernetes 1.34). One that
//! cannot refuses, and is asked for a list by pages instead, which kube's watcher does not do by itself.

use std::fmt::Debug;
use std::future::ready;

use futures::{Stream, StreamExt};
use http::{Request, StatusCode, Uri};
use kube::api::Api;
use kube::client::Body;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Error, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

/// The events of a watch, with errors, after each of which it waits longer.
pub fn events<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let streamed = watcher(api.clone(), config.clone().streaming_lists()).default_backoff();
    let paged = watcher(api, config).default_backoff();
    streamed.take_while(|event| ready(!is_unknown(event))).chain(paged)
}

/// Whether the API server has refused to begin a watch with all objects.
fn is_unknown<K>(event: &watcher::Result<Event<K>>) -> bool {
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
    matches!(event, Err(Error::WatchStartFailed(kube::Error::Api(refusal))) if refusal.code == unprocessable)
}

/// The same client, except that a watch that is to begin with all objects begins with the newest state. kube asks for any
/// state of the past, so that a restart could be shown weights and decisions that guardbit itself has long replaced.
pub fn newest(client: &Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let inner = client.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let inner = inner.clone();
        async move {
            if let Some(uri) = newest_of(request.uri()) {
                *request.uri_mut() = uri;
            }
            inner.send(request).await
        }
    });
    Client::new(service, namespace)
}

/// The URI without the version, where it asks for all objects first.
fn newest_of(watch: &Uri) -> Option<Uri> {
    let pairs = || url::form_urlencoded::parse(watch.query().unwrap_or_default().as_bytes());
    pairs().find(|(key, value)| key == "sendInitialEvents" && value == "true")?;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs().filter(|(key, _)| key != "resourceVersion"))
        .finish();
    let mut parts = watch.clone().into_parts();
    // A valid URI stays valid with another query.
    parts.path_and_query = Some(format!("{}?{query}", watch.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use http::Response;
    use k8s_openapi::api::core::v1::Pod;
    use kube::ResourceExt;
    use serde_json::{Value, json};

    use super::*;

    /// A line of a watch. The API server writes the type first.
    pub fn line(kind: &str, object: &Value) -> String {
        format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
    }

    /// The line after all objects that there were, as of version 7.
    pub fn all_there() -> String {
        let metadata = json!({"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}});
        line(
            "BOOKMARK",
            &json!({"kind": "K", "apiVersion": "v1", "metadata": metadata}),
        )
    }

    fn pod(name: &str) -> Value {
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "resourceVersion": "7"}})
    }

    /// The first events of a watch that such an API server answers; each word is an event, with the name of its pod.
    async fn told(answer: fn(&str) -> Option<(u16, String)>, events_wanted: usize) -> Vec<String> {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            let (status, text) = match answer(request.uri().query().unwrap_or_default()) {
                Some(answer) => answer,
                None => std::future::pending().await,
            };
            let answer = Response::builder().status(status).body(Body::from(text.into_bytes()));
            Ok::<_, kube::Error>(answer.unwrap())
        });
        let api = Api::<Pod>::all(newest(&Client::new(service, "risk")));
        let tell = |event: watcher::Result<Event<Pod>>| match event {
            Ok(Event::Init) => "init".to_owned(),
            Ok(Event::InitApply(pod)) => format!("there:{}", pod.name_any()),
            Ok(Event::InitDone) => "all".to_owned(),
            Ok(Event::Apply(pod)) => format!("came:{}", pod.name_any()),
            Ok(Event::Delete(pod)) => format!("gone:{}", pod.name_any()),
            Err(error) => format!("error:{error}"),
        };
        let events = pin!(events(api, Config::default()).map(tell).take(events_wanted));
        let events = tokio::time::timeout(Duration::from_secs(20), events.collect());
        events.await.expect("in time")
    }

    #[tokio::test]
    async fn an_api_server_that_knows_how_begins_the_watch_with_all_objects_as_they_are_now() {
        let answer = |query: &str| {
            assert!(query.contains("sendInitialEvents=true"), "{query}");
            assert!(!query.contains("resourceVersion="), "{query}");
            let events = [line("ADDED", &pod("p")), all_there(), line("ADDED", &pod("q"))];
            Some((200, events.concat()))
        };
        assert_eq!(told(answer, 4).await, ["init", "there:p", "all", "came:q"]);
    }

    #[tokio::test]
    async fn one_that_does_not_is_asked_for_a_list() {
        let answer = |query: &str| {
            if query.contains("sendInitialEvents") {
                let message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
                let refusal = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "reason": "Invalid", "code": 422, "message": message});
                return Some((422, refusal.to_string()));
            }
            let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [pod("p")]});
            (!query.contains("watch=true")).then(|| (200, list.to_string()))
        };
        assert_eq!(told(answer, 3).await, ["init", "there:p", "all"]);
    }

    #[tokio::test]
    async fn another_refusal_is_an_error_and_tried_again() {
        let answer = |query: &str| {
            assert!(query.contains("sendInitialEvents=true"), "{query}");
            let refusal = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "reason": "Forbidden", "code": 403, "message": "no"});
            Some((403, refusal.to_string()))
        };
        let told = told(answer, 2).await;
        assert!(told.iter().all(|event| event.starts_with("error:")), "{told:?}");
    }

    #[test]
    fn only_a_watch_that_is_to_begin_with_all_objects_loses_its_version() {
        let of = |query: &str| {
            let uri = format!("https://api.example/api/v1/pods?{query}").parse().unwrap();
            newest_of(&uri).map(|uri| uri.to_string())
        };
        let rest = "watch=true&timeoutSeconds=290&labelSelector=a%3Db%2Cc&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let newest = format!("https://api.example/api/v1/pods?{rest}");
        assert_eq!(of(&format!("{rest}&resourceVersion=0")), Some(newest));
        for other in [
            "",
            "watch=true&resourceVersion=7",
            "limit=500",
            "labelSelector=sendInitialEvents%3Dtrue",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
