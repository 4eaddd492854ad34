//! Traffic through a Gateway: an HTTPRoute over a Service for each arm.
//!
//! guardbit owns the whole route, because its rules and its backendRefs are lists that server-side apply takes as one
//! piece. There are no filters on backendRefs: with them a weight of 0 makes Envoy Gateway drop requests. An arm
//! without weight stays in the list while it lives.

use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::api::{Gateway, RouteMatch};
use crate::model::identity::Purpose;
use crate::rollout::{Plan, RoutePlan, WorkloadKey};

use super::provider::{Effect, Route, SplitInForce, TrafficProvider};
use super::service::arm_service;
use crate::manifests::document::{Document, Kind, RouteKind};
use crate::manifests::names::{MANAGER_ROUTE, Owner, labels_of_model, name, owner_reference};
use crate::manifests::provenance::of_route;
use crate::manifests::recovery::harm_annotation;

const HTTP_ROUTE: RouteKind = RouteKind {
    group: "gateway.networking.k8s.io",
    version: "v1",
    kind: "HTTPRoute",
    plural: "httproutes",
};

/// HTTPRoutes, and how they are read.
pub(super) const ROUTE: Route = Route {
    kind: HTTP_ROUTE,
    awaited: "HTTPRoutes; is the Gateway API installed?",
    read,
};

impl TrafficProvider for Gateway {
    fn carrier(&self) -> Kind {
        Kind::Route(HTTP_ROUTE)
    }

    fn arm_service(&self, owner: &Owner, key: &WorkloadKey) -> Option<Document> {
        Some(arm_service(owner, key))
    }

    fn split(&self, owner: &Owner, plan: &Plan) -> Vec<Effect> {
        let route = plan.route.iter();
        route.map(|split| Effect::Apply(route_of(owner, self, split))).collect()
    }

    /// The candidate's weight is a number in the route.
    fn lower(&self, owner: &Owner, plan: &Plan) -> Vec<Effect> {
        self.split(owner, plan)
    }
}

/// The whole route of a model: pinned rules first, then the split.
fn route_of(owner: &Owner, gateway: &Gateway, plan: &RoutePlan) -> Document {
    let backend = |key: &WorkloadKey, weight: i32| json!({"group": "", "kind": "Service", "name": name(owner, key), "port": owner.spec.serving.port, "weight": weight});
    let mut rules = Vec::new();
    if let Some(pinned) = &plan.pinned {
        for pin in &owner.spec.traffic.precision_routes {
            let mut matches = matches(gateway);
            for one in &mut matches {
                one.headers
                    .retain(|h| !pin.headers.iter().any(|p| p.name.eq_ignore_ascii_case(&h.name)));
                one.headers.extend(pin.headers.iter().cloned());
            }
            rules.push(rule(gateway, &matches, vec![backend(pinned, 1)]));
        }
    }
    let split = plan.weights.iter().map(|(revision, weight)| {
        backend(
            &WorkloadKey {
                revision: revision.clone(),
                purpose: Purpose::Serving,
            },
            *weight,
        )
    });
    rules.push(rule(gateway, &matches(gateway), split.collect()));
    let parents: Vec<_> = gateway
        .parent_refs
        .iter()
        .map(|p| {
            let mut parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": p.name});
            if let Some(namespace) = &p.namespace {
                parent["namespace"] = json!(namespace);
            }
            if let Some(section) = &p.section_name {
                parent["sectionName"] = json!(section);
            }
            parent
        })
        .collect();
    let mut spec = json!({"parentRefs": parents, "rules": rules});
    if !gateway.hostnames.is_empty() {
        spec["hostnames"] = json!(gateway.hostnames);
    }
    let mut annotations = of_route(owner);
    annotations.extend(harm_annotation(owner).map(|(key, harm)| (key.to_owned(), json!(harm))));
    let metadata = json!({
        "labels": labels_of_model(owner),
        "annotations": annotations,
        "ownerReferences": owner_reference(owner),
    });
    Document::new(owner, MANAGER_ROUTE, Kind::Route(HTTP_ROUTE), owner.name, metadata).with_spec(spec)
}

/// The user's matches, or one that matches all requests if there are none.
fn matches(gateway: &Gateway) -> Vec<RouteMatch> {
    if gateway.matches.is_empty() {
        vec![RouteMatch::default()]
    } else {
        gateway.matches.clone()
    }
}

fn rule(gateway: &Gateway, matches: &[RouteMatch], backends: Vec<Value>) -> Value {
    let matches: Vec<_> = matches
        .iter()
        .map(|m| {
            let RouteMatch { path, headers, method } = m;
            // Defaults of the API server are written out, so that a write that changes nothing is recognized.
            let mut out = match path {
                Some(path) => json!({"path": {"type": path.kind, "value": path.value}}),
                None => json!({"path": {"type": "PathPrefix", "value": "/"}}),
            };
            if !headers.is_empty() {
                out["headers"] = headers
                    .iter()
                    .map(|h| json!({"type": "Exact", "name": h.name, "value": h.value}))
                    .collect();
            }
            if let Some(method) = method {
                out["method"] = json!(method);
            }
            out
        })
        .collect();
    let mut rule = json!({"matches": matches, "backendRefs": backends});
    if !gateway.filters.is_empty() {
        rule["filters"] = json!(gateway.filters);
    }
    if let Some(timeouts) = &gateway.timeouts {
        rule["timeouts"] = json!(timeouts);
    }
    rule
}

/// The split is the last rule; the pinned ones come before it.
fn read(metadata: &ObjectMeta, spec: &Value, status: &Value) -> SplitInForce {
    let split = spec["rules"].as_array().and_then(|rules| rules.last());
    let backends = split.and_then(|rule| rule["backendRefs"].as_array());
    let weights = backends.into_iter().flatten().filter_map(|backend| {
        let weight = i32::try_from(backend["weight"].as_i64().unwrap_or(1)).ok()?;
        Some((backend["name"].as_str()?.into(), weight))
    });
    SplitInForce {
        weights: weights.collect(),
        refused: refused(metadata.generation, status),
    }
}

/// The gateway's objection to the current generation of the route.
fn refused(generation: Option<i64>, status: &Value) -> Option<String> {
    let parents = status["parents"].as_array()?;
    parents.iter().find_map(|parent| {
        let conditions = parent["conditions"].as_array()?;
        conditions.iter().find_map(|c| {
            let kind = c["type"].as_str()?;
            let current = c["observedGeneration"].as_i64() == generation;
            (current && matches!(kind, "Accepted" | "ResolvedRefs") && c["status"] == "False").then(|| {
                let (reason, message) = (c["reason"].as_str().unwrap_or(""), c["message"].as_str().unwrap_or(""));
                format!("the gateway refuses the HTTPRoute: {kind}=False ({reason}): {message}")
            })
        })
    })
}
