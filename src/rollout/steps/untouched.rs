//! Plans that leave the objects as they are: a spec that cannot be used, suspension, deletion.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::SpecProblem;
use crate::api::{Action, DeletionPolicy, Phase, condition};

use super::super::capacity::DRAIN;
use super::super::conditions::{SOON, Truth, set};
use super::super::observation::Seen;
use super::super::plan::{Event, Order, Plan, Reason, Record, Scope};
use super::people::{carries, is_suspended, put_on_record};

/// The spec cannot be used: everything stays as it is, and status names the field to mend.
pub(in crate::rollout) fn stall(seen: &Seen<'_>, problems: &[SpecProblem]) -> Plan {
    let message = match problems {
        [] => "spec.variants: is empty; list the precision variants, the reference first".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    };
    let mut plan = untouched(seen);
    let known = seen
        .model
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == condition::STALLED && c.message == message);
    if !known {
        plan.events.push(Event {
            reason: Reason::InvalidSpec,
            note: message.clone(),
        });
    }
    plan.status.phase = plan.status.phase.or(Some(Phase::Pending.into()));
    let conditions = &mut plan.status.conditions;
    for (kind, truth) in [
        (condition::READY, Truth::False),
        (condition::STALLED, Truth::True),
        (condition::RECONCILING, Truth::False),
    ] {
        set(conditions, seen, kind, truth, "InvalidSpec", &message);
    }
    finish_untouched(seen, plan)
}

/// The model is suspended: nothing is written but this status.
pub(in crate::rollout) fn suspend(seen: &Seen<'_>) -> Plan {
    let mut plan = untouched(seen);
    let message = "spec.suspend is set: guardbit leaves everything as it is";
    if !is_suspended(&seen.model) {
        let why = format!("{message}{}", carries(seen));
        put_on_record(&mut plan, seen, Action::Suspended, &why);
    }
    plan.status.phase = Some(Phase::Suspended.into());
    let conditions = &mut plan.status.conditions;
    for (kind, truth) in [
        (condition::READY, Truth::Unknown),
        (condition::STALLED, Truth::False),
        (condition::RECONCILING, Truth::False),
    ] {
        set(conditions, seen, kind, truth, "Suspended", message);
    }
    finish_untouched(seen, plan)
}

/// The route goes first, connections drain, then the pods go with their owner. The evaluation that first sees the deletion
/// puts it on record, and nothing goes before that is written.
pub(in crate::rollout) fn tear_down(seen: &Seen<'_>, deleted_at: Timestamp) -> Plan {
    let mut plan = untouched(seen);
    let policy = &seen.model.spec.deletion_policy;
    let (action, why) = match policy {
        DeletionPolicy::Delete => (
            Action::Deleted,
            "its deletion was asked for: the route goes first, connections drain, then the pods go",
        ),
        DeletionPolicy::Orphan => (
            Action::Orphaned,
            "its deletion was asked for, and deletionPolicy is Orphan: everything serves on, without guardbit",
        ),
    };
    // Nothing else is decided about a model that is being deleted, so its record is the last one.
    let last = seen.model.status.decisions.last();
    if last.is_none_or(|last| last.action != action) {
        put_on_record(&mut plan, seen, action, &format!("{why}{}", carries(seen)));
    }
    plan.scope = match policy {
        DeletionPolicy::Orphan => Scope::Orphan,
        DeletionPolicy::Delete if seen.route.exists => Scope::TearDown,
        DeletionPolicy::Delete if seen.now.duration_since(deleted_at) < DRAIN && !seen.workloads.is_empty() => {
            Scope::TearDown
        }
        DeletionPolicy::Delete => Scope::Release,
    };
    (plan.record, plan.again) = if plan.decisions.is_empty() {
        (Record::Later, SignedDuration::from_secs(1))
    } else {
        (Record::Now, SOON)
    };
    plan
}

/// A plan that leaves everything as it is.
pub(in crate::rollout) fn untouched(seen: &Seen<'_>) -> Plan {
    let mut status = seen.model.status.clone();
    status.observed_generation = Some(seen.model.generation);
    Plan {
        scope: Scope::StatusOnly,
        workloads: BTreeMap::new(),
        delete: Vec::new(),
        route: None,
        comparer: None,
        order: Order::RecordFirst,
        status,
        judged: Vec::new(),
        decisions: Vec::new(),
        acts: Vec::new(),
        events: Vec::new(),
        record: Record::Later,
        again: SignedDuration::from_mins(10),
    }
}

fn finish_untouched(seen: &Seen<'_>, mut plan: Plan) -> Plan {
    plan.record = if plan.status == seen.model.status {
        Record::Later
    } else {
        Record::Now
    };
    plan
}
