//! Leader election by a Lease. Its identity outlives the container, so a killed leader takes its own lease up again at
//! once.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apiserver::{CALL_TIMEOUT, limited};

/// Identity of this instance in the election, and the Lease.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Name of this instance: that of its pod.
    pub identity: String,
}

/// Seconds for which a lease is valid without renewal.
const HOLDS: u64 = 15;

/// Seconds before its end at which it is renewed.
const GRACE: u64 = 10;

/// Longest time of one call. A renewal must be tried again before the lease is over: an instance that waits longer goes
/// on as the leader although another one has become leader meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// An instance that stands for election.
pub(super) struct Candidacy {
    /// Whether it leads.
    pub(super) leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Candidacy {
    /// Gives the lease back, so that after an upgrade or the drain of a node no instance has to wait until it ends by
    /// itself.
    pub(super) async fn resign(self) {
        let Self { leads, task } = self;
        drop(leads);
        if tokio::time::timeout(CALL_TIMEOUT, task).await.is_err() {
            tracing::warn!("the lease could not be given back; it ends by itself");
        }
    }
}

/// Stands for election.
pub(super) async fn elect(client: Client, election: &Election) -> Result<Candidacy, LeaseManagerError> {
    let manager = LeaseManagerBuilder::new(limited(&client, PATIENCE), election.name.clone())
        .with_namespace(election.namespace.clone())
        .with_identity(election.identity.clone())
        .with_duration(HOLDS)
        .with_grace(GRACE)
        .build()
        .await?;
    let (leads, task) = manager.watch().await;
    Ok(Candidacy { leads, task })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_is_not_answered_is_tried_twice_more_before_the_lease_is_over() {
        assert!(PATIENCE * 3 < Duration::from_secs(GRACE));
        assert!(PATIENCE < CALL_TIMEOUT);
    }
}
