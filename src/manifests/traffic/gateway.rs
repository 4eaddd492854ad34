//! Traffic through a Gateway: an HTTPRoute over a Service for each arm.
//!
//! guardbit owns the whole route, because its rules and its backendRefs are lists that server-side apply takes as one
//! piece. There are no filters on backendRefs: with them a weight of 0 makes Envoy Gateway drop requests. An arm
//! without weight stays in the list while it lives. The mirror to the comparer is a filter of the rule with the split, and
//! of no other rule.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::api::{Gateway, RouteMatch};
use crate::model::identity::{Purpose, comparer_name};
use crate::rollout::{MirrorSeen, Plan, RoutePlan, WorkloadKey};

use super::provider::{Effect, Route, SplitInForce, TrafficProvider};
use super::service::arm_service;
use crate::manifests::document::{Document, Kind, RouteKind};
use crate::manifests::names::{COMPARER_PORT, MANAGER_ROUTE, Owner, labels_of_model, name, owner_reference};
use crate::manifests::provenance::of_route;
use crate::manifests::recovery::{harm_annotation, weights_annotation};

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
    unmirror,
};

/// Reasons of objections that are not about what a rule does with requests: where a route may attach, and which Services
/// there are.
const NOT_ABOUT_FILTERS: [&str; 5] = [
    "NotAllowedByListeners",
    "NoMatchingListenerHostname",
    "NoMatchingParent",
    "RefNotPermitted",
    "BackendNotFound",
];

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
            rules.push(rule(gateway, &matches, vec![backend(pinned, 1)], None));
        }
    }
    let arms = plan.weights.iter().map(|(revision, weight)| {
        let key = WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Serving,
        };
        (key, *weight)
    });
    let arms: Vec<_> = arms.collect();
    let split = arms.iter().map(|(key, weight)| backend(key, *weight));
    let written: BTreeMap<_, _> = arms.iter().map(|(key, weight)| (name(owner, key), *weight)).collect();
    let mirror = plan.mirror.map(|percent| mirror(owner, percent));
    rules.push(rule(gateway, &matches(gateway), split.collect(), mirror));
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
    let read_back = [harm_annotation(owner), weights_annotation(&written)]
        .into_iter()
        .flatten();
    annotations.extend(read_back.map(|(key, text)| (key.to_owned(), json!(text))));
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

/// The filter that mirrors requests to the comparer.
fn mirror(owner: &Owner, percent: i32) -> Value {
    let service = json!({"group": "", "kind": "Service", "name": comparer_name(owner.name), "port": COMPARER_PORT});
    let mut mirror = json!({"backendRef": service});
    // The Gateway API knows percentages since release 1.3, and mirrors all requests where none is written.
    if percent < 100 {
        mirror["percent"] = json!(percent);
    }
    json!({"type": "RequestMirror", "requestMirror": mirror})
}

/// A rule, with the user's filters and perhaps a mirror beside them.
fn rule(gateway: &Gateway, matches: &[RouteMatch], backends: Vec<Value>, mirror: Option<Value>) -> Value {
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
    let of_user = gateway.filters.iter().map(|filter| json!(filter));
    let filters: Vec<Value> = of_user.chain(mirror).collect();
    if !filters.is_empty() {
        rule["filters"] = json!(filters);
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
    let model = metadata.name.as_deref().unwrap_or_default();
    let all = objections(metadata.generation, status);
    let mirror = split.and_then(|rule| mirrored(model, rule)).map(|percent| {
        let mut of_rules = all.iter().filter(|(reason, _)| !NOT_ABOUT_FILTERS.contains(reason));
        let refused = of_rules.next().map(|(_, words)| MirrorSeen::Refused(words.clone()));
        refused.unwrap_or(MirrorSeen::Written(percent))
    });
    SplitInForce {
        weights: weights.collect(),
        mirror: mirror.unwrap_or_default(),
        refused: all.into_iter().next().map(|(_, words)| words),
    }
}

/// Percent of the requests that a rule mirrors to the comparer of a model, if it mirrors any.
fn mirrored(model: &str, rule: &Value) -> Option<i32> {
    let mut filters = rule["filters"].as_array().into_iter().flatten();
    let filter = filters.find(|filter| is_mirror_to(model, filter))?;
    let percent = filter["requestMirror"]["percent"].as_i64();
    percent.map_or(Some(100), |percent| percent.try_into().ok())
}

fn is_mirror_to(model: &str, filter: &Value) -> bool {
    let service = filter["requestMirror"]["backendRef"]["name"].as_str();
    service.is_some_and(|service| service == comparer_name(model))
}

fn unmirror(model: &str, spec: &mut Value) {
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        if let Some(filters) = rule.get_mut("filters").and_then(Value::as_array_mut) {
            filters.retain(|filter| !is_mirror_to(model, filter));
        }
    }
}

/// The gateway's objections to the current generation of the route: the reason, and all of it in a sentence.
fn objections(generation: Option<i64>, status: &Value) -> Vec<(&str, String)> {
    let parents = status["parents"].as_array().into_iter().flatten();
    let conditions = parents.flat_map(|parent| parent["conditions"].as_array().into_iter().flatten());
    let current = conditions.filter(|c| c["observedGeneration"].as_i64() == generation);
    let objections = current.filter_map(|c| {
        let (kind, truth) = (c["type"].as_str()?, c["status"].as_str()?);
        let refuses = match (kind, truth) {
            ("Accepted" | "ResolvedRefs", "False") => "refuses the HTTPRoute",
            ("PartiallyInvalid", "True") => "refuses a part of the HTTPRoute",
            _ => return None,
        };
        let (reason, message) = (c["reason"].as_str().unwrap_or(""), c["message"].as_str().unwrap_or(""));
        let words = format!("the gateway {refuses}: {kind}={truth} ({reason}): {message}");
        Some((reason, words))
    });
    objections.collect()
}
