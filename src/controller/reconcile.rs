//! The loop: observe, decide, apply, record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, stream};
use k8s_openapi::jiff::SignedDuration;
use kube::api::{Api, ListParams};
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::{Client, ResourceExt};
use tokio::sync::{Semaphore, watch as signal};
use tokio::task::JoinSet;

use crate::api::{self, QuantizedModel};
use crate::apiserver::{CALL_TIMEOUT, CallError, call, limited};
use crate::model::identity::Digests;
use crate::model::interval;
use crate::rollout::{self, Observation, Order, Plan, Record, Scope};
use crate::telemetry::{Health, Metrics};
use crate::watch::{self, CachedModel, Content, scoped};

use super::apply::{Apply, FINALIZER, is_disturbed};
use super::backoff::Failures;
use super::carry_out::{Recording, carry_out, lower};
use super::context::{Context, Settings, Shared};
use super::error::Error;
use super::governance::{Admission, Slots};
use super::ledger::KeyFile;
use super::record::stand_still;
use super::{events, governance, leader, ledger, observe, record};

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
    let prefix = settings.governance_prefix.clone();
    let shared = Shared {
        turns: Arc::new(Semaphore::new(usize::from(settings.concurrency))),
        forecasts: Arc::default(),
        admission: Arc::new(Admission::new(client.clone(), prefix, Arc::clone(metrics))),
        slots: Arc::new(Slots::new(settings.scopes().len())),
        events,
        key: Arc::new(KeyFile::new(settings.signing_key.clone())),
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
    let policies = ctx.settings.policies;
    let mut watches = watch::watch(&ctx.client, &ctx.stores, namespace, policies, Arc::clone(&ctx));
    // Nothing can be decided before: a reconcile would only find out that it came too early. Models are reconciled as
    // they come, because their list takes as long as all others together.
    tokio::select! {
        () = watches.answered() => {}
        _ = stop.wait_for(|stop| *stop) => return,
    }
    let models = watches.models.clone();
    ctx.slots.follow(models.clone(), ctx.stores.policies.clone());
    let sweep = governance::sweep(ctx.client.clone(), namespace.map(str::to_owned));
    let controller = Controller::for_stream(stream::pending(), models.store())
        .with_config(Config::default().concurrency(WAITING.max(ctx.settings.concurrency)))
        .reconcile_on(watches.woken());
    let failures = Arc::new(Failures::default());
    let policy = Arc::clone(&failures);
    let reconciles = controller
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
        .for_each(|_| async {});
    tokio::select! {
        () = reconciles => {}
        // It goes on until the others end.
        () = sweep => {}
    }
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
    let mut seen = observe::model_seen(model, digests, ctx.memory.newest(model), refused);
    let asked = governance::asked(ctx, model, &seen.status, now).await;
    let ledger = ctx.ledger.seen(&uid, &asked.governance, &mut seen.status);
    let queries = rollout::watch(&seen, now, &ctx.settings.scope);
    let evidence = if queries.is_empty() {
        BTreeMap::new()
    } else {
        // While this reconcile waits for Prometheus, others have their turn, and their questions go with its own.
        drop(turn);
        let permitted = asked.governance.governed().map(|governed| &governed.rules.prometheus);
        let evidence = ctx.asker.ask(model, &queries, now, permitted).await;
        turn = ctx.turns.acquire().await;
        evidence
    };
    let mut observation = Observation {
        now,
        model: seen,
        workloads: cluster.workloads,
        route: cluster.route,
        comparer: cluster.comparer,
        evidence,
        governance: asked.governance,
        people: asked.people,
        ledger,
    };
    let (plan, recording) = evaluate(ctx, model, digests, &mut observation, asked.keep).await?;
    let (is_written, is_recorded) = (recording.is_due, recording.is_recorded());
    let carried_out = carry_out(ctx, model, &Apply::of(ctx, model, digests, &plan), recording, begun).await;
    // What could not be called was not decided either: the next evaluation tells.
    if !matches!(carried_out, Err(Error::Call(_))) {
        governance::tell(ctx, model, &plan, &asked.seen, is_recorded).await;
    }
    carried_out?;
    if !is_written {
        let target = digests.revisions().get(model.spec.target_index());
        governance::settle_authors(ctx, model, &plan, target).await;
    }
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

/// Decides what is to be done, lowers whoever is lowered, and puts what goes on record into the plan. Where nothing does, the plan
/// is as it was decided.
async fn evaluate(
    ctx: &Context,
    model: &QuantizedModel,
    digests: &Digests,
    observation: &mut Observation,
    keep: SignedDuration,
) -> Result<(Plan, Recording), Error> {
    let uid = model.uid().unwrap_or_default();
    let heard = ledger::concerns(observation).then(|| rollout::hear(observation));
    let mut plan = governance::plan(ctx, &uid, observation, heard.as_ref());
    let mut recording = Recording::default();
    // What lowers somebody waits neither for records of before nor for where the chain goes on.
    if let Some(heard) = &heard
        && matches!(plan.scope, Scope::Apply | Scope::StatusOnly)
        && plan.order == Order::RecordFirst
        && ctx.ledger.is_open(&uid, observation)
    {
        recording.unsettled = ledger::settle(ctx, model, observation).await.err();
        plan = governance::plan(ctx, &uid, observation, Some(heard));
        let is_lost = plan.decisions.iter().any(|of| of.action == api::Action::Recovered);
        // What served is on record. While that cannot be read, it is left as it is.
        if is_lost
            && ctx.ledger.lacks_head(&uid, observation)
            && let Some(error) = recording.unsettled.take()
        {
            return Err(error);
        }
    }
    lower(ctx, model, &Apply::of(ctx, model, digests, &plan)).await?;
    ctx.forecasts.tell(&uid, observation, &mut plan.status);
    recording.is_due = record::is_due(ctx, model, &plan);
    let Some(heard) = &heard else {
        return Ok((plan, recording));
    };
    if plan.order == Order::LowerFirst
        && ctx.ledger.lacks_head(&uid, observation)
        && let Err(error) = ledger::settle(ctx, model, observation).await
        && error.is_absence()
    {
        // Nothing is in status yet, so all of it is decided again.
        return Err(error);
    }
    let due = (recording.is_due, keep);
    let appended = ledger::append(ctx, model, (&*observation, heard), &mut plan, due).await;
    recording.is_due |= appended.recorded;
    recording.appended = Some(appended);
    Ok((plan, recording))
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
