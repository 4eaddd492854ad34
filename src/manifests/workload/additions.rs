//! What guardbit adds to the pods of a Deployment, and keeps as it is: annotations of the Deployment say what it has.
//!
//! Another release of guardbit, or another image of it, may add other things to new Deployments. One that exists keeps what it
//! has, because a changed template would restart its pods.

use std::collections::BTreeMap;

use crate::api::WeightsProof;
use crate::manifests::provenance::PROOF;

use super::environment::Environment;

/// Annotation with the image of the container that verifies the weights.
const VERIFIER: &str = "guardbit.dev/weights-verifier";

/// What guardbit adds to the pods of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Additions {
    /// Where the variables of its revision are.
    pub environment: Environment,
    /// Image of the container that verifies the weights, if it has one.
    pub verifier: Option<Box<str>>,
    /// What is known of its weights.
    pub weights: WeightsProof,
}

impl Additions {
    /// Those of a Deployment with these annotations.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let verified = WeightsProof::Verified.to_string();
        let is_verified = annotations.get(PROOF) == Some(&verified);
        Self {
            environment: Environment::read(annotations),
            verifier: annotations.get(VERIFIER).map(|image| image.as_str().into()),
            weights: if is_verified {
                WeightsProof::Verified
            } else {
                WeightsProof::Declared
            },
        }
    }

    /// The annotations that say so, and their values.
    pub(super) fn annotations(&self) -> Vec<(&'static str, String)> {
        let environment = self.environment.annotation();
        let environment = environment.map(|(annotation, value)| (annotation, value.to_owned()));
        let verifier = self.verifier.as_ref().map(|image| (VERIFIER, image.to_string()));
        let is_verified = self.weights == WeightsProof::Verified;
        let proof = is_verified.then(|| (PROOF, self.weights.to_string()));
        environment.into_iter().chain(verifier).chain(proof).collect()
    }
}
