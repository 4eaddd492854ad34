//! What really happened to one model, as watches of its own tell: every event of the model, its route, its Deployments, its
//! endpoints, its records and the actions of people, in the order in which the API server wrote them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use guardbit::api::{PrecisionDecision, QuantizedModelStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

use crate::calls::plain;
use crate::people::{AUTHORS, LAPSED};

/// Time between two tries of a watch that could not be opened.
const RETRY: Duration = Duration::from_millis(100);

/// One event.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Version of the whole store: these order the events of all kinds.
    pub version: u64,
    /// When it was heard of, Unix milliseconds.
    pub at: i64,
    /// What it says.
    pub seen: Seen,
}

/// What an event says.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The model's status.
    Model(Box<QuantizedModelStatus>),
    /// The route.
    Route(Route),
    /// A Deployment, by name; `None` when it is gone.
    Deployment(String, Option<Deployment>),
    /// Ready endpoints of a Service, by its name.
    Endpoints(String, usize),
    /// A record of the model.
    Record(Box<PrecisionDecision>),
    /// The authors of what is not decided, one a line; empty when there are none.
    Authors(String),
    /// An action of a person, by name; `None` when it is gone.
    Act(String, Option<Act>),
}

/// An action of a person.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Act {
    /// What is wanted.
    pub action: String,
    /// What guardbit says of it; empty while it has said nothing.
    pub state: String,
    /// Name of the record that it had a part in, as guardbit says.
    pub record: Option<String>,
}

/// Weights by backend, and the backends of pinned requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// Of the rule for everyone.
    pub weights: BTreeMap<String, i64>,
    /// Of the rules before it.
    pub pinned: Vec<String>,
}

impl Route {
    /// What the candidate has.
    pub fn of_candidate(&self) -> i64 {
        let of = self.weights.iter().find(|(name, _)| name.contains("-int8-"));
        of.map_or(0, |(_, weight)| *weight)
    }
}

/// A Deployment as far as guardbit writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// `spec.replicas`.
    pub replicas: i64,
    /// Its role, and what it is marked with.
    pub marks: Vec<String>,
}

/// The events of one model.
pub struct History(watch::Sender<Vec<Entry>>);

impl Default for History {
    fn default() -> Self {
        Self(watch::channel(Vec::new()).0)
    }
}

impl History {
    /// Waits until the state is as wanted.
    pub async fn until(&self, holds: impl Fn(&State) -> bool) {
        let mut entries = self.0.subscribe();
        entries
            .wait_for(|entries| holds(&State::of(entries)))
            .await
            .expect("the observer lives");
    }

    /// The state that stands now.
    pub fn state(&self) -> State {
        State::of(&self.0.borrow())
    }

    /// All events in the order in which they were written.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.0.borrow().clone();
        entries.sort_by_key(|e| e.version);
        entries
    }

    /// Since when the weight of a backend was what.
    pub fn weights_of(&self, backend: &str) -> Vec<(i64, i64)> {
        weights_of(self.0.borrow().iter(), backend)
    }
}

/// The same, of these events in the order in which they were heard of.
pub fn weights_of<'a>(entries: impl Iterator<Item = &'a Entry>, backend: &str) -> Vec<(i64, i64)> {
    let mut weights: Vec<(i64, i64)> = Vec::new();
    for entry in entries {
        if let Seen::Route(route) = &entry.seen {
            let weight = route.weights.get(backend).copied().unwrap_or(0);
            if weights.last().is_none_or(|(_, last)| *last != weight) {
                weights.push((entry.at, weight));
            }
        }
    }
    weights
}

/// Where everything has come to.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The newest status.
    pub status: QuantizedModelStatus,
    /// The route.
    pub route: Route,
    /// The Deployments, by name.
    pub deployments: BTreeMap<String, Deployment>,
    /// The authors of what is not decided.
    pub authors: String,
    /// The actions of people, by name.
    pub acts: BTreeMap<String, Act>,
    /// Number and digest of the newest record.
    pub newest: Option<(i64, String)>,
}

impl State {
    fn of(entries: &[Entry]) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.apply(entry);
        }
        state
    }

    /// Takes one event in.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.seen {
            Seen::Model(status) => self.status = (**status).clone(),
            Seen::Route(route) => self.route = route.clone(),
            Seen::Deployment(name, Some(deployment)) => drop(self.deployments.insert(name.clone(), deployment.clone())),
            Seen::Deployment(name, None) => drop(self.deployments.remove(name)),
            Seen::Record(record) => {
                let (number, digest) = (record.spec.sequence, record.spec.payload_digest.clone());
                if self.newest.as_ref().is_none_or(|(newest, _)| *newest < number) {
                    self.newest = Some((number, digest));
                }
            }
            Seen::Authors(authors) => self.authors.clone_from(authors),
            Seen::Act(name, Some(act)) => drop(self.acts.insert(name.clone(), act.clone())),
            Seen::Act(name, None) => drop(self.acts.remove(name)),
            Seen::Endpoints(..) => {}
        }
    }

    /// Whether the newest record that the status speaks of exists.
    fn is_on_record(&self) -> bool {
        let ledger = self.status.ledger.as_ref();
        ledger.map(|ledger| (ledger.sequence, format!("sha256:{}", ledger.head))) == self.newest
    }

    /// What must be the same after every run, whatever happened on the way.
    pub fn tell(&self) -> String {
        let Self {
            status,
            route,
            deployments,
            authors,
            acts,
            newest: _,
        } = self;
        let of = |r: &Option<guardbit::api::RevisionRef>| r.as_ref().map_or("none", |r| r.variant.as_str()).to_owned();
        let all = |lines: Vec<String>| lines.join(", ");
        let weights = route.weights.iter().map(|(name, w)| format!("{} {w}", plain(name)));
        let deployments = deployments
            .iter()
            .map(|(name, d)| format!("{} {} ({})", plain(name), d.replicas, d.marks.join(" ")));
        // What lapsed long ago goes when it is looked for, which is once an hour.
        let acts = acts.iter().filter(|(name, _)| *name != LAPSED);
        let acts = acts.map(|(name, act)| format!("{name} {}", act.state));
        [
            format!(
                "phase {}",
                status.phase.as_ref().map_or_else(String::new, ToString::to_string)
            ),
            format!("stable {}, reference {}", of(&status.stable), of(&status.reference)),
            format!("rollout {}", of(&status.rollout.as_ref().map(|r| r.candidate.clone()))),
            format!(
                "proven {}",
                all(status
                    .proven
                    .iter()
                    .map(|p| format!("{} {:?}", p.variant, p.by))
                    .collect())
            ),
            format!(
                "rejected {}",
                all(status
                    .rejected
                    .iter()
                    .map(|r| format!("{} {}", r.variant, r.guard))
                    .collect())
            ),
            format!(
                "failed {}",
                all(status.failed.iter().map(|f| f.variant.clone()).collect())
            ),
            format!(
                "retiring {}",
                all(status
                    .retiring
                    .iter()
                    .map(|r| format!("{} {}", r.variant, r.reason))
                    .collect())
            ),
            format!(
                "decisions {}",
                all(status
                    .decisions
                    .iter()
                    .map(|d| format!("{} {}", d.action, d.variant))
                    .collect())
            ),
            format!("weights {}", all(weights.collect())),
            format!(
                "pinned {}",
                all(route.pinned.iter().map(|name| plain(name).to_owned()).collect())
            ),
            format!("deployments {}", all(deployments.collect())),
            format!("authors {}", authors.replace('\n', ", ")),
            format!("actions {}", all(acts.collect())),
            format!("on record {}", self.is_on_record()),
        ]
        .join("\n")
    }
}

/// Watches everything, and tells each history what is its own.
#[derive(Clone, Default)]
pub struct Observer(Arc<Mutex<HashMap<String, Arc<History>>>>);

impl Observer {
    /// Starts the watches.
    pub async fn start(client: &Client) -> Self {
        let observer = Self::default();
        let kinds: [(&str, &str, &str); 6] = [
            ("guardbit.dev", "v1alpha1", "QuantizedModel"),
            ("guardbit.dev", "v1alpha1", "PrecisionDecision"),
            ("guardbit.dev", "v1alpha1", "PrecisionAction"),
            ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
            ("apps", "v1", "Deployment"),
            ("discovery.k8s.io", "v1", "EndpointSlice"),
        ];
        for (group, version, kind) in kinds {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let list = api.list(&ListParams::default().limit(1)).await.expect("listed");
            let from = list.metadata.resource_version.expect("a version");
            tokio::spawn(observer.clone().follow(api, kind, from));
        }
        observer
    }

    /// The history of the model in a namespace, from now on.
    pub fn history(&self, namespace: &str) -> Arc<History> {
        Arc::clone(self.0.lock().unwrap().entry(namespace.to_owned()).or_default())
    }

    /// Nobody reads it any more.
    pub fn forget(&self, namespace: &str) {
        self.0.lock().unwrap().remove(namespace);
    }

    /// Every event from a version on; a watch that ends goes on where it was, so that none is missed.
    async fn follow(self, api: Api<DynamicObject>, kind: &'static str, mut version: String) {
        loop {
            let Ok(events) = api.watch(&WatchParams::default(), &version).await else {
                // A runtime that ends refuses every call at once, and can end this task only while it waits.
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                let (object, there) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
                    WatchEvent::Deleted(object) => (object, false),
                    WatchEvent::Bookmark(mark) => {
                        version = mark.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(error) => panic!("the watch of {kind} missed events: {error:?}"),
                };
                version = object.resource_version().expect("a version");
                self.tell(kind, &object, there);
            }
        }
    }

    fn tell(&self, kind: &str, object: &DynamicObject, there: bool) {
        let Some(history) = self
            .0
            .lock()
            .unwrap()
            .get(&object.namespace().unwrap_or_default())
            .cloned()
        else {
            return;
        };
        let version = object.resource_version().and_then(|v| v.parse::<u64>().ok());
        let (version, at) = (version.expect("a number"), Timestamp::now().as_millisecond());
        let seen = seen(kind, object, there).into_iter();
        let told = seen.map(|seen| Entry { version, at, seen });
        history.0.send_modify(|entries| entries.extend(told));
    }
}

fn seen(kind: &str, object: &DynamicObject, there: bool) -> Vec<Seen> {
    let name = object.name_any();
    vec![match kind {
        "QuantizedModel" => {
            let status = object
                .data
                .get("status")
                .cloned()
                .unwrap_or_else(|| serde_json::json!({}));
            let authors = object.annotations().get(AUTHORS).cloned();
            let status = Seen::Model(serde_json::from_value(status).expect("a status"));
            return vec![Seen::Authors(authors.unwrap_or_default()), status];
        }
        "PrecisionAction" => Seen::Act(name, there.then(|| act(object))),
        // What goes, goes with its namespace.
        "PrecisionDecision" if !there => return Vec::new(),
        "PrecisionDecision" => {
            let record = serde_json::to_value(object).expect("JSON");
            Seen::Record(serde_json::from_value(record).expect("a record"))
        }
        "HTTPRoute" if there => Seen::Route(route(&object.data)),
        "HTTPRoute" => Seen::Route(Route::default()),
        "Deployment" => Seen::Deployment(name, there.then(|| deployment(object))),
        _ => {
            let Some(service) = object.labels().get("kubernetes.io/service-name").cloned() else {
                return Vec::new();
            };
            let endpoints = object.data["endpoints"].as_array().filter(|_| there);
            let ready = endpoints
                .into_iter()
                .flatten()
                .filter(|e| e["conditions"]["ready"] != false);
            Seen::Endpoints(service, ready.count())
        }
    }]
}

fn act(object: &DynamicObject) -> Act {
    let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Act {
        action: text("/spec/action").unwrap_or_default(),
        state: text("/status/state").unwrap_or_default(),
        record: text("/status/record"),
    }
}

fn route(data: &Value) -> Route {
    let backends = |rule: &Value| rule["backendRefs"].as_array().cloned().unwrap_or_default();
    let name = |b: &Value| b["name"].as_str().unwrap_or_default().to_owned();
    let rules = data["spec"]["rules"].as_array().cloned().unwrap_or_default();
    let Some((split, pins)) = rules.split_last() else {
        return Route::default();
    };
    Route {
        weights: backends(split)
            .iter()
            .map(|b| (name(b), b["weight"].as_i64().unwrap_or(1)))
            .collect(),
        pinned: pins.iter().flat_map(backends).map(|b| name(&b)).collect(),
    }
}

fn deployment(object: &DynamicObject) -> Deployment {
    let role = object.labels().get("guardbit.dev/role").cloned();
    let mark = |mark: &&str| object.annotations().contains_key(&format!("guardbit.dev/{mark}"));
    let marks = ["stable", "proven", "reference", "rejected"];
    Deployment {
        replicas: object.data["spec"]["replicas"].as_i64().unwrap_or(1),
        marks: role
            .into_iter()
            .chain(marks.into_iter().filter(mark).map(str::to_owned))
            .collect(),
    }
}
