//! Gates: what must hold before a candidate gets weight.
//!
//! Every rise of a weight asks [`Evaluation::may`], and nothing else lets one pass: `tests/architecture.rs` holds who asks.
//! Lowering asks nobody.

use k8s_openapi::jiff::Timestamp;

use crate::api::{RevisionRef, Variant};

use super::super::evaluation::Evaluation;
use super::super::next::Wait;
use super::super::reason::WaitReason;

/// A change by which a revision gets weight, or comes nearer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// The first install: all traffic to a revision that nothing is compared with.
    Bootstrap,
    /// A candidate is put on trial.
    Start,
    /// The weight of this step is given to the candidate.
    Raise(usize),
    /// The candidate has won, and capacity is built up for all traffic.
    DecidePromotion,
    /// The candidate becomes stable.
    Promote,
}

/// A transition that may be made. Only [`Evaluation::may`] makes one.
#[derive(Debug)]
pub(super) struct Grant(());

impl Evaluation<'_> {
    /// Whether a revision may make a transition now; what it waits for if not. The gates of calibration and validation are
    /// asked before its first weight.
    pub(super) fn may(&self, transition: Transition, revision: &RevisionRef) -> Result<Grant, Wait> {
        match transition {
            Transition::Bootstrap | Transition::Start | Transition::Raise(0) => self.gates(revision)?,
            Transition::Raise(_) | Transition::DecidePromotion | Transition::Promote => {}
        }
        Ok(Grant(()))
    }

    /// The gates of a revision; one that the spec does not describe has none.
    fn gates(&self, revision: &RevisionRef) -> Result<(), Wait> {
        let mut variants = self.spec.variants.iter();
        let Some(variant) = variants.find(|v| v.name == revision.variant) else {
            return Ok(());
        };
        calibration_gate(variant, self.now)
            .and_then(|()| validation_gate(variant))
            .map_err(|message| Wait {
                reason: WaitReason::Gated,
                message,
            })
    }
}

/// Whether the calibration of a variant is fresh enough.
pub fn calibration_gate(variant: &Variant, now: Timestamp) -> Result<(), String> {
    if let Some(calibration) = &variant.calibration
        && calibration.expires().is_some_and(|at| now > at)
        && let (Some(done), Some(max)) = (&calibration.completed_at, &calibration.max_age)
    {
        return Err(format!(
            "the calibration of {} was completed at {} and is older than maxAge {max}: calibrate again and set completedAt, or raise maxAge",
            variant.name, done.0
        ));
    }
    Ok(())
}

/// Whether a variant is good enough offline.
pub fn validation_gate(variant: &Variant) -> Result<(), String> {
    for metric in variant.validation.iter().flat_map(|v| &v.metrics) {
        let (Ok(reference), Ok(measured), Ok(max_drop)) = (
            metric.reference.value(),
            metric.measured.value(),
            metric.max_drop.value(),
        ) else {
            continue; // told by `api::validate`, which comes first
        };
        let drop = (reference - measured) / reference.abs().max(f64::MIN_POSITIVE);
        if drop > max_drop {
            return Err(format!(
                "{} of {} dropped by {:.2}%, from {} to {}, and may drop by {}: quantize again, or raise maxDrop",
                metric.name,
                variant.name,
                drop * 100.0,
                metric.reference,
                metric.measured,
                metric.max_drop
            ));
        }
    }
    Ok(())
}
