//! Whether admission does its part: that nobody acts in the name of another, that what is on record stays as it is, and that
//! the authors of a change are kept.
//!
//! The first is tried out, because that tests the policy, its binding and its expressions at once: an action in somebody else's
//! name is sent without a trace, and must be refused. The others cannot be tried, for guardbit is the one who may; there it is
//! looked whether the objects are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use parking_lot::Mutex;
use tokio::sync::watch as signal;

use crate::api::{ActKind, Actor, ModelRef, PrecisionAction, PrecisionActionSpec, plain};
use crate::apiserver::{CallError, call, call_opt};
use crate::governance::people::acts::Assurance;
use crate::telemetry::Metrics;

/// Group of the kinds of admission.
const GROUP: &str = "admissionregistration.k8s.io";

/// Versions of policies that validate.
const VALIDATING: &[&str] = &["v1"];

/// Versions of policies that mutate; a cluster may have neither.
const MUTATING: &[&str] = &["v1", "v1beta1"];

/// How often it is looked while all is well, and otherwise.
const EACH: Duration = Duration::from_secs(3_600);
const AGAIN: Duration = Duration::from_secs(60);

/// Longest time that evaluations wait for an answer: they may have somebody to lower.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest answer of the API server that is repeated, in characters.
const LONGEST_ANSWER: usize = 512;

/// Code of the answer to who lacks a right.
const FORBIDDEN: u16 = 403;

/// What was found of admission for the models of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::controller) struct Found {
    /// How the actors of acts are known.
    pub(super) actors: Assurance,
    /// How the authors of changes are known.
    pub(super) authors: Assurance,
    /// Why acts that open something do not count; `None` where they do.
    off: Option<String>,
}

/// What is known of admission, by namespace: a policy need not be bound in all of them.
pub(in crate::controller) struct Admission {
    client: Client,
    /// With what the names of the policies begin.
    prefix: String,
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<String, Asked>>,
}

/// What was asked of a namespace.
struct Asked {
    at: Option<Instant>,
    again: Duration,
    /// Time of the newest act that it was asked for: an act is not answered for by what was found before it.
    newest: Option<Timestamp>,
    found: Arc<signal::Sender<Option<Found>>>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            at: None,
            again: EACH,
            newest: None,
            found: Arc::new(signal::channel(None).0),
        }
    }
}

impl Admission {
    pub(in crate::controller) fn new(client: Client, prefix: String, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            prefix,
            metrics,
            known: Mutex::default(),
        }
    }

    /// What was found for the models of a namespace, of which the newest act that opens something is this old. It is asked
    /// again from time to time, and for each such act. While nobody knows, nothing is taken for certain.
    pub(in crate::controller) async fn of(self: &Arc<Self>, namespace: &str, newest: Option<Timestamp>) -> Found {
        let (mut answer, since) = self.ask(namespace, newest);
        let rest = PATIENCE.saturating_sub(since.elapsed());
        let found = tokio::time::timeout(rest, answer.wait_for(Option::is_some)).await;
        let found = found.ok().and_then(|found| found.ok()?.clone());
        found.unwrap_or_else(|| Found {
            actors: Assurance::Claimed,
            authors: Assurance::Claimed,
            off: Some("the API server has not answered yet".to_owned()),
        })
    }

    /// The last answer, or the next one where it has to be asked, and when that was asked for.
    fn ask(self: &Arc<Self>, namespace: &str, newest: Option<Timestamp>) -> (signal::Receiver<Option<Found>>, Instant) {
        let mut known = self.known.lock();
        let asked = known.entry(namespace.to_owned()).or_default();
        let is_new = newest > asked.newest;
        if is_new {
            asked.newest = newest;
            // A look that goes on began before the act, and answers only those who asked before.
            asked.found = Asked::default().found;
        }
        let at = match asked.at.filter(|at| !is_new && at.elapsed() < asked.again) {
            Some(at) => at,
            None => {
                let (of, namespace, found) = (Arc::clone(self), namespace.to_owned(), Arc::clone(&asked.found));
                tokio::spawn(async move { of.look(&namespace, &found).await });
                asked.again = EACH;
                *asked.at.insert(Instant::now())
            }
        };
        (asked.found.subscribe(), at)
    }

    /// Looks, and tells whoever waits for it and people.
    async fn look(&self, namespace: &str, to: &signal::Sender<Option<Found>>) {
        let (found, is_sure) = match self.probe(namespace).await {
            Ok(found) => (found, true),
            Err(error) => {
                tracing::warn!(namespace, %error, "it cannot be found out whether admission does its part");
                let off = format!("it cannot be found out: {error}");
                let unknown = Found {
                    actors: Assurance::Claimed,
                    authors: Assurance::Claimed,
                    off: Some(off),
                };
                // What was found before holds until there is another answer.
                (to.borrow().clone().unwrap_or(unknown), false)
            }
        };
        let is_on = found.off.is_none();
        if !is_sure || !is_on {
            let mut known = self.known.lock();
            known.entry(namespace.to_owned()).or_default().again = AGAIN;
        }
        if is_sure {
            self.metrics.admission(namespace, is_on);
        }
        let before = to.send_replace(Some(found.clone()));
        if before.as_ref() == Some(&found) {
            return;
        }
        match &found.off {
            Some(why) => {
                tracing::warn!(
                    namespace,
                    why,
                    "admission is off: actions that let something rise do not count"
                );
            }
            None => tracing::info!(namespace, authors = ?found.authors, "admission is on"),
        }
    }

    async fn probe(&self, namespace: &str) -> Result<Found, CallError> {
        let (forged, kept, authors) = tokio::join!(self.takes_forged(namespace), self.keeps_records(), self.authors());
        let off = forged?.or(kept?);
        let known = |is_known: bool| match is_known {
            true => Assurance::Pinned,
            false => Assurance::Claimed,
        };
        Ok(Found {
            actors: known(off.is_none()),
            authors: known(authors?),
            off,
        })
    }

    /// Why an action in the name of somebody else is taken, or may be; `None` where the policy refuses it.
    async fn takes_forged(&self, namespace: &str) -> Result<Option<String>, CallError> {
        let actions: Api<PrecisionAction> = Api::namespaced(self.client.clone(), namespace);
        let without_a_trace = PostParams {
            dry_run: true,
            field_manager: None,
        };
        let policy = format!("{}-actions", self.prefix);
        let answer = call("try an action", actions.create(&without_a_trace, &forged())).await;
        let error = match answer {
            Ok(_) => {
                return Ok(Some(format!(
                    "the API server takes an action in the name of somebody else: the ValidatingAdmissionPolicy {policy} is not \
                     there, or is not bound in this namespace (docs/install.md)"
                )));
            }
            Err(error) => error,
        };
        let Some(why) = error.refusal() else {
            return Err(error);
        };
        if refused_by(&why, &policy) {
            return Ok(None);
        }
        Ok(Some(format!(
            "an action in the name of somebody else is refused, but not by the ValidatingAdmissionPolicy {policy}: {}",
            plain(&why, LONGEST_ANSWER)
        )))
    }

    /// Why records may be changed by others; `None` where the policy that keeps them is there.
    async fn keeps_records(&self) -> Result<Option<String>, CallError> {
        let policy = format!("{}-ledger", self.prefix);
        for kind in ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"] {
            match self.is_there(kind, VALIDATING, &policy).await {
                Ok(true) => {}
                Ok(false) => return Ok(Some(format!("there is no {kind} {policy} (docs/install.md)"))),
                Err(error) => match error.refusal() {
                    Some(why) => {
                        return Ok(Some(format!(
                            "whether there is a {kind} {policy} cannot be read: {why}"
                        )));
                    }
                    None => return Err(error),
                },
            }
        }
        Ok(None)
    }

    /// Whether the authors of changes are kept. Older clusters cannot do that, and it is nobody's fault. Where guardbit may
    /// not read it, they count as not kept; any other answer says nothing, and it is asked again soon.
    async fn authors(&self) -> Result<bool, CallError> {
        let policy = format!("{}-authors", self.prefix);
        for (kind, versions) in [
            ("MutatingAdmissionPolicy", MUTATING),
            ("MutatingAdmissionPolicyBinding", MUTATING),
            ("ValidatingAdmissionPolicy", VALIDATING),
            ("ValidatingAdmissionPolicyBinding", VALIDATING),
        ] {
            match self.is_there(kind, versions, &policy).await {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) if error.status().is_some_and(|status| status.code == FORBIDDEN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn is_there(&self, kind: &str, versions: &[&str], name: &str) -> Result<bool, CallError> {
        for version in versions {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind));
            let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let found = call_opt(format!("read {kind} {name}"), objects.get(name)).await?;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// An action of somebody else, for no model. A pause opens nothing.
fn forged() -> PrecisionAction {
    let spec = PrecisionActionSpec {
        model_ref: ModelRef {
            name: "guardbit-probe".to_owned(),
            uid: "0".to_owned(),
        },
        action: ActKind::Pause,
        change_digest: None,
        to: None,
        variant: None,
        incident: None,
        waives: Vec::new(),
        actor: Actor {
            username: "somebody-else".to_owned(),
            uid: None,
            groups: Vec::new(),
        },
        reason: "guardbit sees whether this is refused.".to_owned(),
        valid_for: "1m".into(),
    };
    PrecisionAction::new("guardbit-probe", spec)
}

/// Whether it is this policy that refused; the names of policies in files of the API server end in a suffix.
fn refused_by(message: &str, policy: &str) -> bool {
    ["", ".static.k8s.io"]
        .iter()
        .any(|suffix| message.contains(&format!("ValidatingAdmissionPolicy '{policy}{suffix}'")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server with these objects of admission, whose policy of actions may be switched.
    #[derive(Default)]
    struct Server {
        refuses: AtomicBool,
        lacks: &'static str,
        /// What it answers for objects of this path, which are there.
        fails: Option<(&'static str, u16)>,
        tried: AtomicUsize,
    }

    impl Server {
        fn answer(&self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
            let failure = |code: u16, reason: &str, message: String| {
                (
                    code,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "code": code, "message": message}),
                )
            };
            if method == Method::POST {
                self.tried.fetch_add(1, Ordering::Relaxed);
                assert_eq!(path, "/apis/guardbit.dev/v1alpha1/namespaces/risk/precisionactions");
                if self.refuses.load(Ordering::Relaxed) {
                    let message = "precisionactions.guardbit.dev \"guardbit-probe\" is forbidden: ValidatingAdmissionPolicy 'blue-actions' with binding 'blue-actions' denied request: no";
                    return failure(403, "Forbidden", message.to_owned());
                }
                return (201, body.clone());
            }
            if let Some((_, code)) = self.fails.filter(|(part, _)| path.contains(part)) {
                return failure(code, "Reason", "no".to_owned());
            }
            let lacks = !self.lacks.is_empty() && path.contains(self.lacks);
            if lacks || path.contains("v1beta1") {
                return failure(404, "NotFound", "not found".to_owned());
            }
            let kind = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "K", "metadata": {"name": "n"}});
            (200, kind)
        }
    }

    fn admission(server: &Arc<Server>) -> Arc<Admission> {
        let server = Arc::clone(server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let (parts, body) = request.into_parts();
                assert!(parts.method == Method::GET || parts.uri.query().unwrap_or_default().contains("dryRun=All"));
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
                let (code, answer) = server.answer(&parts.method, parts.uri.path(), &body);
                let answer = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, kube::Error>(answer.unwrap())
            }
        });
        let client = Client::new(service, "risk");
        Arc::new(Admission::new(client, "blue".to_owned(), Arc::default()))
    }

    fn refusing(lacks: &'static str) -> Arc<Server> {
        Arc::new(Server {
            refuses: AtomicBool::new(true),
            lacks,
            ..Server::default()
        })
    }

    #[tokio::test]
    async fn actors_are_known_where_a_forged_action_is_refused_and_records_are_kept() {
        use Assurance::{Claimed, Pinned};
        for (lacks, actors, authors, part) in [
            ("", Pinned, Pinned, None),
            ("/mutatingadmissionpolicies/", Pinned, Claimed, None),
            (
                "/validatingadmissionpolicybindings/blue-ledger",
                Claimed,
                Pinned,
                Some("there is no ValidatingAdmissionPolicyBinding blue-ledger"),
            ),
        ] {
            let found = admission(&refusing(lacks)).of("risk", None).await;
            assert_eq!((found.actors, found.authors), (actors, authors), "{lacks}");
            assert_eq!(found.off.is_some(), part.is_some(), "{lacks}");
            assert!(part.is_none_or(|part| found.off.unwrap().contains(part)), "{lacks}");
        }
        let taken = admission(&Arc::default()).of("risk", None).await;
        assert_eq!(taken.actors, Claimed);
        assert!(
            taken
                .off
                .unwrap()
                .contains("takes an action in the name of somebody else")
        );
    }

    #[tokio::test]
    async fn an_answer_that_says_nothing_of_authors_is_asked_for_again_soon() {
        for (code, actors, again) in [
            (FORBIDDEN, Assurance::Pinned, EACH),
            (410, Assurance::Claimed, AGAIN),
            (500, Assurance::Claimed, AGAIN),
        ] {
            let server = Arc::new(Server {
                refuses: AtomicBool::new(true),
                fails: Some(("/mutatingadmissionpolicies/", code)),
                ..Server::default()
            });
            let admission = admission(&server);
            let found = admission.of("risk", None).await;
            assert_eq!((found.actors, found.authors), (actors, Assurance::Claimed), "{code}");
            assert_eq!(admission.known.lock()["risk"].again, again, "{code}");
        }
    }

    #[tokio::test]
    async fn it_is_asked_once_and_again_for_an_act_that_is_newer() {
        let server = refusing("");
        let admission = admission(&server);
        for _ in 0..3 {
            assert_eq!(admission.of("risk", None).await.actors, Assurance::Pinned);
        }
        assert_eq!(server.tried.load(Ordering::Relaxed), 1);
        server.refuses.store(false, Ordering::Relaxed);
        let act = Some("2026-11-10T00:00:00Z".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(admission.of("risk", act).await.actors, Assurance::Claimed);
        }
        assert_eq!(server.tried.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_was_asked_before_an_act_does_not_answer_for_it() {
        let admission = admission(&refusing(""));
        let (before, _) = admission.ask("risk", None);
        let act = Some("2026-11-10T00:00:00Z".parse().unwrap());
        let (after, _) = admission.ask("risk", act);
        assert!(!before.same_channel(&after));
        assert!(after.same_channel(&admission.ask("risk", act).0), "it is asked once");
        assert_eq!(admission.of("risk", act).await.actors, Assurance::Pinned);
    }

    #[test]
    fn what_somebody_else_refuses_says_nothing_of_the_policy() {
        let message =
            |policy: &str| format!("ValidatingAdmissionPolicy '{policy}' with binding 'b' denied request: no");
        assert!(refused_by(&message("guardbit-actions"), "guardbit-actions"));
        assert!(refused_by(
            &message("guardbit-actions.static.k8s.io"),
            "guardbit-actions"
        ));
        for other in ["no-actions", "guardbit-actions-2"] {
            assert!(!refused_by(&message(other), "guardbit-actions"), "{other}");
        }
        assert!(!refused_by("exceeded quota: guardbit-actions", "guardbit-actions"));
    }
}
