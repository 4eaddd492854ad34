//! Records: status, running evidence between checkpoints, Kubernetes Events.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{Api, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};

use crate::api::{GuardStatus, QuantizedModel, QuantizedModelStatus};
use crate::rollout::{Plan, Record};

use super::leaves::hash;
use super::{Context, Error, call};

/// Running evidence that is newer than what the API server holds. Nothing is lost with it: Prometheus keeps the samples.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Running>>);

struct Running {
    /// Hash of the evidence that the API server held when this was derived.
    base: u64,
    evidence: Option<String>,
    guards: Vec<GuardStatus>,
    written: Instant,
}

impl Memory {
    /// The newest status: the API server's, with the evidence that was gathered since it was written.
    pub(super) fn newest(&self, model: &QuantizedModel) -> QuantizedModelStatus {
        let mut status = model.status.clone().unwrap_or_default();
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = model
            .uid()
            .and_then(|uid| memory.get(&uid).filter(|r| r.base == hash(&status.evidence)))
        {
            (status.evidence, status.guards) = (running.evidence.clone(), running.guards.clone());
        }
        status
    }

    /// Whether the last checkpoint is too old: every fifteenth look, and at least every fifteen minutes.
    fn due(&self, uid: &str, interval: Duration) -> bool {
        let age = (interval * 15).clamp(Duration::from_secs(10), Duration::from_secs(900));
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory
            .get(uid)
            .is_some_and(|r| hash(&r.evidence) != r.base && r.written.elapsed() >= age)
    }

    fn keep(&self, uid: &str, base: &Option<String>, status: &QuantizedModelStatus) {
        let base = hash(base);
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = memory
            .get(uid)
            .filter(|r| r.base == base)
            .map_or_else(Instant::now, |r| r.written);
        let running = Running {
            base,
            evidence: status.evidence.clone(),
            guards: status.guards.clone(),
            written,
        };
        memory.insert(uid.to_owned(), running);
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Writes the status if it must be written now. On a conflict nothing was written, and the look must end.
pub(super) async fn status(ctx: &Context, model: &QuantizedModel, plan: &Plan) -> Result<(), Error> {
    let uid = model.uid().unwrap_or_default();
    let held = model.status.as_ref().and_then(|s| s.evidence.clone());
    let interval = Duration::from_millis(model.spec.rollout.interval.millis().unwrap_or(15_000).unsigned_abs());
    if plan.record == Record::Later && !ctx.memory.due(&uid, interval) {
        ctx.memory.keep(&uid, &held, &plan.status);
        return Ok(());
    }
    let api: Api<QuantizedModel> = Api::namespaced(ctx.client.clone(), &model.namespace().unwrap_or_default());
    let mut next = model.clone();
    next.status = Some(plan.status.clone());
    next.metadata.managed_fields = None;
    ctx.looked.will_write(&uid, &plan.status);
    // The resourceVersion that was read goes along: who reads an old state writes nothing.
    let name = model.name_any();
    let params = PostParams {
        field_manager: Some(crate::build::MANAGER_STATUS.to_owned()),
        ..PostParams::default()
    };
    call(
        format!("write status of {name}"),
        api.replace_status(&name, &params, &next),
    )
    .await?;
    ctx.memory.keep(&uid, &plan.status.evidence, &plan.status);
    Ok(())
}

/// Publishes the events of a plan. An event that cannot be written is logged and does not hold anything up.
pub(super) async fn events(ctx: &Context, model: &QuantizedModel, plan: &Plan) {
    let reference = model.object_ref(&());
    for event in &plan.events {
        let type_ = if event.reason.is_warning() {
            EventType::Warning
        } else {
            EventType::Normal
        };
        let reason = format!("{:?}", event.reason);
        let note: String = event.note.chars().take(1_000).collect();
        // The recorder folds events by reason and action; the part that tells two apart goes into the action.
        let action: String = note.chars().take(100).collect();
        let event = Event {
            type_,
            reason,
            note: Some(note),
            action,
            secondary: None,
        };
        if let Err(error) = call("publish event", ctx.recorder.publish(&event, &reference)).await {
            tracing::warn!(%error, model = %model.name_any(), "an event could not be published");
        }
    }
}
