//! The loop: observe, decide, apply, record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, stream};
use kube::api::{Api, ListParams};
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::{Client, ResourceExt};
use tokio::sync::{Semaphore, watch as signal};
use tokio::task::JoinSet;

use crate::api::QuantizedModel;
use crate::apiserver::{CALL_TIMEOUT, CallError, call, limited};
use crate::manifests::Owner;
use crate::model::identity::Digests;
use crate::model::{calibration_expires, interval};
use crate::rollout::{self, Observation, Order, Plan, Record, Refused, Scope};
use crate::telemetry::{Health, Metrics};
use crate::watch::{self, CachedModel, Content, scoped};

use super::apply::{Apply, FINALIZER, is_disturbed};
use super::backoff::Failures;
use super::context::{Context, Settings, Shared};
use super::error::Error;
use super::record::stand_still;
use super::{events, leader, observe, record};

/// Reconciles that may wait at once, for their turn or for Prometheus.
const WAITING: u16 = 64;

/// Runs the controller until `stop` says so or the lease is lost.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    mut stop: signal::Receiver<bool>,
) -> Result<(), Error> {
    let client = limited(&client, CALL_TIMEOUT);
    for namespace in settings.scopes() {
        if !await_crd(&scoped(&client, namespace), &mut stop).await {
            return Ok(());
        }
    }
    health.set_ready();
    let Some(election) = settings.election.clone() else {
        metrics.leads();
        work(&client, &settings, &metrics, &stop).await;
        return Ok(());
    };
    let mut candidacy = leader::elect(client.clone(), &election)
        .await
        .map_err(|_| Error::LeaseLost)?;
    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        led = candidacy.leads.wait_for(|leads| *leads) => led.map(|_| ()).map_err(|_| Error::LeaseLost),
    };
    ended?;
    if !*stop.borrow() {
        tracing::info!("leading");
        metrics.leads();
        tokio::select! {
            () = work(&client, &settings, &metrics, &stop) => {}
            // A lease is no fence, so an instance that has lost it stops at once, in the middle of whatever it does.
            lost = async { candidacy.leads.wait_for(|leads| !*leads).await.is_ok() } => {
                tracing::error!(lost, "the lease is lost");
                return Err(Error::LeaseLost);
            }
        }
    }
    candidacy.resign().await;
    Ok(())
}

/// Reconciles all models that are to be watched, until `stop` says so.
async fn work(client: &Client, settings: &Settings, metrics: &Arc<Metrics>, stop: &signal::Receiver<bool>) {
    let instance = settings.election.as_ref().map(|e| e.identity.clone());
    let (events, publisher) = events::publisher(client.clone(), instance);
    let shared = Shared {
        turns: Arc::new(Semaphore::new(usize::from(settings.concurrency))),
        forecasts: Arc::default(),
        events,
    };
    let scopes = settings.scopes().into_iter().map(|namespace| {
        let ctx = Context::new(client.clone(), settings.clone(), Arc::clone(metrics), shared.clone());
        reconcile_models(Arc::new(ctx), namespace, stop.clone())
    });
    join_all(scopes).await;
    drop(shared);
    publisher.end().await;
}

/// The loop over the models of one watch.
async fn reconcile_models(ctx: Arc<Context>, namespace: Option<&str>, mut stop: signal::Receiver<bool>) {
    let mut watches = watch::watch(&ctx.client, &ctx.stores, namespace, Arc::clone(&ctx));
    // Nothing can be decided before: a reconcile would only find out that it came too early. Models are reconciled as
    // they come, because their list takes as long as all others together.
    tokio::select! {
        () = watches.answered() => {}
        _ = stop.wait_for(|stop| *stop) => return,
    }
    let models = watches.models.clone();
    let controller = Controller::for_stream(stream::pending(), models)
        .with_config(Config::default().concurrency(WAITING.max(ctx.settings.concurrency)))
        .reconcile_on(watches.woken());
    let failures = Arc::new(Failures::default());
    let policy = Arc::clone(&failures);
    controller
        .graceful_shutdown_on(async move {
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .run(
            move |model, ctx| {
                let failures = Arc::clone(&failures);
                aside(async move {
                    let result = timed(&model, &ctx, &failures).await;
                    ctx.first_reconciles.came(ctx.reconciled.len());
                    result
                })
            },
            move |model, error, _| {
                let wait = policy.wait(&model, error);
                tracing::warn!(model = %model.name_any(), namespace = model.namespace(), %error, ?wait, "reconciling again later");
                Action::requeue(wait)
            },
            ctx,
        )
        .for_each(|_| async {})
        .await;
}

/// Waits for the CRD; false if told to stop meanwhile.
async fn await_crd(models: &Api<QuantizedModel>, stop: &mut signal::Receiver<bool>) -> bool {
    loop {
        let one = ListParams::default().limit(1);
        match call("list QuantizedModels", models.list_metadata(&one)).await {
            Ok(_) => return true,
            Err(error) => tracing::warn!(%error, "not ready: apply crds/ and the RBAC of config/"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return false,
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

/// Runs a reconcile beside the loop and other reconciles, on any thread. It ends when its future is dropped.
fn aside<T: Send + 'static>(reconcile: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> {
    let mut one = JoinSet::new();
    one.spawn(reconcile);
    async move {
        match one.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is about to end.
            _ => std::future::pending().await,
        }
    }
}

async fn timed(kept: &CachedModel, ctx: &Context, failures: &Failures) -> Result<Action, Error> {
    ctx.reconciled.begin(kept);
    let result = match kept.read() {
        Ok(Content::Readable(model, digests)) => reconcile(&ctx.memory.latest(*model), digests, ctx).await,
        Ok(Content::Unreadable(unreadable)) => match unreadable.to_delete() {
            Some(model) => reconcile(&model, &Digests::default(), ctx).await,
            None => stand_still(ctx, kept, unreadable).await,
        },
        Err(error) => Err(error.into()),
    };
    if result.is_err() {
        ctx.reconciled.forget(kept);
    }
    match &result {
        Ok(_) => {
            failures.clear(kept);
            ctx.metrics.reconciled("ok");
        }
        // A conflict is the ordinary way to learn of a newer state: reconcile again soon, without back-off.
        Err(Error::Call(CallError::Conflict(what))) => {
            ctx.metrics.reconciled("conflict");
            tracing::debug!(what, "conflict");
            return Ok(Action::requeue(Duration::from_millis(200)));
        }
        Err(Error::Disturbed(rest)) => {
            ctx.metrics.reconciled("waiting");
            return Ok(Action::requeue(*rest));
        }
        // This is normal after a start, and no error.
        Err(Error::NotYet(_)) => ctx.metrics.reconciled("waiting"),
        Err(_) => ctx.metrics.reconciled("error"),
    }
    result
}

async fn reconcile(model: &QuantizedModel, digests: &Digests, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    if model.metadata.deletion_timestamp.is_some() && !model.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Action::await_change());
    }
    // The semaphore is never closed.
    let mut turn = ctx.turns.acquire().await;
    let now = observe::now();
    let cluster = observe::cluster(&ctx.stores, model, now)?;
    let (begun, uid) = (Instant::now(), model.uid().unwrap_or_default());
    if is_disturbed(&ctx.stores, &ctx.applied, model, &cluster) {
        ctx.disturbances.wait(&uid, begun)?;
    } else {
        ctx.disturbances.end(&uid);
    }
    let refused = ctx.refusals.last(&uid);
    let seen = observe::model_seen(model, digests, ctx.memory.newest(model), refused);
    let queries = rollout::watch(&seen, now, &ctx.settings.scope);
    let evidence = if queries.is_empty() {
        BTreeMap::new()
    } else {
        // While this reconcile waits for Prometheus, others have their turn, and their questions go with its own.
        drop(turn);
        let evidence = ctx.asker.ask(model, &queries, now).await;
        turn = ctx.turns.acquire().await;
        evidence
    };
    let observation = Observation {
        now,
        model: seen,
        workloads: cluster.workloads,
        route: cluster.route,
        comparer: cluster.comparer,
        evidence,
    };
    let mut plan = rollout::decide(&observation);
    ctx.forecasts.tell(&uid, &observation, &mut plan.status);
    let owner = Owner {
        namespace: &namespace,
        name: &name,
        uid: &uid,
        spec: &model.spec,
        digests,
        status: &plan.status,
    };
    let apply = Apply {
        ctx,
        model,
        owner,
        plan: &plan,
    };
    let told = || report(ctx, model, &plan, begun);
    carry_out(ctx, model, &plan, &apply, told).await?;
    if plan.record == Record::Later && matches!(plan.scope, Scope::Release | Scope::Orphan) {
        return Ok(Action::await_change());
    }
    drop(turn);
    let soon = Duration::from_secs(1);
    let again = Duration::try_from(plan.again).unwrap_or(soon);
    if cluster.settling {
        return Ok(Action::requeue(again.min(soon)));
    }
    let interval = interval(&model.spec);
    let since_begin = begun.elapsed();
    let at = Duration::from_millis(now.as_millisecond().unsigned_abs());
    Ok(Action::requeue(if again == interval {
        to_the_beat(at, interval).saturating_sub(since_begin)
    } else {
        again
    }))
}

/// Beats of an interval. Reconciles fall on them, so that models of one interval ask together.
const BEATS: u32 = 20;

/// Time from `at` (since 1970) to the reconcile an interval later, moved forward to the beat before it.
fn to_the_beat(at: Duration, interval: Duration) -> Duration {
    let beat = (interval / BEATS).max(Duration::from_millis(1));
    let late = Duration::from_millis(u64::try_from((at + interval).as_millis() % beat.as_millis().max(1)).unwrap_or(0));
    let early = beat.saturating_sub(late);
    // A timer that was a little early by the wall clock was on the beat.
    if early <= beat / 50 {
        interval + early
    } else {
        interval.saturating_sub(late)
    }
}

/// Carries out a plan. What it decided is told as soon as it is on record, whatever becomes of the rest.
async fn carry_out(
    ctx: &Context,
    model: &QuantizedModel,
    plan: &Plan,
    apply: &Apply<'_>,
    tell: impl FnOnce(),
) -> Result<(), Error> {
    let is_deleted = matches!(plan.scope, Scope::TearDown | Scope::Release | Scope::Orphan);
    if is_deleted && plan.record == Record::Now {
        match record::status(ctx, model, plan).await {
            // A model must be deleted even if its status is not taken.
            Err(error) if error.refusal().is_some() => {
                tracing::warn!(model = %model.name_any(), %error, "the deletion is not on record");
            }
            written => {
                written?;
                tell();
                // The next evaluation finds the deletion on record, and carries it out.
                return Ok(());
            }
        }
    }
    match plan.scope {
        Scope::StatusOnly => record::status(ctx, model, plan).await?,
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
            apply.finalizer(false).await?;
            ctx.events.tell(model, &plan.events);
            return Ok(());
        }
        Scope::Apply => {
            if !model.finalizers().iter().any(|f| f == FINALIZER) {
                // The write wakes this model again, with the finalizer in place.
                return apply.finalizer(true).await;
            }
            if plan.order == Order::LowerFirst {
                // Nothing is on record before the candidate has lost its weight, but for why it cannot.
                let not_lowered = apply.lower().await?;
                if !not_lowered.is_empty() {
                    let mut conditions = model.status.clone().unwrap_or_default().conditions;
                    let at = (observe::now(), model.metadata.generation.unwrap_or_default());
                    if let Some(event) = rollout::applied(&mut conditions, at, &not_lowered) {
                        record::conditions(ctx, &model.metadata, &conditions).await?;
                        ctx.events.tell(model, &[event]);
                    }
                }
                refused(ctx, apply, not_lowered)?;
            }
            record::status(ctx, model, plan).await?;
            tell();
            return refused(ctx, apply, apply.all().await?);
        }
    }
    tell();
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_one_interval_reconcile_on_common_beats_and_no_later_than_they_should() {
        let interval = Duration::from_secs(60);
        let beat = interval / BEATS;
        let began = Duration::from_secs(1_800_000_000);
        for started in [0, 1, 999, 4_899, 4_950, 4_999, 5_000, 31_234] {
            let mut at = began + Duration::from_millis(started);
            for turn in 0..4 {
                let wait = to_the_beat(at, interval);
                assert!(
                    wait <= interval + beat / 50 && wait > interval - beat,
                    "{started}: {wait:?}"
                );
                at += wait;
                assert_eq!(at.as_millis() % beat.as_millis(), 0);
                if turn > 0 {
                    assert_eq!(wait, interval, "once on the beat it stays there");
                }
            }
        }
        assert_eq!(to_the_beat(began, Duration::from_millis(5)), Duration::from_millis(5));
    }
}
