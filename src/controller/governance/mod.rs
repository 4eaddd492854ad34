//! What policies ask and what people want, as an evaluation sees it, and what becomes of it.
//!
//! What the watches do not tell is found out here: whether admission does its part, who else is in progress, by which keys
//! weights are signed. What it means is decided in the core.

mod acts;
mod admission;
mod authors;
mod signatures;
mod slots;

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::{ActKind, ActState, QuantizedModel, QuantizedModelStatus, SignedRecords};
use crate::governance::people::acts::Act;
use crate::ledger::object_name;
use crate::rollout::{self, Governance, Governed, Heard, Observation, People, Plan};
use crate::watch::{HeldAct, Selection};

use super::context::Context;

pub(super) use acts::sweep;
pub(super) use admission::Admission;
pub(super) use authors::settle as settle_authors;
pub(super) use signatures::Signatures;
pub(super) use slots::Slots;

/// How long records are kept where no policy says it: six months.
const KEPT: SignedDuration = SignedDuration::from_hours(4_416);

/// Why nobody knows what people want.
const ACTS_UNKNOWN: &str = "the watch of PrecisionActions has not delivered yet, so nobody knows what people want; if it stays, see whether guardbit may read them (config/rbac/controller.yaml)";

/// What policies ask of a model, and what people want of it.
pub(super) struct Asked {
    pub(super) governance: Governance,
    pub(super) people: People,
    /// How long records are kept.
    pub(super) keep: SignedDuration,
    /// What is needed to tell of them afterwards.
    pub(super) seen: Seen,
}

/// What was seen when it was asked.
pub(super) struct Seen {
    now: Timestamp,
    /// All acts that name the model, also those for another of its name.
    held: Vec<Arc<HeldAct>>,
    /// Whether a freeze of a policy holds; `None` where no policy selects the model.
    frozen: Option<bool>,
}

/// Finds out what policies ask of a model with this status, and what people want of it.
pub(super) async fn asked(
    ctx: &Context,
    model: &QuantizedModel,
    status: &QuantizedModelStatus,
    now: Timestamp,
) -> Asked {
    let (namespace, uid) = (model.namespace().unwrap_or_default(), model.uid().unwrap_or_default());
    let (mut governance, keep) = by_policies(ctx, model, status);
    let held = ctx.stores.acts.of(&namespace, &model.name_any());
    if held.is_none() && !matches!(governance, Governance::Unknown(_)) {
        governance = Governance::Unknown(ACTS_UNKNOWN.to_owned());
    }
    let held = held.unwrap_or_default();
    let own = held.iter().filter(|held| held.act.spec.model_ref.uid == uid);
    let own = own.filter(|held| !acts::is_over(held, now));
    let mut people = People {
        acts: own.map(|held| held.act.clone()).collect(),
        authors: authors::of(model),
        uid,
        ..People::default()
    };
    // Nothing is asked about models that nobody governs: they cost what they cost before.
    if governance.governed().is_some() || !people.acts.is_empty() {
        let found = ctx
            .admission
            .of(&namespace, acts::newest_that_opens(&people.acts))
            .await;
        (people.assurance, people.author_assurance) = (found.actors, found.authors);
    }
    let governed = governance.governed();
    let frozen = governed.map(|governed| governed.rules.frozen_at(now).is_some());
    Asked {
        governance,
        people,
        keep,
        seen: Seen { now, held, frozen },
    }
}

/// What policies ask of a model with this status, and how long its records are kept.
fn by_policies(ctx: &Context, model: &QuantizedModel, status: &QuantizedModelStatus) -> (Governance, SignedDuration) {
    let (namespace, uid) = (model.namespace().unwrap_or_default(), model.uid().unwrap_or_default());
    let of = match ctx.stores.policies.of(&namespace, model.spec.model.risk_tier) {
        Selection::Absent => return (Governance::Ungoverned, KEPT),
        Selection::Unknown(kind) => {
            let why = format!(
                "the watch of {kind} has not delivered yet, so nobody knows what policies ask; if it stays, see whether guardbit may read them (config/rbac/policies.yaml)"
            );
            return (Governance::Unknown(why), KEPT);
        }
        Selection::Known(of) if !of.is_governed() => return (Governance::Ungoverned, KEPT),
        Selection::Known(of) => of,
    };
    let (records, generation) = (&of.enforced.records, model.metadata.generation.unwrap_or_default());
    let keep = records
        .keep
        .as_ref()
        .map(|asked| SignedDuration::from_millis(asked.what));
    let signed = records.signed.as_ref();
    let unreadable = of.unreadable.iter().find(|found| found.enforced);
    let rules = [&of.enforced, &of.dry_run];
    let mut governed = Governed {
        from: of.from.iter().cloned().collect(),
        digest: of.enforced.digest(),
        records: of.recorded,
        signed: signed.is_some_and(|asked| asked.what == SignedRecords::Required),
        unreadable: unreadable.map(|found| found.message.clone()),
        unread: of.unreadable.clone(),
        signed_by: ctx.signatures.of(&uid, (generation, &model.spec), rules),
        prometheus: ctx.asker.url_of(model),
        rules: Box::new(of.enforced),
        dry_run: Box::new(of.dry_run),
        ..Governed::default()
    };
    ctx.slots.place(&uid, &governed, status).put(&mut governed);
    (Governance::Governed(governed), keep.unwrap_or(KEPT))
}

/// Decides what is to be done. What begins is taken at once, so that no two models get the last place; whoever comes too late
/// decides again without it.
pub(super) fn plan(ctx: &Context, uid: &str, observation: &mut Observation, heard: Option<&Heard>) -> Plan {
    let decide = |observation: &Observation| match heard {
        Some(heard) => rollout::resolve(&observation.seen(), heard.clone()),
        None => rollout::decide(observation),
    };
    let plan = decide(observation);
    let before = &observation.model.status;
    let Governance::Governed(governed) = &mut observation.governance else {
        return plan;
    };
    let Err(place) = ctx.slots.take(uid, governed, (before, &plan.status)) else {
        return plan;
    };
    place.put(governed);
    let plan = decide(observation);
    ctx.slots.note(uid, &plan.status);
    plan
}

/// Tells of the acts what became of them, and in the metrics what holds the model up. `recorded` says whether a record was
/// written.
pub(super) async fn tell(ctx: &Context, model: &QuantizedModel, plan: &Plan, seen: &Seen, recorded: bool) {
    if model.metadata.deletion_timestamp.is_some() {
        return;
    }
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let mut told = plan.acts.clone();
    let states = told.iter().filter_map(|told| {
        let held = seen.held.iter().find(|held| held.act.name == told.name)?;
        Some((held.act.spec.action, told.state))
    });
    let states: Vec<(ActKind, ActState)> = states.collect();
    ctx.metrics.people(&namespace, &name, &states, seen.frozen);
    if seen.held.is_empty() {
        return;
    }
    let uid = model.uid().unwrap_or_default();
    let others = seen.held.iter().filter(|held| held.act.spec.model_ref.uid != uid);
    let others: Vec<Act> = others.map(|held| held.act.clone()).collect();
    told.extend(acts::of_others(&others, &uid, seen.now));
    let newest = plan.status.ledger.as_ref().filter(|_| recorded);
    let record = newest.map(|ledger| object_name(&name, u64::try_from(ledger.sequence).unwrap_or_default()));
    acts::tell(&ctx.client, &namespace, &seen.held, &told, record.as_deref()).await;
}
