//! Rules on requests that the gateway mirrors.

use crate::api::PodTemplate;

use super::super::document::Model;
use super::super::rule::{Finding, SEVERAL_MIRRORS};

pub(super) fn check(model: &Model, out: &mut Vec<Finding>) {
    let spec = &model.spec;
    if spec.comparer.as_ref().is_none_or(|comparer| comparer.mirror.is_none()) {
        return;
    }
    let filters = spec.traffic.gateway.iter().flat_map(|gateway| &gateway.filters);
    for (i, PodTemplate(filter)) in filters.enumerate() {
        if filter.get("type").is_some_and(|kind| kind == "RequestMirror") {
            out.push(model.finding(
                &SEVERAL_MIRRORS,
                &format!("spec.traffic.gateway.filters[{i}]"),
                "this and comparer.mirror are two mirrors on one rule, and not every gateway takes several: it may refuse the route, or mirror to one of them only; see what yours knows (HTTPRouteRequestMultipleMirrors), or remove one".to_owned(),
            ));
        }
    }
}
