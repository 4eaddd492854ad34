//! How loaded the candidate's pods were: a lightly loaded pod is always fast.

use serde::{Deserialize, Serialize};

use crate::evidence::Buckets;

use super::super::text;

/// How loaded a candidate pod was in a poll, compared with a baseline pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As much as is asked for: the poll counts for harm and for health.
    Enough,
    /// Less than that: the poll counts for harm only, because a lightly loaded pod is always fast.
    Light,
}

impl Load {
    /// The load in a poll. Where the number of pods is not known, it counts as light.
    pub(crate) fn of(at_load: Option<f64>, candidate: &Buckets, baseline: &Buckets) -> Self {
        let enough = at_load.is_none_or(|share| {
            let loads = candidate.per_pod().zip(baseline.per_pod());
            loads.is_some_and(|(candidate, baseline)| candidate >= share * baseline)
        });
        if enough { Self::Enough } else { Self::Light }
    }
}

/// Polls by load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loads {
    enough: u32,
    all: u32,
}

impl Loads {
    pub(super) fn add(&mut self, load: Load) {
        self.enough += u32::from(load == Load::Enough);
        self.all += 1;
    }

    /// Text for people: how many polls could show health at this share of the baseline's load.
    pub(crate) fn text(self, share: f64) -> String {
        format!(
            ", {} of {} polls at {} or more of the baseline's load per pod",
            self.enough,
            self.all,
            text::percent(share)
        )
    }
}
