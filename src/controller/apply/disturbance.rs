//! Writes of a split wait until the gateway has noticed that a variant of it lost its endpoints.
//!
//! While a backend with weight has no endpoint, Envoy Gateway (1.9) gives the rule another set of Envoy clusters, and
//! the old set back once the backend has endpoints again or no weight any more. If that is published before Envoy has
//! asked for the endpoints of the set in between, Envoy gets no answer: it waits for 15 s, and has no cluster for any
//! request of the split. The second change within 60 ms of the first did so in 52 of 102 tries, at 100 ms or more in
//! none of 68.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use parking_lot::Mutex;

use crate::api::QuantizedModel;
use crate::manifests::{Kind, MANAGER_WORKLOAD};
use crate::model::identity::Purpose;
use crate::rollout::WorkloadKey;
use crate::watch::{FieldHashes, Stores, hash};

use super::super::error::Error;
use super::super::observe::Cluster;
use super::applied::Applied;

/// Time for the gateway and its controller. It is short, because the share of the variant fails meanwhile.
const TAKEN_IN: Duration = Duration::from_millis(500);

/// Since when splits are disturbed, by model.
#[derive(Default)]
pub(in crate::controller) struct Disturbances(Mutex<HashMap<u64, Instant>>);

impl Disturbances {
    /// Fails for as long as a reconcile of a disturbed model must wait. Each disturbance is waited for once.
    pub(in crate::controller) fn wait(&self, uid: &str, now: Instant) -> Result<(), Error> {
        let mut since = self.0.lock();
        let since = *since.entry(hash(uid)).or_insert(now);
        let rest = TAKEN_IN.saturating_sub(now.saturating_duration_since(since));
        if rest.is_zero() {
            Ok(())
        } else {
            Err(Error::Disturbed(rest))
        }
    }

    /// Forgets a disturbance, because it is over or the model is gone.
    pub(in crate::controller) fn end(&self, uid: &str) {
        self.0.lock().remove(&hash(uid));
    }
}

/// Whether a variant with weight behind a gateway has no endpoint, or is about to have none, because another writer has
/// changed its Service.
pub(in crate::controller) fn is_disturbed(
    stores: &Stores,
    applied: &Applied,
    model: &QuantizedModel,
    cluster: &Cluster,
) -> bool {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let uid = model.uid().unwrap_or_default();
    let mut carrying = cluster.route.weights.iter().filter(|(_, weight)| **weight > 0);
    let unserved = carrying.any(|(revision, _)| {
        let key = WorkloadKey {
            revision: revision.clone(),
            purpose: Purpose::Serving,
        };
        cluster.workloads.get(&key).is_none_or(|workload| workload.ready == 0)
    });
    let touched = |service: &str| {
        let live = stores.services.get(&namespace, service);
        let live = live.map(|service| FieldHashes::digest(&service.hashes));
        let of = (MANAGER_WORKLOAD, Kind::Service, service);
        applied.is_touched(&uid, of, live)
    };
    let mut routes = stores.routes.named(&namespace, &name);
    unserved || routes.any(|route| route.carrying().any(touched))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disturbance_is_waited_for_once_and_no_longer_than_it_takes_to_be_taken_in() {
        let (disturbances, begun) = (Disturbances::default(), Instant::now());
        let rest = |after: u64| match disturbances.wait("u", begun + Duration::from_millis(after)) {
            Err(Error::Disturbed(rest)) => rest.as_millis(),
            other => {
                other.unwrap();
                0
            }
        };
        assert_eq!(rest(1_000), 500);
        assert_eq!(rest(1_499), 1, "a reconcile that came early waits no longer for it");
        assert_eq!(rest(1_500), 0);
        assert_eq!(rest(60_000), 0, "it goes on: every reconcile is at once");
        disturbances.end("u");
        assert_eq!(rest(62_000), 500, "another one");
    }
}
