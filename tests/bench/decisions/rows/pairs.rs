//! Pairs of answers: two a second, and one in ten asks the reference twice.

use crate::traffic::Arm;

use super::{Goal, Guards, QUARTER, Row, THREES, at, row};

/// Pairs a second.
const RATE: f64 = 2.0;

/// Pairs of the reference and itself, for each of the candidate.
const CONTROL: f64 = 0.1;

/// The minutes that so many pairs take.
fn pairs(n: f64) -> f64 {
    n / RATE / 60.0
}

fn differs(
    truth: &'static str,
    tolerated: &'static str,
    differs: fn(f64) -> f64,
    noise: fn(f64) -> f64,
    onset: Option<f64>,
) -> Row {
    let candidate = Arm {
        errors: differs,
        ..at(RATE)
    };
    let control = Arm {
        errors: noise,
        ..at(RATE * CONTROL)
    };
    Row {
        tolerated,
        ..row(truth, Guards::Agreement, control, candidate, onset)
    }
    .without_past()
}

fn clumped(row: Row, clumps: (f64, f64)) -> Row {
    let arms = row.arms.into_iter();
    let arms = arms.map(|(name, arm)| {
        (
            name,
            if name == "candidate" {
                Arm { clumps, ..arm }
            } else {
                arm
            },
        )
    });
    Row {
        arms: arms.collect(),
        ..row
    }
}

/// All rows. What a median of so many pairs must be is the goal of the design, with the guard alone.
pub(super) fn rows() -> Vec<Row> {
    let harmful = |truth, tolerated, share, most| {
        differs(truth, tolerated, share, |_| 0.003, Some(0.0)).reaches(Goal::RolledBack(99.0, pairs(most)))
    };
    let edge = |truth, noise| differs(truth, "5%", |_| 0.05, noise, None).reaches(Goal::RolledBackSurelyBelow(5.0));
    let edge_of_one = differs(
        "at the edge: 1% of answers differ, 1% tolerated",
        "1%",
        |_| 0.01,
        |_| 0.003,
        None,
    );
    let bursts = |truth, clumps| clumped(differs(truth, "5%", |_| 0.05, |_| 0.003, None), clumps);
    vec![
        harmful("2% of answers differ, 1% tolerated", "1%", |_| 0.02, 1_000.0),
        harmful("7.4% of answers differ, 5% tolerated", "5%", |_| 0.074, 1_300.0),
        harmful("9.5% of answers differ, 5% tolerated", "5%", |_| 0.095, 550.0),
        harmful("29% of answers differ, 10% tolerated", "10%", |_| 0.29, 200.0),
        differs("3.3% of answers differ, 5% tolerated", "5%", |_| 0.033, |_| 0.003, None)
            .reaches(Goal::RolledBackAtMost(1.0))
            .reaches(Goal::Promoted(50.0, pairs(1_500.0))),
        edge(
            "at the edge: 5% of answers differ, 5% tolerated, the reference from itself 0.3%",
            |_| 0.003,
        ),
        edge(
            "at the edge: 5% of answers differ, 5% tolerated, the reference from itself 2%",
            |_| 0.02,
        ),
        edge_of_one.reaches(Goal::RolledBackSurelyBelow(5.0)),
        bursts(
            "at the edge of 5%, one answer in seven that differs comes twice",
            QUARTER,
        )
        .reaches(Goal::RolledBackSurelyBelow(5.0)),
        bursts("at the edge of 5%, answers that differ come in threes", THREES),
    ]
}
