//! Carries out a plan, in its order: whoever is lowered first, then the status with what is to go on record, then the records,
//! then everything else.

use std::time::Instant;

use kube::ResourceExt;

use crate::api::QuantizedModel;
use crate::model::calibration_expires;
use crate::rollout::{self, Order, Plan, Record, Refused, Scope};

use super::apply::{Apply, FINALIZER};
use super::context::Context;
use super::error::Error;
use super::ledger::Appended;
use super::{ledger, observe, record};

/// What a plan is to leave behind.
#[derive(Default)]
pub(super) struct Recording {
    /// Whether the status is written.
    pub(super) is_due: bool,
    /// What goes on record; `None` where nothing does.
    pub(super) appended: Option<Appended>,
    /// Why records of before could not be created in this evaluation. It is not tried again in it.
    pub(super) unsettled: Option<Error>,
}

impl Recording {
    /// Whether a record is in the status.
    pub(super) fn is_recorded(&self) -> bool {
        self.appended.as_ref().is_some_and(|appended| appended.recorded)
    }
}

/// Lowers whoever a plan lowers, and waits for nothing else. Nothing is on record before, but for why it cannot be done.
pub(super) async fn lower(ctx: &Context, model: &QuantizedModel, apply: &Apply<'_>) -> Result<(), Error> {
    let is_kept = model.finalizers().iter().any(|f| f == FINALIZER);
    if apply.plan.scope != Scope::Apply || apply.plan.order != Order::LowerFirst || !is_kept {
        return Ok(());
    }
    let not_lowered = apply.lower().await?;
    if !not_lowered.is_empty() {
        let mut conditions = model.status.clone().unwrap_or_default().conditions;
        let at = (observe::now(), model.metadata.generation.unwrap_or_default());
        if let Some(event) = rollout::applied(&mut conditions, at, &not_lowered) {
            record::conditions(ctx, &model.metadata, &conditions).await?;
            ctx.events.tell(model, &[event]);
        }
    }
    refused(ctx, apply, not_lowered)
}

/// Carries out a plan after whoever it lowers was lowered. What it decided is told as soon as it is on record, whatever becomes of
/// the rest.
pub(super) async fn carry_out(
    ctx: &Context,
    model: &QuantizedModel,
    apply: &Apply<'_>,
    recording: Recording,
    begun: Instant,
) -> Result<(), Error> {
    let plan = apply.plan;
    let is_deleted = matches!(plan.scope, Scope::TearDown | Scope::Release | Scope::Orphan);
    if is_deleted && plan.record == Record::Now {
        match status(ctx, model, plan, &recording).await {
            // A model must be deleted even if its status is not taken.
            Err(error) if error.refusal().is_some() => {
                tracing::warn!(model = %model.name_any(), %error, "the deletion is not on record");
            }
            written => {
                written?;
                report(ctx, model, plan, begun);
                // The next evaluation finds the deletion on record, and carries it out.
                return records(ctx, model, plan, &recording).await;
            }
        }
    }
    match plan.scope {
        Scope::StatusOnly => {
            status(ctx, model, plan, &recording).await?;
            report(ctx, model, plan, begun);
            records(ctx, model, plan, &recording).await?;
            return recording.unsettled.map_or(Ok(()), Err);
        }
        Scope::ConditionsOnly if plan.record == Record::Now => {
            record::conditions(ctx, &model.metadata, &plan.status.conditions).await?;
        }
        Scope::ConditionsOnly => {}
        // What is not on record is not told.
        Scope::TearDown if plan.record == Record::Now => return apply.tear_down().await,
        Scope::TearDown => apply.tear_down().await?,
        // The model is gone, or as good as, so nothing but events is told of it.
        Scope::Release | Scope::Orphan => {
            if plan.scope == Scope::Orphan {
                apply.orphan().await?;
            }
            ledger::farewell(ctx, model).await?;
            apply.finalizer(false).await?;
            ctx.events.tell(model, &plan.events);
            return Ok(());
        }
        Scope::Apply => {
            if !model.finalizers().iter().any(|f| f == FINALIZER) {
                // The write wakes this model again, with the finalizer in place.
                return apply.finalizer(true).await;
            }
            status(ctx, model, plan, &recording).await?;
            report(ctx, model, plan, begun);
            let recorded = records(ctx, model, plan, &recording).await;
            if plan.order == Order::LowerFirst {
                refused(ctx, apply, apply.all().await?)?;
                recorded?;
            } else {
                // Nothing takes effect before it is on record.
                recorded?;
                refused(ctx, apply, apply.all().await?)?;
            }
            return recording.unsettled.map_or(Ok(()), Err);
        }
    }
    report(ctx, model, plan, begun);
    Ok(())
}

/// Writes the status, or keeps it, with what goes on record.
async fn status(ctx: &Context, model: &QuantizedModel, plan: &Plan, recording: &Recording) -> Result<(), Error> {
    record::status(ctx, model, plan, recording.is_due).await?;
    if let Some(appended) = &recording.appended {
        ledger::keep(ctx, model, appended);
    }
    Ok(())
}

/// Creates the records of a status, where that was not tried in this evaluation.
async fn records(ctx: &Context, model: &QuantizedModel, plan: &Plan, recording: &Recording) -> Result<(), Error> {
    let Some(appended) = &recording.appended else {
        return Ok(());
    };
    let written = match recording.unsettled {
        None => ledger::write(ctx, model, plan, appended).await,
        Some(_) => Ok(()),
    };
    ledger::count(ctx, model, plan);
    written
}

/// Keeps what could not be written for the next evaluation, which says so in a condition.
fn refused(ctx: &Context, apply: &Apply<'_>, refused: Vec<Refused>) -> Result<(), Error> {
    let result = match refused.as_slice() {
        [] => Ok(()),
        some => Err(Error::Refused(Refused::all(some))),
    };
    ctx.refusals.note(apply.owner.uid, refused);
    result
}

/// Tells of what a plan decided: events, metrics, and a line of the log.
fn report(ctx: &Context, model: &QuantizedModel, plan: &Plan, begun: Instant) {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    ctx.events.tell(model, &plan.events);
    ctx.metrics
        .calibration_expires(&namespace, &name, calibration_expires(&model.spec));
    for decision in &plan.decisions {
        if let Some(action) = decision.action.known() {
            ctx.metrics.decided(&namespace, &name, action, begun.elapsed());
        }
        tracing::info!(
            namespace,
            name,
            action = decision.action.to_string(),
            variant = decision.variant,
            revision = decision.revision,
            why = decision.why,
            after_ms = begun.elapsed().as_millis() as u64,
            "decided"
        );
    }
    ctx.metrics.status(&namespace, &name, &plan.status, &plan.judged);
}
