//! Worlds in which much can happen: searched by `make model-check`, to a lesser depth.

use guardbit::api::OnUndecided;

use super::{installed, int8_at_10, int8_promoted_of_three, metrics, model, moods, pods, spec, turns_bad};
use crate::events::{Change, seen, with};
use crate::search::Model;
use crate::world::{Look, Metrics, Mood, Pods, Write};

use Change::{
    Attempt, BreakSpec, Delete, DeleteRoute, Hold, Jump, LoseStatus, Pass, Paused, Refuse, Restart, RouteByHand,
    ScaleByHand, SpoilEvidence, Stale, Suspend, Target, Tolerance, Weights,
};

/// A first climb, with metrics that come and go.
pub fn metrics_come_and_go() -> Model {
    model("metrics, wide", installed(spec()), [moods("int8"), metrics()])
}

/// A controller that is stopped after any of its writes, meets conflicts, or finds its status lost or spoilt.
pub fn controller_is_killed() -> Model {
    let writes = [Write::Lower, Write::Status, Write::Grow, Write::Route];
    let killed = writes.map(|write| with(&[Pass], Look::Killed(write)));
    model(
        "controller, wide",
        int8_at_10(spec()),
        killed.into_iter().chain([
            turns_bad("int8"),
            with(&[Pass], Look::Conflict),
            with(&[Pass, Restart, LoseStatus, SpoilEvidence], Look::None),
            seen(&[Metrics::Answers, Metrics::Away].map(Change::Metrics)),
        ]),
    )
}

/// Pods of the candidate and of its fallback that come, go, crash, are evicted, or cannot be scheduled.
pub fn pods_come_and_go() -> Model {
    use Pods::{Come, Crash, Evicted, Gone, Mixed, One, Unschedulable};
    model(
        "pods, wide",
        installed(spec()),
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
        "spec, wide",
        int8_at_10(spec()),
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
        "weights, wide",
        installed(spec()),
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
        "clocks, wide",
        int8_at_10(spec()),
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
        "ladder, wide",
        int8_promoted_of_three(),
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
        "objects, wide",
        int8_at_10(spec()),
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
