//! Reads what release 0.1 wrote: sentences without data beside them.
//!
//! An upgrade may come between the lowering of a candidate and its record, and must not give traffic back to a revision
//! that was found harmful. One evaluation by a later release writes the data, so this file can go with release 0.3.

use std::collections::BTreeMap;

use serde_json::json;

use crate::api::Action;
use crate::rollout::RouteHarm;

use super::provenance::DECISION;

/// The guard that rejected a revision. The sentence began with its name.
pub(super) fn guard_of(reason: &str) -> String {
    let guard = reason.split_once(": ").map_or("", |(guard, _)| guard);
    guard.to_owned()
}

/// The harm for which a route was lowered, from the sentence about its last decision: "time action variant: why".
pub(super) fn route_harm(annotations: &BTreeMap<String, String>) -> Option<RouteHarm> {
    let (head, why) = annotations.get(DECISION)?.split_once(": ")?;
    let [time, action, variant] = head.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let action = serde_json::from_value(json!(action)).ok()?;
    let message = match action {
        Action::RolledBack => why,
        // The sentence said first where traffic went.
        Action::FellBack => why.split_once(": ")?.1,
        _ => return None,
    };
    Some(RouteHarm {
        time: time.parse().ok()?,
        action,
        variant: variant.to_owned(),
        revision: None,
        guard: message.split_once(": ")?.0.to_owned(),
        message: message.to_owned(),
        drift: None,
    })
}
