//! What is compared: the truth of each row, and the guards that judge it.

use crate::traffic::Arm;

/// Guards of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guards {
    Errors,
    Latency,
    Fidelity,
    /// All three.
    Suite,
}

/// One row of the table.
pub struct Row {
    pub truth: &'static str,
    pub guards: Guards,
    pub arms: Vec<(&'static str, Arm)>,
    /// When harm begins, minutes; `None` where there is none, and a rollback is false.
    pub onset: Option<f64>,
    /// Minutes without metrics.
    pub gap: (f64, f64),
    /// Whether the metrics know the hour before the rollout.
    pub past: bool,
    /// How long the step is held at the least: what begins late is on trial only if nothing was promoted before.
    pub hold: &'static str,
}

impl Row {
    fn without_metrics(self, gap: (f64, f64)) -> Self {
        Self { gap, ..self }
    }

    fn without_past(self) -> Self {
        Self { past: false, ..self }
    }

    fn held_for_an_hour(self) -> Self {
        Self { hold: "60m", ..self }
    }
}

const GOOD: Arm = Arm {
    rps: 18.0,
    errors: |_| 0.005,
    clumps: (0.0, 0.0),
    slowdown: 1.0,
    drift: 0.0,
    restarts: None,
};

/// Clumps of three on every failure, φ = 3; and one failure in seven that comes twice, φ = 1.25.
const THREES: (f64, f64) = (0.0, 1.0);
const QUARTER: (f64, f64) = (1.0 / 7.0, 0.0);

fn at(rps: f64) -> Arm {
    Arm { rps, ..GOOD }
}

fn failing(errors: fn(f64) -> f64) -> Arm {
    Arm { errors, ..at(2.0) }
}

fn row(truth: &'static str, guards: Guards, stable: Arm, candidate: Arm, onset: Option<f64>) -> Row {
    Row {
        truth,
        guards,
        arms: vec![("stable", stable), ("candidate", candidate)],
        onset,
        gap: (0.0, 0.0),
        past: true,
        hold: "1m",
    }
}

fn errors(truth: &'static str, candidate: fn(f64) -> f64, onset: Option<f64>) -> Row {
    row(truth, Guards::Errors, GOOD, failing(candidate), onset)
}

fn incident(minute: f64) -> f64 {
    if (20.0..25.0).contains(&minute) { 0.3 } else { 0.005 }
}

/// All rows: 18 rps on stable and 2 rps on the candidate, 0.5% errors, where nothing else is said.
pub fn rows() -> Vec<Row> {
    let edge: fn(f64) -> f64 = |_| 0.01;
    let restarting = |arm: Arm| Arm {
        restarts: Some(20.0),
        ..arm
    };
    let clumped = |arm: Arm, clumps| Arm { clumps, ..arm };
    let mut rows = vec![
        errors("equal", |_| 0.005, None),
        errors("tolerated: 0.75%", |_| 0.0075, None),
        errors("exactly at the edge: 1%", edge, None),
        row(
            "5-minute incident on both arms",
            Guards::Errors,
            Arm {
                errors: incident,
                ..GOOD
            },
            failing(incident),
            None,
        ),
        row(
            "equal, an hour without metrics but for the first minutes",
            Guards::Errors,
            GOOD,
            at(2.0),
            None,
        )
        .without_metrics((3.0, 60.1)),
        row(
            "at the edge, restarts every 5 min",
            Guards::Errors,
            restarting(GOOD),
            restarting(failing(edge)),
            None,
        ),
        row(
            "at the edge, 20 minutes without metrics",
            Guards::Errors,
            GOOD,
            failing(edge),
            None,
        )
        .without_metrics((10.0, 30.0)),
        row(
            "at the edge, over-dispersed by 25% on the candidate only",
            Guards::Errors,
            GOOD,
            clumped(failing(edge), QUARTER),
            None,
        ),
        row(
            "at the edge, failures in threes on both arms",
            Guards::Errors,
            clumped(GOOD, THREES),
            clumped(failing(edge), THREES),
            None,
        ),
        errors("at the edge, stable has no past", edge, None).without_past(),
        row(
            "at the edge, failures in threes on both arms, stable has no past",
            Guards::Errors,
            clumped(GOOD, THREES),
            clumped(failing(edge), THREES),
            None,
        )
        .without_past(),
        errors("2%, stable has no past", |_| 0.02, Some(0.0)).without_past(),
        errors("2%", |_| 0.02, Some(0.0)),
        errors("5%", |_| 0.05, Some(0.0)),
        row(
            "5%, failures in threes on both arms",
            Guards::Errors,
            clumped(GOOD, THREES),
            clumped(failing(|_| 0.05), THREES),
            Some(0.0),
        ),
        row(
            "5% at a tenth of the traffic",
            Guards::Errors,
            at(1.8),
            Arm {
                rps: 0.2,
                ..failing(|_| 0.05)
            },
            Some(0.0),
        ),
        errors("2% from minute 20", |m| if m < 20.0 { 0.005 } else { 0.02 }, Some(20.0)).held_for_an_hour(),
        errors("5% from minute 20", |m| if m < 20.0 { 0.005 } else { 0.05 }, Some(20.0)).held_for_an_hour(),
        row("equal", Guards::Suite, GOOD, at(2.0), None),
        row("2%", Guards::Suite, GOOD, failing(|_| 0.02), Some(0.0)),
        row("5%", Guards::Suite, GOOD, failing(|_| 0.05), Some(0.0)),
        row(
            "latency × 1.02",
            Guards::Latency,
            GOOD,
            Arm {
                slowdown: 1.02,
                ..at(2.0)
            },
            None,
        ),
        row(
            "latency × 1.4",
            Guards::Latency,
            GOOD,
            Arm {
                slowdown: 1.4,
                ..at(2.0)
            },
            Some(0.0),
        ),
    ];
    let mut busy = row(
        "equal, 20 + 180 rps, a reference arm of 20 rps",
        Guards::Suite,
        at(180.0),
        at(20.0),
        None,
    );
    busy.arms.push(("reference", at(20.0)));
    rows.push(busy);
    for (truth, drift, harm) in [
        ("drift of TV .033, 15 rps each", 0.033, false),
        ("drift of TV .074, 15 rps each", 0.074, true),
        ("drift of TV .095, 15 rps each", 0.095, true),
        ("drift of TV .218, 15 rps each", 0.218, true),
    ] {
        rows.push(row(
            truth,
            Guards::Fidelity,
            at(15.0),
            Arm { drift, ..at(15.0) },
            harm.then_some(0.0),
        ));
    }
    rows
}
