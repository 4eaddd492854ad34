//! The loop: observe, decide, apply, record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::api::QuantizedModel;
use crate::build::Owner;
use crate::rollout::{self, Observation, Order, Plan, Scope};
use crate::telemetry::Metrics;

use super::apply::{Apply, FINALIZER};
use super::{CALL_TIMEOUT, Context, Error, Settings, SharedHealth, call, connection, leader, observe, record, stores};

/// Shortest and longest wait after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Runs the controller until `stop` says so or the lease is lost.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: SharedHealth,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let client = connection::limited(&client, CALL_TIMEOUT);
    let models: Api<QuantizedModel> = stores::scoped(&client, settings.namespace.as_deref());
    if !await_crd(&models, &mut stop).await {
        return Ok(());
    }
    let mut leads = match &settings.election {
        Some(election) => {
            health.set_ready();
            leader::elect(client.clone(), election)
                .await
                .map_err(|_| Error::LeaseLost)?
        }
        None => watch::channel(true).1,
    };
    let single = settings.election.is_none();
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        led = leads.wait_for(|leads| *leads) => led.map(|_| ()).map_err(|_| Error::LeaseLost)?,
    }
    tracing::info!("leading");
    let controller = Controller::new(models, watcher::Config::default())
        .with_config(Config::default().concurrency(settings.concurrency));
    let (stores, controller) = stores::watch(&client, settings.namespace.as_deref(), controller);
    let ctx = Arc::new(Context::new(client, settings, stores, metrics));
    health.set_ready();
    let failures = Arc::new(Failures::default());
    let policy = Arc::clone(&failures);
    let mut stopped = stop.clone();
    let work = controller
        .graceful_shutdown_on(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .run(
            move |model, ctx| {
                let failures = Arc::clone(&failures);
                async move { timed(model, ctx, &failures).await }
            },
            move |model, error, _| {
                let wait = policy.wait(&model);
                tracing::warn!(model = %model.name_any(), namespace = model.namespace(), %error, ?wait, "looking again later");
                Action::requeue(wait)
            },
            ctx,
        )
        .for_each(|_| async {});
    tokio::select! {
        () = work => Ok(()),
        // A lease is no fence: whoever has lost it stops at once, in the middle of whatever it does.
        lost = async { leads.wait_for(|leads| !*leads).await.is_ok() }, if !single => {
            tracing::error!(lost, "the lease is lost");
            Err(Error::LeaseLost)
        }
    }
}

/// Waits for the CRD; false if told to stop meanwhile.
async fn await_crd(models: &Api<QuantizedModel>, stop: &mut watch::Receiver<bool>) -> bool {
    loop {
        match call("list QuantizedModels", models.list(&ListParams::default().limit(1))).await {
            Ok(_) => return true,
            Err(error) => tracing::warn!(%error, "not ready: apply crds/ and the RBAC of config/"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return false,
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

/// Failures in a row, by model: the back-off of each is its own.
#[derive(Default)]
struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    fn wait(&self, model: &QuantizedModel) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(model.uid().unwrap_or_default()).or_default();
        *count = count.saturating_add(1);
        BACKOFF.0.saturating_mul(1 << (*count - 1).min(10)).min(BACKOFF.1)
    }

    fn clear(&self, model: &QuantizedModel) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&model.uid().unwrap_or_default());
    }
}

async fn timed(model: Arc<QuantizedModel>, ctx: Arc<Context>, failures: &Failures) -> Result<Action, Error> {
    let result = reconcile(&model, &ctx).await;
    match &result {
        Ok(_) => {
            failures.clear(&model);
            ctx.metrics.reconciled("ok");
        }
        // A conflict is the ordinary way to learn of a newer state: look again soon, without back-off.
        Err(Error::Conflict(what)) => {
            ctx.metrics.reconciled("conflict");
            tracing::debug!(what, "conflict");
            return Ok(Action::requeue(Duration::from_millis(200)));
        }
        Err(_) => ctx.metrics.reconciled("error"),
    }
    result
}

async fn reconcile(model: &QuantizedModel, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    if model.metadata.deletion_timestamp.is_some() && !model.finalizers().iter().any(|f| f == FINALIZER) {
        ctx.memory.forget(&model.uid().unwrap_or_default());
        ctx.applied.forget(&namespace, &name);
        ctx.metrics.forget(&namespace, &name);
        return Ok(Action::await_change());
    }
    let now = observe::now();
    let cluster = observe::cluster(&ctx.stores, model, now)?;
    let seen = observe::model_seen(model, ctx.memory.newest(model));
    let queries = rollout::watch(&seen, now, ctx.settings.exempt_namespace);
    let begun = Instant::now();
    let evidence = ctx.asker.ask(model, &queries, now).await;
    let observation = Observation {
        now,
        model: seen,
        workloads: cluster.workloads,
        route: cluster.route,
        evidence,
    };
    let plan = rollout::decide(&observation);
    let owner = Owner {
        namespace: &namespace,
        name: &name,
        uid: &model.uid().unwrap_or_default(),
        spec: &model.spec,
        status: &plan.status,
    };
    let apply = Apply {
        ctx,
        model,
        owner,
        plan: &plan,
    };
    carry_out(ctx, model, &plan, &apply).await?;
    report(ctx, &namespace, &name, &plan, begun);
    let soon = Duration::from_secs(1);
    let again = Duration::try_from(plan.again).unwrap_or(soon);
    Ok(Action::requeue(if cluster.settling { again.min(soon) } else { again }))
}

async fn carry_out(ctx: &Context, model: &QuantizedModel, plan: &Plan, apply: &Apply<'_>) -> Result<(), Error> {
    match plan.scope {
        Scope::StatusOnly => record::status(ctx, model, plan).await?,
        Scope::TearDown => apply.tear_down().await?,
        Scope::Release => apply.finalizer(false).await?,
        Scope::Orphan => {
            apply.orphan().await?;
            apply.finalizer(false).await?;
        }
        Scope::Apply => {
            if !model.finalizers().iter().any(|f| f == FINALIZER) {
                // The write wakes this model again, with the finalizer in place.
                return apply.finalizer(true).await;
            }
            if plan.order == Order::LowerFirst {
                apply.lower().await?;
            }
            record::status(ctx, model, plan).await?;
            apply.all().await?;
        }
    }
    record::events(ctx, model, plan).await;
    Ok(())
}

fn report(ctx: &Context, namespace: &str, name: &str, plan: &Plan, begun: Instant) {
    for decision in &plan.decisions {
        let Some(action) = serde_json::to_value(decision.action)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
        else {
            continue;
        };
        ctx.metrics.decided(namespace, name, &action, begun.elapsed());
        tracing::info!(
            namespace,
            name,
            action,
            variant = decision.variant,
            revision = decision.revision,
            why = decision.why,
            "decided"
        );
    }
    ctx.metrics.status(namespace, name, &plan.status);
}
