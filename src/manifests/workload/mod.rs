//! Providers of workloads: what is written so that the pods of a revision run.
//!
//! A variant is to name its provider by a member of its own. There is no such member yet, and a Deployment runs every
//! variant. A new provider is a file here and its line below, its part of a variant in the API, and the projection of
//! its objects in `watch`.

mod additions;
mod deployment;
mod environment;
mod error;
mod pods;
mod provider;
mod weights;

pub use additions::Additions;
pub use environment::Environment;
pub use error::BuildError;
pub use provider::WorkloadProvider;

use deployment::Deployment;

/// The provider of every workload.
pub fn provider() -> &'static dyn WorkloadProvider {
    &Deployment
}
