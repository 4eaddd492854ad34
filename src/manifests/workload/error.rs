//! Why an object of a workload cannot be built.

use crate::api::SpecProblem;

/// Why an object cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A pod template cannot be read, or cannot be used.
    #[error("{0}")]
    Template(SpecProblem),
    /// The spec no longer describes the variant.
    #[error("variant {0} is not in spec.variants")]
    NoVariant(String),
    /// The image of the container that verifies weights is not known.
    #[error(
        "guardbit was started without --comparer-image, so that the weights of {0} cannot be verified: set that flag to the image \
         of guardbit, or remove weights.mount of that variant"
    )]
    NoImage(String),
}
