//! What a provider of traffic has to say.

use kube::core::ObjectMeta;
use serde_json::Value;

use crate::manifests::document::{Document, Kind, RouteKind};
use crate::manifests::names::Owner;
use crate::rollout::{Joined, Plan, WorkloadKey};

/// How requests reach the arms of a model. A provider is implemented on its part of `spec.traffic`; it says what is to be
/// written and does not write. Whether arms get their shares by weights or by ready replicas is `Traffic::split_by`, for the
/// rollout asks that too.
pub trait TrafficProvider {
    /// Kind of the object that carries the split. It has the model's name, and goes first when the model is deleted.
    fn carrier(&self) -> Kind;

    /// Labels with which the pods of every arm are made.
    fn pod_labels(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The Service of one arm, where every arm has one of its own. It must be there before the split names it.
    fn arm_service(&self, owner: &Owner, key: &WorkloadKey) -> Option<Document>;

    /// What gives every arm its share.
    fn split(&self, owner: &Owner, plan: &Plan) -> Vec<Effect>;

    /// What takes its share from the candidate, and nothing that could hold that up.
    fn lower(&self, owner: &Owner, plan: &Plan) -> Vec<Effect>;
}

/// One thing to do so that arms get their shares.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An object is applied.
    Apply(Document),
    /// The label of the shared Service goes on so many pods of a workload, and comes off the others.
    Join(WorkloadKey, Joined),
}

/// A kind of route that is watched, and how its objects are read.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The kind.
    pub kind: RouteKind,
    /// What is waited for until its objects are known, for people: what they are, and what may be lacking.
    pub awaited: &'static str,
    /// Reads an object's metadata, spec and status.
    pub read: fn(&ObjectMeta, &Value, &Value) -> SplitInForce,
}

/// What a route says of the weights that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitInForce {
    /// Names of the arms' Services, with their weights.
    pub weights: Box<[(Box<str>, i32)]>,
    /// Why it is not carried out, in the words of whoever should.
    pub refused: Option<String>,
}
