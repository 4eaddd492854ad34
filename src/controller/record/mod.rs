//! Records: status, and running evidence between checkpoints.

mod memory;
mod unreadable;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::api::{Condition, QuantizedModel};
use crate::apiserver::call;
use crate::model::interval;
use crate::rollout::{Plan, Record};
use crate::watch::SeenModel;

use super::context::Context;
use super::error::Error;

pub(super) use memory::Memory;
pub(super) use unreadable::stand_still;

/// Whether the status must be written now.
pub(super) fn is_due(ctx: &Context, model: &QuantizedModel, plan: &Plan) -> bool {
    plan.record == Record::Now || ctx.memory.due(&model.uid().unwrap_or_default(), interval(&model.spec))
}

/// Writes the status if it is due, and keeps it otherwise. On a conflict nothing was written, and the reconcile must end.
pub(super) async fn status(ctx: &Context, model: &QuantizedModel, plan: &Plan, is_due: bool) -> Result<(), Error> {
    let uid = model.uid().unwrap_or_default();
    let held = model.status.as_ref().and_then(|s| s.evidence.clone());
    if !is_due {
        ctx.memory.keep(&uid, &held, &plan.status);
        return Ok(());
    }
    let api: Api<QuantizedModel> = Api::namespaced(ctx.client.clone(), &model.namespace().unwrap_or_default());
    let mut next = model.clone();
    next.status = Some(plan.status.clone());
    next.metadata.managed_fields = None;
    ctx.reconciled.will_write(&uid, &plan.status);
    // The resourceVersion that was read goes along, so that a reconcile of an old state writes nothing.
    let name = model.name_any();
    let params = PostParams {
        field_manager: Some(crate::manifests::MANAGER_STATUS.to_owned()),
        ..PostParams::default()
    };
    let written = call(
        format!("write status of {name}"),
        api.replace_status(&name, &params, &next),
    )
    .await?;
    ctx.memory.wrote(written);
    ctx.memory.keep(&uid, &plan.status.evidence, &plan.status);
    Ok(())
}

/// Writes conditions, and nothing else of a status that this release cannot continue from. The rest stays as the newer
/// release wrote it.
pub(super) async fn conditions(ctx: &Context, model: &ObjectMeta, conditions: &[Condition]) -> Result<(), Error> {
    let namespace = model.namespace.as_deref().unwrap_or_default();
    let name = model.name.as_deref().unwrap_or_default();
    let patch = json!({
        "metadata": {"resourceVersion": model.resource_version},
        "status": {"observedGeneration": model.generation, "conditions": conditions},
    });
    let params = PatchParams {
        field_manager: Some(crate::manifests::MANAGER_STATUS.to_owned()),
        ..PatchParams::default()
    };
    let api: Api<SeenModel> = Api::namespaced(ctx.client.clone(), namespace);
    call(
        format!("write conditions of {name}"),
        api.patch_status(name, &params, &Patch::Merge(patch)),
    )
    .await?;
    Ok(())
}
