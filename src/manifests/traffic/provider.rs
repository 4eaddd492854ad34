//! The interface of a provider of traffic.

use kube::core::ObjectMeta;
use serde_json::Value;

use crate::manifests::document::{Document, Kind, RouteKind};
use crate::manifests::names::Owner;
use crate::rollout::{Joined, MirrorSeen, Plan, WorkloadKey};

/// How requests reach the arms of a model. A provider is implemented on its part of `spec.traffic`; it says what is to
/// be written and does not write. Whether arms get their shares by weights or by ready replicas is `Traffic::split_by`,
/// because the rollout needs that too.
pub trait TrafficProvider {
    /// Kind of the object that carries the split. It has the model's name, or one like it, and goes first when the model is deleted.
    fn carrier(&self) -> Kind;

    /// Labels that the pods of every arm are created with, but for those of a shadow stage.
    fn pod_labels(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The Service of one arm, where every arm has one of its own. It must be there before the split names it.
    fn arm_service(&self, owner: &Owner, key: &WorkloadKey) -> Option<Document>;

    /// The effects that give every arm its share.
    fn split(&self, owner: &Owner, plan: &Plan) -> Vec<Effect>;

    /// The effects that take its share from the candidate, without anything that could delay that.
    fn lower(&self, owner: &Owner, plan: &Plan) -> Vec<Effect>;
}

/// One change by which arms get their shares.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An object is applied.
    Apply(Document),
    /// The label of the shared Service is put on so many pods of a workload, and taken off the others.
    Join(WorkloadKey, Joined),
}

/// A kind of route that is watched, and how its objects are read.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The kind.
    pub kind: RouteKind,
    /// Text for people while its objects are not known yet: what they are, and what may be missing.
    pub awaited: &'static str,
    /// Reads an object's metadata, spec and status.
    pub read: fn(&ObjectMeta, &Value, &Value) -> SplitInForce,
    /// Takes the mirror to the comparer of the model of this name out of a spec.
    pub unmirror: fn(&str, &mut Value),
}

/// What a route says of the weights that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitInForce {
    /// Names of the arms' Services, with their weights.
    pub weights: Box<[(Box<str>, i32)]>,
    /// Why it is not carried out, in the gateway's words.
    pub refused: Option<String>,
    /// Whether it mirrors requests to the comparer.
    pub mirror: MirrorSeen,
}
