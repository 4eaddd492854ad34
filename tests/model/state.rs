//! When two worlds are the same: what no decision depends on is left out, times are relative to now, and running evidence is
//! reduced to what it says and to what it has not read yet.
//!
//! Left out: sentences and conditions, which `decide` writes for people and never acts on; arms, whose weights are those that
//! the history remembers; the past of baselines from before a trial, and the order within it of what a trial has counted,
//! neither of which matters at a volume that decides at once.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use guardbit::api::{Action, ApprovalGate, Phase, QuantizedModelStatus, RevisionRef};
use guardbit::rollout::Workload;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::world::{World, seconds};

/// Identity of a world: two independent hashes of it. A collision among a million states has a chance of 10⁻²⁶.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u64; 2]);

/// Longer than anything that is waited for, in seconds.
const LONG: i64 = 900;

impl Key {
    pub fn of(world: &World) -> Self {
        let mut both = Both::default();
        both.0[1].write_u8(1);
        let now = world.now();
        State { world, now }.hash(&mut both);
        Self(both.0.map(|hasher| hasher.finish()))
    }
}

/// Hashes that begin differently.
#[derive(Default)]
struct Both([DefaultHasher; 2]);

impl Hasher for Both {
    fn write(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|hasher| hasher.write(bytes));
    }

    fn finish(&self) -> u64 {
        self.0[0].finish()
    }
}

struct State<'a> {
    world: &'a World,
    now: i64,
}

impl Hash for State<'_> {
    fn hash<H: Hasher>(&self, h: &mut H) {
        let world = self.world;
        (world.skew, world.released, world.refused, world.metrics, world.compares).hash(h);
        world.deleted_at.map(|at| self.ago(at)).hash(h);
        (&world.moods, &world.pods).hash(h);
        self.spec(h);
        let newest = world.newest();
        self.status(&newest, h);
        self.evidence(&newest, h);
        // What a restart would go on from.
        let kept = newest.evidence != world.status.evidence;
        kept.hash(h);
        if kept {
            self.status(&world.status, h);
        }
        for (key, workload) in &world.workloads {
            key.hash(h);
            self.workload(workload, h);
        }
        (world.route.exists, &world.route.weights, &world.route.changed_from).hash(h);
        world.history.hash_at(self.now, h);
        if let Some(oversight) = &world.oversight {
            oversight.hash_at(self.now, &newest.held, h);
        }
    }
}

impl State<'_> {
    /// How long ago, of the controller's time.
    fn ago(&self, at: i64) -> i64 {
        ago(self.now, at)
    }

    fn since(&self, at: Timestamp) -> i64 {
        self.ago(seconds(at))
    }

    fn maybe(&self, at: Option<&Time>) -> Option<i64> {
        at.map(|at| self.since(at.0))
    }

    /// What events may edit.
    fn spec<H: Hasher>(&self, h: &mut H) {
        let spec = &self.world.spec;
        (&spec.target, spec.paused, spec.suspend, spec.attempt).hash(h);
        for variant in &spec.variants {
            variant.weights.digest.hash(h);
            variant
                .calibration
                .as_ref()
                .and_then(|c| c.max_age.as_ref())
                .map(|age| &age.0)
                .hash(h);
        }
        for guard in &spec.guards {
            let tolerance = guard.proportion.as_ref().and_then(|p| p.tolerance.absolute.as_ref());
            tolerance.map(|absolute| &absolute.0).hash(h);
        }
        (&spec.rollout.interval.0, &spec.rollout.steps[0].hold.0).hash(h);
        std::mem::discriminant(&spec.rollout.on_undecided).hash(h);
    }

    fn status<H: Hasher>(&self, status: &QuantizedModelStatus, h: &mut H) {
        (&status.stable, &status.reference, &status.reference_weights).hash(h);
        (status.phase == Some(Phase::Suspended.into()), &status.hand_set).hash(h);
        // What is on record of people.
        let mut recorded = status.decisions.iter().rev().filter_map(|d| d.action.known());
        (recorded.clone().next() == Some(Action::Deleted)).hash(h);
        let last = recorded.find(|action| matches!(action, Action::Paused | Action::Unpaused));
        (last == Some(Action::Paused)).hash(h);
        if let Some(rollout) = &status.rollout {
            std::mem::discriminant(&rollout.kind).hash(h);
            (&rollout.candidate, &rollout.plan_digest, rollout.step, rollout.weight).hash(h);
            (rollout.promoting, rollout.overdue, rollout.stood_still_millis).hash(h);
            self.since(rollout.started_at.0).hash(h);
            for at in [
                &rollout.weight_since,
                &rollout.shadow_since,
                &rollout.first_weight_at,
                &rollout.stands_still_since,
                &rollout.escalated_at,
            ] {
                self.maybe(at.as_ref()).hash(h);
            }
        }
        for of in &status.proven {
            (&of.variant, &of.revision).hash(h);
        }
        for of in &status.rejected {
            (&of.variant, &of.revision, &of.guard).hash(h);
        }
        for of in &status.failed {
            (&of.variant, &of.revision, of.attempt, of.count).hash(h);
            // A time that has come may as well have come long ago.
            of.retry_at.as_ref().map(|at| self.since(at.0).min(0)).hash(h);
        }
        for of in &status.retiring {
            (&of.variant, &of.revision, of.keeps, self.since(of.until.0)).hash(h);
            std::mem::discriminant(&of.reason).hash(h);
        }
        if let Some(oversight) = &self.world.oversight {
            self.overseen(status, oversight.unwritten_since(), h);
        }
    }

    /// What policies and people have brought about. `unwritten` is since when something is not on record.
    fn overseen<H: Hasher>(&self, status: &QuantizedModelStatus, unwritten: Option<i64>, h: &mut H) {
        (status.policy.is_some(), status.calibrations.len()).hash(h);
        let awaiting = status.awaiting.as_ref().map(|of| {
            let is_promotion = of.before == ApprovalGate::Promotion;
            (&of.change_digest, is_promotion, self.since(of.since.0))
        });
        awaiting.hash(h);
        let rollout = status.rollout.as_ref().map(|of| {
            let approved = of.approved.as_ref().map(|of| (&of.first_traffic, &of.promotion));
            (&of.policy, &of.rules, approved)
        });
        rollout.hash(h);
        // A Resume ends a Pause as well.
        let mut recorded = status.decisions.iter().rev().filter_map(|d| d.action.known());
        let last = recorded.find(|action| matches!(action, Action::Paused | Action::Unpaused | Action::Resumed));
        (last == Some(Action::Paused)).hash(h);
        // What was found in this very second is not older than an act of it.
        let found = status.rejected.iter().map(|of| &of.at);
        for at in found.chain(status.failed.iter().map(|of| &of.at)) {
            (self.since(at.0) == 0).hash(h);
        }
        let stable = status.decisions.iter().rev().find_map(|decision| {
            use Action::{Bootstrapped, Demoted, FellBack, Promoted, Recovered, TakenBack, TargetMoved};
            let rose = match decision.action.known()? {
                Bootstrapped | Promoted => true,
                Recovered | FellBack | TargetMoved | TakenBack | Demoted => false,
                _ => return None,
            };
            let is_unwritten = unwritten.is_some_and(|since| seconds(decision.time.0) >= since);
            Some((&decision.variant, &decision.revision, rose && is_unwritten))
        });
        stable.hash(h);
    }

    fn evidence<H: Hasher>(&self, status: &QuantizedModelStatus, h: &mut H) {
        status
            .evidence
            .as_ref()
            .map(|evidence| evidence.starts_with("v9:"))
            .hash(h);
        let mut through = self.world.history.evidence_since().unwrap_or(self.now);
        for guard in &status.guards {
            guard.name.hash(h);
            std::mem::discriminant(&guard.verdict).hash(h);
            for arm in [guard.candidate, guard.baseline] {
                (magnitude(arm.total), magnitude(arm.bad)).hash(h);
            }
            self.maybe(guard.observed_through.as_ref()).hash(h);
            if let Some(at) = &guard.observed_through {
                through = through.max(seconds(at.0));
            }
        }
        for revision in on_trial(status) {
            for counted in [&self.world.traffic, &self.world.pairs] {
                counted.unread(revision, through, self.world.clock).hash(h);
            }
        }
    }

    fn workload<H: Hasher>(&self, workload: &Workload, h: &mut H) {
        let Workload {
            desired,
            ready,
            pods,
            pod_starts,
            ready_since,
            unschedulable,
            failure,
            refused,
            never_ready,
            disruption,
            joined,
            image_ids,
            weights,
            marks,
        } = workload;
        (
            desired,
            ready,
            pods,
            unschedulable,
            failure,
            refused,
            never_ready,
            disruption,
            joined,
            image_ids,
            weights,
        )
            .hash(h);
        for at in pod_starts.values().chain(ready_since.values()) {
            self.since(*at).hash(h);
        }
        (marks.stable, marks.proven, marks.reference, marks.rejected.is_some()).hash(h);
    }
}

/// Whose samples are read.
fn on_trial(status: &QuantizedModelStatus) -> impl Iterator<Item = &RevisionRef> {
    let candidate = status.rollout.as_ref().map(|rollout| &rollout.candidate);
    [candidate, status.stable.as_ref(), status.reference.as_ref()]
        .into_iter()
        .flatten()
}

/// How long ago something was; beyond what is ever waited for it is all the same.
pub fn ago(now: i64, at: i64) -> i64 {
    (now - at).clamp(-LONG, LONG)
}

/// Counts of one magnitude say the same.
fn magnitude(count: i64) -> u32 {
    u64::try_from(count)
        .unwrap_or(0)
        .checked_ilog2()
        .map_or(0, |log| log + 1)
}
