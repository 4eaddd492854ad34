//! Server-side apply documents: an object as one field manager wants it, with its kind and its name as data.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::api::GROUP;

use super::names::Owner;

/// The kinds of objects that guardbit writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Runs the pods of a revision.
    Deployment,
    /// Makes pods reachable: those of one arm, or all that have joined.
    Service,
    /// Splits requests by weights.
    Route(RouteKind),
    /// Says whom the comparer may talk to.
    NetworkPolicy,
    /// The model itself.
    QuantizedModel,
}

/// A kind of route. It is plain data, so that a provider of traffic can bring its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteKind {
    /// Group of its API.
    pub group: &'static str,
    /// Version of its API.
    pub version: &'static str,
    /// Its name.
    pub kind: &'static str,
    /// Its plural name in API paths.
    pub plural: &'static str,
}

impl Kind {
    /// The kind as the API server knows it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::Route(RouteKind {
                group,
                version,
                kind,
                plural,
            }) => (group, version, kind, plural),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::QuantizedModel => (GROUP, "v1alpha1", "QuantizedModel", "quantizedmodels"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Whether requests follow the object, or are let through by it. What another writer adds to it (a key of a selector, a
    /// filter of a rule) changes where they go, even if everything that is wanted is still there.
    pub fn steers_requests(self) -> bool {
        matches!(self, Self::Service | Self::Route(_) | Self::NetworkPolicy)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.resource().kind)
    }
}

/// An object as one field manager wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Field manager that owns the fields in it.
    pub manager: &'static str,
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object; its namespace is that of the model.
    pub name: String,
    /// Content that is sent.
    pub body: Value,
}

impl Document {
    /// A document of a model's object with this metadata, beside its name and namespace, and without a spec.
    pub(super) fn new(
        owner: &Owner,
        manager: &'static str,
        kind: Kind,
        name: impl Into<String>,
        mut metadata: Value,
    ) -> Self {
        let name = name.into();
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(owner.namespace);
        let ApiResource {
            api_version, kind: of, ..
        } = kind.resource();
        Self {
            manager,
            kind,
            name,
            body: json!({"apiVersion": api_version, "kind": of, "metadata": metadata}),
        }
    }

    /// Adds a spec.
    pub(super) fn with_spec(mut self, spec: Value) -> Self {
        self.body["spec"] = spec;
        self
    }
}
