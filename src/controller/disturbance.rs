//! What is written of a split waits until the gateway has taken in that a variant of it lost its endpoints.
//!
//! While a backend with weight has no endpoint, Envoy Gateway (1.9) gives the rule another set of Envoy clusters, and the old set
//! back once the backend has endpoints again or no weight any more. If that is published before Envoy has asked for the endpoints
//! of the set in between, nobody answers its question: Envoy waits for 15 s, and has no cluster for any request of the split. The
//! second change within 60 ms of the first did so in 15 of 30 tries, at 100 ms or more in none of 68.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::api::QuantizedModel;
use crate::build::MANAGER_WORKLOAD;
use crate::identity::{Purpose, object_name};
use crate::rollout::WorkloadKey;

use super::Context;
use super::leaves::{Leaves, hash};
use super::observe::Cluster;

/// Time for the gateway and its controller. The share of the variant fails meanwhile, so that it is short.
const TAKEN_IN: Duration = Duration::from_millis(500);

/// Since when splits are disturbed, by model.
#[derive(Default)]
pub(super) struct Disturbances(Mutex<HashMap<u64, Instant>>);

impl Disturbances {
    /// How long a look at a model must wait, if at all. Each disturbance is waited for once.
    pub(super) fn rest(&self, uid: &str, disturbed: bool, now: Instant) -> Option<Duration> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !disturbed {
            since.remove(&hash(uid));
            return None;
        }
        let since = *since.entry(hash(uid)).or_insert(now);
        let rest = TAKEN_IN.saturating_sub(now.saturating_duration_since(since));
        (!rest.is_zero()).then_some(rest)
    }

    /// Forgets a model that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(uid));
    }
}

/// Whether a variant with weight behind a gateway has no endpoint, or is about to have none: another hand has been at its Service.
pub(super) fn is_disturbed(ctx: &Context, model: &QuantizedModel, cluster: &Cluster) -> bool {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let uid = model.uid().unwrap_or_default();
    let mut carrying = cluster.route.weights.iter().filter(|(_, weight)| **weight > 0);
    carrying.any(|(revision, _)| {
        let key = WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Serving,
        };
        let service = object_name(&namespace, &name, &revision.variant, &revision.revision, key.purpose);
        let live = ctx.stores.services.get(&namespace, &service);
        let live = live.map(|service| Leaves::digest(&service.leaves));
        cluster.workloads.get(&key).is_none_or(|workload| workload.ready == 0)
            || ctx
                .applied
                .is_touched(&uid, MANAGER_WORKLOAD, "Service", &service, live)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disturbance_is_waited_for_once_and_no_longer_than_it_takes_to_be_taken_in() {
        let (disturbances, begun) = (Disturbances::default(), Instant::now());
        let rest = |disturbed, after: u64| {
            let rest = disturbances.rest("u", disturbed, begun + Duration::from_millis(after));
            rest.map(|rest| rest.as_millis())
        };
        assert_eq!(rest(false, 0), None);
        assert_eq!(rest(true, 1_000), Some(500));
        assert_eq!(
            rest(true, 1_499),
            Some(1),
            "a look that came early waits no longer for it"
        );
        assert_eq!(rest(true, 1_500), None);
        assert_eq!(rest(true, 60_000), None, "it goes on: every look is at once");
        assert_eq!(rest(false, 61_000), None);
        assert_eq!(rest(true, 62_000), Some(500), "another one");
        disturbances.forget("u");
        assert_eq!(rest(true, 62_400), Some(500), "another model of the name");
    }
}
