//! The admission policies of config/governance on a real API server, and users as it knows them. They come in sets: each has names
//! of its own and is bound in the namespaces with its label, so that other tests are left alone.

use kube::{Client, Config};
use serde_json::json;

use crate::control_plane::{apply, objects};

/// guardbit itself.
pub const GUARDBIT: &str = "system:serviceaccount:guardbit-system:guardbit";

/// Label of the namespaces in which the policies of a set are bound; its value is the name of the set.
pub const SET: &str = "guardbit-policies";

const ROLES: [&str; 5] = [
    include_str!("../../config/rbac/service-account.yaml"),
    include_str!("../../config/rbac/controller.yaml"),
    include_str!("../../config/rbac/policies.yaml"),
    include_str!("../../config/rbac/users.yaml"),
    include_str!("../../config/governance/base/roles.yaml"),
];

const POLICIES: [&str; 4] = [
    include_str!("../../config/governance/base/actions.yaml"),
    include_str!("../../config/governance/base/ledger.yaml"),
    include_str!("../../config/governance/authors/stamp.yaml"),
    include_str!("../../config/governance/authors/keep.yaml"),
];

/// Applies the roles of guardbit and of people, and binds those of guardbit.
pub async fn apply_roles(admin: &Client) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "guardbit-system"}});
    apply(admin, &namespace).await;
    for role in ROLES.into_iter().flat_map(objects) {
        apply(admin, &role).await;
    }
}

/// Applies the policies as they are shipped, as a set.
pub async fn apply_policies(admin: &Client, set: &str) {
    for mut object in POLICIES.into_iter().flat_map(objects) {
        let name = json!(of_set(set, object["metadata"]["name"].as_str().expect("a name")));
        if object["kind"].as_str().expect("a kind").ends_with("Binding") {
            object["spec"]["policyName"] = name.clone();
            object["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {SET: set}}});
        }
        object["metadata"]["name"] = name;
        apply(admin, &object).await;
    }
}

/// Lets guardbit read the policies of a set, which have other names than those that its role lets it read.
pub async fn let_guardbit_read(admin: &Client, set: &str) {
    let name = format!("guardbit-policies-{set}");
    let resources = json!([
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings"
    ]);
    let named = json!([of_set(set, "guardbit-ledger"), of_set(set, "guardbit-authors")]);
    let rule = json!({"apiGroups": ["admissionregistration.k8s.io"], "resources": resources, "resourceNames": named, "verbs": ["get"]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule]});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "guardbit", "namespace": "guardbit-system"}],
    });
    apply(admin, &role).await;
    apply(admin, &binding).await;
}

/// The name of a policy in a set: as in a release of that name.
pub fn of_set(set: &str, policy: &str) -> String {
    policy.replacen("guardbit", set, 1)
}

/// The client of a user, who is in these groups.
pub async fn user(name: &str, groups: &[&str]) -> Client {
    let mut config = Config::infer().await.expect("a usable KUBECONFIG");
    config.auth_info.impersonate = Some(name.to_owned());
    if !groups.is_empty() {
        let groups = groups.iter().map(|group| (*group).to_owned());
        config.auth_info.impersonate_groups = Some(groups.collect());
    }
    Client::try_from(config).expect("a client")
}
