//! The comparer: when it runs, and which arms it asks.

use crate::api::RevisionRef;

use super::super::observation::ComparedArms;
use super::super::trial::Match;
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
        };
        let both = |is: &dyn Fn(&RevisionRef) -> bool| is(&arms.reference) && is(&arms.candidate);
        let runs = self.seen.comparer.as_deref() == Some(&arms);
        let answer = both(&|arm| self.ready(arm) > 0);
        let last = runs && both(&|arm| self.workload(arm).is_some_and(|workload| workload.desired > 0));
        (arms.reference != arms.candidate && (answer || last)).then_some(arms)
    }
}
