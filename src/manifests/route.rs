//! The HTTPRoute. No filters on backendRefs: with them a weight of 0 makes Envoy Gateway drop requests.

use serde_json::{Value, json};

use crate::api::{Gateway, RouteMatch};
use crate::rollout::{RoutePlan, WorkloadKey};

use super::{MODEL_LABEL, Owner, model_label, name, owner_reference, provenance};
use crate::model::identity::Purpose;

/// The whole route of a model: pinned rules first, then the split.
pub fn route(owner: &Owner, gateway: &Gateway, plan: &RoutePlan) -> Value {
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
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": owner.name,
            "namespace": owner.namespace,
            "labels": {MODEL_LABEL: model_label(owner.name), "app.kubernetes.io/managed-by": "guardbit"},
            "annotations": provenance::of_route(owner),
            "ownerReferences": owner_reference(owner),
        },
        "spec": spec,
    })
}

/// The user's matches; a request to anywhere where there are none.
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
            // What the API server would fill in is written out, so that a write that changes nothing can be told.
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
