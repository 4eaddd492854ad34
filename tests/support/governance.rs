//! People, and the policies of admission of config/governance, for the namespaces with the label of a set.

use kube::{Client, Config};
use serde_json::{Value, json};

use crate::control_plane::objects;

/// Changes models, and may approve.
pub const ALICE: &str = "alice@bank.example";
/// The same.
pub const BOB: &str = "bob@bank.example";
/// Is on call.
pub const CAROL: &str = "carol@bank.example";

/// guardbit itself.
pub const GUARDBIT: &str = "system:serviceaccount:guardbit-system:guardbit";

/// Label of the namespaces that the policies of a set are for.
pub const LABEL: &str = "guardbit-policies";

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

/// The roles of guardbit and of people, as they are shipped.
pub fn roles() -> impl Iterator<Item = Value> {
    ROLES.into_iter().flat_map(objects)
}

/// Lets users have roles in a namespace.
pub fn bindings<'a>(namespace: &'a str, bound: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = Value> + 'a {
    bound.iter().enumerate().map(move |(number, (user, role))| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("people-{number}"), "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        })
    })
}

/// The name of a policy in a set: as in a release of that name.
pub fn of_set(set: &str, policy: &str) -> String {
    policy.replacen("guardbit", set, 1)
}

/// The policies as they are shipped, under the names of a set, and bound in the namespaces with its label, so that other tests are
/// left alone.
pub fn policies(set: &str) -> impl Iterator<Item = Value> {
    let selector = json!({"namespaceSelector": {"matchLabels": {LABEL: set}}});
    POLICIES.into_iter().flat_map(objects).map(move |mut object| {
        let name = json!(of_set(set, object["metadata"]["name"].as_str().expect("a name")));
        if object["kind"].as_str().expect("a kind").ends_with("Binding") {
            object["spec"]["policyName"] = name.clone();
            object["spec"]["matchResources"] = selector.clone();
        }
        object["metadata"]["name"] = name;
        object
    })
}

/// What lets guardbit read the policies of a set: they have other names than those that its role tells.
pub fn reader(set: &str) -> [Value; 2] {
    let name = format!("guardbit-policies-{set}");
    let resources = json!([
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings"
    ]);
    let named = ["guardbit-ledger", "guardbit-authors"].map(|policy| of_set(set, policy));
    let rule = json!({"apiGroups": ["admissionregistration.k8s.io"], "resources": resources, "resourceNames": named, "verbs": ["get"]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule]});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "guardbit", "namespace": "guardbit-system"}],
    });
    [role, binding]
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
