//! The part of people and policies: which policies asked, what people did by their actions, and what of that goes on.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use crate::api::ActKind;
use crate::governance::people::acts::Act;
use crate::ledger::Predicate;

use super::text::time;

/// An action that holds something back, or opens something, and ends some day.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenAct {
    pub(super) until: Timestamp,
    /// It in a sentence; see [`told`].
    pub(super) told: String,
}

/// An action in a sentence: who did what, until when it is in force, and why.
pub(super) fn told(act: &Act) -> String {
    let spec = &act.spec;
    let waives: Vec<String> = spec.waives.iter().map(ToString::to_string).collect();
    let about = [
        spec.change_digest.as_ref().map(|digest| format!("change {digest}")),
        spec.to.as_ref().map(|to| format!("to {to}")),
        spec.variant.as_ref().map(|variant| format!("of {variant}")),
        spec.incident.as_ref().map(|incident| format!("for {incident}")),
        (!waives.is_empty()).then(|| format!("opens {}", waives.join(", "))),
    ];
    let about: String = about.into_iter().flatten().map(|part| format!(", {part}")).collect();
    let ends = act.ends().map_or_else(|why| why, time);
    format!(
        "{} by {} ({}){about}, from {} to {ends}: {}",
        spec.action,
        act.by(),
        act.name,
        time(act.created.0),
        spec.reason
    )
}

/// The actions that a record leaves in force, as far as it tells: those that were taken back before it are left out.
pub(super) fn in_force(record: &Predicate) -> Vec<OpenAct> {
    let seen = &record.look.seen;
    let acts = &seen.people.acts;
    let held = seen.model.status.held.iter();
    let lifted: BTreeSet<&str> = held
        .filter(|effect| effect.lifted_by.is_some())
        .map(|effect| effect.uid.as_str())
        .collect();
    let resumes = acts.iter().filter(|act| act.spec.action == ActKind::Resume);
    let resumed = resumes.map(|act| act.created.0).max();
    let holds = |act: &&Act| match act.spec.action {
        ActKind::BreakGlass | ActKind::Reject => !lifted.contains(act.uid.as_str()),
        ActKind::Pause | ActKind::RollBack => {
            !lifted.contains(act.uid.as_str()) && resumed.is_none_or(|at| at <= act.created.0)
        }
        ActKind::Approve | ActKind::Resume | ActKind::Retry => false,
    };
    let open = acts.iter().filter(holds).filter_map(|act| {
        Some(OpenAct {
            until: act.ends().ok()?,
            told: told(act),
        })
    });
    open.collect()
}

/// The policies that selected the model when a record was written, with the digest of their rules.
pub(super) fn policies(record: &Predicate) -> Option<String> {
    let governed = record.look.seen.governance.governed()?;
    Some(format!("{}; rules {}", governed.from.join(", "), governed.digest))
}
