//! What the API server refuses, and what is somebody else's.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;

use crate::corner::{Corner, MODEL, PATIENCE, condition, gateway};

pub async fn an_object_of_somebody_else_is_left_alone_and_can_be_handed_over(client: &Client) {
    let corner = Corner::start(client, "route").await;
    let theirs = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": MODEL},
        "spec": {"parentRefs": [{"name": "theirs"}], "rules": [{"backendRefs": [{"name": "theirs", "port": 80}]}]},
    });
    let params = PatchParams::apply("another-team");
    let route = corner
        .routes()
        .patch(MODEL, &params, &Patch::Apply(theirs))
        .await
        .expect("made");
    let before = route.data["spec"].clone();
    corner.apply_model(gateway(), json!({"replicas": 2})).await;
    let model = corner
        .until("named as somebody else's", |model| {
            condition(model, "Applied").0 == "False"
        })
        .await;
    let (_, message) = condition(&model, "Applied");
    assert!(
        message.contains("HTTPRoute chat exists and is not of this model") && message.contains("guardbit.dev/adopt"),
        "{message}"
    );
    corner
        .until("said not to serve", |model| condition(model, "Available").0 == "False")
        .await;
    let now = corner.routes().get(MODEL).await.expect("it is there");
    assert_eq!(now.data["spec"], before, "it is as it was");
    assert!(now.labels().is_empty() && now.owner_references().is_empty());
    let handed_over = json!({"metadata": {"annotations": {"guardbit.dev/adopt": "true"}}});
    corner
        .routes()
        .patch(MODEL, &PatchParams::default(), &Patch::Merge(handed_over))
        .await
        .expect("annotated");
    corner
        .until("applied", |model| {
            condition(model, "Applied").0 == "True" && condition(model, "Available").0 == "True"
        })
        .await;
    let now = corner.routes().get(MODEL).await.expect("it is there");
    assert_eq!(now.data["spec"]["parentRefs"][0]["name"], "inference");
}

pub async fn a_service_of_somebody_else_outlives_the_model(client: &Client) {
    let corner = Corner::start(client, "service").await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": MODEL},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    });
    let services = corner.api::<Service>();
    let params = PatchParams::apply("another-team");
    services
        .patch(MODEL, &params, &Patch::Apply(theirs))
        .await
        .expect("made");
    let traffic = json!({"service": {"allowCoarseSteps": true}});
    corner.apply_model(traffic, json!({"replicas": 2})).await;
    let model = corner
        .until("said not to serve", |model| {
            condition(model, "Applied").0 == "False" && condition(model, "Available").0 == "False"
        })
        .await;
    assert!(condition(&model, "Available").1.contains("Service chat"));
    let models = corner.api::<QuantizedModel>();
    models
        .delete(MODEL, &DeleteParams::background())
        .await
        .expect("deleted");
    let gone = await_condition(models, MODEL, |model: Option<&QuantizedModel>| model.is_none());
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("it goes in time")
        .expect("the watch works");
    let theirs = services.get(MODEL).await.expect("it is still there");
    let selector = theirs.spec.and_then(|spec| spec.selector).expect("a selector");
    assert_eq!(selector.get("app").map(String::as_str), Some("theirs"));
}

/// Waits until the API server has taken in the policy, which nothing but a refusal shows.
async fn until_denied(corner: &Corner) {
    let probe = json!({
        "metadata": {"name": "probe-int8-0"},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {"metadata": {"labels": {"app": "probe"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}},
        },
    });
    let probe: Deployment = serde_json::from_value(probe).expect("a Deployment");
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let denied = async {
        while corner.api::<Deployment>().create(&params, &probe).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let denied = tokio::time::timeout(PATIENCE, denied).await;
    assert!(denied.is_ok(), "the policy is never in force");
}

pub async fn what_is_refused_holds_up_nothing_else(client: &Client) {
    let corner = Corner::start(client, "policy").await;
    let deny = |object: Value| async {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "admissionregistration.k8s.io",
            "v1",
            object["kind"].as_str().expect("a kind"),
        ));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let params = PatchParams::apply("refusals").force();
        api.patch("no-int8", &params, &Patch::Apply(object))
            .await
            .expect("a policy");
        api
    };
    let policies = deny(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-int8"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "!object.metadata.name.contains('-int8-')", "message": "int8 needs a ticket"}],
        },
    }))
    .await;
    let bindings = deny(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-int8"},
        "spec": {
            "policyName": "no-int8", "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": corner.namespace}}},
        },
    }))
    .await;
    until_denied(&corner).await;
    corner.apply_model(gateway(), json!({"replicas": 2})).await;
    let refused = |model: &QuantizedModel| condition(model, "Applied").1.contains("int8 needs a ticket");
    let model = corner.until("refused in the server's words", refused).await;
    assert_eq!(condition(&model, "Available").0, "True", "stable serves");
    // Repairs of other arms go on meanwhile.
    let deployments = corner.api::<Deployment>();
    let of_stable = ListParams::default().labels("guardbit.dev/variant=fp32,guardbit.dev/purpose=serving");
    let stable = deployments
        .list(&of_stable)
        .await
        .expect("listed")
        .items
        .remove(0)
        .name_any();
    let to_nothing = json!({"spec": {"replicas": 0}});
    deployments
        .patch(&stable, &PatchParams::default(), &Patch::Merge(to_nothing))
        .await
        .expect("scaled");
    let restored = await_condition(deployments.clone(), &stable, |d: Option<&Deployment>| {
        d.and_then(|d| d.spec.as_ref()?.replicas) == Some(2)
    });
    tokio::time::timeout(PATIENCE, restored)
        .await
        .expect("it is put right in time")
        .expect("the watch works");
    corner.until_told("Refused", "int8 needs a ticket").await;
    let repaired = format!("Deployment {stable} was changed by somebody else");
    corner.until_told("Repaired", &repaired).await;
    let log = std::fs::read_to_string(&corner.log).unwrap_or_default();
    let warned = log
        .lines()
        .find(|line| line.contains("int8 needs a ticket"))
        .expect("a line of the log");
    assert!(
        !warned.contains("Status {") && !warned.contains("Some("),
        "a sentence, and no dump: {warned}"
    );
    bindings
        .delete("no-int8", &DeleteParams::default())
        .await
        .expect("deleted");
    policies
        .delete("no-int8", &DeleteParams::default())
        .await
        .expect("deleted");
    corner
        .until("applied", |model| condition(model, "Applied").0 == "True")
        .await;
    let of_candidate = ListParams::default().labels("guardbit.dev/variant=int8");
    assert_eq!(deployments.list(&of_candidate).await.expect("listed").items.len(), 1);
}
