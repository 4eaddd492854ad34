//! The small worlds that are searched: where each starts, and what can happen in it.

use guardbit::api::{ActKind, OnUndecided, QuantizedModelSpec, Shadow};

use crate::events::{Change, Event, seen, with};
use crate::invariants::Judge;
use crate::oversight::{Asks, Oversight, Records};
use crate::search::Model;
use crate::traffic::{Metrics, Mood};
use crate::world::{Evaluation, Pods, World, Write, serving};

use Change::{
    Attempt, BreakSpec, Compares, Delete, DeleteRoute, Hold, Jump, LoseStatus, Pass, Paused, Refuse, Restart,
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

/// Evaluates until nothing more is decided, and lets time pass, until `there` is reached.
fn reach(mut world: World, there: impl Fn(&World) -> bool) -> World {
    for _ in 0..30 {
        for _ in 0..3 {
            if there(&world) {
                return world;
            }
            world
                .evaluate(Evaluation::Whole, &Judge::default())
                .expect("nothing is broken on the way");
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
    install(World::new(spec))
}

fn install(world: World) -> World {
    let mut world = reach(world, |world| stable(world, "fp32") && world.route.exists);
    world.pass(300);
    world
}

/// The same with a policy that asks this, and records of which becomes that; people may act in it.
fn overseen(asks: Asks, records: Records) -> World {
    let mut world = World::new(spec());
    world.oversight = Some(Oversight::of(asks, records));
    install(world)
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
    Model { name, start, events }
}

/// fp32 serves, and requests are pinned to it.
fn with_pinned_requests() -> World {
    let mut spec = spec();
    let text = include_str!("../testdata/fraud-scorer.yaml");
    let model: serde_json::Value = serde_yaml_ng::from_str(text).expect("yaml");
    let routes = model["spec"]["traffic"]["precisionRoutes"].clone();
    spec.traffic.precision_routes = serde_json::from_value(routes).expect("routes");
    installed(spec)
}

/// int8 waits for the pods that its stage begins with. The stage takes a minute of pairs, and the whole rollout two.
fn before_its_stage() -> World {
    let mut spec = spec();
    let agreement = serde_json::json!({"name": "agreement", "agreement": {"tolerance": {"absolute": "5%"}}});
    spec.guards.push(serde_json::from_value(agreement).expect("a guard"));
    spec.rollout.shadow = Some(Shadow { pairs: 100_000 });
    spec.rollout.deadline = "150s".into();
    let mut world = reach(installed(spec), |world| world.status.rollout.is_some());
    world.compares = true;
    world
}

/// A first climb, with metrics that come and go.
pub fn metrics_come_and_go() -> Model {
    model("metrics", installed(spec()), [moods("int8"), metrics()])
}

/// A controller that is killed after any of its writes, or meets conflicts.
pub fn controller_is_killed() -> Model {
    let writes = [Write::Lower, Write::Status, Write::Grow, Write::Route];
    let killed = writes.map(|write| with(&[Pass], Evaluation::Killed(write)));
    let others = [turns_bad("int8"), with(&[Pass], Evaluation::Conflict)];
    model("controller", int8_at_10(spec()), killed.into_iter().chain(others))
}

/// A status that is lost or spoilt, evaluations that come late.
pub fn status_is_lost() -> Model {
    let events = [
        turns_bad("int8"),
        with(&[Pass, Restart, LoseStatus, SpoilEvidence], Evaluation::None),
    ];
    model("status", int8_at_10(spec()), events)
}

/// Pods of the candidate that crash or are evicted.
pub fn candidate_is_disrupted() -> Model {
    use Pods::{Come, Crash, Evicted};
    let events = [turns_bad("int8"), pods("int8", &[Come, Crash, Evicted])];
    model("candidate", installed(spec()), events)
}

/// Pods of the candidate that cannot be scheduled, come one by one, or run different images.
pub fn candidate_waits_for_pods() -> Model {
    use Pods::{Come, Mixed, One, Unschedulable};
    let events = [pods("int8", &[Come, Mixed, One, Unschedulable])];
    model("capacity", installed(spec()), events)
}

/// Pods of the fallback that go, while the candidate turns bad.
pub fn fallback_goes() -> Model {
    use Pods::{Come, Gone, One};
    let events = [
        turns_bad("int8"),
        pods("fp32", &[Come, One, Gone]),
        pods("int8", &[Come, Gone]),
    ];
    model("fallback", int8_at_10(spec()), events)
}

/// A target that moves, weights that are frozen, guardbit told to keep its hands off.
pub fn target_moves() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[
            Target("fp32"),
            Target("int8"),
            Paused(true),
            Paused(false),
            Suspend(true),
            Suspend(false),
        ]),
    ];
    model("target", int8_at_10(spec()), events)
}

/// Guards and steps that are edited, while the candidate loses its pods.
pub fn plan_is_edited() -> Model {
    let events = [
        turns_bad("int8"),
        pods("int8", &[Pods::Come]),
        with(&[Change::Pods("int8", Pods::Gone)], Evaluation::None),
        seen(&[Tolerance("1%"), Hold("30s")]),
    ];
    model("plan", int8_at_10(spec()), events)
}

/// Gates that close and open while a candidate waits for its pods, and a spec that cannot be used.
pub fn gates_close() -> Model {
    let events = [
        turns_bad("int8"),
        pods("int8", &[Pods::Come, Pods::Gone]),
        seen(&[Stale(true), Stale(false), BreakSpec(true), BreakSpec(false)]),
    ];
    model("gates", installed(spec()), events)
}

/// Candidates that replace each other, while the fallback comes and goes.
pub fn candidates_supersede_each_other() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Weights("int8", 'a'), Weights("int8", 'b')]),
        pods("fp32", &[Pods::Come, Pods::Gone]),
    ];
    model("superseded", int8_at_10(spec()), events)
}

/// A new reference while a candidate is tried.
pub fn reference_changes() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Weights("fp32", 'c'), Weights("int8", 'a'), Stale(true), Stale(false)]),
    ];
    model("reference", installed(spec()), events)
}

/// A clock that jumps, while the metrics go.
pub fn clocks_jump() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Jump(0), Jump(400), Jump(-120)]),
        seen(&[Metrics::Answers, Metrics::Empty].map(Change::Metrics)),
    ];
    model("clocks", int8_at_10(spec()), events)
}

/// A deadline that passes, stands still, or is a question to a person.
pub fn deadline_passes() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Jump(0), Jump(120), Paused(true), Paused(false)]),
        seen(&[OnUndecided::Hold, OnUndecided::Escalate].map(Change::OnUndecided)),
    ];
    model("deadline", int8_at_10(spec()), events)
}

/// The third variant, with fp32 as the control arm: two revisions that may turn bad.
pub fn ladder() -> Model {
    let events = [
        turns_bad("int8"),
        turns_bad("int4"),
        seen(&[Target("fp32"), Target("int8"), Target("int4")]),
    ];
    model("ladder", int8_promoted_of_three(), events)
}

/// The third variant, with pods that go.
pub fn ladder_loses_pods() -> Model {
    let events = [
        turns_bad("int8"),
        pods("fp32", &[Pods::Come, Pods::Gone]),
        pods("int8", &[Pods::Come, Pods::Gone]),
        seen(&[Target("int8")]),
    ];
    model("ladder, pods", int8_promoted_of_three(), events)
}

/// Hands on what guardbit owns.
pub fn objects_are_edited() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[RouteByHand("int8"), ScaleByHand("fp32")]),
        with(&[LoseStatus], Evaluation::None),
    ];
    model("objects", int8_at_10(spec()), events)
}

/// A gateway that refuses the route, a route that is deleted, and the end of all.
pub fn route_is_refused() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Refuse(true), Refuse(false), DeleteRoute, Attempt, Delete]),
        with(&[RouteByHand("int8")], Evaluation::None),
    ];
    model("route", int8_at_10(spec()), events)
}

/// Requests that are pinned to the reference, which changes.
pub fn pinned() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Weights("fp32", 'c'), LoseStatus]),
        pods("fp32", &[Pods::Come, Pods::Gone]),
    ];
    model("pinned", with_pinned_requests(), events)
}

/// A stage before the first weight, with a comparer that dies and comes back, and a plan that is edited meanwhile.
pub fn shadow_stage() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Compares(false), Compares(true), Tolerance("1%")]),
    ];
    model("shadow stage", before_its_stage(), events)
}

fn acts(kinds: &[ActKind]) -> Vec<Event> {
    seen(&kinds.iter().map(|kind| Change::Act(*kind)).collect::<Vec<_>>())
}

/// People who roll back, pause and resume, whatever the spec asks for. No policy selects the model.
pub fn people_act() -> Model {
    let start = overseen(Asks::Absent, Records::Nowhere);
    let start = reach(start, |world| weight(world, "int8") == 10);
    let events = [
        turns_bad("int8"),
        acts(&[ActKind::RollBack, ActKind::Pause, ActKind::Resume]),
    ];
    model("people act", start, events)
}

/// People who are asked: they approve, reject, and have a variant tried again.
pub fn people_approve() -> Model {
    let is_ready = |world: &World| {
        let workload = world.workloads.get(&serving(&world.revision("int8")));
        workload.is_some_and(|workload| workload.ready > 0)
    };
    let start = overseen(Asks::Approvals, Records::Nowhere);
    let start = reach(start, |world| world.status.awaiting.is_some() && is_ready(world));
    let events = [
        turns_bad("int8"),
        acts(&[ActKind::Approve, ActKind::Reject, ActKind::Retry]),
    ];
    model("people approve", start, events)
}

/// Policies that appear, are edited and go, and of which nothing is known for a time.
pub fn policy_changes() -> Model {
    use Asks::{Absent, Floor, FloorFallsBack, Nothing, Unknown};
    let start = overseen(Nothing, Records::Nowhere);
    let start = reach(start, |world| weight(world, "int8") == 10);
    let asks = [Nothing, Floor, FloorFallsBack, Absent, Unknown].map(Change::Asks);
    model("policies", start, [turns_bad("int8"), seen(&asks)])
}

/// Freezes of a minute, from the start of a rollout to its promotion.
pub fn freeze_comes_and_goes() -> Model {
    let start = overseen(Asks::Nothing, Records::Nowhere);
    model("freeze", start, [turns_bad("int8"), seen(&[Change::Freeze])])
}

/// Records that the API server refuses or nobody can sign, and a controller that is killed before it writes them.
pub fn records_are_refused() -> Model {
    use Records::{Refused, Taken, Unsigned};
    let start = reach(overseen(Asks::Nothing, Taken), |world| weight(world, "int8") == 10);
    let events = [
        turns_bad("int8"),
        seen(&[Taken, Refused, Unsigned].map(Change::Records)),
        with(&[Pass], Evaluation::Killed(Write::Status)),
    ];
    model("records", start, events)
}

/// Two candidates, a status that is lost, a clock that jumps: all in one.
pub fn all_together() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Weights("int8", 'a'), Jump(400)]),
        with(&[LoseStatus], Evaluation::None),
    ];
    model("all together", int8_at_10(spec()), events)
}
