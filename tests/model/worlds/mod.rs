//! The small worlds that are searched: where each starts, and what can happen in it.

pub mod narrow;
pub mod wide;

use guardbit::api::QuantizedModelSpec;

use crate::events::{Change, Event, seen};
use crate::search::Model;
use crate::world::{Look, Metrics, Mood, Pods, World};

/// All orders of so many events are tried.
const DEPTH: usize = 10;

/// fp32, int8 and int4 with two pods each; two guards; steps of 10 and 50 percent; a holdout of 10 percent.
fn spec() -> QuantizedModelSpec {
    let text = include_str!("../../testdata/fraud-scorer.yaml");
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

fn model(name: &'static str, start: World, events: impl IntoIterator<Item = Vec<Event>>) -> Model {
    let common = seen(&[Change::Nothing, Change::Pass]);
    let events = std::iter::once(common).chain(events).flatten().collect();
    Model {
        name,
        start,
        events,
        depth: DEPTH,
    }
}

/// fp32 serves, and requests are pinned to it.
fn with_pinned_requests() -> World {
    let mut spec = spec();
    let text = include_str!("../../testdata/fraud-scorer.yaml");
    let model: serde_json::Value = serde_yaml_ng::from_str(text).expect("yaml");
    let routes = model["spec"]["traffic"]["precisionRoutes"].clone();
    spec.traffic.precision_routes = serde_json::from_value(routes).expect("routes");
    installed(spec)
}
