//! Leader election by a Lease. Its identity outlives the container, so a killed leader takes its own lease up again at once.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;

use super::connection;

/// Who stands for election, and where.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Name of this instance: that of its pod.
    pub identity: String,
}

/// Seconds that a lease holds without renewal.
const HOLDS: u64 = 15;

/// Seconds before its end at which it is renewed.
const GRACE: u64 = 10;

/// Longest time of one call. A renewal must be tried again before the lease is over: whoever waits longer for an answer goes
/// on as the leader that another one has become meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stands for election; the receiver tells whether this instance leads.
pub(super) async fn elect(
    client: Client,
    election: &Election,
) -> Result<watch::Receiver<bool>, kube_lease_manager::LeaseManagerError> {
    let manager = LeaseManagerBuilder::new(connection::limited(&client, PATIENCE), election.name.clone())
        .with_namespace(election.namespace.clone())
        .with_identity(election.identity.clone())
        .with_duration(HOLDS)
        .with_grace(GRACE)
        .build()
        .await?;
    let (leads, _task) = manager.watch().await;
    Ok(leads)
}
