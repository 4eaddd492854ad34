//! The traffic split: whether requests follow the weights. Where they do not, routing or scraping is broken. The
//! guards' reports then cannot be trusted to raise a candidate, and the weights hold.

use crate::evidence::Poll;
use crate::guards::SuiteConfig;
use crate::judge::SplitTest;
use crate::model::identity::Purpose;
use crate::model::presets::guards;

use super::super::capacity::{Capacity, DRAIN};
use super::super::next::Wait;
use super::super::observation::WorkloadKey;
use super::super::reason::{EvidenceReason, WaitReason};
use super::super::trial::Match;
use super::heard::WarmUntil;
use super::state::Running;

/// The split that is tested in one evaluation.
pub(super) struct Split {
    /// The guard whose counts are used.
    guard: String,
    /// Polls that begin before this time (Unix ms) do not count, because gateways follow their routes with a delay.
    from: i64,
}

impl Split {
    /// Prepares the test of the weights that are in force; `None` where it cannot run yet.
    pub(super) fn of(
        running: &mut Running,
        config: &SuiteConfig,
        trial: &Match,
        capacity: &Capacity<'_>,
    ) -> Option<Self> {
        let (Some(weights), Some(guard)) = (weights(trial, capacity), counting_guard(config, capacity)) else {
            running.split = None;
            return None;
        };
        if running.split.as_ref().is_none_or(|test| test.weights() != weights) {
            // The counts of this evaluation belong to other weights.
            running.split = Some(SplitTest::new(weights));
            return None;
        }
        let since = capacity.status.rollout.as_ref()?.weight_since.as_ref()?.0;
        Some(Self {
            guard,
            from: since.as_millisecond().saturating_add(DRAIN.as_millis() as i64),
        })
    }

    /// Takes one poll of a guard, if it is the guard whose counts are used and none of its requests were left out.
    pub(super) fn observe(&self, test: &mut Option<SplitTest>, guard: &str, warm_until: WarmUntil, poll: &Poll) {
        if guard == self.guard
            && poll.from >= self.from
            && warm_until.is_whole_after(poll.from)
            && let Some(test) = test
        {
            test.observe(&poll.observed);
        }
    }
}

/// Weights of the candidate and its baseline that are in force; `None` where requests need not follow any.
fn weights(trial: &Match, capacity: &Capacity<'_>) -> Option<(u32, u32)> {
    let route = &capacity.seen.route;
    let rollout = capacity.status.rollout.as_ref().filter(|_| route.exists)?;
    let baseline = trial.baseline.as_ref()?;
    let (of_candidate, of_baseline) = if capacity.by_replicas() {
        (capacity.serving_pods(&trial.candidate), capacity.serving_pods(baseline))
    } else {
        let weight = |revision| route.weights.get(revision).copied();
        (
            weight(&trial.candidate).filter(|w| *w == rollout.weight)?,
            weight(baseline)?,
        )
    };
    // Pinned requests that the baseline's own pods serve meanwhile follow no weight.
    let shares = |key: &WorkloadKey| key.purpose == Purpose::Serving && key.revision == *baseline;
    if capacity.pinned().as_ref().is_some_and(shares) {
        return None;
    }
    let positive = |weight: i32| u32::try_from(weight).ok().filter(|w| *w > 0);
    Some((positive(of_candidate)?, positive(of_baseline)?))
}

/// Why the counts cannot be trusted, if requests do not follow the weights.
pub(super) fn broken(running: &Running, config: &SuiteConfig, capacity: &Capacity<'_>) -> Option<Wait> {
    let found = running.split.as_ref()?.mismatch()?;
    let guard = counting_guard(config, capacity)?;
    let hint = if capacity.by_replicas() {
        "see whether every pod of both arms is scraped, and whether clients keep few connections, for one Service splits connections and not requests"
    } else {
        "see whether the gateway follows the route's weights, and whether every pod of both arms is scraped"
    };
    Some(Wait::new(
        WaitReason::NoEvidence(EvidenceReason::TrafficSplit),
        format!("guard {guard}: {found}; {hint}"),
    ))
}

/// The first guard of the spec that counts requests of both arms.
pub(super) fn counting_guard(config: &SuiteConfig, capacity: &Capacity<'_>) -> Option<String> {
    let counts = |name: &String| config.guards.get(name).is_some_and(|guard| guard.counts_requests());
    guards(capacity.spec).into_iter().map(|guard| guard.name).find(counts)
}
