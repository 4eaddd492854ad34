//! Recovery annotations. What recovery reads back is data, beside the sentence for people.
//!
//! A lost status is rebuilt from the recovery annotations of Deployments. Harm that was acted on and is not on record
//! yet is found on the route, because the route is lowered before the status is written. So are the weights that were
//! written last, which whoever sets others by hand leaves as they are.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::api::{Action, Decision, visible};
use crate::rollout::{RecoveryMarks, Rejection, RouteHarm};

use super::names::Owner;
use super::previous;
use super::provenance::{LONGEST, cut};

const STABLE: &str = "guardbit.dev/stable";
const PROVEN: &str = "guardbit.dev/proven";
const REFERENCE: &str = "guardbit.dev/reference";
const REJECTED: &str = "guardbit.dev/rejected";
const REJECTED_BY: &str = "guardbit.dev/rejected-by";
const HARM: &str = "guardbit.dev/harm";
const WEIGHTS: &str = "guardbit.dev/weights";

/// The recovery annotations of a Deployment.
pub(super) fn mark_annotations(marks: &RecoveryMarks) -> BTreeMap<&'static str, String> {
    let RecoveryMarks {
        stable,
        proven,
        reference,
        rejected,
    } = marks;
    let set = [(STABLE, stable), (PROVEN, proven), (REFERENCE, reference)];
    let set = set.into_iter().filter(|(_, set)| **set);
    let mut out: BTreeMap<_, _> = set.map(|(key, _)| (key, "true".to_owned())).collect();
    if let Some(Rejection { guard, reason }) = rejected {
        // A guard's sentence begins with its name; people want to see the name in any case.
        let named = reason.starts_with(&format!("{guard}: "));
        let text = if named {
            reason.clone()
        } else {
            format!("{guard}: {reason}")
        };
        out.insert(REJECTED, cut(&text));
        out.insert(REJECTED_BY, cut(guard));
    }
    out
}

/// Reads the recovery annotations of a Deployment. This is the inverse of how they are written, but a reason may be
/// cut.
pub fn marks(annotations: &BTreeMap<String, String>) -> RecoveryMarks {
    let set = |key: &str| annotations.get(key).is_some_and(|v| v == "true");
    let rejected = annotations.get(REJECTED).map(|reason| Rejection {
        guard: match annotations.get(REJECTED_BY) {
            Some(guard) => guard.clone(),
            None => previous::guard_of(reason),
        },
        reason: reason.clone(),
    });
    RecoveryMarks {
        stable: set(STABLE),
        proven: set(PROVEN),
        reference: set(REFERENCE),
        rejected,
    }
}

/// Harm as a route names it: JSON, whose message is cut where the whole would be too long. Its time is in whole
/// seconds, as in the status.
#[derive(Serialize, Deserialize)]
struct Record {
    time: Time,
    action: Action,
    variant: String,
    revision: String,
    guard: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drift: Option<String>,
}

/// The annotation of the route for a decision of harm.
pub(super) fn harm_annotation(owner: &Owner) -> Option<(&'static str, String)> {
    let Decision {
        time,
        action,
        variant,
        revision,
        why: _,
        drift,
    } = owner.status.decisions.iter().rev().find(|last| !last.is_of_people())?;
    let action = action
        .known()
        .filter(|action| matches!(action, Action::RolledBack | Action::FellBack))?;
    let mut rejected = owner.status.rejected.iter();
    let rejected = rejected.find(|r| r.variant == *variant && r.revision == *revision)?;
    let mut record = Record {
        time: time.clone(),
        action,
        variant: variant.clone(),
        revision: revision.clone(),
        guard: cut(&rejected.guard),
        message: String::new(),
        drift: drift.as_deref().map(cut),
    };
    let room = LONGEST.saturating_sub(serde_json::to_string(&record).ok()?.len());
    record.message = cut_escaped(&rejected.reason, room);
    Some((HARM, serde_json::to_string(&record).ok()?))
}

/// The annotation of the route with the weights that are written with it, by Service.
pub(super) fn weights_annotation(weights: &BTreeMap<String, i32>) -> Option<(&'static str, String)> {
    let text = serde_json::to_string(weights).ok()?;
    // A part of it would say nothing.
    (text.len() <= LONGEST).then_some((WEIGHTS, text))
}

/// The weights that were written last, by Service; `None` where the route does not say.
pub fn written_weights(annotations: &BTreeMap<String, String>) -> Option<BTreeMap<String, i32>> {
    serde_json::from_str(annotations.get(WEIGHTS)?).ok()
}

/// The beginning of a text that takes at most `room` bytes in JSON.
fn cut_escaped(text: &str, room: usize) -> String {
    let mut left = room;
    let fits = |c: &char| {
        let takes = c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
        let fits = takes <= left;
        left = left.saturating_sub(takes);
        fits
    };
    text.chars().map(visible).take_while(fits).collect()
}

/// The harm for which a route was last lowered.
pub fn route_harm(annotations: &BTreeMap<String, String>) -> Option<RouteHarm> {
    let recorded = annotations.get(HARM).and_then(|text| serde_json::from_str(text).ok());
    let Some(record) = recorded else {
        return previous::route_harm(annotations);
    };
    let Record {
        time,
        action,
        variant,
        revision,
        guard,
        message,
        drift,
    } = record;
    Some(RouteHarm {
        time: time.0,
        action,
        variant,
        revision: Some(revision),
        guard,
        message,
        drift,
    })
}
