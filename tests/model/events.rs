//! What can happen to a world: to pods, traffic, metrics, clocks, the spec, the objects; and how far the evaluation
//! comes that follows.

use std::sync::Arc;

use guardbit::api::{ActKind, Duration, OnUndecided, QuantizedModelSpec, QuantizedModelStatus};

use crate::invariants::{Broken, Judge};
use crate::oversight::{Asks, Records};
use crate::traffic::{Metrics, Mood};
use crate::world::{Evaluation, Pods, World};

/// A change, and the evaluation after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    pub change: Change,
    pub evaluation: Evaluation,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Nothing,
    /// Half a minute passes, with traffic.
    Pass,
    /// The controller's clock jumps by so many seconds.
    Jump(i64),
    Mood(&'static str, Mood),
    Pods(&'static str, Pods),
    Metrics(Metrics),
    /// The comparer asks, or is dead.
    Compares(bool),
    Restart,
    LoseStatus,
    SpoilEvidence,
    /// The gateway refuses the route, or takes it again.
    Refuse(bool),
    /// Someone gives all traffic to this variant.
    RouteByHand(&'static str),
    DeleteRoute,
    /// Someone scales the Deployment of this variant to 0.
    ScaleByHand(&'static str),
    Target(&'static str),
    Paused(bool),
    Suspend(bool),
    Attempt,
    /// Another digest of this variant's weights.
    Weights(&'static str, char),
    /// The calibration of int8 is older than allowed.
    Stale(bool),
    Tolerance(&'static str),
    Hold(&'static str),
    OnUndecided(OnUndecided),
    BreakSpec(bool),
    Delete,
    /// Policies ask something else.
    Asks(Asks),
    /// A freeze begins, and ends by itself.
    Freeze,
    Act(ActKind),
    Records(Records),
}

/// Changes with the whole evaluation that they cause.
pub fn seen(changes: &[Change]) -> Vec<Event> {
    with(changes, Evaluation::Whole)
}

/// Changes with this evaluation.
pub fn with(changes: &[Change], evaluation: Evaluation) -> Vec<Event> {
    changes
        .iter()
        .map(|change| Event {
            change: *change,
            evaluation,
        })
        .collect()
}

impl Event {
    /// What comes of it; `None` if nothing would change, or it cannot happen here.
    pub fn happen(&self, world: &World, judge: &Judge<'_>) -> Result<Option<World>, Broken> {
        let mut next = world.clone();
        if world.released || !self.change.happen(&mut next) {
            return Ok(None);
        }
        Ok(next.evaluate(self.evaluation, judge)?.then_some(next))
    }
}

impl Change {
    /// Whether it changes anything.
    fn happen(&self, world: &mut World) -> bool {
        match *self {
            Self::Nothing => true,
            Self::Pass => {
                world.pass(30);
                true
            }
            Self::Jump(seconds) => {
                let before = std::mem::replace(&mut world.skew, seconds);
                world.history.clock_jumps();
                before != seconds
            }
            Self::Mood(variant, mood) => world.moods.insert(variant.into(), mood).unwrap_or_default() != mood,
            Self::Pods(variant, pods) => {
                let before = world.pods.insert(variant.into(), pods).unwrap_or_default();
                world.pods_follow(false);
                before != pods
            }
            Self::Metrics(metrics) => std::mem::replace(&mut world.metrics, metrics) != metrics,
            Self::Compares(compares) => std::mem::replace(&mut world.compares, compares) != compares,
            Self::Restart => {
                world.restart();
                true
            }
            Self::LoseStatus => {
                world.status = Arc::default();
                world.history.status_is_lost(&world.workloads);
                true
            }
            Self::SpoilEvidence => {
                let mut status = QuantizedModelStatus::clone(&world.status);
                let spoilt = Some("v9:spoilt".to_owned());
                let before = std::mem::replace(&mut status.evidence, spoilt.clone());
                world.status = Arc::new(status);
                before.is_some() && before != spoilt
            }
            Self::Refuse(refused) => std::mem::replace(&mut world.refused, refused) != refused,
            Self::RouteByHand(variant) => {
                let revision = world.revision(variant);
                let written = world.route.weights.clone().into_iter().collect();
                world.route.changed_from.get_or_insert(written);
                for (of, weight) in &mut world.route.weights {
                    *weight = if *of == revision { 100 } else { 0 };
                }
                world.route.weights.contains_key(&revision)
            }
            Self::DeleteRoute => std::mem::take(&mut world.route).exists,
            Self::ScaleByHand(variant) => {
                let key = crate::world::serving(&world.revision(variant));
                let before = world
                    .workloads
                    .get_mut(&key)
                    .map(|w| std::mem::replace(&mut w.desired, 0));
                world.pods_follow(false);
                before.is_some_and(|before| before > 0)
            }
            Self::Delete => world.deleted_at.replace(world.now()).is_none(),
            Self::Asks(asks) => {
                let oversight = world.oversight.as_mut();
                oversight.is_some_and(|of| std::mem::replace(&mut of.asks, asks) != asks)
            }
            Self::Freeze => {
                let now = world.now();
                world.oversight.as_mut().is_some_and(|of| of.begin_freeze(now))
            }
            Self::Act(kind) => world.act(kind),
            Self::Records(records) => {
                let oversight = world.oversight.as_mut();
                oversight.is_some_and(|of| std::mem::replace(&mut of.records, records) != records)
            }
            _ => self.edit(world),
        }
    }

    /// Edits the spec.
    fn edit(&self, world: &mut World) -> bool {
        let mut spec = QuantizedModelSpec::clone(&world.spec);
        match *self {
            Self::Target(variant) => spec.target = Some(variant.into()),
            Self::Paused(paused) => spec.paused = paused,
            Self::Suspend(suspend) => spec.suspend = suspend,
            Self::Attempt => spec.attempt = 2,
            Self::Weights(variant, digit) => {
                let of = spec
                    .variants
                    .iter_mut()
                    .find(|v| v.name == variant)
                    .expect("a variant of the spec");
                of.weights.digest = format!("sha256:{}", digit.to_string().repeat(64));
                of.weights.uri = "s3://models".into();
            }
            Self::Stale(stale) => {
                let age = Duration::from(if stale { "1h" } else { "72000h" });
                spec.variants[1].calibration.as_mut().expect("a calibration").max_age = Some(age);
            }
            Self::Tolerance(absolute) => {
                let errors = spec.guards[0].proportion.as_mut().expect("a proportion");
                errors.tolerance.absolute = Some(absolute.into());
            }
            Self::Hold(hold) => spec.rollout.steps[0].hold = hold.into(),
            Self::OnUndecided(then) => spec.rollout.on_undecided = then,
            Self::BreakSpec(broken) => spec.rollout.interval = if broken { "1ms" } else { "10s" }.into(),
            _ => return false,
        }
        let changed = spec != *world.spec;
        world.spec = Arc::new(spec);
        world.generation += 1;
        changed
    }
}
