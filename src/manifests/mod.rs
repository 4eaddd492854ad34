//! Plan → Kubernetes objects, as server-side apply documents. Pure.
//!
//! Owns the shape and the names of what guardbit writes, and how that is read back. Must not know what is in the
//! cluster. There is one field manager for each concern: the template, the scale, the facts about it, the route. What
//! is written for traffic and for workloads is up to their providers ([`traffic`], [`workload`]); callers that apply
//! documents know none of them.

pub mod comparer;
mod document;
mod names;
mod previous;
mod provenance;
mod recovery;
pub mod traffic;
pub mod workload;

pub use document::{Document, Kind, RouteKind};
pub use names::{
    JOINED_LABEL, MANAGER_FACTS, MANAGER_ROUTE, MANAGER_SCALE, MANAGER_STATUS, MANAGER_WORKLOAD, MANAGERS_OF_OBJECTS,
    MODEL_LABEL, Owner, PURPOSE_LABEL, REVISION_ANNOTATION, REVISION_LABEL, ROLE_LABEL, VARIANT_LABEL, key_of,
    model_label, name, revision_label,
};
pub use provenance::model_annotations;
pub use recovery::{marks, route_harm, written_weights};
pub use workload::{Additions, BuildError, Environment};
