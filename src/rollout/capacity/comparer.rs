//! The comparer: when it runs, which arms it asks, and how often.

use crate::api::QuantizedModelSpec;
use crate::model::{Comparer, comparer};

use super::super::observation::{ComparedArms, Workload, halve};
use super::super::trial::{Match, purpose_of};
use super::view::Capacity;

/// The most that a rate is halved: to a thousandth.
const MOST_HALVED: u8 = 10;

/// A rate stays while it is within the share and above this part of it: traffic that comes and goes must not restart the
/// comparer.
const LEAST_OF_SHARE: f64 = 0.25;

impl Capacity<'_> {
    /// The arms that a comparer is to ask in a trial; `None` where the spec has none, or where no answers are compared.
    /// `requests` are those a second of the arm that has fewer, where they were counted.
    ///
    /// It begins as soon as both arms are ready, and goes on for as long as both are to have pods: a pod that is away for
    /// a while must not restart it.
    pub(in crate::rollout) fn comparer(&self, trial: &Match, requests: Option<f64>) -> Option<ComparedArms> {
        self.spec.comparer.as_ref()?;
        let mut arms = ComparedArms {
            reference: trial.reference.clone()?,
            candidate: trial.candidate.clone(),
            asked: purpose_of(self.spec, self.status, &trial.candidate),
            halved: 0,
        };
        let keys = arms.keys();
        let both = |is: fn(&Workload) -> bool| keys.iter().all(|key| self.seen.workloads.get(key).is_some_and(is));
        let live = self.seen.comparer.as_deref().filter(|live| live.keys() == keys);
        arms.halved = halved(self.spec, live.map_or(0, |live| live.halved), requests);
        let answer = both(|workload| workload.ready > 0);
        let last = live.is_some() && both(|workload| workload.desired > 0);
        (arms.reference != arms.candidate && (answer || last)).then_some(arms)
    }
}

/// How many times the rate of a spec is to be halved, which is halved so many times `now`. Without requests that were
/// counted it stays.
fn halved(spec: &QuantizedModelSpec, now: u8, requests: Option<f64>) -> u8 {
    let Some(Comparer {
        rate,
        share: Some(share),
        ..
    }) = comparer::of(spec)
    else {
        return 0;
    };
    let Some(requests) = requests else { return now };
    let allowed = share * requests;
    let rate = |times: u8| halve(rate, times);
    if (LEAST_OF_SHARE * allowed..=allowed).contains(&rate(now)) {
        return now;
    }
    let fits = |times: &u8| rate(*times) <= allowed;
    (0..MOST_HALVED).find(fits).unwrap_or(MOST_HALVED)
}
