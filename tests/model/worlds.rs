//! The small worlds that are searched: where each starts, and what can happen in it.

use guardbit::api::{OnUndecided, QuantizedModelSpec};

use crate::events::{Change, Event, seen, with};
use crate::search::Model;
use crate::world::{Look, Metrics, Mood, Pods, World, Write};

use Change::{
    Attempt, BreakSpec, Delete, DeleteRoute, Hold, Jump, LoseStatus, Nothing, Pass, Paused, Refuse, Restart,
    RouteByHand, ScaleByHand, SpoilEvidence, Stale, Suspend, Target, Tolerance, Weights,
};

/// fp32, int8 and int4 with two pods each; two guards; steps of 10 and 50 percent; a holdout of 10 percent.
fn spec() -> QuantizedModelSpec {
    let text = include_str!("../testdata/fraud-scorer.yaml");
    let model: serde_json::Value = serde_yaml_ng::from_str(text).expect("yaml");
    let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].clone()).expect("a spec");
    spec.guards
        .retain(|guard| ["errors", "drift"].contains(&guard.name.as_str()));
    spec.target = Some("int8".into());
    spec.serving.replicas = Some(2);
    spec.traffic.precision_routes.clear();
    spec.rollout.interval = "10s".into();
    spec.rollout.steps.truncate(2);
    for (step, weight) in spec.rollout.steps.iter_mut().zip([10, 50]) {
        (step.weight, step.hold) = (weight, "20s".into());
    }
    spec.rollout.holdout = 10;
    spec.rollout.keep_warm = "60s".into();
    spec.rollout.deadline = "3m".into();
    spec.rollout.schedule_deadline = "60s".into();
    spec
}

/// Looks until nothing more is decided, and lets time pass, until `there` is reached.
fn reach(mut world: World, there: impl Fn(&World) -> bool) -> World {
    for _ in 0..30 {
        for _ in 0..3 {
            if there(&world) {
                return world;
            }
            world.look(Look::Whole, None).expect("nothing is broken on the way");
        }
        world.pass(30);
    }
    panic!("it is never reached: {:?}", world.status);
}

fn stable(world: &World, variant: &str) -> bool {
    world.status.stable.as_ref().is_some_and(|s| s.variant == variant)
}

fn weight(world: &World, variant: &str) -> i32 {
    world
        .status
        .rollout
        .as_ref()
        .filter(|r| r.candidate.variant == variant)
        .map_or(0, |r| r.weight)
}

/// fp32 serves, and has for a while.
fn installed(spec: QuantizedModelSpec) -> World {
    let mut world = reach(World::new(spec), |world| stable(world, "fp32") && world.route.exists);
    world.pass(300);
    world
}

fn int8_at_10(spec: QuantizedModelSpec) -> World {
    reach(installed(spec), |world| weight(world, "int8") == 10)
}

fn int8_promoted(spec: QuantizedModelSpec) -> World {
    reach(installed(spec), |world| stable(world, "int8"))
}

/// int8 serves, int4 is to be tried.
fn int8_promoted_of_three() -> World {
    let mut spec = spec();
    spec.target = Some("int8".into());
    let mut world = int8_promoted(spec);
    let mut spec = QuantizedModelSpec::clone(&world.spec);
    spec.target = Some("int4".into());
    world.spec = spec.into();
    world
}

fn moods(variant: &'static str) -> Vec<Event> {
    seen(&[Mood::Healthy, Mood::Failing, Mood::Drifting].map(|mood| Change::Mood(variant, mood)))
}

fn turns_bad(variant: &'static str) -> Vec<Event> {
    seen(&[Change::Mood(variant, Mood::Failing)])
}

fn metrics() -> Vec<Event> {
    seen(&[Metrics::Answers, Metrics::Away, Metrics::Empty].map(Change::Metrics))
}

fn pods(variant: &'static str, pods: &[Pods]) -> Vec<Event> {
    seen(&pods.iter().map(|pods| Change::Pods(variant, *pods)).collect::<Vec<_>>())
}

fn model(name: &'static str, start: World, depth: usize, events: impl IntoIterator<Item = Vec<Event>>) -> Model {
    let common = seen(&[Nothing, Pass]);
    let events = std::iter::once(common).chain(events).flatten().collect();
    Model {
        name,
        start,
        events,
        depth,
    }
}

/// A first climb, with metrics that come and go.
pub fn metrics_come_and_go() -> Model {
    model("metrics", installed(spec()), 10, [moods("int8"), metrics()])
}

/// A controller that is stopped after any of its writes, meets conflicts, or finds its status lost or spoilt.
pub fn controller_is_killed() -> Model {
    let writes = [Write::Lower, Write::Status, Write::Grow, Write::Route];
    let killed = writes.map(|write| with(&[Nothing], Look::Killed(write)));
    model(
        "controller",
        int8_at_10(spec()),
        10,
        killed.into_iter().chain([
            turns_bad("int8"),
            with(&[Nothing], Look::Conflict),
            with(&[Pass, Restart, LoseStatus, SpoilEvidence], Look::None),
            seen(&[Metrics::Answers, Metrics::Away].map(Change::Metrics)),
        ]),
    )
}

/// Pods of the candidate and of its fallback that come, go, crash, are evicted, or cannot be scheduled.
pub fn pods_come_and_go() -> Model {
    use Pods::{Come, Crash, Evicted, Gone, Mixed, One, Unschedulable};
    model(
        "pods",
        installed(spec()),
        10,
        [
            turns_bad("int8"),
            pods("int8", &[Come, One, Gone, Crash, Evicted, Unschedulable, Mixed]),
            pods("fp32", &[Come, One, Gone]),
        ],
    )
}

/// A spec that is edited all the time, also several times before it is looked at.
pub fn spec_is_edited() -> Model {
    let gone = [
        Change::Pods("int8", Pods::Gone),
        Change::Mood("int8", Mood::Failing),
        Pass,
    ];
    model(
        "spec",
        int8_at_10(spec()),
        10,
        [
            with(&gone, Look::None),
            seen(&[
                Target("fp32"),
                Target("int8"),
                Paused(true),
                Paused(false),
                Suspend(true),
                Suspend(false),
            ]),
            seen(&[
                Attempt,
                Stale(true),
                Stale(false),
                Tolerance("1%"),
                Hold("30s"),
                BreakSpec(true),
                BreakSpec(false),
            ]),
        ],
    )
}

/// Candidates that replace each other, a lateral rollout, a new reference.
pub fn weights_supersede_each_other() -> Model {
    model(
        "weights",
        installed(spec()),
        10,
        [
            seen(&[Weights("int8", 'a'), Weights("int8", 'b'), Weights("fp32", 'c')]),
            turns_bad("int8"),
            pods("fp32", &[Pods::Come, Pods::Gone]),
            seen(&[Stale(true), Stale(false)]),
        ],
    )
}

/// Clocks that jump, deadlines, pauses.
pub fn clocks_jump() -> Model {
    model(
        "clocks",
        int8_at_10(spec()),
        10,
        [
            turns_bad("int8"),
            seen(&[Jump(0), Jump(400), Jump(-120), Paused(true), Paused(false)]),
            seen(&[OnUndecided::Hold, OnUndecided::Escalate].map(Change::OnUndecided)),
            metrics(),
        ],
    )
}

/// The third rung, with fp32 as the control arm: two revisions that may turn bad, three whose pods may go.
pub fn ladder() -> Model {
    model(
        "ladder",
        int8_promoted_of_three(),
        10,
        [
            turns_bad("int8"),
            turns_bad("int4"),
            pods("fp32", &[Pods::Come, Pods::Gone]),
            pods("int8", &[Pods::Come, Pods::Gone]),
            pods("int4", &[Pods::Come, Pods::Gone]),
            seen(&[Target("fp32"), Target("int8"), Target("int4")]),
        ],
    )
}

/// Hands on what guardbit owns, a gateway that refuses, and the end.
pub fn objects_are_edited() -> Model {
    model(
        "objects",
        int8_at_10(spec()),
        10,
        [
            turns_bad("int8"),
            seen(&[
                Refuse(true),
                Refuse(false),
                RouteByHand("int8"),
                DeleteRoute,
                ScaleByHand("fp32"),
                LoseStatus,
            ]),
            with(
                &[
                    RouteByHand("int8"),
                    ScaleByHand("fp32"),
                    ScaleByHand("int8"),
                    LoseStatus,
                ],
                Look::None,
            ),
            seen(&[Delete]),
        ],
    )
}

/// Requests that are pinned to the reference, which changes.
pub fn pinned() -> Model {
    let mut spec = spec();
    let text = include_str!("../testdata/fraud-scorer.yaml");
    let model_: serde_json::Value = serde_yaml_ng::from_str(text).expect("yaml");
    let routes = model_["spec"]["traffic"]["precisionRoutes"].clone();
    spec.traffic.precision_routes = serde_json::from_value(routes).expect("routes");
    model(
        "pinned",
        installed(spec),
        10,
        [
            turns_bad("int8"),
            seen(&[Weights("fp32", 'c'), LoseStatus]),
            pods("fp32", &[Pods::Come, Pods::Gone]),
        ],
    )
}
