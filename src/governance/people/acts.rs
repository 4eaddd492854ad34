//! Acts: what people want, by their PrecisionActions, and what of it is in force.
//!
//! The time of an act is that of the API server, which no client can set. An act concerns only what is older than
//! itself, strictly: of two acts of the same second neither takes the other back, so the one that lowers holds. Effects
//! that outlast their cause are kept as [`crate::api::ActEffect`] in the status of the model: where a RollBack holds,
//! and which acts were taken back.

mod rungs;
mod standing;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::{ActKind, PrecisionAction, PrecisionActionSpec, Waive};

pub use rungs::{Rung, fallback, rungs};
pub use standing::{AskedChange, Cap, Facts, InForce, Standing, in_force, rank};

/// An act, as the API server holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When it was created, by the clock of the API server.
    pub created: Time,
    /// What the person wrote.
    pub spec: PrecisionActionSpec,
}

/// What a person wants, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// The change with this digest may have traffic.
    Approve {
        /// Digest of the change.
        change: &'a str,
    },
    /// The change with this digest may have no traffic.
    Reject {
        /// Digest of the change.
        change: &'a str,
    },
    /// The weights are frozen.
    Pause,
    /// Earlier Pauses and RollBacks are lifted.
    Resume,
    /// Traffic goes down to a safer variant and stays there.
    RollBack {
        /// The variant; the fallback when left out.
        to: Option<&'a str>,
    },
    /// What was found of a variant is forgotten.
    Retry {
        /// The variant.
        variant: &'a str,
    },
    /// Gates are open.
    BreakGlass {
        /// The incident.
        incident: &'a str,
        /// The gates.
        waives: &'a [Waive],
    },
}

/// How it is known that the actors of acts are who they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assurance {
    /// Admission refuses an act in the name of another.
    Pinned,
    /// Anybody may claim to be anybody, so only acts that lower count.
    #[default]
    Claimed,
}

impl Act {
    /// The act that an object is. `None` for an object that the API server has not stored: it has no uid and no time.
    pub fn of(action: &PrecisionAction) -> Option<Self> {
        let metadata = &action.metadata;
        Some(Self {
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            created: metadata.creation_timestamp.clone()?,
            spec: action.spec.clone(),
        })
    }

    /// Name of the person.
    pub fn by(&self) -> &str {
        &self.spec.actor.username
    }

    /// What the person wants, or what is missing. The schema asks for it too, but an object may have been stored before
    /// its schema did.
    pub fn deed(&self) -> Result<Deed<'_>, String> {
        let spec = &self.spec;
        let lacks = |field: &str| format!("{} needs {field}: create another with it", spec.action);
        Ok(match spec.action {
            ActKind::Approve => Deed::Approve {
                change: spec.change_digest.as_deref().ok_or_else(|| lacks("changeDigest"))?,
            },
            ActKind::Reject => Deed::Reject {
                change: spec.change_digest.as_deref().ok_or_else(|| lacks("changeDigest"))?,
            },
            ActKind::Pause => Deed::Pause,
            ActKind::Resume => Deed::Resume,
            ActKind::RollBack => Deed::RollBack { to: spec.to.as_deref() },
            ActKind::Retry => Deed::Retry {
                variant: spec.variant.as_deref().ok_or_else(|| lacks("variant"))?,
            },
            ActKind::BreakGlass => Deed::BreakGlass {
                incident: spec.incident.as_deref().ok_or_else(|| lacks("incident"))?,
                waives: &spec.waives,
            },
        })
    }

    /// When it lapses: after `validFor`, and after the longest time that such an act may last.
    pub fn ends(&self) -> Result<Timestamp, String> {
        let asked = self.spec.valid_for.millis();
        let asked = asked.map_err(|e| format!("validFor cannot be read, {e}: create another"))?;
        let length = SignedDuration::from_millis(asked).min(longest(self.spec.action));
        Ok(self.created.0.checked_add(length).unwrap_or(Timestamp::MAX))
    }
}

/// The longest time that an act may last. The schema has the same limits.
pub fn longest(kind: ActKind) -> SignedDuration {
    SignedDuration::from_hours(match kind {
        ActKind::Approve | ActKind::Reject | ActKind::Pause => 168,
        ActKind::Resume => 1,
        ActKind::RollBack => 720,
        ActKind::Retry => 24,
        ActKind::BreakGlass => 4,
    })
}

/// Whether an act may let something rise.
pub fn opens(kind: ActKind) -> bool {
    match kind {
        ActKind::Approve | ActKind::Resume | ActKind::Retry | ActKind::BreakGlass => true,
        ActKind::Reject | ActKind::Pause | ActKind::RollBack => false,
    }
}

#[cfg(test)]
pub(super) mod tests;
