//! What the controller saw: everything that `decide` may read. Data only.
//!
//! [`Seen`] is all of it except the samples, and can be printed and read back. From it, and from what was heard of the
//! samples, a decision can be repeated.

mod governance;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::{Action, PodTemplate, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, WeightsProof};
use crate::evidence::GuardSamples;
use crate::model::identity::Purpose;
use crate::model::template::{self, TemplateProblem};

use super::reason::EvidenceReason;
use super::wire;

pub use governance::{Governance, Governed, LedgerProblem, LedgerReason, LedgerSeen, People, Remembered, Slot};

/// What records say in place of a sentence that may quote a pod template.
const WITHHELD: &str = "a part of the pod template cannot be used; records do not quote it";

/// Largest integer that every reader of JSON keeps exactly.
const LARGEST_INTEGER: i64 = 1 << 53;

/// What one evaluation sees of a model and its world.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Time of the observation.
    pub now: Timestamp,
    /// The model.
    pub model: ModelSeen,
    /// Its existing Deployments, by key.
    pub workloads: BTreeMap<WorkloadKey, Workload>,
    /// Its route.
    pub route: RouteSeen,
    /// Its comparer, if there is one.
    pub comparer: Option<ComparerSeen>,
    /// What Prometheus answered, by guard name; a guard that was not asked is absent.
    pub evidence: BTreeMap<String, Result<GuardSamples, EvidenceProblem>>,
    /// What policies ask of it.
    pub governance: Governance,
    /// What people want of it.
    pub people: People,
    /// How its records stand.
    pub ledger: LedgerSeen,
}

impl Observation {
    /// The observation without the samples.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            now: self.now,
            model: Cow::Borrowed(&self.model),
            workloads: Cow::Borrowed(&self.workloads),
            route: Cow::Borrowed(&self.route),
            comparer: self.comparer.as_ref().map(Cow::Borrowed),
            governance: Cow::Borrowed(&self.governance),
            people: Cow::Borrowed(&self.people),
            ledger: Cow::Borrowed(&self.ledger),
        }
    }
}

/// An observation without its samples. Its printed form also lacks the times of single pods, because these only affect
/// how samples are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen<'a> {
    /// Time of the observation.
    #[serde(with = "wire::instant")]
    pub now: Timestamp,
    /// The model.
    pub model: Cow<'a, ModelSeen>,
    /// Its existing Deployments, by key.
    pub workloads: Cow<'a, BTreeMap<WorkloadKey, Workload>>,
    /// Its route.
    pub route: Cow<'a, RouteSeen>,
    /// Its comparer, if there is one.
    pub comparer: Option<Cow<'a, ComparerSeen>>,
    /// What policies ask of it. An evaluation without governance prints nothing of it, as releases did that knew none.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub governance: Cow<'a, Governance>,
    /// What people want of it.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub people: Cow<'a, People>,
    /// How its records stand.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub ledger: Cow<'a, LedgerSeen>,
}

/// Whether there is nothing to say. This is left out where evaluations are written down.
fn is_nothing<T: Default + PartialEq>(seen: &impl Deref<Target = T>) -> bool {
    **seen == T::default()
}

impl Seen<'_> {
    /// What of it goes on record. Pod templates do not, nor what may quote them, because people put secrets into them; the
    /// identities of the variants stand for them. Running evidence does not either, because it was heard. The same is
    /// decided without them; only sentences about templates are others.
    pub fn redacted(&self) -> Seen<'static> {
        let mut workloads = self.workloads.clone().into_owned();
        for workload in workloads.values_mut() {
            workload.pod_starts.clear();
            workload.ready_since.clear();
        }
        Seen {
            now: self.now,
            model: Cow::Owned(self.model.redacted()),
            workloads: Cow::Owned(workloads),
            route: Cow::Owned(self.route.clone().into_owned()),
            comparer: self.comparer.clone().map(|comparer| Cow::Owned(comparer.into_owned())),
            governance: Cow::Owned(self.governance.clone().into_owned()),
            people: Cow::Owned(self.people.clone().into_owned()),
            ledger: Cow::Owned(self.ledger.clone().into_owned()),
        }
    }
}

/// The model as the API server holds it, with the newest running evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelSeen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When its deletion was asked for.
    #[serde(with = "wire::optional_instant")]
    pub deleted_at: Option<Timestamp>,
    /// The desired state, as the user wrote it.
    pub spec: QuantizedModelSpec,
    /// The variants of the spec with their identities, in the order of the spec.
    pub revisions: Vec<RevisionRef>,
    /// What of the pod templates the pods would lack.
    pub templates: Vec<TemplateProblem>,
    /// Objects of the last plan that could not be written; `None` where this process has carried out no plan yet.
    pub refused: Option<Vec<Refused>>,
    /// The last status that was written, with the newest running evidence.
    pub status: QuantizedModelStatus,
}

impl ModelSeen {
    fn redacted(&self) -> Self {
        let mut model = self.clone();
        let Self {
            spec,
            templates,
            status,
            ..
        } = &mut model;
        spec.serving.template = PodTemplate::default();
        for variant in &mut spec.variants {
            variant.template = None;
            // Policies verify it, and decisions do not read it; it may be larger than all the rest.
            variant.weights.signature = None;
            if let Some(samples) = variant.calibration.as_mut().and_then(|done| done.samples.as_mut()) {
                *samples = LARGEST_INTEGER.min(*samples);
            }
        }
        for of in templates {
            of.problem = WITHHELD.to_owned();
        }
        status.evidence = None;
        // The records before are linked to, and are not repeated.
        status.ledger = None;
        for condition in &mut status.conditions {
            if template::is_about(&condition.message) {
                condition.message = WITHHELD.to_owned();
            }
        }
        // A larger number would be read back as another one. Attempts are compared with each other alone.
        spec.attempt = LARGEST_INTEGER.min(spec.attempt);
        for failed in &mut status.failed {
            failed.attempt = LARGEST_INTEGER.min(failed.attempt);
        }
        model
    }
}

/// Identifies a Deployment by its revision and its purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// The revision.
    pub revision: RevisionRef,
    /// Its purpose.
    pub purpose: Purpose,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RevisionRef { variant, revision } = &self.revision;
        write!(f, "{variant}/{revision}/{}", self.purpose.as_str())
    }
}

/// A text that is not the key of a Deployment.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no `variant/revision/purpose`")]
pub struct NoWorkloadKey(String);

impl FromStr for WorkloadKey {
    type Err = NoWorkloadKey;

    fn from_str(text: &str) -> Result<Self, NoWorkloadKey> {
        let key = || {
            let [variant, revision, purpose] = text.split('/').collect::<Vec<_>>().try_into().ok()?;
            let purposes = [Purpose::Serving, Purpose::Pinned, Purpose::Shadow];
            Some(Self {
                revision: RevisionRef {
                    variant: str::to_owned(variant),
                    revision: str::to_owned(revision),
                },
                purpose: purposes.into_iter().find(|p| p.as_str() == purpose)?,
            })
        };
        key().ok_or_else(|| NoWorkloadKey(text.to_owned()))
    }
}

impl Serialize for WorkloadKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WorkloadKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The two arms that a comparer asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedArms {
    /// The arm whose answers are held to be right.
    pub reference: RevisionRef,
    /// The arm whose answers are compared with them.
    pub candidate: RevisionRef,
    /// Which pods of the candidate are asked.
    #[serde(default, skip_serializing_if = "is_serving")]
    pub asked: Purpose,
    /// How many times the rate of the spec is halved, so that no arm is asked for more than its share.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub halved: u8,
}

/// Whether there are none. This is left out where workloads are written down.
fn is_none(pods: &i32) -> bool {
    *pods == 0
}

/// Whether pods serve. This is left out where arms are written down.
fn is_serving(purpose: &Purpose) -> bool {
    *purpose == Purpose::Serving
}

/// Whether a rate is that of the spec. This is left out where arms are written down.
fn is_whole(halved: &u8) -> bool {
    *halved == 0
}

/// A rate that is halved so many times.
pub fn halve(rate: f64, times: u8) -> f64 {
    rate * 0.5_f64.powi(i32::from(times))
}

impl ComparedArms {
    /// The rate at which they are asked where the spec says `rate`.
    pub fn pace(&self, rate: f64) -> f64 {
        halve(rate, self.halved)
    }

    /// The Deployments of the reference and of the candidate.
    pub fn keys(&self) -> [WorkloadKey; 2] {
        [(&self.reference, Purpose::Serving), (&self.candidate, self.asked)].map(|(revision, purpose)| WorkloadKey {
            revision: revision.clone(),
            purpose,
        })
    }
}

/// The comparer of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparerSeen {
    /// The arms that it asks.
    pub arms: ComparedArms,
    /// Whether its pod is ready.
    pub ready: bool,
}

/// An object that could not be written: the API server did not take it, or it belongs to somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The object, by kind and name.
    pub object: String,
    /// Whether it is the one that carries the traffic of the model.
    pub is_carrier: bool,
    /// Why, in the words of the API server.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.why)
    }
}

impl Refused {
    /// All of them, in one sentence.
    pub fn all(refused: &[Self]) -> String {
        refused.iter().map(Self::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// A Deployment and its pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// `spec.replicas`.
    pub desired: i32,
    /// Pods that are ready and in the EndpointSlices of the arm's Service, for long enough that a gateway knows them.
    pub ready: i32,
    /// Pods that exist and are not terminating.
    pub pods: i32,
    /// When its pods started; earlier samples are not their own.
    #[serde(skip)]
    pub pod_starts: BTreeMap<String, Timestamp>,
    /// Since when its pods have been ready; pods that are not ready are left out.
    #[serde(skip)]
    pub ready_since: BTreeMap<String, Timestamp>,
    /// The scheduler's message, when a pod cannot be scheduled.
    pub unschedulable: Option<String>,
    /// Why its pods cannot run: image missing, crash loop.
    pub failure: Option<String>,
    /// Why the API server creates none of its pods: a quota, a webhook, Pod Security.
    pub refused: Option<String>,
    /// Why the Deployment has given up waiting for its pods to become ready. How long a candidate may take is up to
    /// `scheduleDeadline` alone.
    pub never_ready: Option<String>,
    /// A pod that is evicted, drained, or on a lost node.
    pub disruption: Option<String>,
    /// Behind one plain Service: pods that belong to it and get requests.
    #[serde(default, skip_serializing_if = "is_none")]
    pub joined: i32,
    /// Image IDs that run.
    pub image_ids: Vec<String>,
    /// What is known of the weights that its pods have.
    #[serde(default, skip_serializing_if = "is_declared")]
    pub weights: WeightsProof,
    /// Recovery annotations, from which a lost status is rebuilt; see [`RecoveryMarks`].
    pub marks: RecoveryMarks,
}

/// Whether no more is known of weights than what the model declares. This is left out where workloads are written down.
fn is_declared(proof: &WeightsProof) -> bool {
    *proof == WeightsProof::Declared
}

/// Recovery annotations: what a Deployment says about its revision, so that a lost status can be rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryMarks {
    /// It carried the main traffic.
    pub stable: bool,
    /// It was proven.
    pub proven: bool,
    /// It was the reference.
    pub reference: bool,
    /// It was rejected.
    pub rejected: Option<Rejection>,
}

/// Why a revision was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The guard that found it.
    pub guard: String,
    /// What it found, perhaps cut off.
    pub reason: String,
}

/// The HTTPRoute, or the Service of plain Service mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteSeen {
    /// Whether it exists.
    pub exists: bool,
    /// Weights that it holds now, by revision of the serving arm.
    #[serde(with = "wire::pairs")]
    pub weights: BTreeMap<RevisionRef, i32>,
    /// The gateway's message, if it refused the route.
    pub refused: Option<String>,
    /// Weight that it gives to Services of no arm.
    #[serde(default)]
    pub elsewhere: i32,
    /// The weights that guardbit wrote last, where somebody has set others since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_from: Option<Vec<(RevisionRef, i32)>>,
    /// Whether it mirrors requests to the comparer.
    #[serde(default)]
    pub mirror: MirrorSeen,
    /// The harm for which the route was last written, if it was harm. It may be ahead of the status, and any user who
    /// may write the route may have written it.
    pub harm: Option<RouteHarm>,
}

/// Whether a route mirrors requests to the comparer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MirrorSeen {
    /// It does not.
    #[default]
    Absent,
    /// It does, for so many percent, and the gateway has nothing against it so far.
    Written(i32),
    /// It does, and the gateway refuses the route, or a rule of it, in these words.
    Refused(String),
}

/// A decision about harm, as an annotation of the route names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHarm {
    /// Time of the decision, in whole seconds.
    #[serde(with = "wire::instant")]
    pub time: Timestamp,
    /// What was done about it.
    pub action: Action,
    /// Name of the variant.
    pub variant: String,
    /// Identity digest; `None` if release 0.1 wrote it.
    pub revision: Option<String>,
    /// The guard that found it.
    pub guard: String,
    /// What it found, perhaps cut off.
    pub message: String,
    /// The drift figures, if it was drift.
    pub drift: Option<String>,
}

/// Why there is no evidence for a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceProblem {
    /// The reason for conditions.
    pub reason: EvidenceReason,
    /// What went wrong and what to do.
    pub message: String,
}
