//! What the table must show, held against what it shows.

use std::fmt;

use crate::End;
use crate::rows::{Goal, Row};

/// A goal, and what was reached.
pub struct Checked {
    goal: String,
    reached: String,
    pub met: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.met { "met" } else { "**missed**" };
        write!(f, "| {} | {} | {mark} |", self.goal, self.reached)
    }
}

/// Holds guardbit's rollouts of a row against a goal.
pub fn check(row: &Row, goal: Goal, ends: &[End]) -> Checked {
    let n = ends.len() as f64;
    let mut minutes: Vec<f64> = ends
        .iter()
        .filter_map(|end| match end {
            End::RolledBack(at) => Some(at - row.onset.unwrap_or(0.0)),
            _ => None,
        })
        .collect();
    minutes.sort_by(f64::total_cmp);
    let back = 100.0 * minutes.len() as f64 / n;
    let (what, reached, met) = match goal {
        Goal::RolledBackAtMost(most) => (
            format!("at most {most}% rolled back"),
            format!("{back:.1}%"),
            back <= most,
        ),
        Goal::RolledBackSurelyBelow(most) => {
            let bound = 100.0 * upper_bound(minutes.len(), ends.len());
            (
                format!("less than {most}% rolled back, by the upper 99% bound"),
                format!("{back:.2}%, bound {bound:.2}%, of {}", ends.len()),
                bound < most,
            )
        }
        Goal::RolledBack(least, most) => {
            let median = minutes.get(minutes.len() / 2).copied().unwrap_or(f64::INFINITY);
            (
                format!(
                    "at least {least}% rolled back, half of them within {} min",
                    minutes_of(most)
                ),
                format!("{back:.1}%, {median:.2} min"),
                back >= least && median <= most,
            )
        }
        Goal::Promoted(least, most) => {
            let in_time = |end: &&End| matches!(end, End::Promoted(at) if *at <= most);
            let promoted = 100.0 * ends.iter().filter(in_time).count() as f64 / n;
            (
                format!("at least {least}% promoted within {} min", minutes_of(most)),
                format!("{promoted:.1}%"),
                promoted >= least,
            )
        }
    };
    Checked {
        goal: format!("{:?}, {}: {what}", row.guards, row.truth).to_lowercase(),
        reached,
        met,
    }
}

/// Minutes as a person would write them: two digits after the point at the most.
fn minutes_of(minutes: f64) -> f64 {
    (minutes * 100.0).round() / 100.0
}

/// Clopper & Pearson's one-sided upper 99% confidence bound of a share, by bisection of the binomial distribution.
fn upper_bound(x: usize, n: usize) -> f64 {
    let up_to_x = |p: f64| {
        let mut term = n as f64 * (1.0 - p).ln();
        let mut sum = 0.0;
        for k in 0..=x {
            sum += term.exp();
            term += ((n - k) as f64 / (k + 1) as f64).ln() + (p / (1.0 - p)).ln();
        }
        sum
    };
    let (mut low, mut high) = (x as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if up_to_x(middle) > 0.01 {
            low = middle
        } else {
            high = middle
        }
    }
    high
}
