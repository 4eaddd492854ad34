//! Records: status, running evidence between checkpoints, Kubernetes Events.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{Api, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};

use crate::api::{GuardStatus, QuantizedModel, QuantizedModelStatus, plain};
use crate::rollout::{Plan, Record};

use super::leaves::hash;
use super::{Context, Error, call};

/// Running evidence that is newer than what the API server holds. Nothing is lost with it: Prometheus keeps the samples.
pub(super) struct Memory {
    running: Mutex<HashMap<String, Running>>,
    /// From when on checkpoints are counted.
    since: Instant,
}

struct Running {
    /// Hash of the evidence that the API server held when this was derived.
    base: u64,
    evidence: Option<String>,
    guards: Vec<GuardStatus>,
    /// When it was written last.
    written: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            since: Instant::now(),
        }
    }
}

/// Time between two checkpoints: fifteen looks, and at most fifteen minutes.
fn checkpoint_age(interval: Duration) -> Duration {
    (interval * 15).clamp(Duration::from_secs(10), Duration::from_secs(900))
}

/// Number of the checkpoint after which a model is at `now`, both since the start of the process. Every model has a phase
/// of its own: a thousand that began together must not write together.
fn checkpoint(uid: &str, now: Duration, age: Duration) -> u128 {
    let age = age.as_millis().max(1);
    (now.as_millis() + u128::from(hash(uid)) % age) / age
}

impl Memory {
    /// The newest status: the API server's, with the evidence that was gathered since it was written.
    pub(super) fn newest(&self, model: &QuantizedModel) -> QuantizedModelStatus {
        let mut status = model.status.clone().unwrap_or_default();
        let memory = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = model
            .uid()
            .and_then(|uid| memory.get(&uid).filter(|r| r.base == hash(&status.evidence)))
        {
            (status.evidence, status.guards) = (running.evidence.clone(), running.guards.clone());
        }
        status
    }

    /// Whether a checkpoint is due.
    fn due(&self, uid: &str, interval: Duration) -> bool {
        let age = checkpoint_age(interval);
        let at = |when: Instant| checkpoint(uid, when.duration_since(self.since), age);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .get(uid)
            .is_some_and(|r| hash(&r.evidence) != r.base && at(r.written) != at(Instant::now()))
    }

    fn keep(&self, uid: &str, base: &Option<String>, status: &QuantizedModelStatus) {
        let base = hash(base);
        let mut memory = self.running.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
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
        let note: String = plain(&event.note, 1_000);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_models_that_began_together_write_their_checkpoints_evenly() {
        let age = checkpoint_age(Duration::from_secs(60));
        assert_eq!(age, Duration::from_secs(900));
        let minute = |m: u64| Duration::from_secs(60 * m);
        let uids: Vec<String> = (0..1000).map(|i| format!("uid-{i}")).collect();
        let due = |m: u64| {
            let crossed = |uid: &&String| checkpoint(uid, minute(m), age) != checkpoint(uid, minute(m + 1), age);
            uids.iter().filter(crossed).count()
        };
        let counts: Vec<usize> = (0..15).map(due).collect();
        assert_eq!(
            counts.iter().sum::<usize>(),
            1000,
            "each of them once in fifteen minutes"
        );
        assert!(
            counts.iter().all(|n| *n <= 100),
            "at most a hundred a minute: {counts:?}"
        );
    }
}
