//! What the verbs ask of the API server, and what whoever acts can do where it refuses.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, Status};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::RELEASE;
use crate::api::{
    ActKind, ActState, GROUP, PrecisionAction, PrecisionActionSpec, QuantizedModel, QuantizedModelSpec,
    QuantizedModelStatus,
};
use crate::apiserver::{CallError, call};
use crate::governance::people::acts::Act;
use crate::manifests::{MODEL_LABEL, model_label};

/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// Characters of the end of a name: those that Kubernetes itself uses, which make no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Length of the end of a name.
const END: usize = 5;

/// How often another name is tried where an action of the same name exists.
const TRIES: usize = 5;

/// Actions that one answer of the API server holds.
const PAGE: u32 = 500;

/// How an action is asked for.
pub(super) struct Called {
    /// The command.
    pub(super) verb: &'static str,
    /// The verb on quantizedmodels that gives the right to it.
    right: &'static str,
    /// The ClusterRole that has the right.
    role: &'static str,
    /// How long it is in force where nobody says it.
    pub(super) valid_for: &'static str,
}

/// How each kind of action is asked for.
pub(super) fn called(kind: ActKind) -> Called {
    let (verb, right, role, valid_for) = match kind {
        ActKind::Approve => ("approve", "approve", "guardbit-approver", "24h"),
        ActKind::Reject => ("reject", "approve", "guardbit-approver", "168h"),
        ActKind::Pause => ("pause", "pause", "guardbit-oncall", "24h"),
        ActKind::Resume => ("resume", "pause", "guardbit-oncall", "1h"),
        ActKind::RollBack => ("rollback", "rollback", "guardbit-oncall", "168h"),
        ActKind::Retry => ("retry", "retry", "guardbit-oncall", "24h"),
        ActKind::BreakGlass => ("break-glass", "breakglass", "guardbit-breakglass", "1h"),
    };
    Called {
        verb,
        right,
        role,
        valid_for,
    }
}

/// A model, as the API server has it.
pub(super) struct Model {
    pub(super) name: String,
    pub(super) uid: String,
    /// What is in it, or why this release cannot read it.
    pub(super) read: Result<(QuantizedModelSpec, QuantizedModelStatus), String>,
}

/// The API server, and a namespace.
pub(super) struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// The API server of the kubeconfig, with its namespace or another.
    pub(super) async fn connect(namespace: Option<&str>) -> Result<Self, String> {
        let client = Client::try_default().await;
        let client = client.map_err(|e| format!("no way to the API server: {e}"))?;
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        Ok(Self { client, namespace })
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn actions(&self) -> Api<PrecisionAction> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of a kind, whatever is in them.
    fn any<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<K>(&()))
    }

    /// Who calls, as the API server knows it.
    pub(super) async fn whoami(&self) -> Result<UserInfo, String> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let answer = call("who you are cannot be found out", reviews.create(&params, &review)).await;
        let answer = answer.map_err(|e| e.to_string())?;
        Ok(answer.status.and_then(|status| status.user_info).unwrap_or_default())
    }

    /// The model of this name.
    pub(super) async fn model(&self, name: &str) -> Result<Model, String> {
        let models = self.any::<QuantizedModel>();
        let namespace = &self.namespace;
        let object = match call(format!("{namespace}/{name} cannot be read"), models.get(name)).await {
            Ok(object) => object,
            Err(error) => {
                return Err(match error.status() {
                    Some(of) if of.code == 404 && names_an_object(of) => format!(
                        "there is no QuantizedModel {namespace}/{name}: kubectl get quantizedmodels -A lists those that there \
                         are, and -n names their namespace"
                    ),
                    Some(of) if of.code == 404 => no_kind("QuantizedModel"),
                    _ => error.to_string(),
                });
            }
        };
        Ok(Model {
            name: object.metadata.name.unwrap_or_default(),
            uid: object.metadata.uid.unwrap_or_default(),
            read: read(&object.data),
        })
    }

    /// The actions for a model with this uid that guardbit has not called over. Those that this release cannot read are left
    /// out.
    pub(super) async fn acts(&self, uid: &str) -> Result<Vec<Act>, String> {
        let actions = self.any::<PrecisionAction>();
        let (mut page, mut acts) = (ListParams::default().limit(PAGE), Vec::new());
        loop {
            let list = call("earlier actions cannot be listed", actions.list(&page)).await;
            let list = list.map_err(|e| e.to_string())?;
            let read = list.items.into_iter().filter_map(|object| {
                let object = serde_json::to_value(object).ok()?;
                serde_json::from_value::<PrecisionAction>(object).ok()
            });
            let of_model = read.filter(|action| action.spec.model_ref.uid == uid && !is_over(action));
            acts.extend(of_model.filter_map(|action| Act::of(&action)));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(acts),
            }
        }
    }

    /// Creates an action under a name of its own, or has the API server try that without a trace.
    pub(super) async fn create(
        &self,
        kind: ActKind,
        model: &Model,
        spec: &PrecisionActionSpec,
        dry_run: bool,
    ) -> Result<PrecisionAction, String> {
        let params = PostParams {
            dry_run,
            field_manager: None,
        };
        let mut tries = 0;
        loop {
            let name = name(&model.name, called(kind).verb);
            let mut action = PrecisionAction::new(&name, spec.clone());
            let labels = action.metadata.labels.get_or_insert_default();
            labels.insert(MODEL_LABEL.to_owned(), model_label(&model.name));
            tries += 1;
            let actions = self.actions();
            match call(format!("{name} is not created"), actions.create(&params, &action)).await {
                Ok(created) => return Ok(created),
                Err(CallError::Conflict(_)) if tries < TRIES => {}
                Err(error) => return Err(self.told(&error, kind, model, &name).await),
            }
        }
    }

    /// Why an action was not created, and what to do.
    async fn told(&self, error: &CallError, kind: ActKind, model: &Model, name: &str) -> String {
        let namespace = &self.namespace;
        let code = error.status().map(|status| status.code);
        if code == Some(404) {
            return no_kind("PrecisionAction");
        }
        if code == Some(403) && self.lacks_right(kind, model).await {
            let Called { right, role, .. } = called(kind);
            return format!(
                "{error}; the ClusterRole {role} has the right {right}, and a cluster administrator binds it to you in namespace \
                 {namespace} (docs/install.md)"
            );
        }
        match error {
            CallError::Conflict(_) => {
                format!("actions of {TRIES} random names exist already, the last {name}: try again")
            }
            CallError::Timeout(_) => {
                format!(
                    "{error}; it may be there all the same: kubectl get precisionaction {name} -n {namespace} tells"
                )
            }
            CallError::Api { .. } => error.to_string(),
        }
    }

    /// Whether who calls lacks a right that the action needs. What cannot be found out is not lacking.
    async fn lacks_right(&self, kind: ActKind, model: &Model) -> bool {
        let acts = self.may(called(kind).right, "quantizedmodels", Some(&model.name)).await;
        let creates = self.may("create", "precisionactions", None).await;
        acts == Some(false) || creates == Some(false)
    }

    async fn may(&self, verb: &str, resource: &str, name: Option<&str>) -> Option<bool> {
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(self.namespace.clone()),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = call("rights", reviews.create(&PostParams::default(), &review)).await;
        Some(answer.ok()?.status?.allowed)
    }
}

/// The spec and the status of a model, or where they cannot be read.
fn read(data: &Value) -> Result<(QuantizedModelSpec, QuantizedModelStatus), String> {
    let empty = Value::Object(serde_json::Map::new());
    let spec = field(data, "spec", &empty)?;
    Ok((spec, field(data, "status", &empty)?))
}

fn field<T: DeserializeOwned>(data: &Value, name: &str, empty: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(data.get(name).unwrap_or(empty)).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        format!(
            "guardbit {RELEASE} cannot read {name}.{path} ({error}); use the command of the release that runs in the cluster"
        )
    })
}

/// Whether guardbit has found that an action has no effect any more.
fn is_over(action: &PrecisionAction) -> bool {
    let state = action.status.as_ref().and_then(|status| status.state.known());
    matches!(state, Some(ActState::Lapsed | ActState::Lifted | ActState::Inert))
}

/// Whether an answer is about an object. Of a kind that the API server does not know it names none.
fn names_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

fn no_kind(kind: &str) -> String {
    format!(
        "the API server has no {kind}: the CustomResourceDefinitions of this release are not there; kubectl apply --server-side \
         -k crds installs them (docs/install.md)"
    )
}

/// A name for an action: `MODEL-VERB-xxxxx`.
fn name(model: &str, verb: &str) -> String {
    let end: String = (0..END)
        .map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]))
        .collect();
    let room = LONGEST_NAME - verb.len() - END - 2;
    let model: String = model.chars().take(room).collect();
    format!("{}-{verb}-{end}", model.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_ones_that_kubernetes_takes() {
        let usual = name("fraud-scorer", "approve");
        let end = usual.strip_prefix("fraud-scorer-approve-").expect(&usual);
        assert!(
            end.len() == 5 && end.bytes().all(|byte| LETTERS.contains(&byte)),
            "{usual}"
        );
        // It is cut behind the dot, where no name may end.
        let long = format!("{}.{}", "m".repeat(234), "n".repeat(18));
        let cut = name(&long, "break-glass");
        assert!(cut.starts_with(&format!("{}-break-glass-", "m".repeat(234))), "{cut}");
        assert!(cut.len() <= LONGEST_NAME, "{cut}");
    }

    #[test]
    fn a_model_of_a_newer_release_is_told_with_the_field_that_cannot_be_read() {
        let mut object: Value =
            serde_yaml_ng::from_str(include_str!("../../../tests/testdata/fraud-scorer.yaml")).unwrap();
        let (_, status) = read(&object).expect("it has no status yet");
        assert_eq!(status, QuantizedModelStatus::default());
        object["spec"]["guards"][0]["novel"] = json!({});
        let error = read(&object).map(drop).unwrap_err();
        assert!(
            error.contains("spec.guards[0].novel") && error.contains(RELEASE),
            "{error}"
        );
    }
}
