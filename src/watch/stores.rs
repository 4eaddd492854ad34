//! Projections of the objects that belong to models, by kind.

use std::collections::HashMap;
use std::sync::Arc;

use crate::manifests::traffic::ROUTES;
use crate::manifests::{Kind, RouteKind};

use super::field_hashes::FieldHashes;
use super::governance::{Acts, Policies};
use super::index::Index;
use super::projections::{
    DeploymentProjection, NetworkPolicyProjection, PodProjection, RouteProjection, ServiceProjection, SliceProjection,
    WrittenProjection,
};

/// Projections of the objects that belong to models.
#[derive(Clone, Default)]
pub struct Stores {
    pub deployments: Index<DeploymentProjection>,
    pub pods: Index<PodProjection>,
    pub services: Index<ServiceProjection>,
    pub slices: Index<SliceProjection>,
    /// Nothing is decided by them, so nothing waits for their list: after an upgrade, guardbit's rights may not cover them.
    pub network_policies: Index<NetworkPolicyProjection>,
    pub routes: Routes,
    pub policies: Policies,
    pub acts: Acts,
}

/// Routes, by kind.
#[derive(Clone)]
pub struct Routes(HashMap<RouteKind, Index<RouteProjection>>);

/// The objects of one kind that guardbit writes.
pub trait Written {
    /// Field hashes of an object.
    fn hashes(&self, namespace: &str, name: &str) -> Option<FieldHashes>;

    /// Whether the model with this label has an object of this name.
    fn has(&self, namespace: &str, label: &str, name: &str) -> bool;

    /// Names of the objects of a model that have an owner.
    fn owned(&self, namespace: &str, label: &str) -> Vec<Arc<str>>;
}

impl Stores {
    /// The objects of a kind that guardbit writes; `None` for models, which are not kept here.
    pub fn of(&self, kind: Kind) -> Option<&dyn Written> {
        match kind {
            Kind::Deployment => Some(&self.deployments),
            Kind::Service => Some(&self.services),
            Kind::Route(kind) => Some(self.routes.of(kind)?),
            Kind::NetworkPolicy => Some(&self.network_policies),
            Kind::QuantizedModel => None,
        }
    }

    /// A kind that has not been listed yet, of those that a model needs whose split is carried by `carrier`. Its
    /// objects may well exist, so nothing may be decided.
    pub fn lacking(&self, carrier: Option<Kind>) -> Option<&'static str> {
        let route = ROUTES.iter().find(|route| carrier == Some(Kind::Route(route.kind)));
        let route = route.map(|route| {
            let come = self.routes.of(route.kind).is_some_and(Index::has_come);
            (route.awaited, come)
        });
        let come = [
            ("Deployments", self.deployments.has_come()),
            ("Pods", self.pods.has_come()),
            ("Services", self.services.has_come()),
            ("EndpointSlices", self.slices.has_come()),
        ];
        let mut all = come.into_iter().chain(route);
        all.find(|(_, come)| !come).map(|(kind, _)| kind)
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self(ROUTES.iter().map(|route| (route.kind, Index::default())).collect())
    }
}

impl Routes {
    /// The routes of one kind.
    pub fn of(&self, kind: RouteKind) -> Option<&Index<RouteProjection>> {
        self.0.get(&kind)
    }

    /// The routes of this name, of any kind.
    pub fn named(&self, namespace: &str, name: &str) -> impl Iterator<Item = Arc<RouteProjection>> {
        self.0.values().filter_map(move |routes| routes.get(namespace, name))
    }
}

impl<T: WrittenProjection> Written for Index<T> {
    fn hashes(&self, namespace: &str, name: &str) -> Option<FieldHashes> {
        Some(self.get(namespace, name)?.hashes().clone())
    }

    fn has(&self, namespace: &str, label: &str, name: &str) -> bool {
        Index::has(self, namespace, label, name)
    }

    fn owned(&self, namespace: &str, label: &str) -> Vec<Arc<str>> {
        let objects = self.of_model(namespace, label).into_iter();
        let owned = objects.filter(|(_, kept)| kept.is_owned());
        owned.map(|(name, _)| name).collect()
    }
}
