//! Weights: which arm gets which share of the traffic.

use crate::api::RevisionRef;

use super::super::plan::RoutePlan;
use super::view::Capacity;

impl Capacity<'_> {
    /// The route to write, without a mirror; `None` while nothing can serve, or may serve yet.
    pub(in crate::rollout) fn route(&self) -> Option<RoutePlan> {
        let stable = self.status.stable.clone()?;
        let is_unwritten = self.stable_is_unwritten() && !self.by_replicas();
        if is_unwritten && self.seen.route.weights.values().all(|weight| *weight == 0) {
            return None;
        }
        let mut weights: Vec<(RevisionRef, i32)> = vec![(stable.clone(), 0)];
        if let Some(rollout) = &self.status.rollout {
            let candidate = rollout.candidate.clone();
            let weight = self.on_record(&candidate, rollout.weight);
            weights.push((candidate, weight));
        }
        let granted = weights.last().map_or(0, |(_, w)| *w);
        if let Some(control) = self.control().cloned() {
            let wanted = self.holdout(granted).min(100 - granted);
            let wanted = self.on_record(&control, wanted.min(self.carries(&control)));
            weights.push((control, wanted));
        }
        for r in &self.status.retiring {
            let revision = r.revision_ref();
            if !weights.iter().any(|(known, _)| *known == revision) {
                let free = 100 - weights.iter().map(|(_, w)| w).sum::<i32>();
                weights.push((revision, self.kept_for_unknown_reason(r).min(free)));
            }
        }
        let mut rest = 100 - weights.iter().map(|(_, w)| w).sum::<i32>();
        let mut give = |revision: &RevisionRef, share: i32| {
            if let Some((_, w)) = weights.iter_mut().find(|(known, _)| known == revision) {
                *w += share;
            }
        };
        // A leaving revision keeps only what its successor cannot carry yet.
        for leaving in self.handovers() {
            let kept = (rest - self.carries(&stable)).min(self.may_keep(leaving)).max(0);
            give(&leaving.revision_ref(), kept);
            rest -= kept;
        }
        let stand_in = self.stand_in(&stable);
        if is_unwritten && stand_in.is_none() {
            // Whoever served before goes on.
            let mut more = (rest - self.carried(&stable)).max(0);
            for leaving in &self.status.retiring {
                let kept = more.min(self.kept_for_record(leaving));
                give(&leaving.revision_ref(), kept);
                rest -= kept;
                more -= kept;
            }
        }
        give(&stand_in.unwrap_or(stable), rest);
        Some(RoutePlan {
            weights,
            pinned: self.pinned(),
            mirror: None,
        })
    }
}
