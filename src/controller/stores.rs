//! Watches of all that belongs to models, with local stores, so that a look costs no call.

use std::fmt::Debug;
use std::hash::Hash;

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::QuantizedModel;
use crate::build::MODEL_LABEL;

/// Local copies of what belongs to models.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) deployments: Store<Deployment>,
    pub(super) pods: Store<Pod>,
    pub(super) services: Store<Service>,
    pub(super) slices: Store<EndpointSlice>,
    pub(super) routes: Store<DynamicObject>,
}

impl Stores {
    /// A kind whose first list has not come yet. What is not seen then may well be there: nothing may be decided on it.
    pub(super) fn lacking(&self, with_routes: bool) -> Option<&'static str> {
        let come = [
            ("Deployments", is_ready(self.deployments.wait_until_ready())),
            ("Pods", is_ready(self.pods.wait_until_ready())),
            ("Services", is_ready(self.services.wait_until_ready())),
            ("EndpointSlices", is_ready(self.slices.wait_until_ready())),
            (
                "HTTPRoutes; is the Gateway API installed?",
                !with_routes || is_ready(self.routes.wait_until_ready()),
            ),
        ];
        come.into_iter().find(|(_, come)| !come).map(|(kind, _)| kind)
    }
}

/// Whether a future is ready at once.
fn is_ready<F: Future>(future: F) -> bool {
    futures::FutureExt::now_or_never(future).is_some()
}

/// The kind HTTPRoute.
pub(super) fn http_route() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        "httproutes",
    )
}

/// An `Api` in one namespace, or in all.
pub(super) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Starts the watches; their events wake the model that an object belongs to.
pub(super) fn watch(
    client: &Client,
    namespace: Option<&str>,
    controller: Controller<QuantizedModel>,
) -> (Stores, Controller<QuantizedModel>) {
    let route = http_route();
    let (deployments, changes) = reflect(scoped(client, namespace), ());
    let controller = controller.watches_stream(changes, |d: Deployment| model_of(&d));
    let (pods, changes) = reflect(scoped(client, namespace), ());
    let controller = controller.watches_stream(changes, |p: Pod| model_of(&p));
    let (services, changes) = reflect(scoped(client, namespace), ());
    let controller = controller.watches_stream(changes, |s: Service| model_of(&s));
    let (slices, changes) = reflect(scoped(client, namespace), ());
    let controller = controller.watches_stream(changes, |s: EndpointSlice| model_of(&s));
    let routes_api = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &route),
        None => Api::all_with(client.clone(), &route),
    };
    let (routes, changes) = reflect(routes_api, route.clone());
    let controller = controller.watches_stream_with(changes, |r: DynamicObject| model_of(&r), route);
    (
        Stores {
            deployments,
            pods,
            services,
            slices,
            routes,
        },
        controller,
    )
}

fn reflect<K>(
    api: Api<K>,
    dyntype: K::DynamicType,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
{
    let writer = reflector::store::Writer::new(dyntype);
    let store = writer.as_reader();
    let changes = watcher(api, watcher::Config::default().labels(MODEL_LABEL))
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        // A kind that is not installed (the Gateway API) is asked for again; it is no error of any model.
        .filter(|change| future::ready(change.is_ok()));
    (store, changes)
}

fn model_of<K: ResourceExt>(object: &K) -> Option<ObjectRef<QuantizedModel>> {
    let owner = object
        .owner_references()
        .iter()
        .find(|o| o.kind == "QuantizedModel")
        .map(|o| o.name.clone());
    let name = owner.or_else(|| object.labels().get(MODEL_LABEL).cloned())?;
    Some(ObjectRef::new(&name).within(&object.namespace()?))
}

/// The objects of one model in a store.
pub(super) fn of_model<K>(store: &Store<K>, namespace: &str, label: &str) -> Vec<std::sync::Arc<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    let belongs = |object: &K| {
        let meta = object.meta();
        meta.namespace.as_deref() == Some(namespace)
            && meta
                .labels
                .as_ref()
                .and_then(|l| l.get(MODEL_LABEL))
                .is_some_and(|l| l == label)
    };
    store.state().into_iter().filter(|object| belongs(object)).collect()
}
