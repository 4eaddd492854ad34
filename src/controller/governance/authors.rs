//! The authors of a change, which admission keeps on the model. The list is emptied once nothing of the change is open any more,
//! so that it is about the next one from then on.

use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::api::{Phase, QuantizedModel, RevisionRef, condition};
use crate::apiserver::{CallError, call};
use crate::manifests::MANAGER_STATUS;
use crate::rollout::{Plan, Scope};
use crate::watch::SeenModel;

use super::super::context::Context;

/// The annotation that has them, one a line (config/governance/authors).
const AUTHORS: &str = "guardbit.dev/authors";

/// Those who had a hand in what is not decided yet.
pub(super) fn of(model: &QuantizedModel) -> Vec<String> {
    let listed = model.annotations().get(AUTHORS).into_iter();
    let lines = listed.flat_map(|names| names.split('\n'));
    lines.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Empties the list of a model of which nothing is open. It is emptied only as it was read: whoever has changed the model since is
/// an author of the next change. `target` is the revision that the spec wants.
pub(in crate::controller) async fn settle(
    ctx: &Context,
    model: &QuantizedModel,
    plan: &Plan,
    target: Option<&RevisionRef>,
) {
    if !model.annotations().contains_key(AUTHORS) || !is_settled(model, plan, target) {
        return;
    }
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let models: Api<SeenModel> = Api::namespaced(ctx.client.clone(), &namespace);
    let metadata = json!({"resourceVersion": model.resource_version(), "annotations": {AUTHORS: null}});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let params = PatchParams {
        field_manager: Some(MANAGER_STATUS.to_owned()),
        ..PatchParams::default()
    };
    let emptied = models.patch(&name, &params, &patch);
    match call(format!("empty the authors of {name}"), emptied).await {
        Ok(_) => {}
        Err(CallError::Conflict(_)) => tracing::debug!(namespace, name, "the model has changed: its authors stay"),
        Err(error) => tracing::warn!(namespace, name, %error, "the authors of a decided change stay on the list"),
    }
}

/// Whether nothing of what was asked for is open: the target serves, nothing is on trial, nobody is asked, and all of it is on
/// record.
fn is_settled(model: &QuantizedModel, plan: &Plan, target: Option<&RevisionRef>) -> bool {
    let status = &plan.status;
    let stands = !model.spec.paused && !model.spec.suspend && model.metadata.deletion_timestamp.is_none();
    let is_whole = plan.scope == Scope::Apply && status.observed_generation == model.metadata.generation;
    let serves = status.stable.is_some() && status.stable.as_ref() == target;
    let rests = status.rollout.is_none() && status.awaiting.is_none() && plan.decisions.is_empty();
    let guards = status.phase.as_ref().is_some_and(|phase| *phase == Phase::Guarding);
    stands && is_whole && serves && rests && guards && status.has_condition(condition::READY, "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_stand_on_lines() {
        let sample = include_str!("../../../tests/testdata/fraud-scorer.yaml");
        let mut model: QuantizedModel = serde_yaml_ng::from_str(sample).unwrap();
        assert!(of(&model).is_empty());
        let names = "ann\nsystem:serviceaccount:ci:git, pusher\n";
        model.annotations_mut().insert(AUTHORS.to_owned(), names.to_owned());
        assert_eq!(of(&model), ["ann", "system:serviceaccount:ci:git, pusher"]);
    }
}
