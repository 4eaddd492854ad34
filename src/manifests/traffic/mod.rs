//! Providers of traffic: what is written so that every arm gets its share, and how that is read back.
//!
//! A new provider is a file here and its two lines below, and its part of `spec.traffic` in the API.

mod gateway;
mod provider;
mod service;

use crate::api::Traffic;
use crate::model::identity;

use super::document::Kind;

pub use provider::{Effect, Route, SplitInForce, TrafficProvider};
pub(super) use service::arm_service;

/// The kinds of routes that providers write. All of them are watched, and searched when a model is deleted, because its
/// spec may have named another provider before.
pub const ROUTES: [Route; 1] = [gateway::ROUTE];

/// The provider that a spec names; `None` where it names none, which the API server refuses.
pub fn provider(traffic: &Traffic) -> Option<&dyn TrafficProvider> {
    let Traffic {
        gateway,
        service,
        precision_routes: _,
    } = traffic;
    let service = service.as_ref().map(|service| service as &dyn TrafficProvider);
    service.or_else(|| gateway.as_ref().map(|gateway| gateway as &dyn TrafficProvider))
}

/// Name of the object of a kind that carries the split of a model.
pub fn carrier_name(kind: Kind, model: &str) -> String {
    match kind {
        Kind::Service => identity::service_name(model),
        Kind::Deployment | Kind::NetworkPolicy | Kind::QuantizedModel | Kind::Route(_) => model.to_owned(),
    }
}

/// The kinds of objects that providers write.
pub fn kinds() -> impl Iterator<Item = Kind> {
    let routes = ROUTES.iter().map(|route| Kind::Route(route.kind));
    routes.chain([Kind::Service])
}
