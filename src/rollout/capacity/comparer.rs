//! The comparer: when it runs, and which arms it asks.

use super::super::observation::{ComparedArms, Workload};
use super::super::trial::{Match, purpose_of};
use super::view::Capacity;

impl Capacity<'_> {
    /// The arms that a comparer is to ask in a trial; `None` where the spec has none, or where no answers are compared.
    ///
    /// It begins as soon as both arms are ready, and goes on for as long as both are to have pods: a pod that is away for
    /// a while must not restart it.
    pub(in crate::rollout) fn comparer(&self, trial: &Match) -> Option<ComparedArms> {
        self.spec.comparer.as_ref()?;
        let arms = ComparedArms {
            reference: trial.reference.clone()?,
            candidate: trial.candidate.clone(),
            asked: purpose_of(self.spec, self.status, &trial.candidate),
        };
        let keys = arms.keys();
        let both = |is: fn(&Workload) -> bool| keys.iter().all(|key| self.seen.workloads.get(key).is_some_and(is));
        let runs = self.seen.comparer.as_deref() == Some(&arms);
        let answer = both(|workload| workload.ready > 0);
        let last = runs && both(|workload| workload.desired > 0);
        (arms.reference != arms.candidate && (answer || last)).then_some(arms)
    }
}
