//! The running evidence: who is on trial, the cursors, the tests, and how all of it is stored.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{QuantizedModelSpec, QuantizedModelStatus, RevisionRef, RolloutKind};
use crate::evidence::Cursor;
use crate::guards::{BenefitTest, Suite};
use crate::judge::{Regime, SplitTest};
use crate::model::identity;
use crate::model::presets::guards;

/// Version of the stored evidence.
const VERSION: &str = "v2:";

/// A false alarm in this time, on average at most, after promotion.
const FALSE_ALARM_MILLIS: f64 = 90.0 * 24.0 * 3_600_000.0;

/// Who is judged against whom.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Match {
    pub(super) candidate: RevisionRef,
    /// For errors and latency.
    pub(super) baseline: Option<RevisionRef>,
    /// For outputs; `None` where outputs are not judged.
    pub(super) reference: Option<RevisionRef>,
    pub(super) regime: Regime,
    /// Evidence of another epoch does not count: digest of the plan, or of what is guarded.
    pub(super) epoch: String,
}

/// Who is on trial now, if anyone.
pub(super) fn on_trial(spec: &QuantizedModelSpec, status: &QuantizedModelStatus) -> Option<Match> {
    let stable = status.stable.clone()?;
    let reference = status.reference.clone();
    if let Some(rollout) = &status.rollout {
        let new_reference = rollout.kind == RolloutKind::NewReference;
        return Some(Match {
            candidate: rollout.candidate.clone(),
            baseline: if new_reference { reference } else { Some(stable) },
            reference: if new_reference { None } else { status.reference.clone() },
            regime: rollout_regime(spec),
            epoch: rollout.plan_digest.clone(),
        });
    }
    // Stable full precision has nothing to be compared with, and nothing to fall back to.
    let control = reference.filter(|r| *r != stable)?;
    Some(Match {
        epoch: identity::digest(&serde_json::json!({"guarding": stable, "control": control, "guards": guards(spec)})),
        candidate: stable,
        baseline: Some(control.clone()),
        reference: Some(control),
        regime: guarding_regime(spec),
    })
}

pub(super) fn rollout_regime(spec: &QuantizedModelSpec) -> Regime {
    Regime::Rollout {
        false_rollback: spec.rollout.false_rollback.value().unwrap_or(0.05),
        false_promotion: spec.rollout.false_promotion.value().unwrap_or(0.05),
    }
}

pub(super) fn guarding_regime(spec: &QuantizedModelSpec) -> Regime {
    let interval = spec.rollout.interval.millis().unwrap_or(15_000).max(1) as f64;
    Regime::Guarding {
        polls_between_false_alarms: (FALSE_ALARM_MILLIS / interval).max(2.0),
    }
}

/// Running state of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    epoch: String,
    /// Evidence before does not count, Unix milliseconds.
    pub(super) since: i64,
    pub(super) suite: Suite,
    cursors: BTreeMap<String, Cursor>,
    /// Where a benefit is asked for.
    pub(super) benefit: Option<BenefitTest>,
    /// Of the weights that are in force.
    pub(super) split: Option<SplitTest>,
}

/// How a stored state was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is of this trial, or there was none.
    Usable,
    /// It could not be read, for this reason.
    Unreadable(String),
}

impl Running {
    pub(super) fn fresh(epoch: &str, since: Timestamp) -> Self {
        Self {
            epoch: epoch.to_owned(),
            since: since.as_millisecond(),
            suite: Suite::default(),
            cursors: BTreeMap::new(),
            benefit: None,
            split: None,
        }
    }

    /// Reads what [`Running::write`] wrote; a state of another epoch is left aside.
    pub(super) fn read(stored: Option<&str>, epoch: &str, now: Timestamp) -> (Self, Found) {
        let Some(stored) = stored else {
            return (Self::fresh(epoch, now), Found::Usable);
        };
        let read = || -> Result<Self, String> {
            let body = stored
                .strip_prefix(VERSION)
                .ok_or("another version of guardbit wrote it")?;
            let bytes = STANDARD_NO_PAD.decode(body).map_err(|e| e.to_string())?;
            postcard::from_bytes(&bytes).map_err(|e| e.to_string())
        };
        match read() {
            Ok(running) if running.epoch == epoch => (running, Found::Usable),
            Ok(_) => (Self::fresh(epoch, now), Found::Usable),
            Err(why) => (Self::fresh(epoch, now), Found::Unreadable(why)),
        }
    }

    /// The state as one opaque, versioned string.
    pub(super) fn write(&self) -> String {
        // Plain data into memory cannot fail; an empty string would be read as unreadable, and start afresh.
        postcard::to_stdvec(self)
            .map(|bytes| format!("{VERSION}{}", STANDARD_NO_PAD.encode(bytes)))
            .unwrap_or_default()
    }

    pub(super) fn cursor(&self, guard: &str, now: Timestamp) -> Cursor {
        self.cursors
            .get(guard)
            .cloned()
            .unwrap_or_else(|| Cursor::new(self.since.min(now.as_millisecond())))
    }

    pub(super) fn set_cursor(&mut self, guard: &str, cursor: Cursor) {
        self.cursors.insert(guard.to_owned(), cursor);
    }

    /// What was counted so far stays; the interval that is running now mixes two weights and is dropped.
    pub(super) fn skip_to(&mut self, now: Timestamp) {
        self.pass_over(now);
        self.suite.mark_step();
        self.split = None;
    }

    /// What was counted so far stays; what happened since then, up to now, is not judged.
    pub(super) fn pass_over(&mut self, now: Timestamp) {
        self.since = now.as_millisecond();
        self.cursors
            .values_mut()
            .for_each(|cursor| cursor.skip_to(now.as_millisecond()));
    }
}
