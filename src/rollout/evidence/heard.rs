//! Counts that were taken from the samples, and how far they reach. Data only; it can be printed and read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evidence::{BucketForm, Observed, Poll};

use super::super::observation::EvidenceProblem;
use super::super::wire;
use super::state::{Running, Unreadable};

/// What one evaluation heard. Together with [`super::super::Seen`] it is all that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    /// The running evidence of the current trial: its tests as they were before the polls, its cursors after them.
    /// `None` while nothing is on trial. The tests do not depend on the cursors, which are here to be stored again.
    pub(in crate::rollout) running: Option<Running>,
    /// Why the stored state cannot be used, so that the tests begin afresh.
    pub(in crate::rollout) unreadable: Option<Unreadable>,
    /// Counts for each guard that was answered.
    pub guards: BTreeMap<String, GuardHeard>,
    /// Problems of the guards that were not answered.
    pub problems: BTreeMap<String, EvidenceProblem>,
    /// Until when pods are cold.
    pub warm_until: WarmUntil,
}

/// What was heard of one guard. Records hold a great many of them, so what there is nothing of is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardHeard {
    /// History of the baseline, oldest first, where the guard's test begins with these polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Vec<Observed>>,
    /// Form in which its histograms came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<BucketForm>,
    /// A problem with its data, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oddity: Option<String>,
    /// Why the data of an arm is no evidence, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Whether the candidate has no series of the bad or good events, which a metric of their own counts, while its
    /// baseline has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_part: bool,
    /// New polls, oldest first.
    pub polls: Vec<Poll>,
    /// New polls of a guard that counts pairs, oldest first: those of users' requests as the candidate's, and those of the
    /// golden set as the baseline's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_source: Vec<Poll>,
    /// Lines of the golden set that are answered otherwise than by the reference. They are shown and decide nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<u32>,
    /// Whether a budget of the comparer is used up, so that no more pairs come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spent: bool,
    /// Whether the comparer has counted any pair of a user's request; `None` where it is to count none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<bool>,
}

/// Until when pods are cold, in Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUntil {
    /// Time from which nothing is left out of any arm; the end of time while a pod is not ready. `None` if nothing was
    /// left out.
    #[serde(with = "wire::until")]
    pub all: Option<i64>,
    /// Time from which the pods that the candidate had at the start of its step are warm.
    #[serde(with = "wire::until")]
    pub candidate: Option<i64>,
}

impl WarmUntil {
    /// Whether nothing was left out of what happened after `from`.
    pub(super) fn is_whole_after(self, from: i64) -> bool {
        self.all.is_none_or(|at| at <= from)
    }

    /// Earliest time from which a trial that began at `since` can have evidence.
    pub(super) fn counts_from(self, since: i64) -> i64 {
        self.candidate.map_or(since, |at| at.max(since))
    }
}
