//! A namespace with people in it, to which the policies of config/governance apply.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::admission::{self, SET};
use crate::control_plane::{self, apply};
use crate::refusals;

pub use crate::admission::GUARDBIT;

/// Longest time that anything awaited here may take. The garbage collector looks for new kinds every 30 seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Name of every model.
pub const MODEL: &str = "fraud-scorer";

/// Changes models, and may approve.
pub const ALICE: &str = "alice@bank.example";
/// The same.
pub const BOB: &str = "bob@bank.example";
/// Is on call.
pub const CAROL: &str = "carol@bank.example";
/// Changes models, and may not act.
pub const MALLORY: &str = "mallory@bank.example";
/// May break the glass.
pub const GRACE: &str = "grace@bank.example";
/// Administers the namespace.
pub const NADIA: &str = "nadia@bank.example";
/// May do everything, by `*`.
pub const ROOT: &str = "root@bank.example";
/// A pipeline that somebody let approve.
pub const PIPELINE: &str = "system:serviceaccount:ci:pipeline";
/// A node that somebody let approve.
pub const NODE: &str = "system:node:node-1";

/// Who has which role in the namespace of a stage.
const BOUND: [(&str, &str); 12] = [
    (ALICE, "guardbit-editor"),
    (ALICE, "guardbit-approver"),
    (BOB, "guardbit-editor"),
    (BOB, "guardbit-approver"),
    (CAROL, "guardbit-oncall"),
    (MALLORY, "guardbit-editor"),
    (GRACE, "guardbit-breakglass"),
    (NADIA, "admin"),
    (PIPELINE, "guardbit-approver"),
    (PIPELINE, "guardbit-oncall"),
    (NODE, "guardbit-approver"),
    (ROOT, "cluster-admin"),
];

/// What is there for all stages is applied by one test after the other.
static SETTING_UP: Mutex<()> = Mutex::const_new(());

/// A namespace with people in it, and a set of the policies that may be shared with other stages.
pub struct Stage {
    pub admin: Client,
    pub namespace: String,
    set: String,
}

impl Stage {
    /// A stage under the policies that all tests share.
    pub async fn start(test: &str) -> Self {
        Self::under("shared", test).await
    }

    /// A stage under a set of the policies. A set has names of its own, and is for the namespaces that have its label.
    pub async fn under(set: &str, test: &str) -> Self {
        let _one_at_a_time = SETTING_UP.lock().await;
        let admin = control_plane::client().await;
        let namespace = format!("governance-{test}");
        let stage = Self {
            admin,
            namespace,
            set: set.to_owned(),
        };
        stage.people().await;
        // Nobody asked for this model yet: it is there before the policies are.
        let mut bare = refusals::good();
        bare["metadata"] = json!({"name": "bare", "namespace": stage.namespace});
        apply(&stage.admin, &bare).await;
        stage.policies().await;
        stage
    }

    async fn people(&self) {
        admission::apply_roles(&self.admin).await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        apply(&self.admin, &namespace).await;
        for (number, (user, role)) in BOUND.into_iter().enumerate() {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": format!("people-{number}"), "namespace": self.namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
            });
            apply(&self.admin, &binding).await;
        }
        // One right of each role that is bound.
        for (user, verb, what) in [
            (ALICE, "approve", "guardbit.dev/quantizedmodels"),
            (BOB, "create", "guardbit.dev/quantizedmodels"),
            (BOB, "approve", "guardbit.dev/quantizedmodels"),
            (CAROL, "pause", "guardbit.dev/quantizedmodels"),
            (MALLORY, "create", "guardbit.dev/quantizedmodels"),
            (GRACE, "breakglass", "guardbit.dev/quantizedmodels"),
            // The rules of `admin` are put together by a controller.
            (NADIA, "create", "rbac.authorization.k8s.io/roles"),
            (PIPELINE, "pause", "guardbit.dev/quantizedmodels"),
            (NODE, "approve", "guardbit.dev/quantizedmodels"),
            (ROOT, "delete", "guardbit.dev/precisionactions"),
            (GUARDBIT, "create", "guardbit.dev/precisiondecisions"),
        ] {
            until(&format!("{user} may {verb} {what}"), async || {
                self.may(user, verb, what).await
            })
            .await;
        }
    }

    /// The policies as they are shipped, bound in the namespaces with the label of the set, so that other tests are left alone.
    async fn policies(&self) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {SET: self.set}}});
        apply(&self.admin, &namespace).await;
        admission::apply_policies(&self.admin, &self.set).await;
        until("actions are guarded", async || !self.forgery_is_taken().await).await;
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let records = self.records(&self.admin);
        until("records are guarded", async || {
            records.create(&dry, &record(1)).await.is_err()
        })
        .await;
        let models = self.models(&self.admin);
        let forged = Patch::Merge(json!({"metadata": {"annotations": {AUTHORS: "nobody"}}}));
        let params = PatchParams::default().dry_run();
        until("authors are guarded", async || {
            models.patch("bare", &params, &forged).await.is_err()
        })
        .await;
        until("authors are stamped", async || {
            let made = models.create(&dry, &model("stamped")).await;
            made.is_ok_and(|made| authors(&made).is_some())
        })
        .await;
    }

    /// The name of a policy in the set of this stage: as in a release of that name.
    pub fn of_set(&self, policy: &str) -> String {
        admission::of_set(&self.set, policy)
    }

    /// What guardbit tries to see whether admission is there: an action in the name of somebody else, without a trace.
    pub async fn forgery_is_taken(&self) -> bool {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let forged = act("probe", "Pause", "somebody@bank.example");
        match self
            .actions(&self.user(GUARDBIT, &[]).await)
            .create(&dry, &forged)
            .await
        {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => {
                assert!(status.is_forbidden(), "{status:?}");
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The client of a user, who is in these groups.
    pub async fn user(&self, name: &str, groups: &[&str]) -> Client {
        admission::user(name, groups).await
    }

    fn api(&self, client: &Client, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("guardbit.dev", "v1alpha1", kind));
        Api::namespaced_with(client.clone(), &self.namespace, &resource)
    }

    pub fn models(&self, client: &Client) -> Api<DynamicObject> {
        self.api(client, "QuantizedModel")
    }

    pub fn actions(&self, client: &Client) -> Api<DynamicObject> {
        self.api(client, "PrecisionAction")
    }

    pub fn records(&self, client: &Client) -> Api<DynamicObject> {
        self.api(client, "PrecisionDecision")
    }

    /// Whether RBAC lets a user do this in the namespace.
    async fn may(&self, user: &str, verb: &str, what: &str) -> bool {
        let (group, resource) = what.split_once('/').expect("a group and a resource");
        let review: SubjectAccessReview =
            serde_json::from_value(json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "namespace": self.namespace, "name": MODEL}}}))
            .expect("a review");
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.expect("reviewed");
        answer.status.expect("a status").allowed
    }
}

/// Waits until something is so.
pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// What the API server says of a request that it must refuse.
pub fn refused<T: Debug>(answer: kube::Result<T>) -> String {
    match answer {
        Ok(taken) => panic!("taken: {taken:?}"),
        Err(kube::Error::Api(status)) => status.message.clone(),
        Err(error) => panic!("{error}"),
    }
}

/// The annotation with those who had a hand in what is not decided yet.
pub const AUTHORS: &str = "guardbit.dev/authors";

/// Who is on the list of authors.
pub fn authors(model: &DynamicObject) -> Option<&str> {
    let annotations = model.metadata.annotations.as_ref()?;
    annotations.get(AUTHORS).map(String::as_str)
}

/// The good model under another name.
pub fn model(name: &str) -> DynamicObject {
    let mut model = refusals::good();
    model["metadata"] = json!({"name": name});
    parsed(model)
}

/// A whole action of a person, with what its kind needs.
pub fn act(name: &str, action: &str, by: &str) -> DynamicObject {
    let mut spec = json!({
        "modelRef": {"name": MODEL, "uid": "6f0c9b1e-6f0c-4b1e-8f0c-6f0c9b1e6f0c"},
        "action": action,
        "actor": {"username": by},
        "reason": "Validation report MRM-2291 read.",
        "validFor": "1h",
    });
    match action {
        "Approve" | "Reject" => spec["changeDigest"] = digest(),
        "Retry" => spec["variant"] = json!("int8"),
        "BreakGlass" => {
            spec["incident"] = json!("INC-1");
            spec["waives"] = json!(["Approvals"]);
        }
        _ => (),
    }
    parsed(
        json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionAction", "metadata": {"name": name}, "spec": spec}),
    )
}

/// A record that the schema takes.
pub fn record(sequence: i64) -> DynamicObject {
    parsed(json!({
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionDecision",
        "metadata": {"name": format!("{MODEL}-{sequence:06}"), "labels": {"guardbit.dev/model": MODEL}},
        "spec": {"sequence": sequence, "time": "2026-11-28T10:05:17Z", "summary": "Raised int8 to 25%",
            "payloadDigest": digest(), "payload": "H4sIAAAAAAAA"},
    }))
}

fn digest() -> Value {
    json!(format!("sha256:{}", "0".repeat(64)))
}

fn parsed(object: Value) -> DynamicObject {
    serde_json::from_value(object).expect("an object")
}
