//! The records of what was decided.
//!
//! What a record holds is fixed by the write of the status that says what was decided: two controllers cannot both write the
//! next one, and no crash loses it. The object is created afterwards, and before anything rises; whoever is lowered is lowered
//! before all of it. A record whose object could not be created is pending in the status, and until it exists nothing rises.

mod append;
mod chains;
mod key;
mod objects;

use std::time::{Duration, Instant};

use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt;

use crate::api::{LedgerStatus, PendingRecord, QuantizedModel};
use crate::apiserver::CallError;
use crate::ledger::object_name;
use crate::rollout::{Event, Heard, Observation, Plan, Reason};
use crate::watch::hash;

use super::context::Context;
use super::error::Error;
use super::observe;

pub(super) use append::Appended;
use append::Before;
pub(super) use chains::Ledger;
use chains::{Found, records};
pub(super) use key::KeyFile;
use objects::{Listed, Objects, Outcome, Prune, Trouble};

/// How often it is looked for records of a model that are older than they need be.
const PRUNES: Duration = Duration::from_secs(24 * 3_600);

/// How soon it goes on where there are more of them than are deleted at once.
const PRUNES_ON: Duration = Duration::from_secs(60);

/// Within this time of the start each model is looked at for the first time, so that not all are at once.
const FIRST_PRUNE: Duration = Duration::from_secs(3_600);

/// How long the end of a model waits for its last record.
const FAREWELL: SignedDuration = SignedDuration::from_mins(5);

/// Whether an evaluation has to do with records at all.
pub(super) fn concerns(observation: &Observation) -> bool {
    observation.governance.records() || observation.model.status.ledger.is_some()
}

/// Creates what is pending, and finds out from which record the chain goes on. The observation then says how the records
/// stand.
pub(super) async fn settle(ctx: &Context, model: &QuantizedModel, observation: &mut Observation) -> Result<(), Error> {
    let uid = model.uid().unwrap_or_default();
    let settled = if ctx.ledger.lacks_head(&uid, observation) {
        find(ctx, model).await
    } else {
        let created = create(ctx, model, observation.model.status.ledger.as_ref()).await;
        created.map(|_is_overtaken| ())
    };
    let problem = settled.as_ref().err().map(|trouble| trouble.problem.clone());
    ctx.ledger.of(&uid, |chain| chain.problem = problem);
    let Observation { model, governance, .. } = observation;
    observation.ledger = ctx.ledger.seen(&uid, governance, &mut model.status);
    settled.map_err(|trouble| trouble.error)
}

/// Finds the newest record in the cluster, because status knows none: it was lost, or the model was made anew, or has no
/// records yet.
async fn find(ctx: &Context, model: &QuantizedModel) -> Result<(), Trouble> {
    let objects = Objects::of(ctx, model);
    let all = listed(ctx, model, &objects).await?;
    let (found, after) = match objects.newest(&all, &ctx.ledger.keys()).await? {
        None => (Found::Nothing, None),
        Some(adopted) => (Found::Newest(adopted.head), adopted.after),
    };
    let uid = model.uid().unwrap_or_default();
    ctx.ledger.of(&uid, |chain| {
        chain.found = Some(found);
        chain.remembered = after.map(|after| Box::new(after.remembered()));
    });
    Ok(())
}

/// The records of a model that exist, oldest first. The metrics tell how many there are.
async fn listed(ctx: &Context, model: &QuantizedModel, objects: &Objects) -> Result<Vec<Listed>, Trouble> {
    let all = objects.list().await?;
    let namespace = model.namespace().unwrap_or_default();
    ctx.metrics.records_kept(&namespace, &model.name_any(), all.len());
    Ok(all)
}

/// Creates the records that are pending in a status, oldest first. Returns whether there are records of ours that the status
/// does not know, because it is older than they are.
async fn create(ctx: &Context, model: &QuantizedModel, ledger: Option<&LedgerStatus>) -> Result<bool, Trouble> {
    let uid = model.uid().unwrap_or_default();
    let pending = ledger.map_or(&[][..], |ledger| ledger.pending.as_slice());
    if pending.is_empty() {
        return Ok(false);
    }
    let (created, mut signed_by) = ctx
        .ledger
        .of(&uid, |chain| (chain.created_of(pending), chain.signed_by.clone()));
    let objects = Objects::of(ctx, model);
    for record in pending.iter().skip(created) {
        let keys = ctx.ledger.keys();
        let keyid = keys.signs.as_ref().ok().map(|key| key.public().keyid().to_owned());
        match objects.create(record, &keys, signed_by != keyid).await? {
            Outcome::Created => tell(ctx, model, record),
            // Its line may be lost with the process that created it.
            Outcome::WasThere => attest(model, record),
            Outcome::Overtaken(head) => {
                tracing::warn!(
                    namespace = model.namespace(),
                    name = model.name_any(),
                    sequence = head.sequence,
                    "status is older than the records: the chain goes on from these"
                );
                ctx.ledger.of(&uid, |chain| chain.found = Some(Found::Newest(head)));
                return Ok(true);
            }
        }
        signed_by = keyid.filter(|_| record.signed).or(signed_by);
        ctx.ledger.of(&uid, |chain| {
            chain.created = Some((record.sequence, record.payload_digest.clone()));
            chain.signed_by.clone_from(&signed_by);
        });
    }
    Ok(false)
}

/// Puts what goes on record of an evaluation into its plan. `is_due` says whether the status is written anyway.
pub(super) async fn append(
    ctx: &Context,
    model: &QuantizedModel,
    (observation, heard): (&Observation, &Heard),
    plan: &mut Plan,
    (is_due, keep): (bool, SignedDuration),
) -> Appended {
    let uid = model.uid().unwrap_or_default();
    let prune = old(ctx, model, observation, plan, keep).await;
    let (found, journal) = ctx.ledger.of(&uid, |chain| {
        let journal = chain.journal.as_ref().and_then(|journal| journal.read().ok());
        (chain.found.clone(), journal)
    });
    let before = Before {
        found,
        journal,
        signing: ctx.ledger.signing(),
        prune,
    };
    append::append(&uid, (observation, heard), plan, before, is_due)
}

/// Keeps what an evaluation leaves, once its status is kept or written.
pub(super) fn keep(ctx: &Context, model: &QuantizedModel, appended: &Appended) {
    let uid = model.uid().unwrap_or_default();
    ctx.ledger.keep(&uid, appended.journal.as_ref(), appended.recorded);
}

/// Creates the records of a status that was just written, then deletes the old ones of which the newest tells.
pub(super) async fn write(
    ctx: &Context,
    model: &QuantizedModel,
    plan: &Plan,
    appended: &Appended,
) -> Result<(), Error> {
    let is_overtaken = create(ctx, model, plan.status.ledger.as_ref()).await;
    if is_overtaken.map_err(|trouble| trouble.error)? {
        // What was put into the status is no record: the next evaluation writes one after those that there are.
        let what = format!("the next record of {}", model.name_any());
        return Err(CallError::Conflict(what).into());
    }
    if let Some(prune) = &appended.prune {
        let deleted = Objects::of(ctx, model).delete(prune).await?;
        let namespace = model.namespace().unwrap_or_default();
        ctx.metrics.records_deleted(&namespace, &model.name_any(), deleted);
    }
    Ok(())
}

/// Tells in the metrics how many records are pending.
pub(super) fn count(ctx: &Context, model: &QuantizedModel, plan: &Plan) {
    let Some(ledger) = &plan.status.ledger else { return };
    let uid = model.uid().unwrap_or_default();
    let created = ctx.ledger.of(&uid, |chain| chain.created_of(&ledger.pending));
    let pending = ledger.pending.len().saturating_sub(created);
    let namespace = model.namespace().unwrap_or_default();
    ctx.metrics.records_pending(&namespace, &model.name_any(), pending);
}

/// Records that are older than they need be; asked once a day, while nothing goes on.
async fn old(
    ctx: &Context,
    model: &QuantizedModel,
    observation: &Observation,
    plan: &Plan,
    keep: SignedDuration,
) -> Option<Prune> {
    let rests = plan.decisions.is_empty() && plan.status.rollout.is_none() && !observation.ledger.is_behind();
    if !rests || !records(observation) || plan.status.ledger.is_none() {
        return None;
    }
    let (uid, now) = (model.uid().unwrap_or_default(), Instant::now());
    let is_time = ctx.ledger.of(&uid, |chain| {
        let spread = Duration::from_secs(hash(&uid) % FIRST_PRUNE.as_secs());
        let at = chain.prunes_at.get_or_insert(now + spread);
        let is_time = *at <= now;
        if is_time {
            *at = now + PRUNES;
        }
        is_time
    });
    if !is_time {
        return None;
    }
    let objects = Objects::of(ctx, model);
    let prune = match listed(ctx, model, &objects).await {
        Ok(all) => objects.old(&all, observation.now, keep).await,
        Err(trouble) => Err(trouble),
    };
    match prune {
        Ok(prune) => {
            if prune.as_ref().is_some_and(Prune::is_full) {
                ctx.ledger.of(&uid, |chain| chain.prunes_at = Some(now + PRUNES_ON));
            }
            prune
        }
        Err(trouble) => {
            tracing::warn!(
                namespace = model.namespace(),
                name = model.name_any(),
                error = %trouble.error,
                "old records could not be looked for"
            );
            None
        }
    }
}

/// Creates what is pending before a model goes. A namespace that goes takes no new objects, and nothing waits long for them:
/// then the log says what is lost.
pub(super) async fn farewell(ctx: &Context, model: &QuantizedModel) -> Result<(), Error> {
    let ledger = model.status.as_ref().and_then(|status| status.ledger.as_ref());
    let Err(trouble) = create(ctx, model, ledger).await else {
        return Ok(());
    };
    let terminates = trouble
        .error
        .refusal()
        .is_some_and(|why| why.contains("being terminated"));
    let since = model.metadata.deletion_timestamp.as_ref().map(|at| at.0);
    let is_late = since.is_some_and(|since| observe::now().duration_since(since) > FAREWELL);
    if !terminates && !is_late {
        return Err(trouble.error);
    }
    tracing::error!(
        namespace = model.namespace(),
        name = model.name_any(),
        error = %trouble.error,
        "the model goes, and its last records cannot be written"
    );
    Ok(())
}

/// Tells of a record that was written now: a line of the log, an event, and a metric.
fn tell(ctx: &Context, model: &QuantizedModel, record: &PendingRecord) {
    attest(model, record);
    let PendingRecord {
        summary,
        payload_digest: digest,
        ..
    } = record;
    let event = Event {
        reason: Reason::Recorded,
        note: format!("{} {digest}: {summary}", object_of(model, record)),
    };
    ctx.events.tell(model, &[event]);
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    ctx.metrics.recorded(&namespace, &name);
}

/// Writes the line of the log that tells of a record that exists: an anchor outside of the cluster. It may come twice, and is never
/// left out.
fn attest(model: &QuantizedModel, record: &PendingRecord) {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let PendingRecord {
        sequence,
        payload_digest: digest,
        ..
    } = record;
    let object = object_of(model, record);
    tracing::info!(namespace, name, record = object, sequence, digest, "recorded");
}

/// Name of the object of a record.
fn object_of(model: &QuantizedModel, record: &PendingRecord) -> String {
    object_name(&model.name_any(), u64::try_from(record.sequence).unwrap_or_default())
}
