//! The change that people approve or reject, and when calibrations were done.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::{Calibrated, RevisionRef, Variant};
use crate::governance::bits;
use crate::governance::people::change::{Bits, Change, ChangedModel, Trial};
use crate::rollout::evaluation::Evaluation;
use crate::rollout::ladder::Goal;
use crate::rollout::steps::begin::plan_digest;

/// Calibrations that status keeps. A variant that is taken out of the spec and put back must not be fresher for it.
const KEPT_CALIBRATIONS: usize = 64;

impl<'a> Evaluation<'a> {
    /// The change that is asked for: that of the rollout in progress, or of what the spec asks for next.
    pub(in crate::rollout::steps) fn change(&self) -> Option<Change> {
        let governed = self.seen.governance.governed();
        let (kind, to, policy) = match &self.status.rollout {
            Some(rollout) => (
                rollout.kind.known()?,
                rollout.candidate.clone(),
                rollout.policy.as_deref(),
            ),
            None => match self.ladder.goal(&self.status, self.spec.attempt, self.now) {
                Goal::Try { kind, variant } => {
                    let to = self.ladder.variants[variant].revision.clone();
                    (kind, to, governed.map(|governed| governed.digest.as_str()))
                }
                _ => return None,
            },
        };
        let from = self.status.stable.as_ref()?;
        let of = |revision: &RevisionRef| self.described(revision).map(bits);
        let variant = self.described(&to);
        let model = &self.seen.model;
        let named = ChangedModel {
            namespace: model.namespace.clone(),
            name: model.name.clone(),
            uid: self.seen.people.uid.clone(),
        };
        let trial = Trial {
            kind,
            from,
            to: &to,
            reference: self.status.reference.as_ref(),
            bits: Bits {
                from: of(from),
                to: of(&to),
            },
            plan: &plan_digest(self.spec, kind, &to),
            calibrated: variant.and_then(|variant| self.calibrated(variant)).map(Time),
            policy,
        };
        Some(Change::of(named, self.spec, &trial))
    }

    /// The variant of the spec that a revision is; `None` where the spec no longer describes it.
    pub(in crate::rollout) fn described(&self, revision: &RevisionRef) -> Option<&'a Variant> {
        let mut variants = self.spec.variants.iter();
        let variant = variants.find(|variant| variant.name == revision.variant);
        variant.filter(|_| self.ladder.contains(revision))
    }

    /// When the calibration of a variant was done, as the first spec with it said.
    pub(in crate::rollout) fn calibrated(&self, variant: &Variant) -> Option<Timestamp> {
        let dataset = &variant.calibration.as_ref()?.dataset.digest;
        let mut known = self.status.calibrations.iter();
        let known = known.find(|of| of.weights == variant.weights.digest && of.dataset == *dataset);
        known.map(|of| of.completed_at.0)
    }

    /// Keeps what is claimed of calibrations that were not seen before, where a policy selects the model.
    pub(super) fn note_calibrations(&mut self) {
        if self.seen.governance.governed().is_none() {
            return;
        }
        for variant in &self.spec.variants {
            let Some(calibration) = &variant.calibration else {
                continue;
            };
            if self.calibrated(variant).is_none() {
                let completed_at = calibration.completed_at.clone().unwrap_or_else(|| self.time());
                self.status.calibrations.push(Calibrated {
                    weights: variant.weights.digest.clone(),
                    dataset: calibration.dataset.digest.clone(),
                    completed_at,
                });
            }
        }
        // Whoever writes many others into the spec must not make one of those that stand in it fresher.
        let spec = self.spec;
        let stands = |of: &Calibrated| {
            let mut variants = spec.variants.iter();
            variants.any(|variant| {
                let dataset = variant
                    .calibration
                    .as_ref()
                    .map(|calibration| &calibration.dataset.digest);
                variant.weights.digest == of.weights && dataset == Some(&of.dataset)
            })
        };
        let mut surplus = self.status.calibrations.len().saturating_sub(KEPT_CALIBRATIONS);
        self.status.calibrations.retain(|of| {
            let goes = surplus > 0 && !stands(of);
            surplus -= usize::from(goes);
            !goes
        });
    }
}
