//! The traffic split: whether requests follow the weights. Where they do not, routing or scraping is broken, nothing that the
//! guards say can be trusted to raise a candidate, and the weights hold.

use crate::evidence::Poll;
use crate::judge::{GuardConfig, SplitTest, SuiteConfig};
use crate::model::identity::Purpose;
use crate::model::presets::guards;

use super::listen::Listened;
use super::look::{DRAIN, Look};
use super::reason::{EvidenceReason, Wait, WaitReason};
use super::trial::Match;
use super::warm_up::WarmUp;

/// The split that is tested at one look.
pub(super) struct Split {
    /// The guard whose counts tell.
    guard: String,
    /// Polls that begin before do not count: gateways follow their routes with a delay (Unix ms).
    from: i64,
}

impl Look<'_> {
    /// Makes ready to test the split of the weights that are in force; `None` where nothing can be said at this look.
    pub(super) fn split(&self, listened: &mut Listened) -> Option<Split> {
        let guard = counting_guard(self, &listened.config);
        let (Some(weights), Some(guard)) = (self.split_weights(&listened.trial), guard) else {
            listened.running.split = None;
            return None;
        };
        if listened
            .running
            .split
            .as_ref()
            .is_none_or(|test| test.weights() != weights)
        {
            // What is counted at this look is of other weights.
            listened.running.split = Some(SplitTest::new(weights));
            return None;
        }
        let since = self.status.rollout.as_ref()?.weight_since.as_ref()?.0;
        Some(Split {
            guard,
            from: (since + DRAIN).as_millisecond(),
        })
    }

    /// Weights of the candidate and its baseline that are in force; `None` where the requests need not follow any.
    fn split_weights(&self, trial: &Match) -> Option<(u32, u32)> {
        let rollout = self.status.rollout.as_ref().filter(|_| self.seen.route.exists)?;
        let baseline = trial.baseline.as_ref()?;
        let (of_candidate, of_baseline) = if self.by_replicas() {
            (self.serving_pods(&trial.candidate), self.serving_pods(baseline))
        } else {
            let weight = |revision| self.seen.route.weights.get(revision).copied();
            (
                weight(&trial.candidate).filter(|w| *w == rollout.weight)?,
                weight(baseline)?,
            )
        };
        // Pinned requests that the baseline's own pods serve meanwhile follow no weight.
        let shares = |key: &super::WorkloadKey| key.purpose == Purpose::Serving && key.revision == *baseline;
        if self.pinned().as_ref().is_some_and(shares) {
            return None;
        }
        let positive = |weight: i32| u32::try_from(weight).ok().filter(|w| *w > 0);
        Some((positive(of_candidate)?, positive(of_baseline)?))
    }

    /// Why the counts cannot be trusted, if requests do not follow the weights.
    pub(super) fn broken_split(&self, listened: &Listened) -> Option<Wait> {
        let found = listened.running.split.as_ref()?.mismatch()?;
        let guard = counting_guard(self, &listened.config)?;
        let hint = if self.by_replicas() {
            "see whether every pod of both arms is scraped, and whether clients keep few connections, for one Service splits connections and not requests"
        } else {
            "see whether the gateway follows the route's weights, and whether every pod of both arms is scraped"
        };
        Some(Wait {
            reason: WaitReason::NoEvidence(EvidenceReason::TrafficSplit),
            message: format!("guard {guard}: {found}; {hint}"),
        })
    }
}

impl Split {
    /// Takes one poll of a guard, if that guard's counts tell and all of its requests are in them.
    pub(super) fn observe(&self, listened: &mut Listened, guard: &str, warm_up: &WarmUp, poll: &Poll) {
        if guard == self.guard
            && poll.from >= self.from
            && warm_up.is_whole_after(poll.from)
            && let Some(test) = &mut listened.running.split
        {
            test.observe(&poll.observed);
        }
    }
}

/// The first guard of the spec that counts requests of both arms.
fn counting_guard(look: &Look<'_>, config: &SuiteConfig) -> Option<String> {
    let counts = |name: &String| {
        matches!(
            config.guards.get(name),
            Some(GuardConfig::Proportion { .. } | GuardConfig::Latency { .. })
        )
    };
    guards(look.spec).into_iter().map(|guard| guard.name).find(counts)
}
