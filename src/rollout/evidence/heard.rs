//! What was heard of the samples: counts, and how far they reach. Data only; it can be printed and read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evidence::{BucketForm, Observed, Poll};

use super::super::observation::EvidenceProblem;
use super::state::{Running, Unreadable};

/// What one evaluation heard. Together with [`super::super::Seen`] it is all that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    /// The running evidence of the trial that goes on: its tests as they were before the polls, its cursors after them. `None`
    /// while nothing is on trial. A test depends on nothing of the cursors; they are there to be stored again.
    pub(in crate::rollout) running: Option<Running>,
    /// Why what was stored cannot be used, so that the tests begin afresh.
    pub(in crate::rollout) unreadable: Option<Unreadable>,
    /// What was heard of each guard that was answered.
    pub guards: BTreeMap<String, GuardHeard>,
    /// Why others were not.
    pub problems: BTreeMap<String, EvidenceProblem>,
    /// Until when pods are cold.
    pub warm_until: WarmUntil,
}

/// What was heard of one guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuardHeard {
    /// What its baseline did before, oldest first, where its test begins with these polls.
    pub recalled: Option<Vec<Observed>>,
    /// In which form its histograms came.
    pub form: Option<BucketForm>,
    /// What is odd about its data, and what to do.
    pub oddity: Option<String>,
    /// What is new, oldest first.
    pub polls: Vec<Poll>,
}

/// Until when pods are cold, in Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUntil {
    /// From then on nothing is left out of any arm; the end of time while a pod is not ready. `None` where nothing was.
    pub all: Option<i64>,
    /// From then on the candidate's pods that its step began with are warm.
    pub candidate: Option<i64>,
}

impl WarmUntil {
    /// Whether nothing was left out of what happened after `from`.
    pub(super) fn is_whole_after(self, from: i64) -> bool {
        self.all.is_none_or(|at| at <= from)
    }

    /// Time from which the newest evidence of a trial that began at `since` can be.
    pub(super) fn counts_from(self, since: i64) -> i64 {
        self.candidate.map_or(since, |at| at.max(since))
    }
}
