//! What people and programs read of a replay.

use std::fmt::Write as _;

use serde::Serialize;

use crate::api::GuardStatus;
use crate::rollout::guard_status;

use super::replay::{Outcome, Replay, Step};

/// Columns of a sparkline.
const COLUMNS: usize = 48;

/// One replay as a JSON object, on one line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    trace: &'a str,
    outcome: Outcome,
    at_seconds: f64,
    guard: Option<&'a str>,
    why: &'a str,
    decisions: &'a [Step],
    guards: Vec<GuardStatus>,
}

/// A trace that could not be replayed, as a JSON object on one line.
#[derive(Serialize)]
struct Failure<'a> {
    trace: &'a str,
    error: &'a str,
}

fn guards(replay: &Replay) -> Vec<GuardStatus> {
    let last = replay.frames.last();
    last.into_iter()
        .flat_map(|frame| frame.guards.iter().cloned().map(guard_status))
        .collect()
}

/// One line of JSON.
pub fn json(trace: &str, replay: &Replay) -> String {
    let line = Line {
        trace,
        outcome: replay.outcome,
        at_seconds: replay.at_seconds,
        guard: replay.guard.as_deref(),
        why: &replay.why,
        decisions: &replay.decisions,
        guards: guards(replay),
    };
    to_line(&line)
}

/// One line of JSON for a trace that could not be replayed.
pub fn json_error(trace: &str, error: &str) -> String {
    to_line(&Failure { trace, error })
}

fn to_line(value: &impl Serialize) -> String {
    // Strings, numbers and lists are written into memory, which cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// A timeline for people: decisions, then the evidence of each guard over time.
pub fn table(trace: &str, replay: &Replay) -> String {
    let mut out = String::new();
    let by = replay
        .guard
        .as_ref()
        .map(|guard| format!(" by {guard}"))
        .unwrap_or_default();
    let _ = writeln!(
        out,
        "{trace}: {} against {}: {} at {}{by}",
        replay.candidate,
        replay.stable,
        replay.outcome,
        clock(replay.at_seconds)
    );
    for step in &replay.decisions {
        let _ = writeln!(
            out,
            "  {:>8}  {:>3}%  {} {}: {}",
            clock(step.at_seconds),
            step.weight,
            step.action,
            step.variant,
            step.why
        );
    }
    if replay.outcome == Outcome::Undecided {
        let _ = writeln!(out, "  {:>8}        {}", clock(replay.at_seconds), replay.why);
    }
    let guards = guards(replay);
    let width = guards.iter().map(|g| g.name.len()).max().unwrap_or_default();
    for (i, guard) in guards.iter().enumerate() {
        let over_time = |of: fn(&crate::guards::GuardReport) -> f64| {
            let values = replay
                .frames
                .iter()
                .filter_map(|f| Some((f.at_seconds, of(f.guards.get(i)?))));
            sparkline(values, replay.at_seconds)
        };
        let (name, blank) = (&guard.name, "");
        let _ = writeln!(
            out,
            "  {name:width$}  harm    {} {} of {}",
            over_time(|g| g.harm_progress),
            guard.evidence,
            // Of a plain rule it is so many polls of so many.
            guard.threshold.replace(" of ", " in the last ")
        );
        let _ = writeln!(
            out,
            "  {blank:width$}  health  {} {} of {}  {}",
            over_time(|g| g.health_progress),
            guard.health,
            guard.health_threshold,
            guard.verdict
        );
    }
    out
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

/// The last value in each column of time; 0 is blank, 1 is full.
fn sparkline(values: impl Iterator<Item = (f64, f64)>, end: f64) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut columns: [Option<f64>; COLUMNS] = [None; COLUMNS];
    for (at, value) in values {
        let column = (at / end.max(1e-9) * (COLUMNS - 1) as f64).round() as usize;
        columns[column.min(COLUMNS - 1)] = Some(value);
    }
    let mut last = 0.0;
    let drawn = columns.map(|value| {
        last = value.unwrap_or(last);
        // Anything above 0 shows, and only what is enough is full.
        let level = if last <= 0.0 { 0.0 } else { (last * 7.0).floor() + 1.0 };
        BLOCKS[(level as usize).min(BLOCKS.len() - 1)]
    });
    format!("▕{}▏", drawn.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_full_only_where_the_evidence_is_enough() {
        let line = sparkline(
            [(0.0, 0.0), (10.0, 0.01), (50.0, 0.99), (100.0, 1.0)].into_iter(),
            100.0,
        );
        let drawn: Vec<char> = line.chars().collect();
        assert_eq!(drawn.len(), COLUMNS + 2);
        assert_eq!((drawn[1], drawn[6], drawn[30], drawn[COLUMNS]), (' ', '▁', '▇', '█'));
        assert!(!drawn[..COLUMNS].contains(&'█'));
    }
}
