//! Watches of all objects that belong to models, with local stores, so that a reconcile reads without calls.

mod beginning;
mod field_hashes;
mod governance;
mod index;
mod models;
mod packed;
mod partial;
mod projections;
mod stores;
mod unreadable;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::api::{PrecisionAction, PrecisionPolicy};
use crate::manifests::traffic::ROUTES;
use crate::manifests::{Kind, MODEL_LABEL};

use governance::{Acted, Concerned, SeenNamespace, SeenPolicy};
use index::Index;
use models::{Change, Models};
use projections::{NetworkPolicyProjection, ServiceProjection, SliceProjection};

pub use field_hashes::{FieldHashes, hash};
pub use governance::{Acts, HeldAct, Policies, SeenAct, Selection};
pub use index::ModelName;
pub use models::{Busy, CachedModel, Content, FirstReconciles, KnownModels, Reconciled};
pub use packed::{Packed, json};
pub use projections::{DeploymentProjection, PodProjection, Projection, RouteProjection, hashes_of, hashes_of_model};
pub use stores::Stores;
pub use unreadable::{SeenModel, Unreadable};

/// A burst of events of one model causes one reconcile, this long after the first of them.
const BURST: Duration = Duration::from_millis(50);

/// Time after which it is asked again whether the API server serves policies, or actions.
const NOT_SERVED: Duration = Duration::from_secs(30);

/// The watches of one namespace, or of all. They end when this is dropped.
pub struct Watches {
    pub models: KnownModels,
    tasks: JoinSet<()>,
    answers: Vec<oneshot::Receiver<()>>,
    woken: mpsc::UnboundedReceiver<ModelName>,
}

/// An `Api` in one namespace, or in all.
pub fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Follows the models of a watch.
pub trait Followed: Send + Sync + 'static {
    /// Whether a model that has come, or has changed, must be reconciled. It need not be if the last reconcile has seen
    /// it as it is, or has itself written it so.
    fn needs_reconcile(&self, model: &CachedModel) -> bool;

    /// A list is complete, with this many models.
    fn all_come(&self, models: usize);

    /// A model is gone.
    fn gone(&self, model: &CachedModel);
}

/// Whether there must be policies and actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyWatch {
    /// An API server that does not serve them has none.
    WhereServed,
    /// Without them nothing is known.
    Always,
}

/// Starts the watches that keep `stores`, in one namespace or in all.
pub fn watch(
    client: &Client,
    stores: &Stores,
    namespace: Option<&str>,
    policies: PolicyWatch,
    follower: Arc<impl Followed>,
) -> Watches {
    let client = &beginning::newest(client);
    let (wake, woken) = mpsc::unbounded_channel();
    let mut starting = Starting::new(wake);
    let models = starting.follow_models(scoped(client, namespace), follower);
    starting.follow_policies(client, namespace, policies, &stores.policies, &models);
    starting.follow_acts(client, namespace, policies, &stores.acts, &models);
    starting.follow(scoped(client, namespace), &stores.deployments, DeploymentProjection::of);
    starting.follow(scoped(client, namespace), &stores.pods, PodProjection::of);
    starting.follow(scoped(client, namespace), &stores.services, ServiceProjection::of);
    starting.follow(scoped(client, namespace), &stores.slices, SliceProjection::of);
    let network = scoped(client, namespace);
    starting.follow(network, &stores.network_policies, NetworkPolicyProjection::of);
    for route in ROUTES {
        let resource = Kind::Route(route.kind).resource();
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        if let Some(routes) = stores.routes.of(route.kind) {
            starting.follow(api, routes, move |object| RouteProjection::of(&route, object));
        }
    }
    let Starting { tasks, answers, .. } = starting;
    Watches {
        models,
        tasks,
        answers,
        woken,
    }
}

impl Watches {
    /// Waits until every kind other than models has been listed, or has been refused once: the Gateway API need not be
    /// installed.
    pub async fn answered(&mut self) {
        for answer in self.answers.drain(..) {
            // A watch ends only when all of them end.
            let _ = answer.await;
        }
    }

    /// Models to reconcile. A burst of events of one model comes out as one.
    pub fn woken(self) -> BoxStream<'static, ObjectRef<CachedModel>> {
        let Self { tasks, woken, .. } = self;
        bursts(woken)
            .map(move |(namespace, name)| {
                let _running = &tasks;
                ObjectRef::new(&name).within(&namespace)
            })
            .boxed()
    }
}

fn bursts(woken: mpsc::UnboundedReceiver<ModelName>) -> impl Stream<Item = ModelName> {
    stream::unfold(woken, |mut woken| async move {
        let mut burst = HashSet::from([woken.recv().await?]);
        tokio::time::sleep(BURST).await;
        while let Ok(another) = woken.try_recv() {
            burst.insert(another);
        }
        Some((stream::iter(burst), woken))
    })
    .flatten()
}

struct Starting {
    wake: mpsc::UnboundedSender<ModelName>,
    tasks: JoinSet<()>,
    answers: Vec<oneshot::Receiver<()>>,
    /// Lets first lists run one at a time, beside that of the models, which takes as long as all others together.
    in_turn: Arc<Semaphore>,
}

impl Starting {
    fn new(wake: mpsc::UnboundedSender<ModelName>) -> Self {
        Self {
            wake,
            tasks: JoinSet::new(),
            answers: Vec::new(),
            in_turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Keeps an index of the projections that `read` makes of objects; its changes wake models.
    fn follow<T: Projection>(&mut self, api: Api<T::Of>, index: &Index<T>, read: impl Fn(&T::Of) -> T + Send + 'static)
    where
        T::Of: Resource + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let (wake, index) = (self.wake.clone(), index.clone());
        let config = watcher::Config::default().labels(MODEL_LABEL);
        let first = self.first();
        self.tasks.spawn(run(api, config, Some(first), move |event| {
            for model in index.take(event, &read) {
                let _ = wake.send(model);
            }
        }));
    }

    /// Keeps the policies, and the labels of the namespaces of models. Their changes wake the models that they concern.
    fn follow_policies(
        &mut self,
        client: &Client,
        namespace: Option<&str>,
        required: PolicyWatch,
        policies: &Policies,
        models: &KnownModels,
    ) {
        let (wake, held) = (self.wake.clone(), models.clone());
        let woken = move |concerned: Concerned| {
            if concerned.is_nobody() {
                return;
            }
            for model in held.all() {
                if concerned.has(&model.namespace().unwrap_or_default()) {
                    let _ = wake.send(model.name());
                }
            }
        };
        let first = self.first();
        let (known, wakes, asks) = (policies.clone(), woken.clone(), client.clone());
        self.tasks.spawn(async move {
            let first = match required {
                PolicyWatch::WhereServed => {
                    let absent = || known.are_absent();
                    served::<PrecisionPolicy>(&asks, absent, first).await
                }
                PolicyWatch::Always => Some(first),
            };
            let api: Api<SeenPolicy> = Api::all(asks);
            run(api, watcher::Config::default(), first, move |event| {
                wakes(known.take_policy(event))
            })
            .await;
        });
        let config = match namespace {
            Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
            None => watcher::Config::default(),
        };
        let first = self.first();
        let (api, known): (Api<SeenNamespace>, _) = (Api::all(client.clone()), policies.clone());
        let take = move |event| woken(known.take_namespace(event));
        self.tasks.spawn(run(api, config, Some(first), take));
    }

    /// Keeps what people want, which wakes the models that it is about.
    fn follow_acts(
        &mut self,
        client: &Client,
        namespace: Option<&str>,
        required: PolicyWatch,
        acts: &Acts,
        models: &KnownModels,
    ) {
        let (wake, held, known) = (self.wake.clone(), models.clone(), acts.clone());
        let (asks, first) = (client.clone(), self.first());
        let api: Api<SeenAct> = scoped(client, namespace);
        self.tasks.spawn(async move {
            let first = match required {
                PolicyWatch::WhereServed => {
                    let absent = || known.are_absent();
                    served::<PrecisionAction>(&asks, absent, first).await
                }
                PolicyWatch::Always => Some(first),
            };
            run(api, watcher::Config::default(), first, move |event| {
                let acted = known.take(event, |model| held.uid(model), held.have_come());
                let woken = match acted {
                    Acted::Models(models) => models,
                    Acted::All => held.all().iter().map(|model| model.name()).collect(),
                };
                for model in woken {
                    let _ = wake.send(model);
                }
            })
            .await;
        });
    }

    /// A first list for which [`Watches::answered`] waits.
    fn first(&mut self) -> First {
        let (answer, answered) = oneshot::channel();
        self.answers.push(answered);
        First {
            answer,
            in_turn: Arc::clone(&self.in_turn),
        }
    }

    /// Keeps the models themselves.
    fn follow_models(&mut self, api: Api<SeenModel>, follower: Arc<impl Followed>) -> KnownModels {
        let wake = self.wake.clone();
        let mut models = Models::new();
        let known = KnownModels::of(models.store());
        let held = known.clone();
        self.tasks
            .spawn(run(api, watcher::Config::default(), None, move |event| {
                let whole = matches!(event, Event::InitDone);
                for change in models.take(event) {
                    match change {
                        Change::Came(model) if follower.needs_reconcile(&model) => {
                            let _ = wake.send(model.name());
                        }
                        Change::Came(_) => {}
                        Change::Gone(model) => follower.gone(&model),
                    }
                }
                if whole {
                    held.all_come();
                    follower.all_come(held.all().len());
                }
            }));
        known
    }
}

/// The first list of a watch.
struct First {
    /// Is sent when it has come, or failed.
    answer: oneshot::Sender<()>,
    /// First lists take turns.
    in_turn: Arc<Semaphore>,
}

/// Hands all events of a watch to `take`.
async fn run<K>(
    api: Api<K>,
    config: watcher::Config,
    first: Option<First>,
    mut take: impl FnMut(Event<K>) + Send + 'static,
) where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let mut first = match first {
        // The semaphore is never closed.
        Some(First { answer, in_turn }) => Some((answer, in_turn.acquire_owned().await.ok())),
        None => None,
    };
    let mut events = pin!(beginning::events(api, config));
    while let Some(event) = events.next().await {
        let whole = matches!(event, Ok(Event::InitDone) | Err(_));
        // A kind that is not installed (the Gateway API) is asked for again; that is no error of any model.
        if let Ok(event) = event {
            take(event);
        }
        if let Some((answer, _turn)) = first.take_if(|_| whole) {
            let _ = answer.send(());
        }
    }
}

/// Waits until the API server serves a kind. Nobody else waits for its objects once it is known, and was noted by `absent`,
/// that it does not.
async fn served<K: Resource<DynamicType = ()>>(
    client: &Client,
    absent: impl Fn() + Send,
    first: First,
) -> Option<First> {
    let mut first = Some(first);
    while is_served::<K>(client).await == Some(false) {
        absent();
        if let Some(First { answer, .. }) = first.take() {
            let _ = answer.send(());
        }
        tokio::time::sleep(NOT_SERVED).await;
    }
    first
}

/// Whether the API server serves a kind; `None` where it does not say. It is not asked for objects, because it would refuse
/// them before it says that there are none, where nobody has granted guardbit the right to read them.
async fn is_served<K: Resource<DynamicType = ()>>(client: &Client) -> Option<bool> {
    let resources = client.list_api_group_resources(&K::api_version(&())).await;
    match resources {
        Ok(list) => {
            let plural = K::plural(&());
            Some(list.resources.iter().any(|resource| resource.name == plural))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
