//! The precision ladder of a spec, and what it asks for next.

use k8s_openapi::jiff::Timestamp;

use crate::api::{QuantizedModelSpec, QuantizedModelStatus, RevisionRef, RolloutKind, Variant};

/// One variant of the spec with its identity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IdentifiedVariant {
    pub(super) revision: RevisionRef,
    pub(super) weights_digest: String,
}

/// The variants of the spec, safest first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ladder {
    pub(super) variants: Vec<IdentifiedVariant>,
    pub(super) target: usize,
    pub(super) bootstrap: usize,
}

/// What the spec asks for next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Goal {
    /// Stable is the target, and the reference is current.
    Settled,
    /// A candidate is to be tried.
    Try { kind: RolloutKind, variant: usize },
    /// Stable is beyond the target, or is gone from the spec: traffic moves to this proven revision.
    MoveTo(RevisionRef),
    /// The next candidate was judged harmful.
    Rejected { candidate: RevisionRef, why: String },
    /// The next candidate could not start or was not decided; a person must act.
    GivenUp { candidate: RevisionRef, why: String },
    /// The next candidate could not start and is tried again later.
    Retry {
        candidate: RevisionRef,
        at: Timestamp,
        why: String,
    },
}

impl Ladder {
    /// The ladder of a spec. `None` if the spec has no variants, or if `revisions` are not those of its variants.
    pub(super) fn of(spec: &QuantizedModelSpec, revisions: &[RevisionRef]) -> Option<Self> {
        let identified = |v: &Variant| {
            Some(IdentifiedVariant {
                revision: revisions.iter().find(|of| of.variant == v.name)?.clone(),
                weights_digest: v.weights.digest.clone(),
            })
        };
        let variants: Vec<_> = spec.variants.iter().map(identified).collect::<Option<_>>()?;
        let named = |name: &String| spec.variants.iter().position(|v| v.name == *name);
        let bootstrap = spec.rollout.bootstrap.as_ref().and_then(named).unwrap_or(0);
        (!variants.is_empty()).then(|| Self {
            target: spec.target_index(),
            bootstrap,
            variants,
        })
    }

    /// The revision that gets all traffic at the first install.
    pub(super) fn first(&self) -> &RevisionRef {
        &self.variants[self.bootstrap].revision
    }

    pub(super) fn reference(&self) -> &IdentifiedVariant {
        &self.variants[0]
    }

    pub(super) fn contains(&self, revision: &RevisionRef) -> bool {
        self.variants.iter().any(|v| v.revision == *revision)
    }

    /// Position of a variant, whatever its revision.
    pub(super) fn position(&self, variant: &str) -> Option<usize> {
        self.variants.iter().position(|v| v.revision.variant == variant)
    }

    /// What the spec asks for next.
    pub(super) fn goal(&self, status: &QuantizedModelStatus, attempt: i64, now: Timestamp) -> Goal {
        let Some(stable) = &status.stable else {
            return Goal::Settled;
        };
        let current = self.reference().revision.clone();
        // A new reference comes first, because everything else is compared with it.
        if status.reference.as_ref().is_some_and(|old| *old != current) {
            return self.attempt(RolloutKind::NewReference, 0, status, attempt, now);
        }
        match self.position(&stable.variant) {
            Some(at) if at <= self.target => {
                if self.variants[at].revision != *stable {
                    self.attempt(RolloutKind::Lateral, at, status, attempt, now)
                } else if at < self.target {
                    self.attempt(RolloutKind::Climb, at + 1, status, attempt, now)
                } else {
                    Goal::Settled
                }
            }
            // Stable is beyond the target, or no longer in the spec.
            _ => Goal::MoveTo(self.safest_proven_below(self.target + 1, status)),
        }
    }

    /// The highest proven variant below `limit`, or the reference if none is proven.
    pub(super) fn safest_proven_below(&self, limit: usize, status: &QuantizedModelStatus) -> RevisionRef {
        let proven = |v: &&IdentifiedVariant| status.proven.iter().any(|p| is(&v.revision, &p.variant, &p.revision));
        let best = self
            .variants
            .iter()
            .take(limit)
            .rev()
            .find(proven)
            .map(|v| v.revision.clone());
        best.or_else(|| status.reference.clone())
            .unwrap_or_else(|| self.reference().revision.clone())
    }

    fn attempt(
        &self,
        kind: RolloutKind,
        variant: usize,
        status: &QuantizedModelStatus,
        attempt: i64,
        now: Timestamp,
    ) -> Goal {
        let candidate = self.variants[variant].revision.clone();
        if let Some(r) = status.rejected.iter().find(|r| is(&candidate, &r.variant, &r.revision)) {
            return Goal::Rejected {
                candidate,
                why: r.reason.clone(),
            };
        }
        match status
            .failed
            .iter()
            .find(|f| is(&candidate, &f.variant, &f.revision) && f.attempt >= attempt)
        {
            Some(f) => match &f.retry_at {
                None => Goal::GivenUp {
                    candidate,
                    why: f.reason.clone(),
                },
                Some(at) if at.0 > now => Goal::Retry {
                    candidate,
                    at: at.0,
                    why: f.reason.clone(),
                },
                Some(_) => Goal::Try { kind, variant },
            },
            None => Goal::Try { kind, variant },
        }
    }
}

/// Whether a record is about a revision.
pub(super) fn is(of: &RevisionRef, variant: &str, revision: &str) -> bool {
    of.variant == variant && of.revision == revision
}
