//! Worlds in which few things can happen, so that all orders of ten of them can be tried in seconds.

use guardbit::api::OnUndecided;

use super::{
    installed, int8_at_10, int8_promoted_of_three, metrics, model, moods, pods, spec, turns_bad, with_pinned_requests,
};
use crate::events::{Change, seen, with};
use crate::search::Model;
use crate::world::{Look, Metrics, Pods, Write};

use Change::{
    Attempt, BreakSpec, Delete, DeleteRoute, Hold, Jump, LoseStatus, Pass, Paused, Refuse, Restart, RouteByHand,
    ScaleByHand, SpoilEvidence, Stale, Suspend, Target, Tolerance, Weights,
};

/// A first climb, with metrics that come and go.
pub fn metrics_come_and_go() -> Model {
    model("metrics", installed(spec()), [moods("int8"), metrics()])
}

/// A controller that is killed after any of its writes, or meets conflicts.
pub fn controller_is_killed() -> Model {
    let writes = [Write::Lower, Write::Status, Write::Grow, Write::Route];
    let killed = writes.map(|write| with(&[Pass], Look::Killed(write)));
    let others = [turns_bad("int8"), with(&[Pass], Look::Conflict)];
    model("controller", int8_at_10(spec()), killed.into_iter().chain(others))
}

/// A status that is lost or spoilt, looks that come late.
pub fn status_is_lost() -> Model {
    let events = [
        turns_bad("int8"),
        with(&[Pass, Restart, LoseStatus, SpoilEvidence], Look::None),
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
        with(&[Change::Pods("int8", Pods::Gone)], Look::None),
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

/// The third rung, with fp32 as the control arm: two revisions that may turn bad.
pub fn ladder() -> Model {
    let events = [
        turns_bad("int8"),
        turns_bad("int4"),
        seen(&[Target("fp32"), Target("int8"), Target("int4")]),
    ];
    model("ladder", int8_promoted_of_three(), events)
}

/// The third rung, with pods that go.
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
        with(&[LoseStatus], Look::None),
    ];
    model("objects", int8_at_10(spec()), events)
}

/// A gateway that refuses the route, a route that is deleted, and the end of all.
pub fn route_is_refused() -> Model {
    let events = [
        turns_bad("int8"),
        seen(&[Refuse(true), Refuse(false), DeleteRoute, Attempt, Delete]),
        with(&[RouteByHand("int8")], Look::None),
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
