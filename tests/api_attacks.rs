//! Attacks that need a real API server: what the roles of config/rbac let people and guardbit do, and names that lead elsewhere.
//!
//! Needs `KUBECONFIG`; `tests/cluster/run-tests.sh` starts a control plane and sets it.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};

use guardbit::api::QuantizedModel;

use control_plane::{apply, objects};

#[path = "support/control_plane.rs"]
mod control_plane;
#[path = "support/refusals.rs"]
#[allow(dead_code)]
mod refusals;

const ROLES: [&str; 5] = [
    include_str!("../config/rbac/service-account.yaml"),
    include_str!("../config/rbac/controller.yaml"),
    include_str!("../config/rbac/policies.yaml"),
    include_str!("../config/rbac/users.yaml"),
    include_str!("../config/rbac/secret-reader.yaml"),
];

/// The roles as they are shipped; two namespaces with a Secret each; a viewer and an editor, and guardbit, of the first.
async fn client() -> Client {
    let client = control_plane::client().await;
    for name in ["guardbit-system", "attacks-own", "attacks-other"] {
        apply(
            &client,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        )
        .await;
    }
    for text in ROLES {
        for object in objects(text) {
            apply(&client, &object).await;
        }
    }
    for namespace in ["attacks-own", "attacks-other"] {
        apply(&client, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": namespace}, "stringData": {"token": namespace}})).await;
    }
    let account = json!({"kind": "ServiceAccount", "name": "guardbit", "namespace": "guardbit-system"});
    let user = |name: &str| json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    for (role, subject) in [
        ("guardbit-viewer", user("attacks-viewer")),
        ("guardbit-editor", user("attacks-editor")),
        ("guardbit-secret-reader", account),
    ] {
        apply(&client, &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role, "namespace": "attacks-own"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [subject]})).await;
    }
    client
}

const GUARDBIT: &str = "system:serviceaccount:guardbit-system:guardbit";

/// Whether the API server would let `user` do this.
async fn may(client: &Client, user: &str, verb: &str, what: &str, namespace: &str) -> bool {
    let (group, resource) = what.split_once('/').unwrap_or(("", what));
    let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": {
        "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": "token"}}}))
    .unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.expect("reviewed");
    answer.status.expect("a status").allowed
}

#[tokio::test]
async fn the_roles_let_nobody_do_more_than_they_say() {
    let client = client().await;
    const MODELS: &str = "guardbit.dev/quantizedmodels";
    const STATUS: &str = "guardbit.dev/quantizedmodels:status";
    const ACTIONS: &str = "guardbit.dev/precisionactions";
    const RECORDS: &str = "guardbit.dev/precisiondecisions";
    const POLICIES: &str = "guardbit.dev/precisionpolicies";
    const ADMISSION: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
    let own = "attacks-own";
    let rows = [
        ("attacks-viewer", "get", MODELS, own, true),
        ("attacks-viewer", "watch", STATUS, own, true),
        ("attacks-viewer", "patch", MODELS, own, false),
        ("attacks-viewer", "create", MODELS, own, false),
        ("attacks-viewer", "delete", MODELS, own, false),
        ("attacks-viewer", "patch", STATUS, own, false),
        ("attacks-viewer", "get", "secrets", own, false),
        ("attacks-viewer", "get", MODELS, "attacks-other", false),
        ("attacks-editor", "patch", MODELS, own, true),
        ("attacks-editor", "create", MODELS, own, true),
        // A status is evidence: who could write it could promote anything.
        ("attacks-editor", "patch", STATUS, own, false),
        ("attacks-editor", "update", STATUS, own, false),
        ("attacks-editor", "get", "secrets", own, false),
        ("attacks-editor", "patch", "apps/deployments", own, false),
        (
            "attacks-editor",
            "patch",
            "gateway.networking.k8s.io/httproutes",
            own,
            false,
        ),
        (
            "attacks-editor",
            "patch",
            "networking.k8s.io/networkpolicies",
            own,
            false,
        ),
        ("attacks-editor", "create", MODELS, "attacks-other", false),
        ("attacks-viewer", "list", ACTIONS, own, true),
        ("attacks-viewer", "list", RECORDS, own, true),
        // Who changes a model is not by that who approves it, or who acts on call.
        ("attacks-editor", "create", ACTIONS, own, false),
        ("attacks-editor", "approve", MODELS, own, false),
        ("attacks-editor", "pause", MODELS, own, false),
        ("attacks-editor", "rollback", MODELS, own, false),
        ("attacks-editor", "retry", MODELS, own, false),
        ("attacks-editor", "breakglass", MODELS, own, false),
        ("attacks-editor", "create", RECORDS, own, false),
        ("attacks-editor", "create", POLICIES, "", false),
        (GUARDBIT, "watch", ACTIONS, own, true),
        (GUARDBIT, "patch", ACTIONS, own, false),
        (GUARDBIT, "approve", MODELS, own, false),
        (GUARDBIT, "create", RECORDS, own, true),
        (GUARDBIT, "update", RECORDS, own, false),
        (GUARDBIT, "patch", RECORDS, own, false),
        (GUARDBIT, "watch", POLICIES, "", true),
        (GUARDBIT, "update", POLICIES, "", false),
        (GUARDBIT, "list", "namespaces", "", true),
        (GUARDBIT, "list", ADMISSION, "", false),
        (GUARDBIT, "get", ADMISSION, "", false),
        (GUARDBIT, "patch", STATUS, "attacks-other", true),
        (GUARDBIT, "get", "secrets", own, true),
        (GUARDBIT, "list", "secrets", own, false),
        (GUARDBIT, "watch", "secrets", own, false),
        (GUARDBIT, "get", "secrets", "attacks-other", false),
        (GUARDBIT, "get", "secrets", "guardbit-system", false),
        (GUARDBIT, "create", "pods", own, false),
        (GUARDBIT, "create", "pods:exec", own, false),
        (GUARDBIT, "get", "configmaps", own, false),
        (GUARDBIT, "create", MODELS, own, false),
        (GUARDBIT, "delete", MODELS, own, false),
        (GUARDBIT, "patch", "rbac.authorization.k8s.io/rolebindings", own, false),
        (
            GUARDBIT,
            "create",
            "rbac.authorization.k8s.io/clusterrolebindings",
            "",
            false,
        ),
        (GUARDBIT, "create", "serviceaccounts:token", own, false),
        (GUARDBIT, "patch", "namespaces", "", false),
        (GUARDBIT, "patch", "nodes", "", false),
    ];
    for (user, verb, what, namespace, allowed) in rows {
        assert_eq!(
            may(&client, user, verb, what, namespace).await,
            allowed,
            "{user} {verb} {what} in {namespace:?}"
        );
    }
}

/// Names that a URL would resolve to the Secret of the other namespace.
const ELSEWHERE: [&str; 7] = [
    "../../attacks-other/secrets/token",
    "..%2f..%2fattacks-other%2fsecrets%2ftoken",
    "attacks-other/token",
    "token?x=y",
    "token#x",
    "..",
    "to\nken\u{1b}[31m",
];

#[tokio::test]
async fn a_secret_of_another_namespace_cannot_be_named() {
    let client = client().await;
    let models: Api<DynamicObject> =
        Api::namespaced_with(client, "attacks-own", &ApiResource::erase::<QuantizedModel>(&()));
    let mut params = PatchParams::apply("tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    let refusal = async |reference: Value| {
        let prometheus = json!({"url": "http://prometheus.monitoring:9090", "secretRef": reference});
        let mut model = refusals::changed("elsewhere", "/spec/prometheus", prometheus);
        model["metadata"] = json!({"name": "elsewhere"});
        match models.patch("elsewhere", &params, &Patch::Apply(model)).await {
            Ok(_) => panic!("{reference} was taken"),
            Err(error) => error.to_string(),
        }
    };
    for name in ELSEWHERE {
        let message = refusal(json!({"name": name})).await;
        assert!(
            message.contains("spec.prometheus.secretRef.name"),
            "{name:?}: {message}"
        );
    }
    let message = refusal(json!({"name": "token", "namespace": "attacks-other"})).await;
    assert!(message.contains("secretRef.namespace"), "{message}");
}

#[tokio::test]
async fn a_comparer_cannot_be_pointed_at_another_namespace() {
    let models: Api<DynamicObject> = Api::namespaced_with(
        client().await,
        "attacks-own",
        &ApiResource::erase::<QuantizedModel>(&()),
    );
    let mut params = PatchParams::apply("tests").force();
    params.field_validation = Some(ValidationDirective::Strict);
    let digest = format!("sha256:{}", "0".repeat(64));
    let set = |field: &str, value: &str| {
        let mut golden = json!({"configMap": "golden", "digest": digest});
        golden[field] = json!(value);
        json!({"protocol": "OpenAI", "golden": golden})
    };
    let other = |field: &str| {
        let mut comparer = set("configMap", "golden");
        comparer[field] = json!("http://other.attacks-other.svc:8000");
        comparer
    };
    for (comparer, told) in [
        (other("reference"), "comparer.reference"),
        (other("candidate"), "comparer.candidate"),
        (other("namespace"), "comparer.namespace"),
        (set("namespace", "attacks-other"), "golden.namespace"),
        (set("url", "http://other.attacks-other.svc"), "golden.url"),
        (set("configMap", "attacks-other/golden"), "golden.configMap"),
        (set("configMap", "../golden"), "golden.configMap"),
        (set("key", "../golden.jsonl"), "golden.key"),
        (
            set("path", "http://other.attacks-other.svc/v1/completions"),
            "golden.path",
        ),
        (set("path", "@other.attacks-other.svc/v1/completions"), "golden.path"),
    ] {
        let mut model = refusals::changed("compared", "/spec/comparer", comparer.clone());
        model["metadata"] = json!({"name": "compared"});
        match models.patch("compared", &params, &Patch::Apply(model)).await {
            Ok(_) => panic!("{comparer} was taken"),
            Err(error) => assert!(error.to_string().contains(told), "{comparer}: {error}"),
        }
    }
}

#[tokio::test]
async fn guardbit_reads_the_secret_it_was_given_and_no_other() {
    client().await;
    let mut config = Config::infer().await.expect("a usable KUBECONFIG");
    config.auth_info.impersonate = Some(GUARDBIT.to_owned());
    let guardbit = Client::try_from(config).expect("a client");
    let secrets = |namespace: &str| Api::<Secret>::namespaced(guardbit.clone(), namespace);
    let own = secrets("attacks-own").get("token").await.expect("its own");
    assert_eq!(own.data.expect("data")["token"].0, b"attacks-own");
    let refused = [
        secrets("attacks-other").get("token").await.map(drop),
        secrets("attacks-own").list(&Default::default()).await.map(drop),
        secrets("attacks-own").get(ELSEWHERE[0]).await.map(drop),
        Api::<Secret>::all(guardbit.clone())
            .list(&Default::default())
            .await
            .map(drop),
    ];
    for answer in refused {
        answer.expect_err("a Secret of another namespace was read");
    }
    let nodes: Api<Node> = Api::all(guardbit);
    assert!(nodes.list(&Default::default()).await.is_err());
}

#[tokio::test]
async fn names_cannot_hold_what_a_terminal_obeys() {
    let models: Api<DynamicObject> = Api::namespaced_with(
        client().await,
        "attacks-own",
        &ApiResource::erase::<QuantizedModel>(&()),
    );
    let params = PatchParams::apply("tests").force();
    for pointer in [
        "/spec/variants/1/name",
        "/spec/guards/0/name",
        "/spec/target",
        "/spec/rollout/bootstrap",
    ] {
        let mut model = refusals::changed("names", pointer, json!("a\u{1b}[31m\nb"));
        model["metadata"] = json!({"name": "names"});
        let error = models
            .patch("names", &params, &Patch::Apply(model))
            .await
            .expect_err(pointer);
        assert!(error.to_string().contains("spec"), "{pointer}: {error}");
    }
    let mut model = refusals::good();
    model["metadata"] = json!({"name": "a\u{1b}[31m"});
    assert!(
        models
            .create(&PostParams::default(), &serde_json::from_value(model).unwrap())
            .await
            .is_err()
    );
}
