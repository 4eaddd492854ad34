//! Targets: what is scraped together, so that its series have the same timestamps.

use crate::evidence::labels::{Fingerprint, Labels};
use crate::evidence::role::Arm;

/// Key of what is remembered of a target of an arm as a whole: in the ledger its last restart, which has the end of the restart and
/// its longest duration.
pub(in crate::evidence) fn key_of([pod, instance, job, server]: Target<'_>, arm: Arm) -> Fingerprint {
    let labels = [("pod", pod), ("instance", instance), ("job", job), ("server", server)];
    Labels::from(labels).fingerprint(arm.mark())
}

/// Whether a target names a pod or an instance, so that its series come from one process and restart together.
pub(in crate::evidence) fn is_named([pod, instance, ..]: Target<'_>) -> bool {
    !pod.is_empty() || !instance.is_empty()
}

/// One endpoint of one job, as one server scrapes it: its series are scraped together and have the same timestamps. It has
/// the pod, the instance, the job and the server.
pub(in crate::evidence) type Target<'a> = [&'a str; 4];

/// Labels by which replicas of Prometheus tell their samples apart where nobody removes doubles.
const SERVERS: [&str; 4] = ["prometheus_replica", "__replica__", "replica", "prometheus"];

/// The pod of a target, or its instance where it names no pod.
pub(in crate::evidence) fn pod([pod, instance, ..]: Target<'_>) -> &str {
    if pod.is_empty() { instance } else { pod }
}

/// The target that a series is scraped from.
pub(in crate::evidence) fn target(labels: &Labels) -> Target<'_> {
    let of = |name| labels.get(name).unwrap_or_default();
    let server = SERVERS.into_iter().find_map(|name| labels.get(name));
    [
        labels.pod().unwrap_or_default(),
        of("instance"),
        of("job"),
        server.unwrap_or_default(),
    ]
}
