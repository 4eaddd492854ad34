//! People: who asks for a change, who approves it, who takes it back; the admission that knows them; and the invariants of what
//! they do, checked on every event of a history.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use guardbit::api::{Action, PrecisionAction, PrecisionDecision, QuantizedModel};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::admission::{self, GUARDBIT};
use crate::control_plane::apply;
use crate::history::{Act, Entry, History, Seen, State};
use crate::invariants::MODEL;
use crate::proxy::{Fault, Strike};
use crate::world::model;

/// The set of the policies of admission, which is what their names begin with.
pub const SET: &str = "faults";

/// The annotation with the authors of what is not decided, one a line.
pub const AUTHORS: &str = "guardbit.dev/authors";

/// Name of an act that has lapsed long ago.
pub const LAPSED: &str = "lapsed";

/// Name of the act that takes the candidate back.
pub const ROLL_BACK: &str = "down";

/// Changes models.
const AUTHOR: &str = "ann@bank.example";
/// Approves changes.
const APPROVER: &str = "ben@bank.example";
/// Is on call.
const ON_CALL: &str = "cid@bank.example";

/// Who has which role in all namespaces.
const BOUND: [(&str, &str); 3] = [
    (AUTHOR, "guardbit-editor"),
    (APPROVER, "guardbit-approver"),
    (ON_CALL, "guardbit-oncall"),
];

/// Longest time until roles and policies have their effect.
const PATIENCE: Duration = Duration::from_secs(60);

/// A weight at which the candidate is taken back.
const FIRST_STEP: i64 = 20;

/// The people, and guardbit, as the API server knows them.
#[derive(Clone)]
pub struct People {
    /// Changes models.
    pub author: Client,
    /// guardbit.
    pub guardbit: Client,
    approver: Client,
    on_call: Client,
}

impl People {
    /// Gives people their rights, and waits until admission knows them in the namespaces of the set.
    pub async fn start(admin: &Client) -> Self {
        admission::apply_roles(admin).await;
        for (user, role) in BOUND {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("{SET}-{role}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
            });
            apply(admin, &binding).await;
        }
        admission::apply_policies(admin, SET).await;
        admission::let_guardbit_read(admin, SET).await;
        let people = Self {
            author: admission::user(AUTHOR, &[]).await,
            guardbit: admission::user(GUARDBIT, &[]).await,
            approver: admission::user(APPROVER, &[]).await,
            on_call: admission::user(ON_CALL, &[]).await,
        };
        let in_effect = people.are_known(admin);
        tokio::time::timeout(PATIENCE, in_effect)
            .await
            .expect("roles and policies have their effect in time");
        people
    }

    /// Waits until each of them may do what is theirs, and nobody what is another's. Nothing stays of what is tried.
    async fn are_known(&self, admin: &Client) {
        let labels = json!({(admission::SET): SET});
        let namespace = json!({"metadata": {"generateName": "faults-people-", "labels": labels}});
        let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        let made = namespaces.create(&PostParams::default(), &namespace).await;
        let name = made.expect("a namespace").name_any();
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let takes = async |by: &Client, act: Value| {
            let acts: Api<PrecisionAction> = Api::namespaced(by.clone(), &name);
            acts.create(&dry, &parsed(act)).await.is_ok()
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        let approve = |by: &str| {
            let more = json!({"action": "Approve", "changeDigest": digest, "validFor": "1h"});
            act("approve", by, (MODEL, "0"), &more)
        };
        let roll_back = json!({"action": "RollBack", "validFor": "1h"});
        let record: PrecisionDecision = serde_json::from_value(json!({
            "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionDecision", "metadata": {"name": format!("{MODEL}-000001")},
            "spec": {"sequence": 1, "time": "", "summary": "", "payloadDigest": digest, "payload": ""},
        }))
        .expect("a record");
        let records = |by: &Client| -> Api<PrecisionDecision> { Api::namespaced(by.clone(), &name) };
        let (of_admin, of_guardbit) = (records(admin), records(&self.guardbit));
        let kind = ApiResource::erase::<QuantizedModel>(&());
        let models: Api<DynamicObject> = Api::namespaced_with(self.author.clone(), &name, &kind);
        let model: DynamicObject = serde_json::from_value(model("1s")).expect("a model");
        loop {
            let made = models.create(&dry, &model).await;
            let is_stamped =
                made.is_ok_and(|made| made.annotations().get(AUTHORS).is_some_and(|names| names == AUTHOR));
            if is_stamped
                && takes(&self.approver, approve(APPROVER)).await
                && takes(&self.on_call, act(ROLL_BACK, ON_CALL, (MODEL, "0"), &roll_back)).await
                && !takes(&self.guardbit, approve(APPROVER)).await
                && of_guardbit.create(&dry, &record).await.is_ok()
                && of_admin.create(&dry, &record).await.is_err()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // It is empty, and nobody waits for its end.
        let _ = namespaces.delete(&name, &DeleteParams::default()).await;
    }

    /// Somebody has acted on a model that is gone; the proxy dates it back.
    pub async fn acted_long_ago(&self, namespace: &str) {
        let pause = json!({"action": "Pause", "validFor": "1m"});
        let acts: Api<PrecisionAction> = Api::namespaced(self.on_call.clone(), namespace);
        let act = parsed(act(LAPSED, ON_CALL, ("gone", "0"), &pause));
        acts.create(&PostParams::default(), &act).await.expect("it is taken");
    }

    /// Approves the first traffic when it is asked for; takes the candidate back at its first step where that is wanted.
    pub async fn act(self, namespace: String, history: Arc<History>, takes_back: bool) {
        let digest = loop {
            history.until(|state| state.status.awaiting.is_some()).await;
            if let Some(awaiting) = history.state().status.awaiting {
                break awaiting.change_digest;
            }
        };
        let models: Api<QuantizedModel> = Api::namespaced(self.approver.clone(), &namespace);
        let uid = models.get(MODEL).await.expect("it is there").uid().expect("a uid");
        let approve = json!({"action": "Approve", "changeDigest": digest, "validFor": "24h"});
        let approve = parsed(act("approve", APPROVER, (MODEL, &uid), &approve));
        let acts: Api<PrecisionAction> = Api::namespaced(self.approver.clone(), &namespace);
        acts.create(&PostParams::default(), &approve)
            .await
            .expect("an approval is taken");
        if takes_back {
            history.until(|state| state.route.of_candidate() == FIRST_STEP).await;
            let roll_back = json!({"action": "RollBack", "validFor": "1h"});
            let roll_back = parsed(act(ROLL_BACK, ON_CALL, (MODEL, &uid), &roll_back));
            let acts: Api<PrecisionAction> = Api::namespaced(self.on_call.clone(), &namespace);
            acts.create(&PostParams::default(), &roll_back)
                .await
                .expect("a rollback is taken");
        }
    }
}

/// An act on a model, by name and uid; `more` is what its kind needs.
fn act(name: &str, by: &str, (model, uid): (&str, &str), more: &Value) -> Value {
    let mut spec = json!({
        "modelRef": {"name": model, "uid": uid}, "actor": {"username": by},
        "reason": "It is a test of what can fail.",
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionAction", "metadata": {"name": name}, "spec": spec})
}

fn parsed(act: Value) -> PrecisionAction {
    serde_json::from_value(act).expect("an action")
}

/// What is wrong with what became of what people did.
pub fn violations(entries: &[Entry]) -> Vec<String> {
    let (mut state, mut records, mut found) = (State::default(), BTreeSet::new(), Vec::new());
    for entry in entries {
        match &entry.seen {
            Seen::Record(record) => drop(records.insert(record.name_any())),
            Seen::Route(route) if route.of_candidate() > state.route.of_candidate() => {
                let weight = route.of_candidate();
                if !state.acts.values().any(|act| act.action == "Approve") {
                    found.push(format!("int8 rises to {weight}%, and nobody has approved"));
                }
                let mut decisions = state.status.decisions.iter();
                if decisions.any(|decision| decision.action == Action::TakenBack) {
                    found.push(format!("int8 rises to {weight}% after it was taken back"));
                }
            }
            Seen::Act(name, None) if name != LAPSED => found.push(format!("the action {name} is gone")),
            Seen::Act(name, Some(Act { record: Some(of), .. })) if !records.contains(of) => {
                found.push(format!("the action {name} names record {of}, which is not there"));
            }
            _ => {}
        }
        state.apply(entry);
    }
    found.dedup();
    found
}

/// Whether what lapsed long ago must be gone in the end. Who was refused, or not answered, while it looked for that looks again an
/// hour later.
pub fn is_swept(strike: Option<&Strike>) -> bool {
    let sweeps = |strike: &&Strike| {
        ["list precisionactions", "delete precisionactions"]
            .iter()
            .any(|what| strike.call.starts_with(what))
    };
    let fault = strike.filter(sweeps).map(|strike| strike.fault);
    !matches!(fault, Some(Fault::Conflict | Fault::ServerError | Fault::NoAnswer))
}
