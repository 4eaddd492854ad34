//! What is compared: the truth of each row, and the guards that judge it.

use crate::traffic::{Arm, Latencies};

mod pairs;

/// Guards of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guards {
    Errors,
    Latency,
    Fidelity,
    /// All three.
    Suite,
    /// Pairs of answers.
    Agreement,
}

/// What a row must reach. Shares are in percent.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Rolled back at the most.
    RolledBackAtMost(f64),
    /// The upper 99% confidence bound of what is rolled back is below.
    RolledBackSurelyBelow(f64),
    /// Rolled back at the least, and the median of the minutes at the most.
    RolledBack(f64, f64),
    /// Promoted at the least, within so many minutes.
    Promoted(f64, f64),
}

/// One row of the table.
pub struct Row {
    pub truth: String,
    pub guards: Guards,
    pub arms: Vec<(&'static str, Arm)>,
    /// When harm begins, minutes; `None` where there is none, and a rollback is false.
    pub onset: Option<f64>,
    /// Minutes without metrics.
    pub gap: (f64, f64),
    /// Whether the metrics know the hour before the rollout.
    pub past: bool,
    /// Seconds between two scrapes of an arm, each of which has a moment of its own; `None`: all every 15 s, together.
    pub scraped_every: Option<f64>,
    /// How long the step is held at the least: what begins late is on trial only if nothing was promoted before.
    pub hold: &'static str,
    /// The share of pairs that may differ, for the guard on them.
    pub tolerated: &'static str,
    /// `rollout.warmUp`.
    pub warm_up: &'static str,
    pub goals: Vec<Goal>,
}

impl Row {
    fn reaches(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// Rollouts that it takes, where `usual` is the number of most: a bound close to a rate needs more, and so does a
    /// median that may hardly stray.
    pub fn rollouts(&self, usual: u64) -> u64 {
        let close = |goal: &Goal| matches!(goal, Goal::RolledBackSurelyBelow(_) | Goal::RolledBack(..));
        // There are many rows of latencies, and their goals are not close to what they reach.
        let many = self.guards != Guards::Latency && self.goals.iter().any(close);
        if many { 8 * usual } else { usual }
    }

    fn without_metrics(self, gap: (f64, f64)) -> Self {
        Self { gap, ..self }
    }

    fn without_past(self) -> Self {
        Self { past: false, ..self }
    }

    fn scraped_every(self, seconds: f64) -> Self {
        Self {
            scraped_every: Some(seconds),
            ..self
        }
    }

    fn with_the_usual_warm_up(self) -> Self {
        Self { warm_up: "30s", ..self }
    }

    fn held_for_an_hour(self) -> Self {
        Self { hold: "60m", ..self }
    }
}

const GOOD: Arm = Arm {
    rps: 18.0,
    errors: |_| 0.005,
    clumps: (0.0, 0.0),
    latencies: Latencies::Exponential,
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

fn row(truth: impl Into<String>, guards: Guards, stable: Arm, candidate: Arm, onset: Option<f64>) -> Row {
    Row {
        truth: truth.into(),
        guards,
        arms: vec![("stable", stable), ("candidate", candidate)],
        onset,
        gap: (0.0, 0.0),
        past: true,
        scraped_every: None,
        hold: "1m",
        tolerated: "5%",
        warm_up: "0s",
        goals: Vec::new(),
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
    let mut rows = harmless();
    rows.extend(at_the_edge());
    rows.extend(harmful());
    rows.extend(suites());
    rows.extend(latency_and_drift());
    rows.extend(slowdowns());
    rows.extend(scraped());
    rows.extend(pairs::rows());
    rows
}

/// Arms of one pod each that are scraped at moments of their own. A verdict takes one scrape and a fifth longer at most.
fn scraped() -> Vec<Row> {
    let every = |seconds: f64, [equal, incident, two, five]: [&'static str; 4]| {
        let within = |minutes: f64| 1.2 * minutes + seconds / 60.0;
        let both = row(
            incident,
            Guards::Errors,
            Arm {
                errors: self::incident,
                ..GOOD
            },
            failing(self::incident),
            None,
        );
        [
            errors(equal, |_| 0.005, None).reaches(Goal::RolledBackAtMost(1.0)),
            both.reaches(Goal::RolledBackAtMost(1.0)),
            errors(two, |_| 0.02, Some(0.0)).reaches(Goal::RolledBack(99.0, within(8.0))),
            errors(five, |_| 0.05, Some(0.0)).reaches(Goal::RolledBack(100.0, within(1.25))),
        ]
        .map(|row| row.scraped_every(seconds))
    };
    let rows = [
        every(
            15.0,
            [
                "equal, scraped every 15 s",
                "5-minute incident on both arms, scraped every 15 s",
                "2%, scraped every 15 s",
                "5%, scraped every 15 s",
            ],
        ),
        every(
            30.0,
            [
                "equal, scraped every 30 s",
                "5-minute incident on both arms, scraped every 30 s",
                "2%, scraped every 30 s",
                "5%, scraped every 30 s",
            ],
        ),
        every(
            60.0,
            [
                "equal, scraped every 60 s",
                "5-minute incident on both arms, scraped every 60 s",
                "2%, scraped every 60 s",
                "5%, scraped every 60 s",
            ],
        ),
    ];
    rows.into_iter().flatten().collect()
}

fn harmless() -> Vec<Row> {
    let rare = Goal::RolledBackAtMost(1.0);
    vec![
        errors("equal", |_| 0.005, None).reaches(rare),
        errors("equal, stable has no past", |_| 0.005, None)
            .without_past()
            .reaches(rare),
        errors("tolerated: 0.75%", |_| 0.0075, None).reaches(rare),
        row(
            "5-minute incident on both arms",
            Guards::Errors,
            Arm {
                errors: incident,
                ..GOOD
            },
            failing(incident),
            None,
        )
        .reaches(rare),
        row(
            "equal, an hour without metrics but for the first minutes",
            Guards::Errors,
            GOOD,
            at(2.0),
            None,
        )
        .without_metrics((3.0, 60.1))
        .reaches(Goal::RolledBackAtMost(0.0)),
    ]
}

/// Exactly at the edge of the tolerance: what `falseRollback` promises.
fn at_the_edge() -> Vec<Row> {
    let edge = |truth, stable: Arm, candidate: Arm| row(truth, Guards::Errors, stable, candidate, None);
    let one = || failing(|_| 0.01);
    let restarting = |arm: Arm| Arm {
        restarts: Some(20.0),
        ..arm
    };
    let clumped = |arm: Arm, clumps| Arm { clumps, ..arm };
    let kept = [
        edge("exactly at the edge: 1%", GOOD, one()),
        edge("at the edge, stable has no past", GOOD, one()).without_past(),
        edge("at the edge, restarts every 5 min", restarting(GOOD), restarting(one())),
        edge("at the edge, 20 minutes without metrics", GOOD, one()).without_metrics((10.0, 30.0)),
        edge(
            "at the edge, over-dispersed by 25% on the candidate only",
            GOOD,
            clumped(one(), QUARTER),
        ),
        edge(
            "at the edge, failures in threes on both arms",
            clumped(GOOD, THREES),
            clumped(one(), THREES),
        ),
    ];
    let mut rows: Vec<Row> = kept
        .into_iter()
        .map(|row| row.reaches(Goal::RolledBackSurelyBelow(5.0)))
        .collect();
    // No test that finds 5% within five polls can know that the failures of a newborn baseline come in threes.
    rows.push(
        edge(
            "at the edge, failures in threes on both arms, stable has no past",
            clumped(GOOD, THREES),
            clumped(one(), THREES),
        )
        .without_past(),
    );
    rows
}

fn harmful() -> Vec<Row> {
    let two = || errors("2%", |_| 0.02, Some(0.0));
    let five = || errors("5%", |_| 0.05, Some(0.0));
    let tenth = || {
        let candidate = Arm {
            rps: 0.2,
            ..failing(|_| 0.05)
        };
        row(
            "5% at a tenth of the traffic",
            Guards::Errors,
            at(1.8),
            candidate,
            Some(0.0),
        )
    };
    let named = |truth: &str, row: Row| {
        Row {
            truth: truth.to_owned(),
            ..row
        }
        .without_past()
    };
    let late2 = |minute: f64| if minute < 20.0 { 0.005 } else { 0.02 };
    let late5 = |minute: f64| if minute < 20.0 { 0.005 } else { 0.05 };
    let after_incident = |minute: f64| if minute < 30.0 { incident(minute) } else { 0.05 };
    let (clumped, clumped_candidate) = (
        Arm { clumps: THREES, ..GOOD },
        Arm {
            clumps: THREES,
            ..failing(|_| 0.05)
        },
    );
    vec![
        two().reaches(Goal::RolledBack(99.0, 8.0)),
        named("2%, stable has no past", two()).reaches(Goal::RolledBack(99.0, 8.0)),
        five().reaches(Goal::RolledBack(100.0, 1.25)),
        named("5%, stable has no past", five()).reaches(Goal::RolledBack(100.0, 1.25)),
        tenth().reaches(Goal::RolledBack(99.5, 10.0)),
        named("5% at a tenth of the traffic, stable has no past", tenth()).reaches(Goal::RolledBack(99.5, 10.0)),
        row(
            "5%, failures in threes on both arms",
            Guards::Errors,
            clumped,
            clumped_candidate,
            Some(0.0),
        ),
        errors("2% from minute 20", late2, Some(20.0)).held_for_an_hour(),
        errors("5% from minute 20", late5, Some(20.0)).held_for_an_hour(),
        row(
            "5% from minute 30, after a 5-minute incident on both arms",
            Guards::Errors,
            Arm {
                errors: incident,
                ..GOOD
            },
            failing(after_incident),
            Some(30.0),
        )
        .held_for_an_hour(),
    ]
}

/// All three guards together.
fn suites() -> Vec<Row> {
    let suite = |truth, errors| row(truth, Guards::Suite, GOOD, failing(errors), Some(0.0));
    let mut busy = row(
        "equal, 20 + 180 rps, a reference arm of 20 rps",
        Guards::Suite,
        at(180.0),
        at(20.0),
        None,
    );
    busy.arms.push(("reference", at(20.0)));
    vec![
        row("equal", Guards::Suite, GOOD, at(2.0), None)
            .reaches(Goal::RolledBackAtMost(1.0))
            .reaches(Goal::Promoted(95.0, 60.0)),
        busy.reaches(Goal::RolledBackAtMost(1.0))
            .reaches(Goal::Promoted(95.0, 7.0)),
        suite("2%", |_| 0.02).reaches(Goal::RolledBack(99.0, 10.0)),
        suite("2%, stable has no past", |_| 0.02).without_past(),
        suite("5%", |_| 0.05).reaches(Goal::RolledBack(100.0, 1.5)),
        suite("5%, stable has no past", |_| 0.05).without_past(),
        suite("5%, with the usual warm-up of 30 s", |_| 0.05)
            .with_the_usual_warm_up()
            .reaches(Goal::RolledBack(100.0, 2.0)),
    ]
}

/// A slowdown that every candidate with that much traffic may show, because its pods have less to do: it is tolerated.
const IDLE: f64 = 1.15;

/// The largest effective slowdown at which a candidate that is 1.4 times as slow is expected to be found.
const TELLING: f64 = 1.33;

/// Log-normal latencies in Prometheus' default buckets, slowed down.
fn slowdowns() -> Vec<Row> {
    let shapes = [0.25, 0.5]
        .into_iter()
        .flat_map(|sigma| [0.008, 0.03, 0.2].map(|median| Latencies::LogNormal { median, sigma }));
    shapes.flat_map(slowed).collect()
}

fn slowed(latencies: Latencies) -> Vec<Row> {
    let effective = latencies.effective();
    let of = |slowdown: f64, onset| {
        let arm = |rps, slowdown| Arm {
            latencies,
            slowdown,
            ..at(rps)
        };
        let truth = format!("{latencies} × {slowdown} (effective tolerance × {effective:.2})");
        row(truth, Guards::Latency, arm(18.0, 1.0), arm(2.0, slowdown), onset)
    };
    let rare = Goal::RolledBackAtMost(1.0);
    let worse = of(1.4, Some(0.0));
    vec![
        of(1.02, None).reaches(rare),
        of(IDLE, None).reaches(rare),
        if effective <= TELLING {
            worse.reaches(Goal::RolledBack(99.0, 8.0))
        } else {
            worse
        },
        of(2.0, Some(0.0)).reaches(Goal::RolledBack(99.0, 2.0)),
    ]
}

fn latency_and_drift() -> Vec<Row> {
    let slower = |truth: &str, slowdown, onset| row(truth, Guards::Latency, GOOD, Arm { slowdown, ..at(2.0) }, onset);
    let drifting = |truth, drift, onset| row(truth, Guards::Fidelity, at(15.0), Arm { drift, ..at(15.0) }, onset);
    vec![
        slower("latency × 1.02", 1.02, None).reaches(Goal::RolledBackAtMost(1.0)),
        slower("latency × 1.4", 1.4, Some(0.0)),
        drifting("drift of TV .033, 15 rps each", 0.033, None).reaches(Goal::RolledBackAtMost(1.0)),
        drifting("drift of TV .074, 15 rps each", 0.074, Some(0.0)),
        drifting("drift of TV .095, 15 rps each", 0.095, Some(0.0)),
        drifting("drift of TV .218, 15 rps each", 0.218, Some(0.0)),
    ]
}
